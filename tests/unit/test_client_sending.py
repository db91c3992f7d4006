"""How the client waits for the confirm of a single launch, also when the broker stays away."""

import asyncio
import gc
import threading

import pytest

from schedulergodx import Client
from schedulergodx.client import waiting
from schedulergodx.client.publisher import Publisher
from schedulergodx.client.uncertain import Uncertain
from schedulergodx.errors import (
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
from tests.unit.sending import BROKER, InterruptedClock, StubTransport, confirmed, publisher_of


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
