"""`SqliteTransport`: what client and service see of the queue file."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from schedulergodx.clock import SystemClock
from schedulergodx.config import seconds, whole_number
from schedulergodx.errors import Closed, InvalidParameter
from schedulergodx.transport.sqlite.outbox import Outbox
from schedulergodx.transport.sqlite.turn import Consumer, Turn
from schedulergodx.transport.sqlite.worker import Worker
from schedulergodx.utils.abstractions import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from schedulergodx.transport.sqlite.turn import Ledger
    from schedulergodx.utils.abstractions import (
        Clock,
        ConnectionStatus,
        ConsumingStatus,
        Delivery,
        Outgoing,
        QueueSpec,
        TransportEvent,
    )

QUEUE_NAME_BYTES_MAX = 255
"""The limit of RabbitMQ, so that a program runs on both."""
PREFETCH_MAX = 65535
IN_USE_WAIT_S = 2.0
"""How long a queue may be in use before an exclusive consumer is refused: longer than a dead owner goes unnoticed."""


class SqliteTransport:
    """A `Transport` over the queues of one file. Making one touches nothing: the first publish or consume does.

    Args:
        path: the file; it is created when it does not exist, its folder is not.
        name: for its thread, and for others who ask who consumes.
        clock: the system's, if None.

    Raises:
        InvalidParameter: `path` is empty.
    """

    def __init__(self, path: Path | str, *, name: str, clock: Clock | None = None) -> None:
        if not str(path) or "\0" in str(path):
            raise InvalidParameter("the path of a queue file must not be empty, e.g. sqlite:///queues.db")
        self._clock = SystemClock() if clock is None else clock
        self._outbox = Outbox()
        self._worker = Worker(Path(path).absolute(), name=name, clock=self._clock, outbox=self._outbox)
        self._lock = threading.Lock()
        self._is_started = False
        self._is_publishing = False
        self._is_closed = False

    def listen(self, on_event: Callable[[TransportEvent], None]) -> None:
        """See `Transport.listen`."""
        self._worker.on_event = on_event

    def declare(self, queue: QueueSpec) -> None:
        """See `Transport.declare`. A queue that exists with other arguments is used as it is, with a warning.

        Where its dead letters go with other arguments, a queue that is not there is not made: a message to it is
        settled with `QueueMismatch`.

        Raises:
            InvalidParameter: its name or expiry is out of range.
        """
        spec = _checked(queue)
        with self._lock:
            self._worker.put(
                partial(Turn.declare, spec=spec), at_once=lambda ledger: ledger.declared.update({spec.name: spec})
            )

    def publish(self, outgoing: Outgoing) -> None:
        """See `Transport.publish`."""
        with self._lock:
            if self._is_closed:
                raise Closed(f"the transport to {self._worker.status.broker} is closed: nothing was sent")
            self._outbox.add(outgoing)
            if not self._is_publishing:
                self._is_publishing = True
                self._worker.use(is_consuming=False)
            self._worker.put(partial(Turn.publish, outgoing=outgoing))
            self._start()

    def withdraw(self, outgoing: Outgoing) -> bool:
        """See `Transport.withdraw`."""
        return self._outbox.withdraw(outgoing)

    def consume(self, queue: QueueSpec, *, prefetch: int, is_exclusive: bool = False, is_standby: bool = False) -> None:
        """See `Transport.consume`. A second call for the same queue changes nothing; after close it does nothing.

        Raises:
            InvalidParameter: the queue's name or expiry, or `prefetch`, is out of range.
        """
        consumer = Consumer(
            spec=_checked(queue),
            prefetch=whole_number("prefetch", prefetch, least=1, most=PREFETCH_MAX),
            is_exclusive=is_exclusive,
            is_standby=is_standby,
            refused_at_s=self._clock.monotonic() + IN_USE_WAIT_S,
        )

        def begin(ledger: Ledger) -> None:
            ledger.add_consumer(consumer)

        with self._lock:
            if not self._is_closed:
                self._worker.use(is_consuming=True)
                self._worker.put(at_once=begin)
                self._start()

    def stop_consuming(self) -> None:
        """See `Transport.stop_consuming`."""
        self._worker.put(Turn.stop_consuming, at_once=lambda ledger: ledger.consumers.clear())

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See `Transport.ack`. It is written with what comes next, within 5 ms."""
        self._worker.put(partial(Turn.ack, deliveries=tuple(deliveries)), can_wait=True)

    def reject(self, delivery: Delivery, reason: str) -> None:
        """See `Transport.reject`. The queue of dead letters is made if it does not exist."""
        self._worker.put(partial(Turn.reject, delivery=delivery, reason=reason))

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """See `Transport.give_back`."""
        self._worker.put(partial(Turn.give_back, deliveries=tuple(deliveries)))

    def delete_queue(self, name: str) -> None:
        """See `Transport.delete_queue`."""
        if self.status().state is ConnectionState.UP:
            self._worker.put(partial(Turn.delete_queue, name=name))

    def status(self) -> ConnectionStatus:
        """See `Transport.status`. The one connection both publishes and consumes."""
        return self._worker.status

    def consuming(self) -> ConsumingStatus:
        """See `Transport.consuming`. A look at the file is the round trip; each poll is one."""
        return self._worker.consuming()

    def threads(self) -> Mapping[str, threading.Thread]:
        """See `Transport.threads`: there is one."""
        return {self._worker.thread.name: self._worker.thread} if self._is_started else {}

    def close(self, timeout_s: float = 5.0) -> None:
        """See `Transport.close`. Called from a listener it does not wait."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._worker.leave()
        if threading.current_thread() is self._worker.thread:
            return
        if self._is_started:
            self._worker.thread.join(timeout_s)
        self._worker.abandon()

    def _start(self) -> None:
        if not self._is_started:
            self._worker.thread.start()
            self._is_started = True


def _checked(queue: QueueSpec) -> QueueSpec:
    """Return `queue` if it can be declared here and on RabbitMQ alike. Raises InvalidParameter."""
    try:
        size_bytes = len(queue.name.encode())
    except UnicodeEncodeError:
        size_bytes = 0
    if not 0 < size_bytes <= QUEUE_NAME_BYTES_MAX:
        raise InvalidParameter(
            f"the name of a queue must have 1 to {QUEUE_NAME_BYTES_MAX} bytes of UTF-8, got {ascii(queue.name)[:80]}"
        )
    if queue.expires_after_s is not None:
        seconds("expires_after_s", queue.expires_after_s, is_least_allowed=False)
    return queue
