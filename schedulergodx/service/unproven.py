"""How much is kept of messages whose signature is wrong: enough to look into it, and never what fills a disk."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

KEPT_MAX = 100
KEPT_BYTES_MAX = 16 * 1024 * 1024
"""Dead letters of unproven senders in one hour; what comes beyond is dropped, with a line in the log for each."""
DROPPED = "message with a wrong signature dropped, the %dth of this hour: the dead letters hold enough of them"
_HOUR = timedelta(hours=1)


class Unproven:
    """Counts the dead letters of senders who proved nothing. One thread uses it.

    Attributes:
        dropped: how many were not kept in this hour.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._kept = 0
        self._kept_bytes = 0
        self._since: datetime | None = None

    def may_keep(self, size_bytes: int, *, now: datetime) -> bool:
        """Return whether one more of this size may be kept, and count it."""
        if self._since is None or not timedelta(0) <= now - self._since < _HOUR:
            self._since, self._kept, self._kept_bytes, self.dropped = now, 0, 0, 0
        if self._kept >= KEPT_MAX or self._kept_bytes + size_bytes > KEPT_BYTES_MAX:
            self.dropped += 1
            return False
        self._kept += 1
        self._kept_bytes += size_bytes
        return True
