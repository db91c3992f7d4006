"""How many tasks may be claimed ahead of the threads that will run them: as many as ended a moment ago."""

from __future__ import annotations

from collections import deque

WINDOW_S = 0.05
"""What counts as a moment. A claim waits about so long for its thread, however long tasks take."""
WINDOW_MAX_S = 0.5
"""The longest moment: where a turn takes long, as on a slow disk, it is two turns. Else none had ended at the next."""
AHEAD_MAX = 256
"""Most claims ahead: by then a commit is a small part of the work."""
CLAIM_WAIT_S = 1.0
"""A claim that no thread came to within so many seconds is taken back: the tasks before it have become slow."""


class Pace:
    """Knows how many runs ended a moment ago. At first nothing has ended, so nothing is claimed ahead.

    So many tasks that end quickly share a commit, and a task that takes long has none waiting behind it.
    """

    def __init__(self) -> None:
        self._ends: deque[tuple[float, int]] = deque()
        self._count = 0
        self._window_s = WINDOW_S

    def took(self, turn_s: float) -> None:
        """Note how long the last turn took: what ends during one is seen by the next."""
        self._window_s = min(max(WINDOW_S, 2 * turn_s), WINDOW_MAX_S)

    def ended(self, count: int, moment: float) -> None:
        """Note that `count` runs have ended, at a `moment` on the monotonic clock, which is not before the last one."""
        if count:
            self._ends.append((moment, count))
            self._count += count

    def ahead(self, moment: float) -> int:
        """Return how many tasks may be claimed at `moment` beyond those that find a thread at once."""
        while self._ends and self._ends[0][0] < moment - self._window_s:
            self._count -= self._ends.popleft()[1]
        return min(self._count, AHEAD_MAX)
