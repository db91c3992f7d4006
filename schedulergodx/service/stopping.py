"""How a service stops: first what runs may end, then the last answers go out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedulergodx.utils.abstractions import Clock


class Phase(Enum):
    """RUNNING takes and starts tasks; DRAINING lets running ones end; FLUSHING sends the last answers; then DONE."""

    RUNNING = "running"
    DRAINING = "draining"
    FLUSHING = "flushing"
    DONE = "done"


@dataclass(frozen=True, kw_only=True, slots=True)
class StopReport:
    """How a service stopped.

    Attributes:
        interrupted: ids of tasks that had not ended within the grace; their outcome is TASK_INTERRUPTED, or
            they start again at the next start of the service (`on_crash="retry"`).
        unsent_replies: answers that the broker did not take in time; they are in the database, and go out at the next
            start.
    """

    interrupted: tuple[str, ...] = ()
    unsent_replies: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether everything had ended and was handed over."""
        return not self.interrupted and not self.unsent_replies


class Stopping:
    """The phases and their deadlines. Only the loop's thread uses it."""

    def __init__(self, clock: Clock, *, stop_grace_s: float, reply_flush_s: float) -> None:
        self.phase = Phase.RUNNING
        self._clock = clock
        self._stop_grace_s = stop_grace_s
        self._reply_flush_s = reply_flush_s
        self._deadline = 0.0

    def drain(self, grace_s: float | None) -> None:
        """Begin to stop; `grace_s` None means the service's own setting. Later calls can only shorten the grace."""
        deadline = self._clock.monotonic() + (self._stop_grace_s if grace_s is None else grace_s)
        if self.phase is Phase.RUNNING:
            self.phase, self._deadline = Phase.DRAINING, deadline
        elif self.phase is Phase.DRAINING:
            self._deadline = min(self._deadline, deadline)

    @property
    def is_grace_over(self) -> bool:
        """Whether running tasks have had their time."""
        return self.phase is Phase.DRAINING and self.is_over

    @property
    def is_over(self) -> bool:
        """Whether this phase has had its time."""
        return self.phase is not Phase.RUNNING and self._clock.monotonic() >= self._deadline

    def advance(self, *, is_working: bool, is_sending: bool) -> None:
        """Step on to the next phase, where this one has nothing left to wait for."""
        # Not by the clock: whatever still runs must be given up first, by the turn that finds the grace over.
        if self.phase is Phase.DRAINING and not is_working:
            self.phase, self._deadline = Phase.FLUSHING, self._clock.monotonic() + self._reply_flush_s
        if self.phase is Phase.FLUSHING and (not is_sending or self.is_over):
            self.phase = Phase.DONE

    def wait_s(self) -> float | None:
        """Return the seconds until this phase ends by itself, or None."""
        if self.phase is Phase.RUNNING:
            return None
        return max(0.0, self._deadline - self._clock.monotonic())
