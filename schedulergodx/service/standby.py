"""Waiting for a database that another service holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedulergodx.utils.abstractions import Clock

TRY_EVERY_S = 1.0
"""How soon a standby takes over when the lock is free: the system frees it with the process that held it."""


class Standby:
    """When to ask for the database again. Only the loop's thread uses it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = clock.monotonic() + TRY_EVERY_S

    def wait_s(self) -> float:
        """Return the seconds until the next try."""
        return max(0.0, self._at - self._clock.monotonic())

    def is_time(self) -> bool:
        """Return whether it is time for a try; then the next one is later."""
        if self.wait_s() > 0:
            return False
        self._at = self._clock.monotonic() + TRY_EVERY_S
        return True
