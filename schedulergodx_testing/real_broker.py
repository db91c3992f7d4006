"""A real broker in a virtual world: messages travel for real, time does not.

No timer of this library lives in a broker, so a test can travel in time over a real one, if it knows when the broker
is at rest: all that was published is confirmed, and all that a consumer can get has been delivered. `RealBroker`
counts that. Events of the transports, which come from their own threads, are kept until the driver takes them, in an
order that does not depend on which of them was faster.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from schedulergodx.clock import SystemClock
from schedulergodx.errors import BrokerError, QueueMissing
from schedulergodx.utils.abstractions import (
    ConnectionState,
    ConsumeFailed,
    Delivery,
    Outgoing,
    QueueSpec,
    TransportEvent,
)
from schedulergodx_testing.errors import HarnessError, NotEmulated, ThreadStuck

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from schedulergodx.utils.abstractions import ConnectionStatus, ConsumingStatus, Transport

PATIENCE_S = 20.0
"""Real seconds without any sign from the broker, while one is expected, after which a test fails."""
REACHED_WITHIN_S = 5.0
"""Real seconds after which it fails when nobody has reached the broker at all: it is to run before the tests do."""
_LOOK_S = 1.0


@dataclass(eq=False, slots=True)
class _Queue:
    """What is known of a queue: how many messages it keeps, and who takes from it."""

    kept: int = 0
    consumers: dict[TrackedTransport, int] = field(default_factory=dict)  # prefetch of each

    def expects_delivery(self) -> bool:
        """Return whether a message is ready, and a consumer has room for it."""
        held = sum(len(one.held(self)) for one in self.consumers)
        has_room = any(len(one.held(self)) < prefetch for one, prefetch in self.consumers.items())
        return has_room and held < self.kept


class RealBroker:
    """Makes transports to a real broker, and knows when it is at rest. The driver's thread steps it.

    Args:
        connect: makes a transport of that name.
        address: where the broker is, without a password.
        outside: a context in which the calling thread lives in real time; see `World.outside`.
    """

    def __init__(
        self,
        connect: Callable[[str], Transport],
        address: str,
        outside: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.address = address
        self.outside = outside
        self._connect = connect
        self._clock = SystemClock()
        self._signs: SimpleQueue[None] = SimpleQueue()
        self._lock = threading.Lock()
        self._queues: dict[str, _Queue] = {}
        self._transports: list[TrackedTransport] = []
        self.dead_letters: list[tuple[str, str]] = []
        """Queue and reason of each message that a program rejected."""
        self.on_happening: Callable[[Any], None] | None = None

    # --- stepped by the driver

    @property
    def is_idle(self) -> bool:
        """Whether the broker is at rest and everything it sent was taken. Waits, in real time, until it is at rest."""
        self._come_to_rest()
        return not any(transport.incoming for transport in self._transports)

    def step(self) -> bool:
        """Take one event, of the transport that was made first. False: there is none."""
        self._come_to_rest()
        for transport in self._transports:
            if transport.incoming:
                transport.incoming.popleft()()
                return True
        return False

    def next_timer(self) -> float | None:
        """Return None: no timer of ours lives in a broker."""
        return None

    def transport(self, name: str) -> TrackedTransport:
        """Return a new transport."""
        with self.outside():
            transport = TrackedTransport(self, self._connect(name), name)
        self._transports.append(transport)
        return transport

    def close(self) -> None:
        """Close all transports, and delete the queues that this test used."""
        for transport in self._transports:
            for name in list(self._queues):
                transport.delete_queue(name)
                transport.delete_queue(f"{name}.dead")
            transport.close()

    def _come_to_rest(self) -> None:
        if not self._is_busy():
            return
        with self.outside():
            waited_from = self._clock.monotonic()
            while self._is_busy():
                try:
                    self._signs.get(timeout=_LOOK_S)
                    waited_from = self._clock.monotonic()
                except Empty:
                    self._refuse_silence(self._clock.monotonic() - waited_from)

    def _refuse_silence(self, waited_s: float) -> None:
        """Say what is wrong, once there was no sign of the broker for too long."""
        if waited_s > REACHED_WITHIN_S and (reasons := self._unreached()):
            raise HarnessError(
                f"the broker {self.address} was not reached within {REACHED_WITHIN_S:g} real seconds: "
                f"{', '.join(reasons)}. Is it running, and is this its address?"
            )
        if waited_s > PATIENCE_S:
            raise ThreadStuck(f"{self.address} does not come to rest: {self._describe()}")

    def _unreached(self) -> list[str]:
        """Return the reasons why nobody has reached the broker so far; none, if somebody has, or nobody has tried."""
        ways = self._ways()
        is_reached = any(way.state not in {ConnectionState.CONNECTING, ConnectionState.CLOSED} for way in ways)
        return [] if is_reached else sorted({way.reason for way in ways if way.reason})

    def _ways(self) -> list[ConnectionStatus]:
        """Return what is known of all connections, those that publish and those that consume."""
        return [way for one in self._transports for way in (one.status(), one.consuming().connection)]

    def _is_busy(self) -> bool:
        with self._lock:
            return any(transport.outstanding for transport in self._transports) or any(
                queue.expects_delivery() for queue in self._queues.values()
            )

    def _describe(self) -> str:
        with self._lock:
            unconfirmed = sum(len(transport.outstanding) for transport in self._transports)
            waiting = [name for name, queue in self._queues.items() if queue.expects_delivery()]
        lost = sorted({f"{way.state.value}: {way.reason}" for way in self._ways() if way.reason})
        told = f"; connections are {', '.join(lost)}" if lost else ""
        return f"{unconfirmed} messages are not confirmed; not delivered from: {', '.join(waiting) or 'none'}{told}"

    def __getattr__(self, name: str) -> Any:
        raise NotEmulated(
            f"a real broker cannot be asked for {name!r} through the harness; use the in-memory one for this test "
            '(@pytest.mark.scheduler(transport="memory")), or the helpers of the fixture rabbitmq'
        )

    # --- told by its transports

    def queue(self, name: str) -> _Queue:
        """Return what is known of a queue."""
        return self._queues.setdefault(name, _Queue())

    def sign(self) -> None:
        """Note that something arrived."""
        self._signs.put(None)


class TrackedTransport:
    """A transport whose traffic is counted, and whose events wait for the driver."""

    def __init__(self, broker: RealBroker, real: Transport, name: str) -> None:
        self.name = name
        self.incoming: deque[Callable[[], None]] = deque()
        self.outstanding: set[Outgoing] = set()
        self._broker = broker
        self._real = real
        self._lock = broker._lock  # noqa: SLF001 - one lock for the whole count
        self._held: dict[_Queue, set[Delivery]] = {}
        self._on_event: Callable[[TransportEvent], None] = lambda _event: None

    def held(self, queue: _Queue) -> set[Delivery]:
        """Return the deliveries from `queue` that are not settled."""
        return self._held.setdefault(queue, set())

    def listen(self, on_event: Callable[[TransportEvent], None]) -> None:
        """Hand every event to `on_event`, in the driver's thread."""
        self._on_event = on_event
        with self._broker.outside():
            self._real.listen(self._arrived)

    def _arrived(self, event: TransportEvent) -> None:
        with self._lock:
            if isinstance(event, Delivery):
                self.held(self._broker.queue(event.queue)).add(event)
            elif isinstance(event, ConsumeFailed):
                self._broker.queue(event.queue).consumers.pop(self, None)
            self.incoming.append(lambda: self._on_event(event))
        self._broker.sign()

    def declare(self, queue: QueueSpec) -> None:
        """Make sure that `queue` exists."""
        with self._broker.outside():
            self._real.declare(queue)

    def publish(self, outgoing: Outgoing) -> None:
        """Send; the settlement waits for the driver."""
        on_settled = outgoing.on_settled

        def settled(settled: Outgoing, error: BrokerError | None) -> None:
            with self._lock:
                self.outstanding.discard(outgoing)
                if error is None:
                    self._broker.queue(outgoing.queue).kept += 1
                elif isinstance(error, QueueMissing):
                    self._broker.queue(outgoing.queue).kept = 0
                self.incoming.append(lambda: on_settled(settled, error))
            self._broker.sign()

        outgoing.on_settled = settled
        with self._lock:
            self.outstanding.add(outgoing)
        try:
            with self._broker.outside():
                self._real.publish(outgoing)
        except BaseException:
            with self._lock:
                self.outstanding.discard(outgoing)
            raise

    def withdraw(self, outgoing: Outgoing) -> bool:
        """Give up on a message; one whose settlement waits for the driver counts as settled."""
        with self._broker.outside():
            is_withdrawn = self._real.withdraw(outgoing)
        if is_withdrawn:
            with self._lock:
                self.outstanding.discard(outgoing)
        return is_withdrawn

    def consume(self, queue: QueueSpec, *, prefetch: int, is_exclusive: bool = False, is_standby: bool = False) -> None:
        """Take messages from `queue`."""
        with self._lock:
            self._broker.queue(queue.name).consumers[self] = prefetch
        with self._broker.outside():
            self._real.consume(queue, prefetch=prefetch, is_exclusive=is_exclusive, is_standby=is_standby)

    def stop_consuming(self) -> None:
        """Ask for no more deliveries."""
        with self._broker.outside():
            self._real.stop_consuming()
        self._leave(is_closed=False)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Let the broker forget deliveries."""
        with self._broker.outside():
            self._real.ack(deliveries)
        for delivery in deliveries:
            self._settle(delivery, is_gone=True)

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Move a delivery to the dead letters."""
        with self._broker.outside():
            self._real.reject(delivery, reason)
        self._broker.dead_letters.append((delivery.queue, reason))
        self._settle(delivery, is_gone=True)

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put deliveries back."""
        with self._broker.outside():
            self._real.give_back(deliveries)
        for delivery in deliveries:
            self._settle(delivery, is_gone=False)

    def delete_queue(self, name: str) -> None:
        """Delete a queue."""
        with self._broker.outside():
            self._real.delete_queue(name)
        with self._lock:
            queue = self._broker.queue(name)
            queue.kept = 0
            queue.consumers.clear()

    def status(self) -> ConnectionStatus:
        """Return the state of the connection."""
        return self._real.status()

    def consuming(self) -> ConsumingStatus:
        """Return the state of what consumes."""
        return self._real.consuming()

    def threads(self) -> Mapping[str, threading.Thread]:
        """Return the transport's own threads."""
        return self._real.threads()

    def close(self, timeout_s: float = 5.0) -> None:
        """Disconnect; what waits for the driver is handed over first."""
        with self._broker.outside():
            self._real.close(timeout_s)
        while self.incoming:
            self.incoming.popleft()()
        self._leave(is_closed=True)

    def kill(self) -> None:
        """Disconnect as a killed program does, as far as that can be done from inside: nothing is heard any more."""
        self._on_event = lambda _event: None
        with self._broker.outside():
            self._real.close(0.0)
        self.incoming.clear()
        self._leave(is_closed=True)

    def _settle(self, delivery: Delivery, *, is_gone: bool) -> None:
        with self._lock:
            queue = self._broker.queue(delivery.queue)
            held = self.held(queue)
            if delivery in held:
                held.remove(delivery)
                queue.kept -= is_gone

    def _leave(self, *, is_closed: bool) -> None:
        with self._lock:
            for queue in list(self._held):
                queue.consumers.pop(self, None)
            for queue in self._broker._queues.values():  # noqa: SLF001 - one count for both
                queue.consumers.pop(self, None)
            if is_closed:
                self._held.clear()
                self.outstanding.clear()
