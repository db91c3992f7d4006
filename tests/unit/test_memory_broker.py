"""The broker in memory, stepped by hand: the corners of RabbitMQ's behaviour that a transport can see."""

from __future__ import annotations

import logging

import pytest

from schedulergodx.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnavailable,
    InvalidParameter,
    LaunchUncertain,
    QueueFull,
    QueueInUse,
    QueueMismatch,
    QueueMissing,
)
from schedulergodx.utils.abstractions import ConnectionState, Outgoing, QueueSpec
from schedulergodx_testing.errors import NotEmulated
from schedulergodx_testing.memory import MemoryBroker
from tests.unit.memory_programs import Q, World

SEEDS = range(30)


@pytest.fixture
def world() -> World:
    return World()


# --- Stepping


def test_nothing_happens_by_itself(world: World) -> None:
    """Publishing and consuming only wait; each step does one thing, and False says that there is none."""
    assert world.broker.is_idle
    assert world.broker.step() is False
    program = world.program()
    program.transport.declare(Q)
    program.publish("a")
    assert not world.broker.is_idle
    assert program.settled == {}
    assert world.broker.log == []
    count = 0
    while world.broker.step():
        count += 1
    # connect, declare, the message, its confirm
    assert count == 4
    assert program.settled == {"a": None}
    assert world.broker.is_idle


def test_a_listener_that_raises_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """As over RabbitMQ, the transport goes on."""
    sender = world.program()
    sender.send()

    def fail(_outgoing: Outgoing, _error: BrokerError | None) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, "schedulergodx.transport"):
        sender.transport.publish(Outgoing(queue="q", body=b"a", message_id="a", on_settled=fail))
        world.run()
    assert "raised; the broker goes on" in caplog.text
    sender.publish("b")
    world.run()
    assert sender.settled == {"b": None}


def test_everything_that_happens_is_told(world: World) -> None:
    """`on_happening` gets each happening at once; the log has the same, in the same order, with the moment."""
    told = []
    sender = world.program("sender")
    sender.send("a")
    world.broker.on_happening = told.append
    world.clock.advance(seconds=1)
    sender.publish("b")
    world.run()
    world.broker.on_happening = None
    sender.publish("c")
    world.run()
    assert [str(one) for one in told] == ["1001.000000 kept sender q b", "1001.000000 confirmed sender q b"]
    assert world.kinds("kept", "confirmed") == [
        "kept a",
        "confirmed a",
        "kept b",
        "confirmed b",
        "kept c",
        "confirmed c",
    ]


# --- Publishing


def test_confirms_come_out_of_order_and_several_at_once_but_in_the_order_of_each_queue() -> None:
    """Some seed confirms a later message to another queue first, and some step settles several messages."""
    seen_overtaking = seen_several = False
    for seed in SEEDS:
        world = World(seed)
        sender = world.program()
        for name in ("q", "r"):
            sender.transport.declare(QueueSpec(name=name))
        sent = [f"{name}{number}" for number in range(4) for name in ("q", "r")]
        for body in sent:
            sender.publish(body, queue=body[0])
        before = 0
        while world.broker.step():
            seen_several |= len(sender.settled) > before + 1
            before = len(sender.settled)
        order = list(sender.settled)
        assert [body for body in order if body[0] == "q"] == sent[0::2]
        assert [body for body in order if body[0] == "r"] == sent[1::2]
        assert set(sender.settled.values()) == {None}
        seen_overtaking |= order != sent
    assert seen_overtaking
    assert seen_several


def test_unroutable_is_told_before_the_confirm_and_overtakes(world: World) -> None:
    """The broker returns it as soon as it arrives; the message then fails, and nothing else does."""
    sender = world.program()
    sender.send("a")
    sender.publish("lost", queue="missing")
    world.run()
    assert isinstance(sender.settled["lost"], QueueMissing)
    assert world.kinds("returned", "failed") == ["returned lost", "failed lost"]


def test_a_queue_that_was_declared_here_is_made_again(world: World) -> None:
    """When a declared queue is gone, e.g. expired, the first message to it brings it back, once."""
    spec = QueueSpec(name="replies", expires_after_s=10.0)
    sender = world.program()
    sender.send("a", spec=spec)
    world.pass_s(11)
    assert "replies" not in world.broker.queues
    sender.publish("b", queue="replies")
    world.run()
    assert sender.settled == {"a": None, "b": None}
    assert world.ready("replies") == [b"b"]


def test_a_full_queue_refuses_and_stays_as_it_is(world: World) -> None:
    """Only ready messages count; what is refused was not kept, and there is room again after an ack."""
    world.broker.set_limit("q", 2)
    sender = world.program()
    sender.send("a", "b", "c")
    assert isinstance(sender.settled["c"], QueueFull)
    assert world.ready() == [b"a", b"b"]
    assert world.broker.queues["q"].limit == 2
    world.consumer(prefetch=1)
    sender.publish("d")
    world.run()
    assert sender.settled["d"] is None
    world.broker.set_limit("q", None)
    sender.publish("e")
    world.run()
    assert world.ready() == [b"b", b"d", b"e"]


def test_a_withdrawn_message_is_never_sent(world: World) -> None:
    """Before it is on its way, nothing of it reaches the broker; afterwards `was_sent` says so."""
    sender = world.program()
    sender.send("first")
    sender.publish("a", "b")
    assert sender.transport.withdraw(sender.outgoing["a"])
    assert not sender.transport.withdraw(sender.outgoing["a"])
    while world.ready() != [b"first", b"b"]:
        world.broker.step()
    assert sender.transport.withdraw(sender.outgoing["b"])
    world.run()
    assert (sender.outgoing["a"].was_sent, sender.outgoing["b"].was_sent) == (False, True)
    assert sender.settled == {"first": None}
    assert world.ready() == [b"first", b"b"]


def test_a_queue_that_cannot_be_declared_settles_its_messages(world: World) -> None:
    """With other arguments than it has: `QueueMismatch`; with a reserved name: `BrokerRefused`. Others are kept."""
    world.program().send("a")
    sender = world.program()
    sender.send("b", spec=QueueSpec(name="q", expires_after_s=5.0))
    sender.send("c", spec=QueueSpec(name="amq.q"))
    sender.send("d", spec=QueueSpec(name="long" * 64))
    sender.send("e", spec=QueueSpec(name="other"))
    assert isinstance(sender.settled["b"], QueueMismatch)
    assert "received none but current is q.dead" in str(sender.settled["b"]) or "x-expires" in str(sender.settled["b"])
    assert isinstance(sender.settled["c"], BrokerRefused)
    assert type(sender.settled["d"]) is BrokerError
    assert sender.settled["e"] is None
    assert not any(sender.outgoing[body].was_sent for body in "bcd")


# --- Delivery and ack


def test_round_robin_among_those_with_room(world: World) -> None:
    """X1 Y2 Z3 X4 …; who has no room is passed over."""
    consumers = [world.consumer(name, prefetch=room) for name, room in (("x", 3), ("y", 1), ("z", 3))]
    world.program().send(*"12345678")
    assert [consumer.bodies for consumer in consumers] == [["1", "4", "6"], ["2"], ["3", "5", "7"]]
    assert world.ready() == [b"8"]
    consumers[1].transport.ack(consumers[1].deliveries)
    world.run()
    assert consumers[1].bodies == ["2", "8"]


def test_what_is_given_back_returns_to_its_place(world: World) -> None:
    """With a b c out and b back, b comes again; with c, a, b back, a b c d, marked as redelivered."""
    world.program().send(*"abcd")
    consumer = world.consumer(prefetch=3)
    a, b, c = consumer.take()
    consumer.transport.give_back([b])
    world.run()
    assert consumer.marked == ["b*"]
    (b,) = consumer.take()
    consumer.transport.stop_consuming()
    for delivery in (c, a, b):
        consumer.transport.give_back([delivery])
    world.run()
    assert world.ready() == [b"a", b"b", b"c", b"d"]
    assert world.consumer("later").marked == ["a*", "b*", "c*", "d"]


@pytest.mark.parametrize(("profile", "order"), [("3.10", "dcab"), ("4.0", "dcab"), ("4.3", "cabd")])
def test_a_quorum_queue_takes_back_in_the_order_of_return(profile: str, order: str) -> None:
    """First in line since 4.3, at its end before; what a closed consumer had is in its order too."""
    world = World(profile=profile)
    spec = QueueSpec(name="q", is_quorum=True)
    world.program().send(*"abcd", spec=spec)
    consumer = world.consumer(queue=spec, prefetch=3)
    a, b, c = consumer.take()
    consumer.transport.stop_consuming()
    for delivery in (c, a, b):
        consumer.transport.give_back([delivery])
    world.run()
    assert world.ready() == [letter.encode() for letter in order]
    other = world.consumer("other", queue=spec)
    other.transport.close()
    assert world.ready() == [letter.encode() for letter in order]
    assert world.broker.queues["q"].is_quorum


@pytest.mark.parametrize("profile", ["3.10", "4.0", "4.3"])
def test_nothing_comes_back_too_often(profile: str) -> None:
    """Given back or lost 25 times, a message of a quorum queue is no dead letter: it is declared without a limit."""
    world = World(profile=profile)
    spec = QueueSpec(name="q", is_quorum=True, has_dead_letters=True)
    world.program().send("a", spec=spec)
    consumer = world.consumer(queue=spec)
    for _ in range(25):
        consumer.transport.give_back(consumer.take())
        world.run()
        world.broker.faults.cut("c")
        world.pass_s(10)
    assert consumer.take()[-1].is_redelivered
    assert world.broker.queues["q"].dead_letters == ()


def test_a_restart_drops_what_is_above_a_limit(world: World) -> None:
    """The oldest first, into the dead letters: what was unacked did not count before."""
    world.broker.set_limit("q", 2)
    consumer = world.consumer(prefetch=3)
    world.program().send(*"abcde")
    consumer.transport.stop_consuming()
    world.broker.restart()
    world.pass_s(1)
    assert world.ready() == [b"d", b"e"]
    assert [(one.body, one.reason) for one in world.broker.queues["q"].dead_letters] == [
        (letter, "maxlen") for letter in (b"a", b"b", b"c")
    ]


def test_it_counts_as_redelivered_once_it_was_sent(world: World) -> None:
    """Also when it only sat in the prefetch buffer and its program never saw it."""
    world.program().send("a", "b")
    consumer = world.program("c")
    consumer.transport.consume(Q, prefetch=10)
    while not world.unacked() if "q" in world.broker.queues else True:
        world.broker.step()
    assert consumer.deliveries == []
    world.broker.faults.cut("c")
    world.pass_s(1)
    assert consumer.marked == ["a*", "b*"]


def test_after_a_lost_connection_others_get_what_was_out_in_order(world: World) -> None:
    """First in line and marked; and the one who lost it acks in vain."""
    world.program().send(*"abcd")
    one = world.consumer("one", prefetch=2)
    old = one.take()
    world.broker.faults.cut("one")
    other = world.consumer("other")
    assert other.marked == ["a*", "b*", "c", "d"]
    world.pass_s(1)
    one.transport.ack(old)
    one.transport.reject(old[0], "STALE")
    one.transport.give_back(old)
    world.run()
    assert world.unacked() == [b"a", b"b", b"c", b"d"]
    assert world.broker.queues["q"].dead_letters == ()
    assert one.states == [(True, ConnectionState.UP), (True, ConnectionState.RECOVERING), (True, ConnectionState.UP)]


def test_acks_of_several_cover_what_they_name_and_nothing_else(world: World) -> None:
    """Together, out of order, doubled, and with ones of another program among them."""
    world.program().send(*"abcdef")
    consumer = world.consumer(prefetch=6)
    a, b, c, d, e, f = consumer.take()
    stranger = world.consumer("stranger")
    stranger.transport.ack([a])
    consumer.transport.ack([c, b, b])
    consumer.transport.ack([e, a, c])
    world.run()
    assert world.unacked() == [b"d", b"f"]
    consumer.transport.ack([f, d])
    world.run()
    assert world.unacked() == []


def test_an_ack_is_lost_with_its_connection(world: World) -> None:
    """What was acked but had not arrived yet comes again."""
    world.program().send("a")
    consumer = world.consumer()
    consumer.transport.ack(consumer.take())
    world.broker.faults.cut("c")
    world.pass_s(1)
    assert consumer.marked == ["a*"]


def test_a_stopped_consumer_keeps_what_it_has(world: World) -> None:
    """It may still be acked; what had not been handed over goes back when the connection ends."""
    world.program().send("a", "b")
    consumer = world.consumer(prefetch=1)
    world.program().send("c")
    consumer.transport.ack(consumer.take())
    consumer.transport.stop_consuming()
    world.run()
    assert consumer.deliveries == []
    assert world.broker.queues["q"].consumers == ()
    consumer.transport.close()
    assert [(one.body, one.is_redelivered) for one in world.broker.queues["q"].ready] == [(b"b", True), (b"c", False)]


def test_who_stopped_may_consume_again(world: World) -> None:
    """On a new channel, so that what it kept comes again; a second wish for the same queue changes nothing."""
    world.program().send("a")
    consumer = world.consumer()
    consumer.transport.consume(Q, prefetch=1)
    world.run()
    assert world.broker.queues["q"].consumers == ("c",)
    old = consumer.take()
    consumer.transport.stop_consuming()
    consumer.transport.consume(Q, prefetch=5)
    world.run()
    assert consumer.marked == ["a*"]
    consumer.transport.ack(old)
    world.run()
    assert world.unacked() == [b"a"]


@pytest.mark.parametrize("prefetch", [0, 65536, True])
def test_a_prefetch_out_of_range_is_refused(world: World, prefetch: int) -> None:
    """As over RabbitMQ."""
    with pytest.raises(InvalidParameter, match="prefetch"):
        world.program().transport.consume(Q, prefetch=prefetch)


# --- Exclusive consumers


def test_a_second_exclusive_consumer_is_refused_after_three_seconds(world: World) -> None:
    """`QueueInUse`; the first is not disturbed, and one that does not ask to be exclusive may consume."""
    first = world.consumer("first", is_exclusive=True)
    second = world.consumer("second", is_exclusive=True)
    world.pass_s(2.9)
    assert second.failures == []
    world.pass_s(0.2)
    assert isinstance(second.failures[0].error, QueueInUse)
    world.consumer("third")
    queue = world.broker.queues["q"]
    assert (queue.owner, queue.consumers) == ("first", ("first", "third"))
    assert first.failures == []


def test_a_standby_waits_for_as_long_as_it_takes(world: World) -> None:
    """It costs no timers, and takes over when the owner is cut off; that one then waits, and is not refused at once."""
    world.program().send("a")
    first = world.consumer("first", is_exclusive=True)
    standby = world.consumer("standby", is_exclusive=True, is_standby=True)
    assert world.broker.next_timer() is None
    world.pass_s(100_000)
    assert (standby.failures, standby.deliveries, first.marked) == ([], [], ["a"])
    world.broker.faults.cut("first")
    world.run()
    assert standby.marked == ["a*"]
    world.pass_s(60)
    assert first.failures == []
    standby.transport.close()
    world.run()
    assert first.marked == ["a", "a*"]


def test_an_owner_that_lost_its_queue_is_refused_in_the_end(world: World) -> None:
    """Three minutes later, since the broker may take that long to notice that it was itself."""
    first = world.consumer("first", is_exclusive=True)
    world.consumer("standby", is_exclusive=True, is_standby=True)
    world.broker.faults.cut("first")
    world.pass_s(179)
    assert first.failures == []
    world.pass_s(3)
    assert isinstance(first.failures[0].error, QueueInUse)


# --- Dead letters


def test_a_rejected_message_is_acked_once_its_copy_is_kept(world: World) -> None:
    """The dead letter shows why; in between it is in both places, never in none."""
    world.program("sender").send("bad")
    consumer = world.consumer()
    bad = consumer.take()[0]
    consumer.transport.reject(bad, "BAD_MESSAGE")
    consumer.transport.reject(bad, "TWICE")
    while world.broker.step():
        queue = world.broker.queues["q"]
        assert queue.unacked or queue.dead_letters
    queue = world.broker.queues["q"]
    dead = [(one.body, one.message_id, one.reason, one.from_queue) for one in queue.dead_letters]
    assert dead == [(b"bad", "bad", "BAD_MESSAGE", "q")]
    assert (queue.ready, queue.unacked) == ((), ())


def test_what_cannot_be_buried_stays(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """When the queue of dead letters is full, the message stays unacked, which is logged, and comes again."""
    world.broker.set_limit("q.dead", 0)
    world.program().send("bad")
    consumer = world.consumer()
    consumer.transport.reject(consumer.take()[0], "BAD_MESSAGE")
    with caplog.at_level(logging.ERROR, "schedulergodx.transport"):
        world.run()
    assert "stays in its queue" in caplog.text
    assert world.unacked() == [b"bad"]
    world.broker.faults.cut("c")
    world.pass_s(1)
    assert consumer.marked == ["bad*"]


# --- The life of queues


def test_a_queue_expires_without_consumers_and_not_by_publishing(world: World) -> None:
    """Counted from the last consumer or declaration; it takes its messages along, without burying them."""
    spec = QueueSpec(name="q", expires_after_s=10.0, has_dead_letters=True)
    sender = world.program()
    sender.send("a", spec=spec)
    consumer = world.consumer(queue=spec)
    world.pass_s(100)
    consumer.transport.close()
    world.pass_s(6)
    sender.publish("b")
    world.run()
    world.pass_s(3)
    assert world.ready() == [b"a", b"b"]
    assert world.broker.next_timer() == pytest.approx(world.clock.monotonic() + 1)
    world.pass_s(1)
    assert list(world.broker.queues) == ["q.dead"]
    assert world.ready("q.dead") == []


def test_declaring_again_and_consuming_put_the_expiry_off(world: World) -> None:
    """A new declaration begins the time anew."""
    spec = QueueSpec(name="q", expires_after_s=10.0)
    world.program().send(spec=spec)
    assert world.broker.queues == {}
    world.program().send("a", spec=spec)
    world.pass_s(8)
    world.program().send("b", spec=spec)
    world.pass_s(8)
    assert world.ready() == [b"a", b"b"]
    consumer = world.consumer(queue=spec)
    world.pass_s(50)
    assert consumer.bodies == ["a", "b"]


def test_a_queue_deleted_under_its_consumer_is_made_anew(world: World) -> None:
    """The consumer hears of it and begins again after a pause; a late ack of what was in it is nothing."""
    sender = world.program("sender")
    sender.send("a")
    consumer = world.consumer()
    sender.transport.delete_queue("q")
    sender.transport.delete_queue("missing")
    world.run()
    assert "q" not in world.broker.queues
    consumer.transport.ack(consumer.take())
    world.pass_s(1)
    assert world.broker.queues["q"].consumers == ("c",)
    sender.send("b")
    assert consumer.marked == ["b"]
    assert consumer.failures == []


def test_who_deletes_what_it_consumes_consumes_no_more(world: World) -> None:
    """Over its own connection; nothing makes the queue again."""
    consumer = world.consumer()
    consumer.transport.delete_queue("q")
    world.pass_s(10)
    assert "q" not in world.broker.queues
    world.program().transport.delete_queue("q.dead")  # without a connection: nothing
    world.run()
    assert "q.dead" in world.broker.queues


# --- The life of a broker


def test_a_restart_keeps_everything(world: World) -> None:
    """Queues and messages stay, what was out comes again and marked, programs come back by themselves."""
    sender = world.program("sender")
    sender.send("a", "b", "c")
    consumer = world.consumer(prefetch=2)
    world.broker.restart()
    world.run()
    assert world.ready() == [b"a", b"b", b"c"]
    assert sender.transport.status().state is ConnectionState.RECOVERING
    assert "CONNECTION_FORCED" in sender.transport.status().reason
    world.pass_s(1)
    assert consumer.marked == ["a", "b", "a*", "b*"]
    assert sender.transport.status().state is ConnectionState.UP
    sender.publish("d")
    world.run()
    assert sender.settled["d"] is None


def test_a_broker_that_is_down_is_waited_for(world: World) -> None:
    """With growing pauses up to ten seconds, counted in the status; what is published meanwhile waits."""
    sender = world.program("sender")
    sender.send("first")
    world.broker.restart(down_s=100)
    sender.publish("a")
    world.pass_s(99)
    status = sender.transport.status()
    assert status.state is ConnectionState.RECOVERING
    assert 10 < status.attempts < 30
    world.pass_s(11)
    assert sender.settled == {"first": None, "a": None}
    assert sender.transport.status().attempts == 0


def test_after_a_crash_what_was_not_confirmed_is_kept_or_lost() -> None:
    """By the seed: over some seeds, each of them both; in the end all is confirmed, since it is sent again."""
    outcomes = set()
    for seed in SEEDS:
        world = World(seed)
        sender = world.program("sender")
        sender.send("safe")
        sender.publish("a", "b", "c")
        while world.kinds("kept")[-1] != "kept c":
            world.broker.step()
        unconfirmed = [body for body in "abc" if body not in sender.settled]
        world.broker.crash()
        kept = world.ready()
        assert kept[0] == b"safe"
        assert {body.encode() for body in "abc" if body not in unconfirmed} <= set(kept)
        assert [message for message in kept if message != b"safe"] == sorted(kept[1:])
        outcomes |= {(body, body.encode() in kept) for body in unconfirmed}
        world.pass_s(1)
        assert sender.settled == {"safe": None, "a": None, "b": None, "c": None}
        after = world.ready()
        assert {body: after.count(body.encode()) for body in unconfirmed} == {
            body: 1 + (body.encode() in kept) for body in unconfirmed
        }
    assert outcomes == {(body, is_kept) for body in "abc" for is_kept in (True, False)}


def test_a_crash_never_takes_what_had_the_time_to_be_written() -> None:
    """A message whose confirm was lost with its connection is safe from a later crash."""
    for seed in SEEDS:
        world = World(seed)
        sender = world.program("sender")
        sender.send("first")
        sender.publish("a")
        while world.ready() != [b"first", b"a"]:
            world.broker.step()
        world.broker.faults.cut()
        world.broker.crash()
        assert world.ready() == [b"first", b"a"]


def test_a_broker_that_loses_its_disk_has_no_queues(world: World) -> None:
    """What was ready, out or dead is gone; who uses a queue makes it again, and sends what was not confirmed again."""
    world.broker.set_limit("q", 5)
    sender = world.program("sender")
    sender.send("out", "ready")
    consumer = world.consumer(prefetch=1)
    for wrong in (-1, float("nan")):
        with pytest.raises(InvalidParameter, match="down_s must be a number of seconds"):
            world.broker.lose_disk(down_s=wrong)
    assert (world.unacked(), world.ready()) == ([b"out"], [b"ready"])
    sender.publish("on its way")
    world.broker.lose_disk(down_s=30)
    assert not world.broker.queues
    assert world.kinds("crash", "queue deleted") == ["crash", "queue deleted", "queue deleted"]
    world.pass_s(29)
    assert not world.broker.queues
    world.pass_s(20)
    assert consumer.bodies == ["out", "on its way"]
    assert sender.settled == {"out": None, "ready": None, "on its way": None}
    assert set(world.broker.queues) == {"q", "q.dead"}
    assert world.broker.queues["q"].limit == 5


# --- Closing


def test_close_settles_what_it_can_and_says_what_is_certain(world: World) -> None:
    """Without time passing: what can be confirmed is; the rest failed, uncertain only if it may be there."""
    sender = world.program()
    sender.send()
    sender.publish("a")
    sender.transport.close()
    assert sender.settled == {"a": None}
    held = world.program("held")
    held.send()
    world.broker.faults.block()
    held.publish("b", "c")
    world.run()
    held.transport.close()
    assert isinstance(held.settled["b"], LaunchUncertain)
    assert isinstance(held.settled["c"], BrokerUnavailable)
    assert held.states[-1] == (False, ConnectionState.CLOSED)


def test_close_from_a_callback_does_not_hang(world: World) -> None:
    """Neither for a settlement nor for an event; everything is settled once."""
    sender = world.program()
    sender.send()

    def close(outgoing: Outgoing, error: BrokerError | None) -> None:
        sender.settle(outgoing, error)
        sender.transport.close()

    sender.transport.publish(Outgoing(queue="q", body=b"x", message_id="x", on_settled=close))
    sender.publish("a", "b")
    world.run()
    assert sender.settled == {"x": None, "a": None, "b": None}
    assert sender.transport.status().state is ConnectionState.CLOSED


def test_a_killed_program_hears_nothing_and_the_broker_takes_back(world: World) -> None:
    """What it had goes to others, and what it had sent and not heard of may be there."""
    world.program().send("a")
    victim = world.consumer("victim")
    victim.send("b")
    victim.publish("c")
    heard = (len(victim.deliveries), len(victim.states), dict(victim.settled))
    victim.transport.kill()
    victim.transport.kill()
    victim.transport.close()
    world.pass_s(100)
    assert (len(victim.deliveries), len(victim.states), victim.settled) == heard
    assert world.consumer("heir").marked == ["a*", "b*"]
    assert world.broker.next_timer() is None


def test_a_program_killed_in_a_callback_hears_no_more(world: World) -> None:
    """Not even what the same happening had for it."""
    victim = world.program("victim")
    victim.send("first")
    heard = []

    def die(outgoing: Outgoing, _error: BrokerError | None) -> None:
        heard.append(outgoing.message_id)
        victim.transport.kill()

    for body in "abc":
        victim.transport.publish(Outgoing(queue="q", body=b"x", message_id=body, on_settled=die))
    world.run()
    assert heard == ["a"]
    assert world.ready()[0] == b"first"


def test_closing_the_broker_closes_every_transport(world: World) -> None:
    """Twice is once."""
    with world.broker as broker:
        consumer = world.consumer()
        broker.close()
    assert consumer.states[-1] == (True, ConnectionState.CLOSED)


# --- Looking in, and what is not there


def test_queues_show_what_is_in_them(world: World) -> None:
    """By name, as of the moment of looking; a missing one is a `KeyError`."""
    world.program().send("a", "b")
    world.consumer(prefetch=1)
    queues = world.broker.queues
    assert (list(queues), len(queues)) == (["q.dead", "q"], 2)
    assert [(one.body, one.transport, one.is_redelivered) for one in queues["q"].unacked] == [(b"a", "c", True)]
    assert [(one.body, one.message_id) for one in queues["q"].ready] == [(b"b", "b")]
    assert "1 ready" in repr(queues)
    with pytest.raises(KeyError):
        queues["missing"]


@pytest.mark.parametrize("name", ["priorities", "message_ttl_s", "bindings", "x_death", "single_active_consumer"])
def test_what_a_queue_of_rabbitmq_has_besides_is_refused(world: World, name: str) -> None:
    """With a sentence that says what, never in silence."""
    world.program().send("a")
    with pytest.raises(NotEmulated, match="no transport of this library uses that"):
        getattr(world.broker.queues["q"], name)


@pytest.mark.parametrize("name", ["bind", "exchange_declare", "streams", "federation", "users", "transaction"])
def test_what_a_rabbitmq_can_besides_is_refused(world: World, name: str) -> None:
    """The same for the broker; what neither has is an `AttributeError` as everywhere."""
    with pytest.raises(NotEmulated, match="rabbitmq"):
        getattr(world.broker, name)
    with pytest.raises(AttributeError, match="nonsense"):
        world.broker.nonsense  # noqa: B018 - asked for its error


def test_dropping_the_oldest_and_unnamed_queues_are_not_emulated(world: World) -> None:
    """They are beyond the seam."""
    with pytest.raises(NotEmulated, match="drop-head"):
        world.broker.set_limit("q", 1, overflow="drop-head")
    for call in (
        lambda: world.program().transport.declare(QueueSpec(name="")),
        lambda: world.program().transport.consume(QueueSpec(name=""), prefetch=1),
    ):
        with pytest.raises(NotEmulated, match="name"):
            call()


def test_an_unknown_version_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(InvalidParameter, match=r"3\.10, 4\.0, 4\.3"):
        MemoryBroker(profile="5.0")


def test_a_message_may_be_too_large_for_a_version() -> None:
    """4.0 takes 16 MiB, 3.10 more; other messages go on."""
    body = "x" * (16 * 1024 * 1024 + 1)
    for profile, is_kept in (("4.0", False), ("3.10", True)):
        world = World(profile=profile)
        sender = world.program()
        sender.send(body, "small")
        assert (sender.settled[body] is None) is is_kept
        assert sender.settled["small"] is None
