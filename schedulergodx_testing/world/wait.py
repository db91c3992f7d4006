"""What the driver of a world waits for, and how much has happened meanwhile: an end that never comes is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedulergodx_testing.world.threads import Parked

EVENTS_MAX = 1_000_000
"""What may happen in one wait before it counts as endless."""
INSTANT_MAX = 100_000
"""What may happen at one instant before it counts as endless."""
EVENTS_OF_A_LAUNCH = 100
"""What may happen besides, for each launch that is known when a wait begins: a launch and its answer take about ten."""


class Wait:
    """One wait of the driver.

    Args:
        parked: what for, and until when.
        may_time_pass: whether the clock may be moved for it.
        is_users: whether it is for a condition of the test: that is asked by the driver only, since it may do anything.
        is_further: whether it is a further part of one that has no limit.
    """

    def __init__(
        self, parked: Parked, *, may_time_pass: bool = True, is_users: bool = False, is_further: bool = False
    ) -> None:
        self.parked = parked
        self.may_time_pass = may_time_pass
        self.is_users = is_users
        self.is_further = is_further
        self._events_max = self._instant_max = 0
        self._events = 0
        self._at_instant = 0

    def begin(self, events_max: int, launches: int) -> None:
        """Begin. `events_max`: what may happen before it counts as endless, `launches`: how many there are so far."""
        known = EVENTS_OF_A_LAUNCH * launches
        self._events_max = events_max + known
        self._instant_max = INSTANT_MAX + known

    @property
    def is_endless(self) -> bool:
        """Whether so much has happened that there seems to be no end."""
        return self._at_instant > self._instant_max or self._events >= self._events_max

    @property
    def count(self) -> int:
        """How much that was: at one instant, or in all."""
        return self._at_instant if self._at_instant > self._instant_max else self._events

    def happened(self) -> None:
        """Count one thing."""
        self._events += 1
        self._at_instant += 1

    def passed(self) -> None:
        """Note that time has passed."""
        self._events += 1
        self._at_instant = 0

    def may_last_until(self, moment_us: int) -> bool:
        """Return whether time may pass until that moment of the monotonic clock."""
        deadline_us = self.parked.deadline_us
        return self.may_time_pass and (deadline_us is None or moment_us <= deadline_us)
