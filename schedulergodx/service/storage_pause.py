"""What the service does while its database cannot be written: wait, with growing pauses, and keep everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedulergodx.errors import StorageError
    from schedulergodx.utils.abstractions import Clock
    from schedulergodx.utils.logger import CoreLogger

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0


class StoragePause:
    """Says when to try the database again, and logs once when it fails and once when it works. One thread uses it."""

    def __init__(self, clock: Clock, logger: CoreLogger) -> None:
        self.error: StorageError | None = None
        self._clock = clock
        self._logger = logger
        self._pause_s = FIRST_PAUSE_S
        self._until = 0.0

    @property
    def is_on(self) -> bool:
        """Whether the database is to be left alone for now."""
        return self.error is not None and self._clock.monotonic() < self._until

    def wait_s(self) -> float:
        """Return the seconds until the next try."""
        return max(0.0, self._until - self._clock.monotonic())

    def begin(self, error: StorageError) -> None:
        """Note a failure."""
        if self.error is None:
            self._logger.error("nothing is stored or acked for now, the broker keeps it: %s", error)
            self._pause_s = FIRST_PAUSE_S
        self.error = error
        self._until = self._clock.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    def over(self) -> None:
        """Note a success."""
        if self.error is not None:
            self._logger.warning("the database can be written again; the service goes on")
            self.error = None
