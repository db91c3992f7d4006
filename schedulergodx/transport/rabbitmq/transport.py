"""`RabbitMQTransport`: the `Transport` over RabbitMQ."""

from __future__ import annotations

import logging
import os
import platform
import threading
from typing import TYPE_CHECKING

from schedulergodx.clock import SystemClock
from schedulergodx.config import whole_number
from schedulergodx.errors import BrokerError, Closed
from schedulergodx.transport.rabbitmq.connection import Link
from schedulergodx.transport.rabbitmq.consumer import Consumer
from schedulergodx.transport.rabbitmq.errors import Errors
from schedulergodx.transport.rabbitmq.parameters import connection_parameters
from schedulergodx.transport.rabbitmq.publisher import DeadLetter, Publisher
from schedulergodx.transport.rabbitmq.subscription import Wish
from schedulergodx.utils.abstractions import ConnectionChanged, Outgoing, QueueSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schedulergodx.utils.abstractions import Clock, ConnectionStatus, ConsumingStatus, Delivery, TransportEvent
    from schedulergodx.utils.rmq_property import RmqConnect

logger = logging.getLogger("schedulergodx.transport")

REASON_HEADER = "x-schedulergodx-reason"
QUEUE_HEADER = "x-schedulergodx-queue"
MESSAGE_ID_HEADER = "x-schedulergodx-message-id"
DISCONNECT_MIN_S = 0.5
"""For the goodbye to the broker, also when all the time of `close` has gone into waiting for confirms."""


class RabbitMQTransport:
    """One program's way to a RabbitMQ. It says what `Transport` says; every method may be called from any thread.

    Messages go out over one connection and come in over another, each with a thread of its own, so that a broker
    under alarm, which stops reading from those who publish, still gets the acks. Each is made when it is first needed.

    Args:
        connect: where the broker is.
        name: under which the broker lists the connections; threads are named after it too.
        clock: used to measure the time that `close` has left; None is the system's. Pauses between attempts are
            always real time: they are the network's, not the program's.

    Raises:
        InvalidParameter: pika does not know a connection parameter.
    """

    def __init__(self, connect: RmqConnect, *, name: str, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or SystemClock()
        self._on_event: Callable[[TransportEvent], None] | None = None
        self._close_lock = threading.Lock()
        self._is_closed = False
        errors = Errors(connect)
        self._publisher = Publisher(errors)
        self._consumer = Consumer(f"{name} (process {os.getpid()} on {platform.node()})", errors, self._emit)
        self._publishing = self._publisher.link = Link(
            title="publishing connection",
            address=connect.address,
            thread_name=f"{name}-publishing",
            parameters=connection_parameters(connect, f"{name} (publishing)"),
            user=self._publisher,
            on_change=lambda status: self._emit(ConnectionChanged(status=status, is_consuming=False)),
        )
        self._consuming = self._consumer.link = Link(
            title="consuming connection",
            address=connect.address,
            thread_name=f"{name}-consuming",
            parameters=connection_parameters(connect, f"{name} (consuming)"),
            user=self._consumer,
            on_change=lambda status: self._emit(ConnectionChanged(status=status, is_consuming=True)),
        )

    def listen(self, on_event: Callable[[TransportEvent], None]) -> None:
        """Hand every event to `on_event`. Its exceptions are logged and otherwise ignored."""
        self._on_event = on_event

    def declare(self, queue: QueueSpec) -> None:
        """Make sure that `queue` exists before anything that is published later.

        When it cannot be declared, messages to it are settled with the reason: `QueueMismatch`, `BrokerRefused`.
        """
        self._publisher.declare(queue)

    def publish(self, outgoing: Outgoing) -> None:
        """Send `outgoing`, persistent, and settle it when the broker has confirmed it. Raises Closed."""
        self._publisher.publish(outgoing)

    def withdraw(self, outgoing: Outgoing) -> bool:
        """Give up on `outgoing`; False when it was settled already."""
        return self._publisher.withdraw(outgoing)

    def consume(self, queue: QueueSpec, *, prefetch: int, is_exclusive: bool = False, is_standby: bool = False) -> None:
        """Declare `queue` and have its messages delivered.

        Exclusive is whoever holds the queue `<queue>.owner`, which the broker removes with its connection.

        Raises:
            Closed: the transport was closed.
            InvalidParameter: `prefetch` is not from 1 to 65535.
        """
        whole_number("prefetch", prefetch, least=1, most=65535)
        if self._is_closed:
            raise Closed(f"the transport was closed; nothing is consumed from {queue.name!r}")
        self._consumer.consume(Wish(queue=queue, prefetch=prefetch, is_exclusive=is_exclusive, is_standby=is_standby))

    def stop_consuming(self) -> None:
        """Ask for no more deliveries. Those handed over may still be acked."""
        self._consumer.stop()

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Let the broker forget `deliveries`."""
        if deliveries:
            self._consumer.ack(tuple(deliveries))

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Move `delivery` to the dead letters of its queue, with `reason` in a header.

        The copy is confirmed before the original is acked. When it cannot be kept, the original stays unacked, and
        comes again with the next connection.
        """
        self._consumer.reject(delivery, lambda queue, message_id: self._move(delivery, queue, message_id, reason))

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put `deliveries` back where they were."""
        if deliveries:
            self._consumer.give_back(tuple(deliveries))

    def delete_queue(self, name: str) -> None:
        """Delete a queue, over whichever connection is up. It is not consumed any more, nor declared by itself."""
        self._publisher.forget_queue(name)
        # Over the connection that consumes it, where that can be stopped before.
        if self._publishing.is_up and not (self._consuming.is_up and self._consumer.knows(name)):
            self._publisher.delete_queue(name)
        elif self._consuming.is_up:
            self._consumer.delete_queue(name)

    def status(self) -> ConnectionStatus:
        """Return the state of the connection that publishes, or of the only one."""
        is_only_one = self._publishing.thread is None and self._consuming.thread is not None
        return (self._consuming if is_only_one else self._publishing).status

    def consuming(self) -> ConsumingStatus:
        """Return the state of what consumes; `Subscription` makes the round trips."""
        return self._consumer.status()

    def threads(self) -> Mapping[str, threading.Thread]:
        """Return the threads that were ever started, by name."""
        threads = (self._publishing.thread, self._consuming.thread)
        return {thread.name: thread for thread in threads if thread is not None}

    def close(self, timeout_s: float = 5.0) -> None:
        """Wait at most `timeout_s` seconds for confirms, then disconnect; the goodbye may take half a second more.

        What is not confirmed by then is settled, in this thread: with `LaunchUncertain` if it was sent, else with
        `BrokerUnavailable`.
        """
        with self._close_lock:
            if self._is_closed:
                return
            self._is_closed = True
        end_s = self._clock.monotonic() + timeout_s

        def left_s() -> float:
            return max(0.0, end_s - self._clock.monotonic())

        self._consumer.stop()
        # First what goes out: a rejected delivery is acked only once its copy is confirmed.
        self._consuming.wait_for_commands(timeout_s)
        self._publisher.close(left_s())
        for link in (self._consuming, self._publishing):
            link.close(max(DISCONNECT_MIN_S, left_s()))

    def _move(self, delivery: Delivery, queue: QueueSpec, message_id: str, reason: str) -> None:
        dead_letters = queue.dead_letters

        def on_settled(_copy: Outgoing, error: BrokerError | None) -> None:
            if error is None:
                self._consumer.ack((delivery,))
            else:
                logger.error("message %s was rejected (%s) and stays in its queue: %s", message_id, reason, error)

        copy = DeadLetter(
            queue=dead_letters.name,
            body=delivery.body,
            message_id=message_id,
            on_settled=on_settled,
            headers={REASON_HEADER: reason, QUEUE_HEADER: queue.name, MESSAGE_ID_HEADER: message_id},
        )
        try:
            self._publisher.declare(dead_letters)
            self._publisher.publish(copy)
        except Closed:
            return  # it is given back with the connection

    def _emit(self, event: TransportEvent) -> None:
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                logger.exception("on_event raised for a %s", type(event).__name__)
