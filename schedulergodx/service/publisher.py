"""From the outbox to the broker: each answer is sent until the broker has it, or has not taken it for too long."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING

from schedulergodx.errors import BrokerError, Closed, QueueMissing, StorageError
from schedulergodx.utils.abstractions import Outgoing, Reply, ReplySettled
from schedulergodx.utils.message import bundles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from schedulergodx.service.takers import Takers
    from schedulergodx.service.turn import Turn
    from schedulergodx.utils.abstractions import Clock, Storage, Transport
    from schedulergodx.utils.logger import CoreLogger

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 600.0
"""Pauses before a queue that did not take an answer is tried again, each twice as long as the one before."""
QUEUE_BYTES_MAX = 1024 * 1024
"""Answers to one queue under way, in bytes: with so many, no more are sent to it until the broker has some of them."""
ALL_BYTES_MAX = 32 * 1024 * 1024
"""The same for all queues together."""
_QUEUES_AT_ONCE = 100
QUIET_MAX = 20
"""Answers that the broker has, and that may stay in the outbox until there is a turn for something else."""
_PRUNED_AT_ONCE_MAX = 500


@dataclass(slots=True)
class _Hold:
    """A queue that did not take an answer: its other answers wait, until one of them, as a trial, was taken.

    Attributes:
        until: monotonic moment of the next trial; `inf` while one is under way.
        pause_s: how long the pause before that is.
        is_absent: whether the queue does not exist: then probably nobody waits for its answers.
    """

    until: float
    pause_s: float
    is_absent: bool


class Publisher:
    """Sends the answers of the outbox, at most `in_flight_max` at a time. Only the loop's thread uses it.

    That the broker has one is no reason for a turn: it leaves the outbox in the next one, whatever that is for, unless
    something waits for it. A crash before that sends it again, as always. The clock wakes an idle service at least
    every 30 s.

    Those of one turn, or that wait together, go to a queue whose client reads bundles in as few messages as fit.
    A queue that is full or absent holds up nobody else: its answers are offered again after growing pauses, and
    dropped when they have been there for `keep_replies_s`. Neither does one whose answers are large: what is beyond its
    share waits in the outbox, and all that wait have their turns. An answer to a queue with nothing else under way is
    behind the bytes of others at most: `QUEUE_BYTES_MAX` and an answer for each of them, `ALL_BYTES_MAX` in all.
    """

    def __init__(  # noqa: PLR0913 - the seams, who takes bundles, and three numbers
        self,
        storage: Storage,
        transport: Transport,
        clock: Clock,
        logger: CoreLogger,
        takers: Takers,
        *,
        in_flight_max: int,
        keep_replies_s: float,
        bundle_bytes_max: int,
        on_settled: Callable[[ReplySettled], None],
    ) -> None:
        self._storage = storage
        self._transport = transport
        self._clock = clock
        self._logger = logger
        self._takers = takers
        self._bundle_bytes_max = bundle_bytes_max
        self._in_flight_max = in_flight_max
        self._keep = timedelta(seconds=keep_replies_s)
        self._on_settled = on_settled
        self._in_flight: set[int] = set()
        self._bytes: dict[str, int] = {}  # of those under way, by queue
        self._sizes: dict[int, int] = {}  # of their messages, by the number of the first answer in each
        self._bytes_in_all = 0
        self._waiting: dict[str, int] = {}  # queues with more in the outbox, in turn, and after which number
        self._unread: str | None = ""  # after which queue there is something that an earlier run left; None: nothing
        self._holds: dict[str, _Hold] = {}
        self._trial_at = inf
        self._quiet: deque[ReplySettled] = deque()  # what the broker has, told by its thread
        self._is_hurrying = False

    @property
    def is_empty(self) -> bool:
        """Whether the broker has every answer that it may take soon, as far as this run knows."""
        return not self._in_flight and not self._has_more

    @property
    def _has_more(self) -> bool:
        return bool(self._waiting) or self._unread is not None

    @property
    def in_flight(self) -> int:
        """How many answers are under way."""
        return len(self._in_flight)

    def count_unsent(self) -> int:
        """Return how many answers the broker does not have, though their queue exists, as far as is known.

        Only those under way, if the outbox cannot be read.
        """
        absent = [queue for queue, hold in self._holds.items() if hold.is_absent]
        try:
            return self._storage.count_replies(without=absent) - sum(len(one.replies) for one in self._quiet)
        except StorageError:
            return self.in_flight

    def hurry(self) -> None:
        """Have a turn for every answer that is settled, from now on: the service stops, and waits for them."""
        self._is_hurrying = True

    def quietly_settled(self) -> list[ReplySettled]:
        """Return what the broker has, and nobody was told of, once; for the turn that begins."""
        heard: list[ReplySettled] = []
        while self._quiet:
            heard.append(self._quiet.popleft())
        return heard

    def settle(self, settled: ReplySettled, turn: Turn) -> None:
        """Within a transaction: take out of the outbox what the broker has, or has not taken for too long."""
        if settled.error is None:
            turn.sent += [reply.number for reply in settled.replies]
            return
        queue = _queue(settled)
        dropped = self._storage.prune_replies(queue, added_before=turn.now - self._keep, limit=_PRUNED_AT_ONCE_MAX)
        if dropped:
            what = "%d answers that queue %s has not taken for %g s are dropped, their outcomes stay (message %s)"
            turn.say(logging.WARNING, what, len(dropped), queue, self._keep.total_seconds(), dropped[0])

    def after_commit(self, settled: list[ReplySettled], fresh: list[Reply]) -> None:
        """Note what is settled, and send what is new, as far as the window and the queues allow."""
        if not settled and not fresh:
            return
        settled = [one for one in settled if one.replies]
        for one in settled:
            self._land(_queue(one), one.replies)
        failed = [one for one in settled if one.error is not None]
        self._say_once([one for one in failed if _queue(one) not in self._holds])
        for one in failed:
            self._make_smaller(one)
            self._hold(_queue(one), is_absent=isinstance(one.error, QueueMissing))
        for one in settled:
            if one.error is None and _queue(one) in self._holds:
                self._release(_queue(one))
        by_queue: dict[str, list[Reply]] = {}
        for reply in fresh:
            by_queue.setdefault(reply.queue, []).append(reply)
        is_turn_of_others = self._has_more and self._is_turn_of_some()
        for queue, replies in by_queue.items():
            if queue in self._waiting or queue in self._holds:
                continue  # behind what waits there
            if is_turn_of_others:
                self._waiting[queue] = 0 if self._unread is not None else replies[0].number - 1
            else:
                self._send_some(queue, replies)

    def send_waiting(self) -> None:
        """Send what is in the outbox and not under way. May raise a StorageError."""
        if self._trial_at != inf and self._trial_at <= (moment := self._clock.monotonic()):
            for queue in [queue for queue, hold in self._holds.items() if hold.until <= moment]:
                self._try_again(queue)
            self._trial_at = min((hold.until for hold in self._holds.values()), default=inf)
        self._read_queues()  # at every turn: also while those that were found keep the window full
        while self._has_more and self._room() > 0:
            ready = [queue for queue in self._waiting if self._may_send(queue)]
            if not ready and not self._read_queues():
                break
            for place, queue in enumerate(ready):
                if (room := self._room()) <= 0:
                    break
                self._send_next(queue, max(1, room // (len(ready) - place)))

    def wait_s(self) -> float | None:
        """Return the seconds until there is something to offer, or to offer again, or None."""
        if self._has_more and self._is_turn_of_some() and self._room() > 0:
            return 0.0
        if self._quiet and self._is_awaited():
            return 0.0
        return None if self._trial_at == inf else max(0.0, self._trial_at - self._clock.monotonic())

    def _is_awaited(self) -> bool:
        """Return whether a turn is needed when the broker has an answer. From any thread."""
        return self._is_hurrying or self._has_more or bool(self._holds) or len(self._quiet) >= QUIET_MAX

    def _say_once(self, failed: list[ReplySettled]) -> None:
        """Log the first failures of queues, in one line: a broker may go away with a thousand answers."""
        if not failed:
            return
        # An absent queue is what a client leaves that has ended; anything else is worth a look.
        is_usual = all(isinstance(one.error, QueueMissing) for one in failed)
        self._logger.log(
            logging.INFO if is_usual else logging.WARNING,
            "%d answers wait for another try, the first since %s (message %s)",
            sum(len(one.replies) for one in failed),
            failed[0].error,
            failed[0].replies[0].message_id,
        )

    def _hold(self, queue: str, *, is_absent: bool) -> None:
        hold = self._holds.get(queue)
        if hold is None:
            hold = self._holds[queue] = _Hold(0.0, FIRST_PAUSE_S, is_absent)
            self._waiting.pop(queue, None)
        elif hold.until == inf:
            hold.pause_s = min(hold.pause_s * 2, LONGEST_PAUSE_S)
        hold.is_absent, hold.until = is_absent, self._clock.monotonic() + hold.pause_s
        self._trial_at = min(self._trial_at, hold.until)

    def _release(self, queue: str) -> None:
        """Offer everything to a queue that has taken its trial; what was sent before that proves nothing."""
        if self._holds[queue].until == inf:
            del self._holds[queue]
            self._waiting[queue] = 0

    def _try_again(self, queue: str) -> None:
        first = self._storage.replies(after=0, limit=1, queue=queue)
        if first:
            self._holds[queue].until = inf
            self._send_all(queue, first)
        else:
            del self._holds[queue]

    def _make_smaller(self, failed: ReplySettled) -> None:
        """Make smaller bundles from now on, when it may be for its size that the broker refuses one."""
        if len(failed.replies) > 1 and type(failed.error) is BrokerError:
            refused_bytes = sum(len(reply.body) for reply in failed.replies)
            self._bundle_bytes_max = bundles.smaller(self._bundle_bytes_max, refused_bytes)

    def _room(self) -> int:
        """Return how many more answers may be under way."""
        return 0 if self._bytes_in_all >= ALL_BYTES_MAX else self._in_flight_max - len(self._in_flight)

    def _is_turn_of_some(self) -> bool:
        """Whether some answers of the outbox are to be sent as soon as there is room for them."""
        return self._unread is not None or any(self._may_send(queue) for queue in self._waiting)

    def _may_send(self, queue: str) -> bool:
        return self._bytes.get(queue, 0) < QUEUE_BYTES_MAX

    def _read_queues(self) -> bool:
        """Find some more of the queues that an earlier run has left answers to. Returns whether it looked."""
        if self._unread is None:
            return False
        queues = self._storage.reply_queues(after=self._unread, limit=_QUEUES_AT_ONCE)
        self._unread = queues[-1] if len(queues) == _QUEUES_AT_ONCE else None
        for queue in queues:
            if queue not in self._holds:
                self._waiting.setdefault(queue, 0)
        return True

    def _send_next(self, queue: str, share: int) -> None:
        """Send what comes next of a queue that waits, at most so many, and let it wait behind the others for more."""
        bytes_left = QUEUE_BYTES_MAX - self._bytes.get(queue, 0)
        after = self._waiting[queue]
        found = self._storage.replies(after=after, limit=share, queue=queue, bytes_max=bytes_left)
        del self._waiting[queue]
        if found:
            self._waiting[queue] = found[-1].number
            self._send_all(queue, found)

    def _send_some(self, queue: str, replies: list[Reply]) -> None:
        """Send new answers to a queue as far as there is room; the others are found in the outbox in its turn."""
        room = max(0, self._room())
        if room < len(replies):
            self._waiting[queue] = replies[room].number - 1
        for together, size in self._messages(queue, replies[:room]):
            if not self._may_send(queue):
                self._waiting[queue] = together[0].number - 1
                return
            self._send(queue, together, size)

    def _send_all(self, queue: str, replies: Iterable[Reply]) -> None:
        """Send replies that were read from the outbox, but those that are under way."""
        ready = [reply for reply in replies if reply.number not in self._in_flight]
        for together, size in self._messages(queue, ready):
            self._send(queue, together, size)

    def _messages(self, queue: str, replies: list[Reply]) -> Iterable[tuple[list[Reply], int]]:
        """Return what goes to a queue together, and how many bytes each message has."""
        return self._bundled(replies) if queue in self._takers else [([one], len(one.body)) for one in replies]

    def _land(self, queue: str, replies: Sequence[Reply]) -> None:
        """Note that replies of one message to a queue are under way no more."""
        self._in_flight.difference_update([reply.number for reply in replies])
        size = self._sizes.pop(replies[0].number)
        self._bytes_in_all -= size
        if left := self._bytes[queue] - size:
            self._bytes[queue] = left
        else:
            del self._bytes[queue]

    def _bundled(self, replies: list[Reply]) -> Iterable[tuple[list[Reply], int]]:
        """Yield them in groups, each of which makes a bundle; a group of one is a plain message."""
        group: list[Reply] = []
        size = bundles.FRAME_BYTES
        for reply in replies:
            more = len(reply.body) + bundles.LENGTH_BYTES
            if group and (len(group) == bundles.MESSAGES_MAX or size + more > self._bundle_bytes_max):
                yield group, size
                group, size = [], bundles.FRAME_BYTES
            group.append(reply)
            size += more
        if group:
            yield group, size

    def _send(self, queue: str, replies: list[Reply], size: int) -> None:
        """Send replies to one queue in one message of about so many bytes."""
        self._sizes[replies[0].number] = size
        self._in_flight.update([reply.number for reply in replies])
        self._bytes[queue] = self._bytes.get(queue, 0) + size
        self._bytes_in_all += size

        def settled(_: Outgoing, error: BrokerError | None) -> None:
            told = ReplySettled(replies=replies, error=error)
            if error is not None or more or self._is_awaited():  # a bundle is of a burst, which has turns enough
                self._on_settled(told)
                return
            self._quiet.append(told)
            if self._is_awaited():  # since just now, and the loop may have looked before
                self._on_settled(ReplySettled(replies=[], error=None))

        first, more = replies[0], len(replies) - 1
        body = bundles.join([reply.body for reply in replies]) if more else first.body
        message_id = f"{first.message_id} +{more}" if more else first.message_id
        try:
            outgoing = Outgoing(queue=queue, body=body, message_id=message_id, on_settled=settled)
            self._transport.publish(outgoing)  # before: W10
        except Closed:
            self._land(queue, replies)


def _queue(settled: ReplySettled) -> str:
    return settled.replies[0].queue
