"""What is known of moments in a database without asking it: when the next task is due, and the oldest end."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedulergodx.utils.storage.connection import Connection

AHEAD = 32
"""Moments that are asked for at once: of tasks that come one by one, only every so manieth asks."""
NEXT = f"SELECT run_at FROM tasks WHERE status = 0 AND is_hard = ? ORDER BY run_at LIMIT {AHEAD}"  # noqa: S608
OLDEST_END = "SELECT min(ended_at) FROM tasks WHERE ended_at IS NOT NULL"
OLDEST_FORGOTTEN = "SELECT min(ended_at) FROM forgotten"


class Ahead:
    """The next moments at which tasks of one kind are due, in microseconds: the earliest few of all that wait.

    Whatever is not in here is due at the horizon or later.
    """

    def __init__(self, *, is_hard: bool) -> None:
        self._is_hard = is_hard
        self._moments: list[int] | None = None  # in order; None: ask
        self._horizon: int | None = None  # None: all are in here

    def forget(self) -> None:
        """Ask again."""
        self._moments = None

    def earliest(self, connection: Connection) -> int | None:
        """Return the earliest moment, or None."""
        if self._moments is None or (not self._moments and self._horizon is not None):
            self._moments = [moment for (moment,) in connection.rows(NEXT, (self._is_hard,))]
            self._horizon = self._moments[-1] if len(self._moments) == AHEAD else None
        return self._moments[0] if self._moments else None

    def add(self, moment: int) -> None:
        """Note that one more waits."""
        if self._moments is None or (self._horizon is not None and moment >= self._horizon):
            return
        insort(self._moments, moment)
        if len(self._moments) > 2 * AHEAD:
            del self._moments[AHEAD:]
            self._horizon = self._moments[-1]

    def remove(self, moment: int) -> None:
        """Note that one that was due then waits no more."""
        if self._moments:
            place = bisect_left(self._moments, moment)
            if place < len(self._moments) and self._moments[place] == moment:
                del self._moments[place]


class Oldest:
    """The earliest end in a table: as long as it is not old enough, nobody asks what is.

    Args:
        sql: asks for it.
    """

    def __init__(self, sql: str) -> None:
        self._sql = sql
        self._is_known = False
        self._ended_at: int | None = None

    def forget(self) -> None:
        """Ask again."""
        self._is_known = False

    def is_before(self, connection: Connection, moment: int) -> bool:
        """Return whether something has ended before `moment`."""
        if not self._is_known:
            self._ended_at = connection.value(self._sql)
            self._is_known = True
        return self._ended_at is not None and self._ended_at < moment

    def note(self, ended_at: int) -> None:
        """Note one more end."""
        if self._is_known and (self._ended_at is None or ended_at < self._ended_at):
            self._ended_at = ended_at
