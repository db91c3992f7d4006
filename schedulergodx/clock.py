"""The system's clocks, and the only wait of the library. The one file that imports `time`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")

WAIT_MAX_S = 30.0
"""Longest single wait in seconds, so that a jump of the wall clock is noticed within it."""


class SystemClock:
    """The production `Clock`: the machine's own time. Safe from any thread."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC. It may jump."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back, since some unstated moment."""
        return time.monotonic()

    def wait_for(self, inbox: SimpleQueue[T], timeout_s: float | None) -> T | None:
        """Return the next thing in `inbox`, or None when `timeout_s` seconds went by without one.

        None waits at most `WAIT_MAX_S`, and so does anything above it: a caller loops anyway.
        """
        if timeout_s is not None and timeout_s <= 0:
            try:
                return inbox.get_nowait()
            except Empty:
                return None
        try:
            return inbox.get(timeout=WAIT_MAX_S if timeout_s is None else min(timeout_s, WAIT_MAX_S))
        except Empty:
            return None
