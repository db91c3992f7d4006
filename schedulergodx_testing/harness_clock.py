"""The clock of a harness: that of a test, until the harness is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx_testing.clock import START, FakeClock
from schedulergodx_testing.errors import not_open

if TYPE_CHECKING:
    from datetime import datetime


class HarnessClock(FakeClock):
    """A `FakeClock` that can be read for ever, and is not moved any more once its harness is closed."""

    def __init__(self, start: datetime = START) -> None:
        super().__init__(start)
        self._is_over = False

    def end(self) -> None:
        """Stand still for good. Moves raise HarnessError from now on: nothing could happen by them."""
        self.wait_through(None)
        self._is_over = True

    def _must_be_alone(self, method: str) -> None:
        if self._is_over:
            raise not_open("closed")
        super()._must_be_alone(method)
