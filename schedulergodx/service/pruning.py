"""What the service forgets, and when: outcomes, and much later their ids; in bites, between turns."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedulergodx.config import ServiceLimits
    from schedulergodx.service.turn import Turn
    from schedulergodx.utils.abstractions import Clock, Storage

PRUNE_EVERY_S = 60.0
PRUNE_EVERY_MAX_S = 3600.0
"""Between two looks, and a hundredth of the time for which outcomes are kept in between: many go in one transaction."""
AT_ONCE_MAX = 200
"""Rows of a kind that one turn forgets, so that it takes a few milliseconds longer than others."""
PAUSE_S = 0.05
"""Between two bites, so that pruning a million rows leaves most of the time to tasks."""


class Pruner:
    """Forgets what has been kept for its time. Used within a transaction of the loop."""

    def __init__(self, storage: Storage, clock: Clock, limits: ServiceLimits) -> None:
        self._storage = storage
        self._clock = clock
        self._keep_outcomes = timedelta(seconds=limits.keep_outcomes_s)
        self._keep_ids = timedelta(seconds=limits.keep_ids_s)
        self._every_s = min(PRUNE_EVERY_MAX_S, max(PRUNE_EVERY_S, limits.keep_outcomes_s / 100))
        self._at = clock.monotonic() + PRUNE_EVERY_S
        self._has_more = False

    def prune(self, turn: Turn) -> None:
        """Forget one bite, if it is time for it."""
        if turn.moment < self._at:
            return
        outcomes = self._storage.prune(ended_before=turn.now - self._keep_outcomes, limit=AT_ONCE_MAX)
        ids = self._storage.prune_ids(ended_before=turn.now - self._keep_ids, limit=AT_ONCE_MAX)
        self._has_more = AT_ONCE_MAX in {outcomes, ids}
        self._at = self._clock.monotonic() + (PAUSE_S if self._has_more else self._every_s)

    def wait_s(self) -> float | None:
        """Return the seconds until the next bite, while there is one; None: the next turn at all is early enough.

        The clock wakes an idle service at least every 30 s.
        """
        return max(0.0, self._at - self._clock.monotonic()) if self._has_more else None
