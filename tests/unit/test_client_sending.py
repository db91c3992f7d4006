"""How the client waits for confirms: alone, in a batch, and when the broker stays away."""

import asyncio
import contextvars
import gc
import threading

import pytest

from schedulergodx import Client
from schedulergodx.client import batch as batches
from schedulergodx.client import waiting
from schedulergodx.client.publisher import Publisher
from schedulergodx.client.uncertain import Uncertain
from schedulergodx.errors import (
    BatchFailed,
    BrokerBlocked,
    BrokerRefused,
    BrokerUnavailable,
    Closed,
    InvalidParameter,
    LaunchRefused,
    LaunchUncertain,
    QueueMissing,
    SchedulerError,
)
from schedulergodx.utils.abstractions import ConnectionState, ConnectionStatus, Outgoing
from schedulergodx_testing import FakeClock

BROKER = "amqp://guest@broker:5672/"


class StubTransport:
    """Keeps what is published; the test settles it. With `settles`, it does so at once, with that."""

    def __init__(self, *, settles=None, state=ConnectionState.RECOVERING):
        self.published = []
        self.withdrawn = []
        self.settles = settles
        self.state = state
        self.was_sent = False
        self.is_late = False
        self.own_threads = {}

    def publish(self, outgoing):
        if self.settles is Closed:
            raise Closed("closed")
        outgoing.was_sent = self.was_sent
        self.published.append(outgoing)
        if self.settles is not None:
            outgoing.on_settled(outgoing, self.settles(outgoing))

    def withdraw(self, outgoing):
        if self.is_late:
            outgoing.on_settled(outgoing, None)
            return False
        self.withdrawn.append(outgoing)
        return True

    def threads(self):
        return dict(self.own_threads)

    def status(self):
        return ConnectionStatus(state=self.state, broker=BROKER, attempts=3, reason="connection refused")


def publisher_of(transport, failed=None):
    failures = [] if failed is None else failed
    return Publisher(
        lambda: transport, FakeClock(), timeout_s=5.0, on_failed=lambda out, error: failures.append((out, error))
    )


def confirmed(_):
    return None


def test_a_confirmed_message_is_sent():
    """The confirm ends the wait."""
    transport = StubTransport(settles=confirmed)
    publisher_of(transport).send("q", "1", b"body")
    (outgoing,) = transport.published
    assert (outgoing.queue, outgoing.message_id, outgoing.body) == ("q", "1", b"body")


def test_a_thread_of_the_connection_does_not_wait_for_itself():
    """The garbage collector may run a `__del__` that launches anywhere: there it is refused, and nothing is sent."""
    transport = StubTransport(settles=confirmed)
    transport.own_threads = {"ours": threading.current_thread()}
    with pytest.raises(LaunchRefused, match="cannot wait for itself"):
        publisher_of(transport).send("q", "1", b"body")
    assert not transport.published


class Launches:
    """Launches when it goes, and keeps what came of it."""

    def __init__(self, launch, heard):
        self.launch = launch
        self.heard = heard
        self.itself = self

    def __del__(self):
        try:
            self.launch()
        except SchedulerError as error:
            self.heard.append(type(error))


@pytest.mark.parametrize("way", ["launch", "push", "launch_again"])
def test_the_garbage_collector_launches_nothing(way):
    """It may run in the middle of a call of the same client, locks held: what it calls is refused, whatever it is."""
    client = Client(url="amqp://127.0.0.1:1/")
    task = client.task(len)
    launch = {
        "launch": lambda: task.launch("a"),
        "push": lambda: client.push({}),
        "launch_again": lambda: client.launch_again("1"),
    }[way]
    heard: list = []
    gc.collect()
    Launches(launch, heard)  # in a circle with itself: only the collector finds it
    with client._connections._lock:  # as in the middle of any call
        gc.collect()
    assert heard == [LaunchRefused]
    client.close()
    of_its_own_moment = Launches(launch, heard)
    of_its_own_moment.itself = None
    del of_its_own_moment
    assert heard[1:] == [InvalidParameter if way == "launch_again" else Closed]


@pytest.mark.parametrize(
    ("was_sent", "state", "expected", "said"),
    [
        (False, ConnectionState.RECOVERING, BrokerUnavailable, "was not reached within 5 s and 3 attempts"),
        (False, ConnectionState.BLOCKED, BrokerBlocked, "took no messages for 5 s"),
        (True, ConnectionState.RECOVERING, LaunchUncertain, "client.launch_again('1')"),
        (True, ConnectionState.BLOCKED, LaunchUncertain, "client.launch_again('1')"),
    ],
)
def test_giving_up_says_what_is_certain(was_sent, state, expected, said):
    """Not sent, or perhaps kept: the error, its facts and its advice differ; the message is withdrawn."""
    transport, failed = StubTransport(state=state), []
    transport.was_sent = was_sent
    with pytest.raises(expected) as caught:
        publisher_of(transport, failed).send("q", "1", b"body")
    assert said in str(caught.value)
    assert BROKER in str(caught.value)
    assert "connection refused" in str(caught.value)
    assert (caught.value.message_id, caught.value.broker) == ("1", BROKER)
    assert transport.withdrawn == transport.published == [failed[0][0]]
    assert failed[0][1] is caught.value


def test_a_broker_that_never_answered_is_told_from_one_that_was_tried_often():
    """To say "0 attempts" would mean that nothing was tried; and a refusal's sentence has its full stop."""
    outgoing = Outgoing(queue="q", body=b"", message_id="1", on_settled=lambda *_: None)
    transport = StubTransport()
    transport.status = lambda: ConnectionStatus(state=ConnectionState.CONNECTING, broker=BROKER)
    assert "was not reached within 5 s and did not answer at all. Is" in str(waiting.gave_up(transport, outgoing, 5.0))
    refused = waiting.named(BrokerRefused("make it writable", broker=BROKER), "1")
    assert str(refused) == "launch 1: make it writable. Nothing was sent."
    assert str(waiting.named(BrokerRefused("Check it.", broker=BROKER), "1")).endswith(" Check it. Nothing was sent.")


def test_a_confirm_in_the_last_moment_counts():
    """What was settled while it was given up is as good as confirmed in time."""
    transport = StubTransport()
    transport.is_late = True
    publisher_of(transport).send("q", "1", b"body")


def test_an_error_of_the_broker_names_the_launch():
    """It is raised with the message's id, the broker, and its cause."""
    cause = OSError("down there")

    def missing(_):
        error = QueueMissing("no queue 'q'", broker=BROKER)
        error.__cause__ = cause
        return error

    with pytest.raises(QueueMissing, match="launch 1: no queue 'q'") as caught:
        publisher_of(StubTransport(settles=missing)).send("q", "1", b"body")
    assert (caught.value.message_id, caught.value.broker, caught.value.__cause__) == ("1", BROKER, cause)


def test_a_batch_sends_all_before_it_waits():
    """Nothing is confirmed until the end of the block, and none of its launches waits."""
    transport = StubTransport()
    publisher = publisher_of(transport)
    with publisher.batch():
        for number in range(50):
            publisher.send("q", str(number), b"")
        assert len(transport.published) == 50
        for outgoing in reversed(transport.published):
            outgoing.on_settled(outgoing, None)
    assert transport.withdrawn == []


def test_a_batch_says_what_failed():
    """Refused ones and those never confirmed, each with its error; the confirmed ones are not in it."""
    transport, failed = StubTransport(), []
    publisher = publisher_of(transport, failed)

    def launch():
        with publisher.batch():
            for number in range(3):
                publisher.send("q", str(number), b"")
            first, second, _ = transport.published
            first.on_settled(first, None)
            second.on_settled(second, QueueMissing("no queue 'q'"))

    with pytest.raises(BatchFailed, match="2 of 3 launches failed") as caught:
        launch()
    assert {key: type(error) for key, error in caught.value.errors.items()} == {
        "1": QueueMissing,
        "2": BrokerUnavailable,
    }
    assert [outgoing.message_id for outgoing, _ in failed] == ["1", "2"]


def test_a_full_batch_on_a_broker_that_stays_away_does_not_wait_for_each(monkeypatch):
    """Once as many as allowed are under way, and nothing moves for the timeout, the next launch fails."""
    monkeypatch.setattr(batches, "IN_FLIGHT_MAX", 10)
    transport, failed = StubTransport(), []
    publisher = publisher_of(transport, failed)

    def launch():
        with publisher.batch():
            for number in range(1000):
                publisher.send("q", str(number), b"")

    with pytest.raises(BrokerUnavailable, match="launch 10 was not sent") as caught:
        launch()
    assert len(transport.published) == 10
    assert any("10 of 10 launches failed" in note for note in caught.value.__notes__)
    assert failed[0][0].message_id == "10"
    assert len(failed) == 11


def test_a_full_batch_goes_on_when_something_moves(monkeypatch):
    """Each confirm makes room for one more."""
    monkeypatch.setattr(batches, "IN_FLIGHT_MAX", 2)
    transport = StubTransport(settles=confirmed)
    publisher = publisher_of(transport)
    with publisher.batch():
        for number in range(100):
            publisher.send("q", str(number), b"")
    assert len(transport.published) == 100


def test_the_error_of_the_block_comes_out_with_what_failed_in_a_note():
    """The program's own error is not hidden by those of the batch, and neither are these."""
    publisher = publisher_of(StubTransport())

    def launch():
        with publisher.batch():
            publisher.send("q", "1", b"")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        launch()
    assert "1 of 1 launches failed" in caught.value.__notes__[0]


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


def test_a_closed_transport_counts_for_nothing():
    """In a batch and alone, `Closed` comes out, and no error of the batch is left."""
    publisher = publisher_of(StubTransport(settles=Closed))
    with pytest.raises(Closed):
        publisher.send("q", "1", b"")
    with publisher.batch(), pytest.raises(Closed):
        publisher.send("q", "1", b"")


def test_asyncio_waits_on_an_event():
    """The confirm comes from another thread and wakes the loop; a cancelled launch is withdrawn."""
    transport = StubTransport()
    publisher = publisher_of(transport)

    async def main():
        sending = asyncio.create_task(publisher.send_async("q", "1", b""))
        await asyncio.sleep(0)
        (outgoing,) = transport.published
        threading.Thread(target=outgoing.on_settled, args=(outgoing, None)).start()
        await asyncio.wait_for(sending, 10)
        cancelled = asyncio.create_task(publisher.send_async("q", "2", b""))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert [one.message_id for one in transport.withdrawn] == ["2"]

    asyncio.run(main())


class InterruptedClock(FakeClock):
    """Where others wait, Ctrl-C comes."""

    def wait_for(self, inbox, timeout_s):
        raise KeyboardInterrupt


@pytest.mark.parametrize(("was_sent", "kind"), [(False, BrokerUnavailable), (True, LaunchUncertain)])
def test_an_interrupted_launch_is_withdrawn(was_sent, kind):
    """It is not sent later under an id that nobody has; what went out already is said in a note, and kept."""
    transport, failed = StubTransport(), []
    transport.was_sent = was_sent
    publisher = Publisher(
        lambda: transport, InterruptedClock(), timeout_s=5.0, on_failed=lambda _, error: failed.append(type(error))
    )
    with pytest.raises(KeyboardInterrupt) as raised:
        publisher.send("q", "1", b"body")
    assert [outgoing.message_id for outgoing in transport.withdrawn] == ["1"]
    assert failed == [kind]
    assert bool(getattr(raised.value, "__notes__", [])) is was_sent


def test_an_interrupted_batch_is_withdrawn():
    """Those that are not confirmed yet."""
    transport, failed = StubTransport(), []
    publisher = Publisher(
        lambda: transport, InterruptedClock(), timeout_s=5.0, on_failed=lambda out, _: failed.append(out.message_id)
    )

    def launch_two():
        with publisher.batch():
            publisher.send("q", "1", b"body")
            publisher.send("q", "2", b"body")

    with pytest.raises(KeyboardInterrupt):
        launch_two()
    assert [outgoing.message_id for outgoing in transport.withdrawn] == ["1", "2"]
    assert failed == ["1", "2"]


def test_a_cancelled_launch_is_forgotten():
    """Its id may be used again, and nobody waits for it in vain."""
    transport, failed = StubTransport(), []
    publisher = publisher_of(transport, failed)

    async def main():
        task = asyncio.create_task(publisher.send_async("q", "1", b"body"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [(out.message_id, type(error)) for out, error in failed] == [("1", BrokerUnavailable)]
    assert len(transport.withdrawn) == 1


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


def test_uncertain_launches_make_room():
    """By count and by bytes; the newest stays, and a second loss of one launch counts once."""
    kept = Uncertain(kept_max=3, kept_bytes_max=100)
    for number in range(4):
        kept.add(str(number), b"x" * 10)
    assert [kept.get(str(number)) is None for number in range(4)] == [True, False, False, False]
    kept.add("3", b"x" * 85)
    assert [kept.get(str(number)) is None for number in range(4)] == [True, True, False, False]
    kept.add("4", b"x" * 500)
    assert kept.get("4") == b"x" * 500
    kept.remove("4")
    kept.remove("4")
    assert kept.get("4") is None
