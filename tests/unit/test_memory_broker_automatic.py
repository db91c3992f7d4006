"""The broker in memory that steps by itself: its thread, and closing while that runs."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import BrokerError, BrokerUnavailable, LaunchUncertain
from schedulergodx.utils.abstractions import ConnectionState, Delivery, Outgoing, QueueSpec, TransportEvent
from schedulergodx_testing.memory import MemoryBroker, MemoryTransport

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 10.0
Q = QueueSpec(name="q", has_dead_letters=True)


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    with MemoryBroker(is_automatic=True, name="own") as broker:
        yield broker


def publish(transport: MemoryTransport, body: str) -> SimpleQueue[BrokerError | None]:
    """Publish, and return where the settlement comes."""
    settled: SimpleQueue[BrokerError | None] = SimpleQueue()
    transport.declare(Q)
    transport.publish(
        Outgoing(queue="q", body=body.encode(), message_id=body, on_settled=lambda _, error: settled.put(error))
    )
    return settled


def test_one_thread_serves_all_and_ends_with_the_last(broker: MemoryBroker) -> None:
    """It starts at the first use, goes on while anybody uses it, and comes anew when somebody does later."""
    one, two, unused = (broker.transport(name) for name in ("one", "two", "unused"))
    assert dict(one.threads()) == {}
    for transport in (one, two):
        assert publish(transport, "a").get(timeout=WAIT_S) is None
    assert dict(one.threads()) == dict(two.threads())
    assert dict(unused.threads()) == {}
    (thread,) = one.threads().values()
    assert thread.name == "memory-broker-own"
    one.close()
    assert thread.is_alive()
    assert publish(two, "b").get(timeout=WAIT_S) is None
    two.close()
    assert not thread.is_alive()
    assert publish(unused, "c").get(timeout=WAIT_S) is None
    assert unused.threads()["memory-broker-own"] is not thread


def test_close_waits_no_longer_than_it_may(broker: MemoryBroker) -> None:
    """A broker that takes nothing makes messages fail in the end: uncertain only what may be there."""
    transport = broker.transport("sender")
    assert publish(transport, "first").get(timeout=WAIT_S) is None
    is_blocked = threading.Event()

    def listen(event: TransportEvent) -> None:
        if getattr(getattr(event, "status", None), "state", None) is ConnectionState.BLOCKED:
            is_blocked.set()

    transport.listen(listen)
    broker.faults.block()
    settled = [publish(transport, body) for body in ("a", "b")]
    assert is_blocked.wait(WAIT_S)
    transport.close(timeout_s=0.02)
    assert isinstance(settled[0].get_nowait(), LaunchUncertain)
    assert isinstance(settled[1].get_nowait(), BrokerUnavailable)


def test_close_waits_for_the_ack_that_follows_a_rejection(broker: MemoryBroker) -> None:
    """So that a rejected message is in the dead letters, and nowhere else."""
    publish(broker.transport("sender"), "bad").get(timeout=WAIT_S)
    for _ in range(20):
        deliveries: SimpleQueue[Delivery] = SimpleQueue()
        consumer = broker.transport("consumer")
        consumer.listen(lambda event, put=deliveries.put: put(event) if isinstance(event, Delivery) else None)
        consumer.consume(Q, prefetch=1)
        consumer.reject(deliveries.get(timeout=WAIT_S), "BAD_MESSAGE")
        consumer.close(WAIT_S)
        queue = broker.queues["q"]
        assert (len(queue.ready), len(queue.unacked)) == (0, 0)
        publish(broker.transport("sender"), "bad").get(timeout=WAIT_S)
    assert len(broker.queues["q"].dead_letters) == 20


def test_close_in_a_callback_of_the_thread(broker: MemoryBroker) -> None:
    """It settles everything, and the thread ends after it."""
    transport = broker.transport("sender")
    is_closed = threading.Event()

    def close(_outgoing: Outgoing, _error: BrokerError | None) -> None:
        transport.close()
        is_closed.set()

    transport.declare(Q)
    transport.publish(Outgoing(queue="q", body=b"x", message_id="x", on_settled=close))
    assert is_closed.wait(WAIT_S)
    (thread,) = transport.threads().values()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_a_pause_ends_by_itself(broker: MemoryBroker) -> None:
    """After a crash the program is back by itself, within a tenth of a second: nothing else wakes the thread."""
    transport = broker.transport("sender")
    assert publish(transport, "a").get(timeout=WAIT_S) is None
    broker.crash()
    assert publish(transport, "b").get(timeout=WAIT_S) is None
    assert [message.body for message in broker.queues["q"].ready] == [b"a", b"b"]


def test_many_programs_at_once(broker: MemoryBroker) -> None:
    """Eight threads publish, three consume and ack, connections are cut meanwhile: everything arrives."""
    seen: SimpleQueue[bytes] = SimpleQueue()
    for number in range(3):
        consumer = broker.transport(f"consumer {number}")

        def take(event: TransportEvent, consumer: MemoryTransport = consumer) -> None:
            if isinstance(event, Delivery):
                seen.put(event.body)
                consumer.ack([event])

        consumer.listen(take)
        consumer.consume(Q, prefetch=5)

    def send(name: int) -> None:
        sender = broker.transport(f"sender {name}")
        settled = [publish(sender, f"{name} {number}") for number in range(50)]
        broker.faults.cut()
        for one in settled:
            one.get(timeout=WAIT_S)

    threads = [threading.Thread(target=send, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * WAIT_S)
    wanted = {f"{name} {number}".encode() for name in range(8) for number in range(50)}
    while wanted:
        wanted.discard(seen.get(timeout=WAIT_S))
