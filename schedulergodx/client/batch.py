"""Many launches that wait for their confirms together."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

from schedulergodx.client.waiting import gave_up, named, wait
from schedulergodx.utils.abstractions import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.errors import BrokerError
    from schedulergodx.utils.abstractions import Clock, Transport

IN_FLIGHT_MAX = 5000
"""Launches of one batch that may be unconfirmed at a time; further ones wait."""


class Batch:
    """The launches of one `client.batch()` block. One thread sends; confirms come from the transport's threads."""

    def __init__(
        self,
        transport: Callable[[], Transport],
        clock: Clock,
        *,
        timeout_s: float,
        on_failed: Callable[[Outgoing, BrokerError], None],
    ) -> None:
        self.count = 0
        self.is_open = True
        self._transport = transport
        self._clock = clock
        self._timeout_s = timeout_s
        self._on_failed = on_failed
        self._lock = threading.Lock()
        self._unsettled: dict[str, tuple[Transport, Outgoing]] = {}
        self._errors: dict[str, BrokerError] = {}
        self._signs: SimpleQueue[str] = SimpleQueue()

    def send(self, queue: str, message_id: str, body: bytes) -> None:
        """Send without waiting for the confirm, unless too many are waited for already.

        Raises:
            BrokerError: too many are waited for, and none of them was confirmed within the timeout; nothing was sent.
            Closed: nothing was sent.
        """
        transport = self._transport()
        outgoing = Outgoing(queue=queue, body=body, message_id=message_id, on_settled=self._settled)
        while len(self._unsettled) >= IN_FLIGHT_MAX:
            if not self._is_progressing():
                error = gave_up(transport, outgoing, self._timeout_s)
                self._on_failed(outgoing, error)
                raise error
        with self._lock:
            self._unsettled[message_id] = (transport, outgoing)
        try:
            transport.publish(outgoing)  # before: W1; after: W2
        except BaseException:
            with self._lock:
                self._unsettled.pop(message_id, None)
            raise
        self.count += 1

    def finish(self) -> dict[str, BrokerError]:
        """Wait until all are settled, as long as there is some progress in each timeout; return what failed.

        What is not settled then, or when this is interrupted, is withdrawn.
        """
        self.is_open = False
        try:
            while self._unsettled and self._is_progressing():
                pass
        finally:
            self._withdraw_rest()
        while self._unsettled and self._is_progressing():  # settled a moment ago: their callbacks are on the way
            pass
        return self._errors

    def _withdraw_rest(self) -> None:
        with self._lock:
            rest = list(self._unsettled.values())
        for transport, outgoing in rest:
            if transport.withdraw(outgoing):
                self._fail(outgoing, gave_up(transport, outgoing, self._timeout_s))
                self._unsettled.pop(outgoing.message_id, None)

    def _is_progressing(self) -> bool:
        """Wait for a sign that something was settled; False when there was none within the timeout."""
        return wait(self._clock, self._signs, self._timeout_s) is not None

    def _settled(self, outgoing: Outgoing, error: BrokerError | None) -> None:
        if error is not None:
            self._fail(outgoing, error)
        with self._lock:
            self._unsettled.pop(outgoing.message_id, None)
        self._signs.put(outgoing.message_id)

    def _fail(self, outgoing: Outgoing, error: BrokerError) -> None:
        error = named(error, outgoing.message_id)
        self._errors[outgoing.message_id] = error
        self._on_failed(outgoing, error)
