"""A test that looks again and again, and lets nothing happen in between: it would never end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from schedulergodx_testing.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOKS_MAX = 100_000
"""Looks at launches, with nothing in between, after which they count as a loop without an end."""
CLOCK_LOOKS_MAX = 1_000_000
"""The same of looks at a clock, which are many in an honest program too."""
_HELP = "Nothing happens by itself: advance(…), run_until_idle() or run_until(id) lets it"


class Looks:
    """Counts looks of a test at what has not ended."""

    def __init__(self) -> None:
        self._state: object = None
        self._count = 0
        self._waits = 0

    @contextmanager
    def while_waiting(self) -> Iterator[None]:
        """Count nothing in the block: things happen in it."""
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1

    def at(self, message_id: str, state: object) -> None:
        """Note a look at a launch that has not ended, the world being in `state`. Raises HarnessError for a loop."""
        if self._waits:
            return
        self._count = self._count + 1 if state == self._state else 1
        self._state = state
        if self._count > LOOKS_MAX:
            self._count = 0
            raise HarnessError(
                f"the test has asked {LOOKS_MAX} times for outcomes, at last for that of {message_id}, and let nothing "
                f"happen. {_HELP}"
            )


class ClockLooks:
    """Counts looks of a test's body at the clock of one instant."""

    def __init__(self) -> None:
        self._instant_us = -1
        self._count = 0

    def at(self, instant_us: int) -> None:
        """Note a look. Raises HarnessError for a loop."""
        if instant_us != self._instant_us:
            self._instant_us, self._count = instant_us, 0
        self._count += 1
        if self._count > CLOCK_LOOKS_MAX:
            self._count = 0
            raise HarnessError(
                f"the test has looked at the clock {CLOCK_LOOKS_MAX} times at one instant: it waits in a loop for time "
                f"that does not pass. {_HELP}; time.sleep(…) lets time pass, too"
            )
