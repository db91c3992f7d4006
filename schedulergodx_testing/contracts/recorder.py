"""What the contract of transports watches with: `Recorder` for events, `Sending` for one published message."""

from __future__ import annotations

import uuid
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from schedulergodx.utils.abstractions import (
    ConnectionChanged,
    ConnectionState,
    ConsumeFailed,
    ConsumeResumed,
    Delivery,
    Outgoing,
    QueueSpec,
    Transport,
    TransportEvent,
)

if TYPE_CHECKING:
    from schedulergodx.errors import BrokerError

T = TypeVar("T")

WAIT_S = 20.0
"""Bound of every wait in seconds. What is waited for takes milliseconds; a broker under load may take longer."""


class Recorder:
    """Collects the events of one transport, by kind, and waits for them."""

    def __init__(self, transport: Transport) -> None:
        self._deliveries: SimpleQueue[Delivery] = SimpleQueue()
        self._failures: SimpleQueue[ConsumeFailed] = SimpleQueue()
        self._changes: SimpleQueue[ConnectionChanged] = SimpleQueue()
        self._resumed: SimpleQueue[ConsumeResumed] = SimpleQueue()
        self.count = 0
        transport.listen(self._on_event)

    def _on_event(self, event: TransportEvent) -> None:
        self.count += 1
        match event:
            case Delivery():
                self._deliveries.put(event)
            case ConsumeFailed():
                self._failures.put(event)
            case ConnectionChanged():
                self._changes.put(event)
            case ConsumeResumed():
                self._resumed.put(event)

    def delivery(self) -> Delivery:
        """Return the next delivery; fail if none comes."""
        return _get(self._deliveries, "delivery")

    def deliveries(self, number: int) -> list[Delivery]:
        """Return the next `number` deliveries; fail if so many do not come."""
        return [self.delivery() for _ in range(number)]

    def bodies_until(self, last: bytes) -> list[bytes]:
        """Return the bodies of the next deliveries, up to and without `last`; fail if it does not come."""
        return list(iter(lambda: self.delivery().body, last))

    def delivery_within(self, timeout_s: float) -> Delivery | None:
        """Return the next delivery, or None if there is none within `timeout_s` seconds."""
        try:
            return self._deliveries.get(timeout=timeout_s)
        except Empty:
            return None

    def failure(self) -> ConsumeFailed:
        """Return the next `ConsumeFailed`; fail if none comes."""
        return _get(self._failures, "ConsumeFailed")

    def resumed(self) -> ConsumeResumed:
        """Return the next `ConsumeResumed`; fail if none comes."""
        return _get(self._resumed, "ConsumeResumed")

    def change(self, state: ConnectionState) -> ConnectionChanged:
        """Return the next change into `state`, skipping others; fail if none comes."""
        while (change := _get(self._changes, f"change to {state.name}")).status.state is not state:
            pass
        return change

    def next_change(self) -> ConnectionChanged:
        """Return the next change; fail if none comes."""
        return _get(self._changes, "change")

    def has_failures(self) -> bool:
        """Return whether a `ConsumeFailed` has come that nobody asked for."""
        return not self._failures.empty()

    def changes_so_far(self) -> list[ConnectionState]:
        """Return the states of the changes that came and were not asked for yet."""
        states = []
        while not self._changes.empty():
            states.append(self._changes.get().status.state)
        return states


class Sending:
    """One published message and what becomes of it."""

    def __init__(self, transport: Transport, queue: str, body: bytes) -> None:
        self.settlements: SimpleQueue[tuple[Outgoing, BrokerError | None]] = SimpleQueue()
        self.outgoing = Outgoing(
            queue=queue,
            body=body,
            message_id=uuid.uuid4().hex,
            on_settled=lambda outgoing, error: self.settlements.put((outgoing, error)),
        )
        transport.publish(self.outgoing)

    def error(self) -> BrokerError | None:
        """Wait until it is settled; return the error, or None when the broker has it."""
        outgoing, error = _get(self.settlements, "settlement")
        assert outgoing is self.outgoing
        return error


def publish(transport: Transport, queue: str, *bodies: bytes) -> None:
    """Publish all bodies at once, and wait until the broker has every one of them."""
    sendings = [Sending(transport, queue, body) for body in bodies]
    assert [sending.error() for sending in sendings] == [None] * len(bodies)


def consume(
    transport: Transport,
    queue: QueueSpec,
    *,
    prefetch: int = 10,
    is_exclusive: bool = False,
    is_standby: bool = False,
) -> Recorder:
    """Begin to consume and return the recorder of the transport's events."""
    recorder = Recorder(transport)
    transport.consume(queue, prefetch=prefetch, is_exclusive=is_exclusive, is_standby=is_standby)
    return recorder


def assert_empty(transport: Transport, name: str, *, is_quorum: bool = False) -> None:
    """Fail if a message is ready in queue `name`, which neither expires nor has dead letters. Uses up `transport`."""
    queue = QueueSpec(name=name, is_quorum=is_quorum)
    recorder = consume(transport, queue)
    transport.declare(queue)
    publish(transport, name, b"nothing before this")
    assert recorder.delivery().body == b"nothing before this"


def bodies(deliveries: list[Delivery]) -> list[bytes]:
    """Return the bodies of deliveries."""
    return [delivery.body for delivery in deliveries]


def _get(queue: SimpleQueue[T], what: str) -> T:
    try:
        return queue.get(timeout=WAIT_S)
    except Empty:
        raise AssertionError(f"no {what} within {WAIT_S:g} s") from None
