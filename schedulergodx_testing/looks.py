"""A test that asks again and again whether something has ended, and lets nothing happen in between."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from schedulergodx_testing.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOKS_MAX = 100_000
"""Looks at one launch, with nothing in between, after which they count as a loop without an end."""


class Looks:
    """Counts looks of a test at what has not ended."""

    def __init__(self) -> None:
        self._last: object = None
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
        look = (message_id, state)
        self._count = self._count + 1 if look == self._last else 1
        self._last = look
        if self._count > LOOKS_MAX:
            self._count = 0
            raise HarnessError(
                f"the test has asked {LOOKS_MAX} times for the outcome of {message_id}, and let nothing happen. "
                "Nothing happens by itself: advance(…), run_until_idle() or run_until(id) lets it"
            )
