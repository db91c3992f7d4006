"""`MemoryTransport`: the `Transport` to a broker in memory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from schedulergodx.config import whole_number
from schedulergodx.errors import BrokerError, Closed
from schedulergodx_testing.memory import failures
from schedulergodx_testing.memory.consuming import ConsumingLink, Wish
from schedulergodx_testing.memory.publishing import DeadLetter, PublishingLink

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from schedulergodx.utils.abstractions import (
        ConnectionStatus,
        ConsumingStatus,
        Delivery,
        Outgoing,
        QueueSpec,
        TransportEvent,
    )
    from schedulergodx_testing.memory.hub import Hub
    from schedulergodx_testing.memory.pump import Pump
    from schedulergodx_testing.memory.stepper import Lane

logger = logging.getLogger("schedulergodx.transport")


class MemoryTransport:
    """One program's way to a broker in memory; `MemoryBroker.transport` makes it. It says what `Transport` says.

    As over RabbitMQ, messages go out over one connection and come in over another, each made when it is needed.
    Every method may be called from any thread. Events and settlements come from the thread that steps the broker.

    Attributes:
        name: as the broker's log has it; `Faults` takes it to narrow a fault down.
    """

    def __init__(self, hub: Hub, pump: Pump, name: str) -> None:
        self.name = name
        self._hub = hub
        self._stepper = hub.stepper
        self._pump = pump
        self._on_event: Callable[[TransportEvent], None] | None = None
        self._threads: dict[str, threading.Thread] = {}
        self._is_closed = False
        self._is_over = False
        self._publishing = PublishingLink(hub, name, self._emit)
        self._consuming = ConsumingLink(hub, name, self._emit)
        with self._stepper.lock:
            hub.transports.append(self)
            hub.links += [self._publishing, self._consuming]
            hub.publishing.append(self._publishing)

    def listen(self, on_event: Callable[[TransportEvent], None]) -> None:
        """Hand every event to `on_event`. Its exceptions are logged and otherwise ignored."""
        self._on_event = on_event

    def declare(self, queue: QueueSpec) -> None:
        """Make sure that `queue` exists before anything that is published later.

        When it cannot be declared, messages to it are settled with the reason.

        Raises:
            NotEmulated: its name is empty.
        """
        failures.name_error(queue.name, self._hub.address)
        with self._stepper.lock:
            if not self._is_closed:
                self._publishing.declare(queue)

    def publish(self, outgoing: Outgoing) -> None:
        """Send `outgoing`; settle it when the broker has confirmed it. Raises Closed."""
        with self._stepper.lock:
            if self._is_closed:
                raise Closed(f"the transport was closed; message {outgoing.message_id} was not sent")
            self._publishing.publish(outgoing)
            self._use()

    def withdraw(self, outgoing: Outgoing) -> bool:
        """Give up on `outgoing`; False when it was settled already."""
        with self._stepper.lock:
            if outgoing not in self._publishing.unsettled:
                return False
            del self._publishing.unsettled[outgoing]
            self._stepper.notify()
            return True

    def consume(self, queue: QueueSpec, *, prefetch: int, is_exclusive: bool = False, is_standby: bool = False) -> None:
        """Declare `queue` and have its messages delivered.

        Raises:
            Closed: the transport was closed.
            InvalidParameter: `prefetch` is not from 1 to 65535.
            NotEmulated: the name of the queue is empty.
        """
        whole_number("prefetch", prefetch, least=1, most=65535)
        failures.name_error(queue.name, self._hub.address)
        with self._stepper.lock:
            if self._is_closed:
                raise Closed(f"the transport was closed; nothing is consumed from {queue.name!r}")
            self._consuming.consume(
                Wish(queue=queue, prefetch=prefetch, is_exclusive=is_exclusive, is_standby=is_standby)
            )
            self._use()

    def stop_consuming(self) -> None:
        """Ask for no more deliveries. Those handed over may still be acked."""
        with self._stepper.lock:
            self._consuming.stop()

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Let the broker forget `deliveries`."""
        with self._stepper.lock:
            self._consuming.ack(deliveries)

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Move `delivery` to the dead letters of its queue, with `reason`. Its copy is confirmed before it is acked."""
        with self._stepper.lock:
            if self._is_closed or (found := self._consuming.begin_reject(delivery)) is None:
                return
            queue, message_id = found
            dead_letters = queue.dead_letters

            def on_settled(_copy: Outgoing, error: BrokerError | None) -> None:
                if error is None:
                    self.ack([delivery])
                else:
                    logger.error("message %s was rejected (%s) and stays in its queue: %s", message_id, reason, error)

            self._publishing.declare(dead_letters)
            self._publishing.publish(
                DeadLetter(
                    queue=dead_letters.name,
                    body=delivery.body,
                    message_id=message_id,
                    on_settled=on_settled,
                    reason=reason,
                    from_queue=queue.name,
                )
            )

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put `deliveries` back where they were."""
        with self._stepper.lock:
            self._consuming.give_back(deliveries)

    def delete_queue(self, name: str) -> None:
        """Delete a queue, over whichever connection is up. It is not consumed any more, nor declared by itself."""
        with self._stepper.lock:
            self._publishing.forget_queue(name)
            publishing, consuming = self._publishing, self._consuming
            # Over the connection that consumes it, where that is stopped before.
            if publishing.is_up and not (consuming.is_up and consuming.knows(name)):
                publishing.put(self._delete, name)
            elif consuming.is_up:
                consuming.forget_queue(name)
                consuming.put(self._delete, name)

    def status(self) -> ConnectionStatus:
        """Return the state of the connection that publishes, or of the only one."""
        is_only_one = self._consuming.is_started and not self._publishing.is_started
        return (self._consuming if is_only_one else self._publishing).status

    def consuming(self) -> ConsumingStatus:
        """Return the state of what consumes. A broker in memory answers at once."""
        with self._stepper.lock:
            return self._consuming.consuming_status()

    def threads(self) -> Mapping[str, threading.Thread]:
        """Return the broker's thread, if it steps by itself and this transport was used; else nothing.

        All transports of a broker share it. It ends when the last of them is closed.
        """
        return dict(self._threads)

    def close(self, timeout_s: float = 5.0) -> None:
        """Wait for what is under way, give unacked deliveries back, and disconnect.

        A broker that is stepped by hand is stepped here, as far as it concerns this transport and without time passing;
        `timeout_s` is for one that steps by itself.
        """
        with self._stepper.lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._consuming.stop()
        if self._pump.is_stepped_by_this_thread:
            self._finish_by_stepping()
        else:
            self._pump.wait_until(self._is_finished, timeout_s)
        # Nobody else steps meanwhile, so that no event comes after this.
        with self._stepper.standing_still(max(0.0, timeout_s) + 1.0), self._stepper.lock:
            for outgoing in list(self._publishing.unsettled):
                self._publishing.settle(outgoing, failures.closed(outgoing, self._hub.address))
            self._consuming.close()
            self._publishing.close()
        self._leave()

    def kill(self) -> None:
        """End as a killed process ends: connections break, and this program hears of nothing any more.

        What is unsettled is never settled, no event comes, and every call does what it does after `close`.
        """
        with self._stepper.standing_still(), self._stepper.lock:
            self._is_closed = self._is_over = True
            self._publishing.unsettled.clear()
            self._consuming.kill()
            self._publishing.kill()
        self._leave()

    # --- Inside

    def _use(self) -> None:
        for thread in self._pump.enter(self):
            self._threads[thread.name] = thread

    def _leave(self) -> None:
        hub = self._hub
        with self._stepper.lock:
            if self in hub.transports:
                hub.transports.remove(self)
                hub.links.remove(self._publishing)
                hub.links.remove(self._consuming)
                hub.publishing.remove(self._publishing)
        self._pump.leave(self)

    def _delete(self, name: str) -> None:
        self._hub.store.delete(name, self.name)

    def _lanes(self) -> list[Lane]:
        return [*self._publishing.lanes, *self._consuming.lanes]

    def _is_finished(self) -> bool:
        has_acks = self._consuming.outbound.waiting and self._consuming.outbound.is_ready
        return not self._publishing.unsettled and not has_acks

    def _finish_by_stepping(self) -> None:
        while not self._is_finished() and self._stepper.step(self._lanes):
            pass

    def _emit(self, event: TransportEvent) -> None:
        self._stepper.call(self._hand, event)

    def _hand(self, event: TransportEvent) -> None:
        if self._on_event is not None and not self._is_over:
            self._on_event(event)
