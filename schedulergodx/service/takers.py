"""Which queues of answers take bundles: their clients have said so in what they sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedulergodx.utils.message.envelope import Envelope

_KNOWN_MAX = 10_000


class Takers:
    """Remembers the queues whose clients read bundles. Only the loop's thread uses it.

    In memory only, and at most 10,000, those that were heard of last: of any other queue it is not known, and what is
    not known gets its answers one by one.
    """

    def __init__(self) -> None:
        self._queues: dict[str, None] = {}
        self._last: tuple[str, bool] = ("", False)

    def hear(self, message: Envelope) -> None:
        """Take note of what a request says of the queue for its answer; the last word about a queue counts."""
        queue = message.reply_to
        if self._last == (word := (queue, message.takes_bundles)):  # as hundreds in a row
            return
        self._last = word
        self._queues.pop(queue, None)
        if message.takes_bundles and queue:
            self._queues[queue] = None
            if len(self._queues) > _KNOWN_MAX:
                del self._queues[next(iter(self._queues))]

    def __contains__(self, queue: str) -> bool:
        return queue in self._queues
