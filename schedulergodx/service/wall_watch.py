"""Telling of a wall clock that was set: what waits becomes due earlier or later by it, and somebody should know why."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from schedulergodx.utils.abstractions import Clock
    from schedulergodx.utils.logger import CoreLogger

LEAST_S = 5.0
"""Smaller steps are what time servers do all the time."""


class WallWatch:
    """Compares the wall clock with the one that never jumps, turn by turn. Only the loop's thread uses it."""

    def __init__(self, clock: Clock, logger: CoreLogger) -> None:
        self._logger = logger
        self._wall = clock.now()
        self._monotonic = clock.monotonic()

    def look(self, now: datetime, monotonic: float) -> None:
        """Log a step of the wall clock since the last look; the two moments are one."""
        step_s = (now - self._wall).total_seconds() - (monotonic - self._monotonic)
        self._wall, self._monotonic = now, monotonic
        if abs(step_s) >= LEAST_S:
            self._logger.warning(
                "the wall clock went %s by %.0f s, to %s: it was set, or the machine slept; tasks wait for their "
                "moment on it, lifetimes do not depend on it",
                "forward" if step_s > 0 else "back",
                abs(step_s),
                f"{now:%Y-%m-%d %H:%M:%S} UTC",
            )
