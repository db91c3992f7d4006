"""Each fault of the broker in memory: it happens as asked for, once, is counted, and stands in the log."""

from __future__ import annotations

import pytest

from schedulergodx.errors import BrokerRefused, InvalidParameter
from schedulergodx.utils.abstractions import ConnectionState, QueueSpec
from tests.unit.memory_programs import Program, Q, World

UP, BLOCKED, RECOVERING, REFUSED = (
    ConnectionState.UP,
    ConnectionState.BLOCKED,
    ConnectionState.RECOVERING,
    ConnectionState.REFUSED,
)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def sender(world: World) -> Program:
    """A program whose connection is up, with one message in the queue `r`."""
    sender = world.program("sender")
    sender.send("first", spec=QueueSpec(name="r"))
    sender.transport.declare(Q)
    world.run()
    return sender


def faults(world: World) -> list[str]:
    """Return the faults that happened, in order."""
    return [one.detail for one in world.broker.log if one.kind == "fault"]


# --- Messages, confirms, deliveries


def test_a_lost_message_is_not_kept_and_sent_again_later(world: World, sender: Program) -> None:
    """Nobody hears of it; once the connection is cut as well, it is sent again. The next one is not touched."""
    world.broker.faults.lose_message("q")
    sender.publish("a", "b")
    world.run()
    assert world.ready() == [b"b"]
    assert "a" not in sender.settled
    assert sender.outgoing["a"].was_sent
    world.broker.faults.cut()
    world.pass_s(1)
    assert world.ready() == [b"b", b"a"]
    assert sender.settled["a"] is None
    assert faults(world) == ["lose message", "cut publishing"]
    assert world.broker.faults.counts == {"lose message": 1, "cut": 1}


def test_a_lost_confirm_leaves_two_messages(world: World, sender: Program) -> None:
    """The message is kept; sent again after the connection is lost, it is there twice, under one id."""
    world.broker.faults.lose_confirm()
    sender.publish("a")
    world.run()
    assert "a" not in sender.settled
    world.broker.faults.cut()
    world.pass_s(1)
    assert sender.settled["a"] is None
    assert world.ready() == [b"a", b"a"]


def test_a_lost_delivery_comes_again_with_the_next_connection(world: World, sender: Program) -> None:
    """The broker takes it for delivered until then."""
    world.broker.faults.lose_delivery()
    sender.publish("a", "b")
    consumer = world.consumer()
    assert consumer.marked == ["b"]
    assert sorted(world.unacked()) == [b"a", b"b"]
    world.broker.faults.cut("c")
    world.pass_s(1)
    assert consumer.marked == ["b", "a*", "b*"]


def test_a_repeated_message_is_kept_twice(world: World, sender: Program) -> None:
    """It is confirmed once, and neither copy is marked."""
    world.broker.faults.repeat_message()
    sender.publish("a", "b")
    world.run()
    assert world.ready() == [b"a", b"a", b"b"]
    assert list(sender.settled) == ["first", "a", "b"]
    assert world.consumer().marked == ["a", "a", "b"]


def test_a_repeated_delivery_wants_two_acks(world: World, sender: Program) -> None:
    """The second one is marked, before what is behind it."""
    world.broker.faults.repeat_delivery()
    sender.publish("a", "b")
    world.run()
    consumer = world.consumer(prefetch=1)
    consumer.transport.ack(consumer.deliveries)
    world.run()
    assert consumer.marked == ["a", "a*"]
    assert world.unacked() == [b"a"]
    consumer.transport.ack(consumer.deliveries)
    world.run()
    assert consumer.marked == ["a", "a*", "b"]


@pytest.mark.parametrize("what", ["message", "confirm", "delivery"])
def test_a_delay_holds_up_what_is_behind_it_and_nothing_else(world: World, sender: Program, what: str) -> None:
    """For as long as it was asked for, on that connection; the order stays."""
    consumer = world.consumer()
    other = world.program("other")
    other.send("other first", spec=QueueSpec(name="s"))
    getattr(world.broker.faults, f"delay_{what}")(5.0, "q")
    sender.publish("a", "b")
    world.pass_s(4.9)
    other.publish("x", queue="s")
    world.run()
    assert other.settled["x"] is None
    is_kept, is_confirmed, is_delivered = bool(world.unacked()), "a" in sender.settled, bool(consumer.deliveries)
    assert (is_kept, is_confirmed, is_delivered) == {
        "message": (False, False, False),
        "confirm": (True, False, True),
        "delivery": (True, True, False),
    }[what]
    world.pass_s(0.2)
    assert consumer.bodies == ["a", "b"]
    assert list(sender.settled) == ["first", "a", "b"]


def test_a_delay_ends_with_its_connection(world: World, sender: Program) -> None:
    """What was held up is lost as everything on its way, and the next connection is not held up."""
    world.broker.faults.delay_message(100.0)
    sender.publish("a")
    world.run()
    world.broker.faults.cut()
    world.pass_s(1)
    assert sender.settled["a"] is None
    assert world.ready() == [b"a"]


@pytest.mark.parametrize("prefetch", [1, 10])
def test_two_messages_change_places(world: World, sender: Program, prefetch: int) -> None:
    """Those that wait in the queue; and what comes later keeps its order."""
    sender.publish("a", "b", "c")
    world.run()
    world.broker.faults.reorder("q")
    consumer = world.consumer(prefetch=prefetch)
    while len(consumer.deliveries) < 3:
        consumer.transport.ack(consumer.deliveries)
        world.run()
    assert consumer.bodies == ["b", "a", "c"]


def test_two_messages_change_places_on_their_way(world: World, sender: Program) -> None:
    """Where the consumer takes everything at once."""
    consumer = world.consumer()
    world.broker.faults.delay_delivery(1.0)
    world.broker.faults.reorder("q")
    sender.publish("a", "b", "c")
    world.pass_s(1)
    assert consumer.bodies == ["b", "a", "c"]
    assert faults(world) == ["delay delivery", "reorder"]


def test_a_fault_is_narrowed_down(world: World, sender: Program) -> None:
    """To a queue, to a transport, to so many times; and what is armed can be taken back."""
    world.broker.faults.lose_message("q", transport="sender", times=2)
    other = world.program("other")
    other.send("x")
    sender.publish("y", queue="r")
    sender.publish("a", "b", "c")
    world.run()
    assert world.ready() == [b"x", b"c"]
    assert world.ready("r") == [b"first", b"y"]
    world.broker.faults.lose_message(times=100)
    world.broker.faults.cut_at(1)
    world.broker.faults.clear()
    sender.publish("d")
    world.run()
    assert sender.settled["d"] is None


@pytest.mark.parametrize(
    "arm",
    [
        lambda faults: faults.lose_message(times=0),
        lambda faults: faults.delay_confirm(-1.0),
        lambda faults: faults.delay_confirm(float("nan")),
        lambda faults: faults.cut_at(0),
        lambda faults: faults.half_open(heartbeat_s=0),
        lambda faults: faults.refuse(""),
    ],
)
def test_a_fault_that_cannot_happen_is_refused(world: World, arm) -> None:
    """With a sentence, when it is asked for."""
    with pytest.raises(InvalidParameter):
        arm(world.broker.faults)


# --- Connections


def test_a_cut_is_noticed_at_both_ends_and_mended(world: World, sender: Program) -> None:
    """The program hears of it when it is its turn; until then it may go on asking, in vain and without harm."""
    consumer = world.consumer()
    assert world.broker.faults.cut() == 2
    assert world.broker.queues["q"].consumers == ()
    assert sender.states == [(False, UP)]
    sender.publish("a")
    world.run()
    assert sender.states == [(False, UP), (False, RECOVERING)]
    assert consumer.transport.status().state is RECOVERING
    assert world.broker.faults.cut() == 0
    world.pass_s(0.1)
    assert consumer.bodies == ["a"]
    assert sender.states[-1] == (False, UP)


def test_a_cut_at_each_moment_never_loses_what_was_confirmed() -> None:
    """Every number of operations, one after the other: confirmed messages arrive, and each at least once."""

    def story(world: World) -> Program:
        sender = world.program("sender")
        sender.send()
        consumer = world.consumer(prefetch=2)
        sender.publish("a", "b", "c", "d")
        for _ in range(100):
            world.pass_s(1)
            consumer.transport.ack(consumer.deliveries)
            if len(sender.settled) == 4 and not world.ready() and not world.unacked():
                break
        assert sender.settled == dict.fromkeys("abcd")
        assert set(consumer.bodies) == set("abcd")
        return consumer

    world = World()
    assert story(world).marked == ["a", "b", "c", "d"]
    count = world.broker.faults.operations
    assert count > 15
    redelivered = 0
    for operation in range(1, count + 2):
        world = World()
        world.broker.faults.cut_at(operation)
        consumer = story(world)
        assert bool(world.broker.faults.counts["cut"]) == (operation <= count)
        redelivered += any(delivery.is_redelivered for delivery in consumer.deliveries)
    assert redelivered


def test_a_cut_at_an_operation_of_one_transport(world: World, sender: Program) -> None:
    """Others are neither counted nor cut."""
    other = world.program("other")
    other.send("x")
    world.broker.faults.cut_at(2, "other")
    sender.publish("a", "b", "c")
    world.run()
    other.publish("y")
    world.run()
    assert world.broker.faults.counts == {"cut": 1}
    assert sender.states == [(False, UP)]
    assert other.states[-1] == (False, RECOVERING)
    world.pass_s(1)
    assert other.settled["y"] is None


def test_what_was_about_to_be_sent_in_a_cut_is_sometimes_uncertain() -> None:
    """It may have been on its way: over some seeds it counts as sent, over others not, and it is not there."""
    seen = set()
    for seed in range(20):
        world = World(seed)
        sender = world.program("sender")
        sender.send("first")
        sender.publish("a")
        world.broker.faults.go_away()
        world.run()
        assert sender.transport.withdraw(sender.outgoing["a"])
        assert world.ready() == [b"first"]
        seen.add(sender.outgoing["a"].was_sent)
    assert seen == {True, False}


def test_a_half_open_connection_is_noticed_by_missed_heartbeats(world: World, sender: Program) -> None:
    """Nothing gets through for a minute, though everything counts as sent; then all is as after a cut."""
    consumer = world.consumer()
    sender.publish("a")
    world.run()
    assert world.broker.faults.half_open() == 2
    assert world.broker.faults.half_open() == 0
    sender.publish("b")
    sender.transport.delete_queue("r")
    consumer.transport.ack(consumer.deliveries)
    world.pass_s(59)
    assert sender.outgoing["b"].was_sent
    assert "b" not in sender.settled
    assert (sender.transport.status().state, consumer.transport.status().state) == (UP, UP)
    assert world.unacked() == [b"a"]
    world.pass_s(2)
    assert sender.settled["b"] is None
    assert sorted(consumer.marked) == ["a", "a*", "b"]
    assert world.ready("r") == [b"first"]
    assert faults(world) == ["half-open publishing", "half-open consuming"]


def test_what_goes_to_a_half_open_consumer_comes_back(world: World, sender: Program) -> None:
    """The broker hands it out, and takes it back when it notices."""
    world.consumer("deaf")
    world.broker.faults.half_open("deaf", heartbeat_s=10.0)
    sender.publish("a")
    world.run()
    other = world.consumer("other")
    assert other.deliveries == []
    world.pass_s(10)
    assert other.marked == ["a*"]


# --- The broker


def test_only_those_who_publish_hear_of_an_alarm(world: World, sender: Program) -> None:
    """Their messages wait, acks go on, and all goes on when the alarm ends; twice is once."""
    sender.publish("a", "b")
    consumer = world.consumer(prefetch=1)
    world.broker.faults.block()
    world.broker.faults.block()
    world.run()
    assert sender.states == [(False, UP)]
    sender.publish("c", "d")
    world.run()
    assert sender.states == [(False, UP), (False, BLOCKED)]
    assert sender.transport.status().reason == "low on memory"
    assert (sender.outgoing["c"].was_sent, sender.outgoing["d"].was_sent) == (True, False)
    consumer.transport.ack(consumer.deliveries)
    world.pass_s(1000)
    assert consumer.bodies == ["a", "b"]
    assert consumer.states == [(True, UP)]
    world.broker.faults.unblock()
    world.broker.faults.unblock()
    world.run()
    assert sender.states[-1] == (False, UP)
    assert set(sender.settled) == {"first", *"abcd"}
    assert faults(world) == ["block", "unblock"]


def test_an_alarm_outlives_a_connection(world: World, sender: Program) -> None:
    """Who comes back and publishes is blocked again."""
    world.broker.faults.block()
    sender.publish("a")
    world.run()
    world.broker.faults.cut()
    world.pass_s(1)
    assert [state for _, state in sender.states] == [UP, BLOCKED, RECOVERING, UP, BLOCKED]
    world.broker.faults.unblock()
    world.run()
    assert sender.settled["a"] is None


def test_a_refusal_is_final_until_somebody_wants_something(world: World, sender: Program) -> None:
    """Everything that waits fails with `BrokerRefused`; accepted again, the next wish connects."""
    consumer = world.consumer()
    world.broker.faults.refuse()
    world.broker.faults.cut()
    sender.publish("a")
    world.pass_s(1000)
    assert isinstance(sender.settled["a"], BrokerRefused)
    assert "403" in str(sender.settled["a"])
    assert isinstance(consumer.failures[0].error, BrokerRefused)
    assert sender.transport.status().state is REFUSED
    assert world.broker.next_timer() is None
    world.broker.faults.accept()
    world.pass_s(1000)
    assert sender.transport.status().state is REFUSED
    sender.publish("b")
    consumer.transport.consume(Q, prefetch=1)
    world.pass_s(1)
    assert sender.settled["b"] is None
    assert consumer.bodies == ["b"]


def test_a_program_that_starts_while_the_broker_is_away_waits(world: World) -> None:
    """It is CONNECTING, counts its attempts, and everything arrives in order when the broker is back."""
    world.broker.faults.go_away()
    sender = world.program("sender")
    sender.transport.declare(Q)
    sender.publish("a", "b")
    consumer = world.program("c")
    consumer.transport.consume(Q, prefetch=10)
    world.pass_s(60)
    status = sender.transport.status()
    assert (status.state, status.reason) == (ConnectionState.CONNECTING, "Connection refused")
    assert status.attempts > 5
    assert sender.states == []
    world.broker.faults.come_back()
    world.pass_s(10)
    assert list(sender.settled) == ["a", "b"]
    assert consumer.bodies == ["a", "b"]
    assert world.kinds("away", "back") == ["away", "back"]
