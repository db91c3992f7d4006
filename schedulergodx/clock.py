"""The system's clocks, and the only wait of the library. The one file that imports `time`.

`SystemClock` is always the machine's own; connections use it, since heartbeats are real. `CurrentClock` is what clients
and services use: the machine's, or that of a test harness while one is open.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from queue import Empty, SimpleQueue
from typing import TypeVar

from schedulergodx import redirection

T = TypeVar("T")

WAIT_MAX_S = 1.0
"""Longest single wait in seconds, so that a jump of the wall clock is noticed within it, and a signal, too.

A signal that comes in the moment before the system's wait begins does not end it: Python sees it only afterwards.
"""


class SystemClock:
    """The machine's own time. Safe from any thread."""

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


class CurrentClock:
    """The machine's time, or that of the test harness that is open. Safe from any thread."""

    def __init__(self) -> None:
        self._system = SystemClock()

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC. It may jump."""
        return self._system.now() if (test := redirection.active()) is None else test.clock.now()

    def monotonic(self) -> float:
        """Return seconds that never go back, since some unstated moment."""
        return self._system.monotonic() if (test := redirection.active()) is None else test.clock.monotonic()

    def wait_for(self, inbox: SimpleQueue[T], timeout_s: float | None) -> T | None:
        """Return the next thing in `inbox`, or None when `timeout_s` seconds went by without one."""
        test = redirection.active()
        return (self._system if test is None else test.clock).wait_for(inbox, timeout_s)
