"""From the outbox to the broker: each answer is sent until the broker has it, or its queue is gone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from schedulergodx.errors import BrokerError, Closed, QueueMissing, StorageError
from schedulergodx.utils.abstractions import Outgoing, Reply, ReplySettled

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.service.turn import Turn
    from schedulergodx.utils.abstractions import Clock, Storage, Transport
    from schedulergodx.utils.logger import CoreLogger

RETRY_S = 5.0
"""Pause before an answer that the broker did not take is offered again."""
_COUNTED_AT_ONCE = 50


class Publisher:
    """Sends the answers of the outbox, at most `in_flight_max` at a time. Only the loop's thread uses it."""

    def __init__(  # noqa: PLR0913 - the seams, and a number
        self,
        storage: Storage,
        transport: Transport,
        clock: Clock,
        logger: CoreLogger,
        *,
        in_flight_max: int,
        on_settled: Callable[[ReplySettled], None],
    ) -> None:
        self._storage = storage
        self._transport = transport
        self._clock = clock
        self._logger = logger
        self._in_flight_max = in_flight_max
        self._on_settled = on_settled
        self._in_flight: set[int] = set()
        self._last_number = 0
        self._has_more = True  # what an earlier run of the service left in the outbox
        self._retry_at: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every answer is with the broker, as far as this run knows."""
        return not self._in_flight and not self._has_more and self._retry_at is None

    @property
    def in_flight(self) -> int:
        """How many answers are under way."""
        return len(self._in_flight)

    def count_unsent(self) -> int:
        """Return how many answers the broker does not have; only those under way, if the outbox cannot be read."""
        count, after = 0, 0
        try:
            while page := self._storage.replies(after=after, limit=_COUNTED_AT_ONCE):
                count, after = count + len(page), page[-1].number
        except StorageError:
            return self.in_flight
        return count

    def settle(self, settled: ReplySettled, turn: Turn) -> None:
        """Within a transaction: take an answer out of the outbox that the broker has, or that nobody can get."""
        if settled.error is None:
            turn.sent.append(settled.reply.number)
        elif isinstance(settled.error, QueueMissing):
            # Its client is gone, and its queue with it. The outcome stays, and can be asked for by id.
            turn.say(logging.INFO, "nobody waits for this answer any more (message %s)", settled.reply.message_id)
            turn.sent.append(settled.reply.number)

    def after_commit(self, settled: list[ReplySettled], fresh: list[Reply]) -> None:
        """Forget what is settled, and send what is new, as far as the window allows."""
        self._in_flight.difference_update(one.reply.number for one in settled)
        failed = [one for one in settled if one.error is not None and not isinstance(one.error, QueueMissing)]
        if failed:
            self._logger.warning(
                "%d answers wait for another try, the first since %s (message %s)",
                len(failed),
                failed[0].error,
                failed[0].reply.message_id,
            )
            self._retry_at = self._clock.monotonic() + RETRY_S
        for reply in fresh:
            if self._has_more or len(self._in_flight) >= self._in_flight_max:
                self._has_more = True
                break
            self._send(reply)

    def send_waiting(self) -> None:
        """Send what is in the outbox and not under way. May raise a StorageError."""
        if self._retry_at is not None and self._clock.monotonic() >= self._retry_at:
            self._retry_at, self._last_number, self._has_more = None, 0, True
        while self._has_more and (room := self._in_flight_max - len(self._in_flight)) > 0:
            waiting = self._storage.replies(after=self._last_number, limit=room)
            self._has_more = len(waiting) == room
            for reply in waiting:
                self._send(reply)

    def wait_s(self) -> float | None:
        """Return the seconds until there is something to offer, or to offer again, or None."""
        if self._has_more and len(self._in_flight) < self._in_flight_max:
            return 0.0
        return None if self._retry_at is None else max(0.0, self._retry_at - self._clock.monotonic())

    def _send(self, reply: Reply) -> None:
        self._last_number = max(self._last_number, reply.number)
        if reply.number in self._in_flight:
            return
        self._in_flight.add(reply.number)

        def settled(_: Outgoing, error: BrokerError | None) -> None:
            self._on_settled(ReplySettled(reply=reply, error=error))

        outgoing = Outgoing(queue=reply.queue, body=reply.body, message_id=reply.message_id, on_settled=settled)
        try:
            self._transport.publish(outgoing)
        except Closed:
            self._in_flight.discard(reply.number)
