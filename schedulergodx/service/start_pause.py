"""The pause after a run for which the system had no thread, process or descriptor left."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedulergodx.utils.abstractions import Clock
    from schedulergodx.utils.logger import CoreLogger

FIRST_S = 0.5
LONGEST_S = 15.0


class StartPause:
    """While it is on nothing starts; each failure after it makes the next one longer. Only the loop's thread uses it.

    Tasks go on being taken and stored meanwhile: they wait in the database, which costs no descriptor.
    """

    def __init__(self, clock: Clock, logger: CoreLogger) -> None:
        self._clock = clock
        self._logger = logger
        self._ends_at: float | None = None
        self._next_s = FIRST_S

    @property
    def is_on(self) -> bool:
        """Whether nothing may start now."""
        return self._ends_at is not None and self._clock.monotonic() < self._ends_at

    def begin(self, reason: str) -> None:
        """Start nothing for a while. Runs that failed together make one pause; only the first of a row is logged."""
        if self.is_on:
            return
        if self._next_s == FIRST_S:
            self._logger.error(
                "no task can be started (%s): the service starts none for a while and tries again, at least every "
                "%g s; tasks are still taken and stored. Raise its limits of processes and open files (ulimit -u, -n), "
                "or give it fewer threads and processes",
                reason,
                LONGEST_S,
            )
        self._ends_at = self._clock.monotonic() + self._next_s
        self._next_s = min(2 * self._next_s, LONGEST_S)

    def over(self) -> None:
        """A run has come to its end: there are threads and processes again."""
        if self._ends_at is not None and not self.is_on:
            self._logger.warning("tasks can be started again")
            self._ends_at, self._next_s = None, FIRST_S

    def wait_s(self) -> float | None:
        """Return the seconds until starting is tried again, or None."""
        return max(0.0, self._ends_at - self._clock.monotonic()) if self._ends_at is not None and self.is_on else None
