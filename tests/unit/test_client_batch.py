"""Launches of a batch: gathered behind what is under way, sent together, and each with an error of its own."""

import asyncio
import contextvars
import threading

import pytest

from schedulergodx.client import batch as batches
from schedulergodx.errors import (
    BatchFailed,
    BrokerError,
    BrokerUnavailable,
    Closed,
    LaunchUncertain,
    QueueFull,
    QueueMissing,
)
from schedulergodx.utils.message import bundles
from schedulergodx_testing import FakeClock
from tests.unit.sending import InterruptedClock, StubTransport, confirmed, publisher_of


def names(outgoing):
    """The ids of the launches in a message: here the messages are their ids."""
    return [message.decode() for message in bundles.cut(outgoing.body)]


def sent(transport):
    return [names(outgoing) for outgoing in transport.published]


def send(publisher, *ids, queue="q", **how):
    for message_id in ids:
        publisher.send(queue, message_id, message_id.encode(), **how)


def settle(transport, place, error=None):
    outgoing = transport.published[place]
    outgoing.on_settled(outgoing, error)


def settle_all(transport, error=None):
    """Settle everything, also what is sent meanwhile."""
    for outgoing in transport.published:
        outgoing.on_settled(outgoing, error)


class SettlingClock(FakeClock):
    """Where others wait, the broker does something, as long as it has something to do."""

    def __init__(self, *steps):
        super().__init__()
        self.steps = list(steps)

    def wait_for(self, inbox, timeout_s):
        if inbox.empty() and self.steps:
            self.steps.pop(0)()
        return super().wait_for(inbox, timeout_s)


def test_the_first_launch_goes_out_at_once_and_the_others_behind_it_together():
    """Nothing waits in memory while nothing is under way; the confirm sends what has gathered."""
    transport = StubTransport()
    publisher = publisher_of(transport)
    with publisher.batch():
        send(publisher, "a", "b", "c")
        assert sent(transport) == [["a"]]
        assert transport.published[0].body == b"a"
        settle(transport, 0)
        assert sent(transport) == [["a"], ["b", "c"]]
        assert transport.published[1].message_id == "b +1"
        send(publisher, "d")
        settle(transport, 1)
        assert sent(transport)[2:] == [["d"]]
        settle(transport, 2)
        send(publisher, "e")
        assert sent(transport)[3:] == [["e"]]
        settle(transport, 3)
    assert len(transport.published) == 4


def test_what_is_gathered_goes_out_when_the_last_one_under_way_is_settled():
    """Until then bundles may still fill: the broker is the slower one."""
    transport = StubTransport()
    publisher = publisher_of(transport)
    with publisher.batch():
        send(publisher, *(f"{number:03}" for number in range(150)))
        assert [len(one) for one in sent(transport)] == [1, 100]
        settle(transport, 0)
        assert [len(one) for one in sent(transport)] == [1, 100]
        settle(transport, 1)
        assert [len(one) for one in sent(transport)] == [1, 100, 49]
        settle(transport, 2)
    assert [name for one in sent(transport) for name in one] == [f"{number:03}" for number in range(150)]


def test_the_end_of_the_block_sends_what_is_gathered_before_it_waits():
    """In the order of the launches."""
    transport = StubTransport()
    publisher = publisher_of(transport, clock=SettlingClock(lambda: settle_all(transport)))
    with publisher.batch():
        send(publisher, "a", "b", "c")
    assert sent(transport) == [["a"], ["b", "c"]]
    assert transport.withdrawn == []


@pytest.mark.parametrize("bytes_max", [bundles.BYTES_MAX, 10_000])
def test_a_bundle_is_within_its_bytes_and_a_larger_launch_travels_alone(bytes_max):
    """In its place among the others; a client's own bound on messages counts, too."""
    transport = StubTransport()
    publisher = publisher_of(transport, bundle_bytes_max=bytes_max)
    part = bytes_max // 10
    sizes = [1, 3 * part, 3 * part, 3 * part, 3 * part, 20 * part, 1, 1]
    with publisher.batch():
        for number, size in enumerate(sizes):
            publisher.send("q", str(number), b"x" * size)
        settle_all(transport)
    assert [[len(one) for one in bundles.cut(out.body)] for out in transport.published] == [
        [1],
        [3 * part] * 3,
        [3 * part],
        [20 * part],
        [1, 1],
    ]
    assert all(len(out.body) <= bytes_max for out in transport.published if out.body.startswith(bundles.MAGIC))


def test_a_group_is_for_one_queue_and_holds_launches_only():
    """What goes elsewhere, and what is no launch, takes its turn."""
    transport = StubTransport()
    publisher = publisher_of(transport)
    with publisher.batch():
        send(publisher, "a", "b", "c")
        send(publisher, "d", "e", queue="other")
        send(publisher, "f", "g")
        send(publisher, "question", is_launch=False)
        send(publisher, "h", "i")
        settle_all(transport)
    assert sent(transport) == [["a"], ["b", "c"], ["d", "e"], ["f", "g"], ["question"], ["h", "i"]]
    assert [out.queue for out in transport.published] == ["q", "q", "other", "q", "q", "q"]


def test_a_batch_says_what_failed():
    """Of a message that is refused, and of one that is never confirmed, each launch, with an error that names it."""
    transport, failed = StubTransport(), []
    publisher = publisher_of(transport, failed)

    def launch():
        with publisher.batch():
            send(publisher, "a", "b", "c")
            settle(transport, 0)
            send(publisher, "d", "e")
            settle(transport, 1, QueueMissing("no queue 'q'"))

    with pytest.raises(BatchFailed, match="4 of 5 launches failed") as caught:
        launch()
    assert sent(transport) == [["a"], ["b", "c"], ["d", "e"]]
    kinds = {"b": QueueMissing, "c": QueueMissing, "d": BrokerUnavailable, "e": BrokerUnavailable}
    assert {key: type(error) for key, error in caught.value.errors.items()} == kinds
    for message_id, error in caught.value.errors.items():
        assert error.message_id == message_id
        assert f"launch {message_id}" in str(error)
    assert [(out.message_id, out.body) for out, _ in failed] == [(one, one.encode()) for one in "bcde"]
    assert [error for _, error in failed] == list(caught.value.errors.values())


def test_uncertain_is_each_launch_of_a_message_that_was_sent():
    """With its own message, so that it can be launched again by itself."""
    transport, failed = StubTransport(), []
    publisher = publisher_of(transport, failed)

    def launch():
        with publisher.batch():
            send(publisher, "a", "b", "c", "d")
            settle(transport, 0)
            transport.was_sent = True
            transport.published[1].was_sent = True

    with pytest.raises(BatchFailed):
        launch()
    assert [(type(error), out.was_sent, out.body) for out, error in failed] == [
        (LaunchUncertain, True, one) for one in (b"b", b"c", b"d")
    ]
    assert transport.withdrawn == [transport.published[1]]


def test_a_refused_bundle_is_sent_again_one_by_one():
    """So one that the broker does not take costs only itself; what came later follows."""
    transport, failed = StubTransport(), []
    publisher = publisher_of(transport, failed)

    def launch():
        with publisher.batch():
            send(publisher, "a", "b", "bad", "c")
            settle(transport, 0)
            send(publisher, "d", "e")
            settle(transport, 1, BrokerError("406 something is wrong"))
            assert sent(transport)[2:] == [["b"], ["bad"], ["c"]]
            settle(transport, 2)
            settle(transport, 3, BrokerError("406 something is wrong"))
            settle(transport, 4)
            assert sent(transport)[5:] == [["d", "e"]]
            settle(transport, 5)

    with pytest.raises(BatchFailed, match="1 of 6 launches failed") as caught:
        launch()
    assert list(caught.value.errors) == ["bad"]
    assert [out.message_id for out, _ in failed] == ["bad"]


def test_a_broker_with_a_small_limit_gets_smaller_bundles():
    """It says so in words that only people read; after few refusals, bundles are within it."""
    transport, refused = StubTransport(), []
    publisher = publisher_of(transport, bundle_bytes_max=bundles.BYTES_MAX)
    with publisher.batch():
        for portion in range(8):
            for number in range(100):
                publisher.send("q", f"{portion}-{number}", b"x" * 1000)
            for outgoing in transport.published:
                is_too_large = len(outgoing.body) > 10_000
                refused += [portion] * is_too_large
                outgoing.on_settled(outgoing, BrokerError("406 too large") if is_too_large else None)
            transport.published.clear()
    assert (refused[0], set(refused), len(refused)) == (0, {0, 1, 2, 3}, 16)


def test_any_other_refusal_is_final():
    """A full queue takes no single one either, and whoever is away may have the bundle."""
    transport = StubTransport()
    publisher = publisher_of(transport)

    def launch(error):
        transport.published.clear()
        with publisher.batch():
            send(publisher, "a", "b", "c")
            settle(transport, 0)
            settle(transport, 1, error)

    for error in (QueueFull("full"), LaunchUncertain("sent"), BrokerUnavailable("away")):
        with pytest.raises(BatchFailed, match="2 of 3"):
            launch(error)
        assert sent(transport) == [["a"], ["b", "c"]]


def test_a_refusal_that_comes_when_all_is_given_up_sends_nothing_again():
    """The launches are failed by then."""
    transport = StubTransport()
    publisher = publisher_of(transport)

    def too_late(outgoing):
        outgoing.on_settled(outgoing, BrokerError("406 too large"))
        return False

    def launch():
        with publisher.batch():
            send(publisher, "a", "b", "c")
            settle(transport, 0)
            transport.withdraw = too_late

    with pytest.raises(BatchFailed, match="2 of 3") as caught:
        launch()
    assert {type(error) for error in caught.value.errors.values()} == {BrokerError}
    assert sent(transport) == [["a"], ["b", "c"]]


def test_a_full_batch_on_a_broker_that_stays_away_does_not_wait_for_each(monkeypatch):
    """Once as many launches as allowed are under way, and nothing moves for the timeout, the next one fails."""
    monkeypatch.setattr(batches, "IN_FLIGHT_MAX", 10)
    transport, failed = StubTransport(), []
    publisher = publisher_of(transport, failed)

    def launch():
        with publisher.batch():
            send(publisher, *map(str, range(1000)))

    with pytest.raises(BrokerUnavailable, match="launch 10 was not sent") as caught:
        launch()
    assert [len(one) for one in sent(transport)] == [1, 9]
    assert any("10 of 10 launches failed" in note for note in caught.value.__notes__)
    assert failed[0][0].message_id == "10"
    assert len(failed) == 11


def test_a_full_batch_goes_on_when_something_moves(monkeypatch):
    """Each confirm makes room."""
    monkeypatch.setattr(batches, "IN_FLIGHT_MAX", 2)
    transport = StubTransport()
    publisher = publisher_of(transport, clock=SettlingClock(*[lambda: settle_all(transport)] * 100))
    with publisher.batch():
        send(publisher, *map(str, range(100)))
    assert [name for one in sent(transport) for name in one] == [str(number) for number in range(100)]


def test_the_error_of_the_block_comes_out_with_what_failed_in_a_note():
    """The program's own error is not hidden by those of the batch, and neither are these; what was launched is sent."""
    transport = StubTransport()
    publisher = publisher_of(transport)

    def launch():
        with publisher.batch():
            send(publisher, "a", "b", "c")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        launch()
    assert "3 of 3 launches failed" in caught.value.__notes__[0]
    assert sent(transport) == [["a"], ["b", "c"]]


def test_a_launch_after_the_end_of_its_batch_waits_by_itself():
    """A coroutine, or a context copied in the block, that launches after the block is not in the batch any more."""
    transport = StubTransport()
    publisher = publisher_of(transport)
    with publisher.batch():
        context = contextvars.copy_context()
    with pytest.raises(BrokerUnavailable):
        context.run(publisher.send, "q", "late", b"")

    def batch_again():
        with publisher.batch():
            publisher.send("q", "later", b"")

    with pytest.raises(BatchFailed):
        context.run(batch_again)


def test_an_interrupted_block_does_not_send_what_it_has_gathered():
    """Those are told as not sent; what was sent is waited for."""
    transport, failed = StubTransport(), []
    publisher = publisher_of(transport, failed, clock=SettlingClock(lambda: settle(transport, 0)))

    def launch():
        with publisher.batch():
            send(publisher, "a", "b", "c")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as raised:
        launch()
    assert sent(transport) == [["a"]]
    assert transport.withdrawn == []
    assert [(out.message_id, type(error)) for out, error in failed] == [
        ("b", BrokerUnavailable),
        ("c", BrokerUnavailable),
    ]
    assert "2 of 3 launches failed" in raised.value.__notes__[0]


def test_an_interrupted_batch_is_withdrawn():
    """Those that are not confirmed yet."""
    transport, failed = StubTransport(), []
    publisher = publisher_of(transport, failed, clock=InterruptedClock())

    def launch_three():
        with publisher.batch():
            send(publisher, "1", "2", "3")

    with pytest.raises(KeyboardInterrupt):
        launch_three()
    assert transport.withdrawn == transport.published
    assert [out.message_id for out, _ in failed] == ["1", "2", "3"]


@pytest.mark.parametrize(("was_sent", "kind"), [(False, BrokerUnavailable), (True, LaunchUncertain)])
def test_an_interruption_in_the_middle_of_publishing_leaves_no_launch_without_an_end(was_sent, kind):
    """Nobody knows how far the transport came: what it does not have is not sent, and else it is uncertain."""
    failed = []

    class Interrupted(StubTransport):
        def publish(self, outgoing):
            super().publish(outgoing)
            raise KeyboardInterrupt

    transport = Interrupted()
    transport.was_sent = was_sent
    publisher = publisher_of(transport, failed)

    def launch():
        with publisher.batch():
            send(publisher, "a")

    with pytest.raises(KeyboardInterrupt):
        launch()
    assert [(out.message_id, type(error)) for out, error in failed] == [("a", kind)]


def test_a_closed_transport_counts_for_nothing():
    """`Closed` comes out of the launch, and no error of the batch is left."""
    publisher = publisher_of(StubTransport(settles=Closed))
    with publisher.batch(), pytest.raises(Closed):
        publisher.send("q", "1", b"")


def test_a_transport_that_closes_meanwhile_fails_what_was_gathered():
    """These launches had returned; the one that finds it out raises."""
    transport, failed = StubTransport(), []
    publisher = publisher_of(transport, failed)

    def launch():
        with publisher.batch():
            send(publisher, "a", *map(str, range(bundles.MESSAGES_MAX - 1)))
            settle_later = transport.published[0]
            transport.settles = Closed
            with pytest.raises(Closed):
                send(publisher, "last")
            settle_later.on_settled(settle_later, None)

    with pytest.raises(BatchFailed, match="99 of 100 launches failed") as caught:
        launch()
    assert set(caught.value.errors) == set(map(str, range(99)))
    assert {(type(error), isinstance(error.__cause__, Closed)) for error in caught.value.errors.values()} == {
        (BrokerUnavailable, True)
    }
    assert len(failed) == 99


def test_a_transport_that_closes_is_no_error_in_its_own_thread():
    """The callback sends what is gathered, and raises nothing."""
    transport = StubTransport()
    publisher = publisher_of(transport)

    def launch():
        with publisher.batch():
            send(publisher, "a", "b", "c")
            transport.settles = Closed
            settle(transport, 0)

    with pytest.raises(BatchFailed, match="2 of 3"):
        launch()


def test_confirms_come_from_another_thread_while_launches_go_on():
    """Every launch is sent once and in its order, whoever sends it."""

    class Confirming(StubTransport):
        """Confirms in a thread of its own, and holds a lock meanwhile that `publish` takes, as a broker may."""

        def __init__(self):
            super().__init__()
            self.changed = threading.Condition(threading.RLock())
            self.is_over = False
            self.settled = 0
            self.thread = threading.Thread(target=self.confirm)
            self.thread.start()

        def publish(self, outgoing):
            with self.changed:
                self.published.append(outgoing)
                self.changed.notify()

        def confirm(self):
            with self.changed:
                while not self.is_over:
                    self.changed.wait_for(lambda: self.is_over or len(self.published) > self.settled)
                    for outgoing in self.published[self.settled :]:
                        self.settled += 1
                        outgoing.on_settled(outgoing, None)

    class WaitingClock(FakeClock):
        def wait_for(self, inbox, timeout_s):
            return inbox.get(timeout=30)

    transport = Confirming()
    publisher = publisher_of(transport, clock=WaitingClock())
    with publisher.batch():
        send(publisher, *map(str, range(3000)))
    with transport.changed:
        transport.is_over = True
        transport.changed.notify()
    transport.thread.join(30)
    assert not transport.thread.is_alive()
    assert [name for one in sent(transport) for name in one] == list(map(str, range(3000)))


def test_a_transport_that_confirms_within_publish_is_served():
    """Nothing is locked then, and nothing nests."""
    transport = StubTransport(settles=confirmed)
    publisher = publisher_of(transport)
    with publisher.batch():
        send(publisher, *map(str, range(5000)))
    assert len(transport.published) == 5000


def test_threads_that_share_a_batch_lose_nothing():
    """`asyncio.to_thread` takes the block's context along."""
    transport = StubTransport()
    publisher = publisher_of(transport, clock=SettlingClock(lambda: settle_all(transport)))

    async def main():
        with publisher.batch():
            await asyncio.gather(
                *(asyncio.to_thread(send, publisher, *(f"{place}-{number}" for number in range(50))) for place in "abc")
            )

    asyncio.run(main())
    found = [name for one in sent(transport) for name in one]
    for place in "abc":
        assert [name for name in found if name.startswith(place)] == [f"{place}-{number}" for number in range(50)]


def test_a_batch_is_of_its_own_publisher():
    """Another one in the same block sends alone, and so does whoever asks for it."""
    batched, alone = StubTransport(), StubTransport(settles=confirmed)
    first, second = publisher_of(batched), publisher_of(alone)

    def launch_three():
        with first.batch():
            first.send("q", "1", b"body")
            second.send("q", "2", b"body")
            assert len(alone.published) == 1
            with pytest.raises(BrokerUnavailable):
                first.send_alone("q", "3", b"body")

    with pytest.raises(BatchFailed):
        launch_three()
