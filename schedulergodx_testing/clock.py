"""A clock that stands still until somebody moves it. Wall time and monotonic time are apart, as in a real machine."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime, timedelta
from numbers import Real
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from schedulergodx.errors import InvalidParameter
from schedulergodx_testing.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

START = datetime(2026, 1, 1, tzinfo=UTC)
"""When a fake clock begins, unless it is told otherwise."""
FIRST, LAST = datetime(100, 1, 1, tzinfo=UTC), datetime(9900, 1, 1, tzinfo=UTC)
"""Where a wall clock can be. Moments around it must be dates too, e.g. that of what is due in ten years."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = 1_000_000
_MONOTONIC_START_S = 1_000.0  # not 0, so that nobody takes a moment for a length of time
_TOLERANCE_US = 1e-3  # floats of seconds are not exact: 0.1 + 0.2


class FakeClock:
    """A `Clock` for tests. It counts whole microseconds, so that sums of waits are exact. Safe from any thread.

    Used alone, `wait_for` jumps over the wait; within a `Harness`, the harness decides what happens meanwhile.

    Args:
        start: the wall time at the beginning, aware, from `FIRST` to `LAST`.

    Raises:
        InvalidParameter: `start` has no time zone, or is outside the years in which a clock can be.
    """

    def __init__(self, start: datetime = START) -> None:
        if not FIRST <= _aware("start", start) <= LAST:
            raise InvalidParameter(f"start must be within {_YEARS}; got {start}")
        self._wall_us = _microseconds(start)
        self._now = (self._wall_us, start.astimezone(UTC))
        self._monotonic_us = int(_MONOTONIC_START_S * _US)
        self._lock = threading.Lock()
        self._waiting: Callable[[SimpleQueue[object], float | None], object] | None = None

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        wall_us, moment = self._now  # made once for each moment, and looked at many times
        if wall_us != self._wall_us:
            wall_us = self._wall_us
            moment = _EPOCH + timedelta(microseconds=wall_us)
            self._now = (wall_us, moment)
        return moment

    def monotonic(self) -> float:
        """Return the monotonic time in seconds."""
        return self._monotonic_us / _US

    def wait_for(self, inbox: SimpleQueue[T], timeout_s: float | None) -> T | None:
        """Return the next thing in `inbox`; when there is none, jump over `timeout_s` seconds and return None.

        With None there is nothing to jump to, and it returns at once.

        Raises:
            InvalidParameter: the calendar ends before the wait; nothing has moved.
        """
        if self._waiting is not None:
            return self._waiting(inbox, timeout_s)  # type: ignore[arg-type, return-value]  # what is in the inbox
        try:
            return inbox.get_nowait()
        except Empty:
            if timeout_s is not None and timeout_s > 0:
                self._forward(self.ahead_us(timeout_s))
            return None

    def advance(
        self,
        delta: timedelta | None = None,
        *,
        seconds: float = 0.0,
        minutes: float = 0.0,
        hours: float = 0.0,
        days: float = 0.0,
    ) -> None:
        """Let time pass: wall and monotonic time go on together.

        Raises:
            InvalidParameter: the time is no number, negative, NaN or infinite (clocks that jump back are for
                `jump_wall`), or leads beyond `LAST`; nothing has moved.
            HarnessError: it is the clock of an open harness, which has an `advance` of its own.
        """
        self._must_be_alone("advance")
        self._forward(self.ahead_us(span_s(delta, seconds=seconds, minutes=minutes, hours=hours, days=days)))

    def travel_to(self, moment: datetime) -> None:
        """Let time pass until the wall shows `moment`.

        Raises:
            InvalidParameter: it has no time zone, or is over (use `jump_wall` for a clock that is set back), or is
                beyond `LAST`; nothing has moved.
            HarnessError: it is the clock of an open harness.
        """
        self._must_be_alone("travel_to")
        self._forward(self.until(moment) // timedelta(microseconds=1))

    def until(self, moment: datetime) -> timedelta:
        """Return how long it is until the wall shows `moment`.

        Raises:
            InvalidParameter: it has no time zone, or is over.
        """
        left = _aware("moment", moment) - self.now()
        if left < timedelta():
            raise InvalidParameter(f"{moment} is over: it is {self.now()}; jump_wall sets a wall clock back")
        return left

    def jump_wall(
        self,
        delta: timedelta | None = None,
        *,
        seconds: float = 0.0,
        minutes: float = 0.0,
        hours: float = 0.0,
        days: float = 0.0,
    ) -> None:
        """Set the wall clock, forward or back, as an operator or NTP does. No time passes by it.

        Raises:
            InvalidParameter: the time is no number, NaN or infinite, or leads out of `FIRST` to `LAST`; nothing has
                moved.
            HarnessError: it is the clock of an open harness.
        """
        self._must_be_alone("jump_wall")
        self.set_wall(jump_s(delta, seconds=seconds, minutes=minutes, hours=hours, days=days))

    def _must_be_alone(self, method: str) -> None:
        if self._waiting is not None:
            raise HarnessError(
                f"this clock is a harness's: moved by itself, it lets nothing happen. Use scheduler.{method}(…)"
            )

    def _forward(self, by_us: int) -> None:
        with self._lock:
            if self._wall_us + by_us > _LAST_US:
                raise self._out_of_the_calendar(by_us / _US)
            self._wall_us += by_us
            self._monotonic_us += by_us

    def _must_hold(self, by_s: float) -> None:
        """Refuse to be moved out of the calendar."""
        if not _FIRST_US <= self._wall_us + by_s * _US <= _LAST_US:  # also where that is infinite
            raise self._out_of_the_calendar(by_s)

    def _out_of_the_calendar(self, by_s: float) -> InvalidParameter:
        return InvalidParameter(
            f"the wall clock shows {self.now()} and cannot be moved by {by_s:g} s: it stays within {_YEARS}. Move it "
            "by less; is the unit right?"
        )

    # For the harness:

    def set_wall(self, by_s: float) -> None:
        """Set the wall clock by so many seconds, as `jump_wall` does. InvalidParameter: out of the calendar."""
        with self._lock:
            self._must_hold(by_s)
            self._wall_us += round(by_s * _US)

    def ahead_us(self, by_s: float) -> int:
        """Return a length of time from now as whole microseconds, rounded up.

        Raises:
            InvalidParameter: the calendar ends before it does.
        """
        self._must_hold(by_s)
        return microseconds_up(by_s)

    def monotonic_us(self) -> int:
        """Return the monotonic time in whole microseconds."""
        return self._monotonic_us

    def forward_to_us(self, moment_us: int) -> None:
        """Let time pass until that monotonic moment; nothing, if it is over."""
        self._forward(max(0, moment_us - self._monotonic_us))

    def wait_through(self, waiting: Callable[[SimpleQueue[object], float | None], object] | None) -> None:
        """Have `waiting` do every wait from now on; None: the clock itself again."""
        self._waiting = waiting


def span_s(
    delta: timedelta | None, *, seconds: float = 0.0, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0
) -> float:
    """Return a length of time in seconds. Raises InvalidParameter when it is no number, negative, NaN or infinite."""
    total_s = _together_s("advance", seconds, minutes, hours, days) + _delta_s(delta, "advance")
    if not math.isfinite(total_s) or total_s < 0:
        raise InvalidParameter(
            f"time passes forward only, by a finite number of seconds; got {total_s!r}. jump_wall(…) sets the wall "
            "clock back"
        )
    return total_s


def jump_s(
    delta: timedelta | None, *, seconds: float = 0.0, minutes: float = 0.0, hours: float = 0.0, days: float = 0.0
) -> float:
    """Return by how many seconds a wall clock is set, forward or back.

    Raises:
        InvalidParameter: it is no number, NaN or infinite.
    """
    by_s = _together_s("jump_wall", seconds, minutes, hours, days) + _delta_s(delta, "jump_wall")
    if not math.isfinite(by_s):
        raise InvalidParameter(f"a clock is set by a finite number of seconds, forward or back; got {by_s!r}")
    return by_s


def _together_s(method: str, seconds: object, minutes: object, hours: object, days: object) -> float:
    return (
        _number(method, "seconds", seconds)
        + _number(method, "minutes", minutes) * 60
        + _number(method, "hours", hours) * 3600
        + _number(method, "days", days) * 86400
    )


def _number(method: str, unit: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidParameter(f"{unit} must be a number, as in {method}({unit}=5); got {type(value).__name__}")
    try:
        return float(value)
    except OverflowError:  # a whole number beyond any float
        return -math.inf if value < 0 else math.inf


def _delta_s(delta: object, method: str) -> float:
    if delta is None:
        return 0.0
    if isinstance(delta, timedelta):
        return delta.total_seconds()
    shown = f"{method}(seconds={delta!r})" if isinstance(delta, (int, float)) else f"{method}(seconds=…)"
    raise InvalidParameter(f"a length of time has a unit, or is a timedelta: {shown}; got {type(delta).__name__}")


def microseconds_up(seconds: float) -> int:
    """Return seconds as whole microseconds, rounded up, so that who waited so long has waited long enough."""
    return max(0, math.ceil(seconds * _US - _TOLERANCE_US))


def _aware(name: str, moment: Any) -> datetime:
    if not isinstance(moment, datetime) or moment.tzinfo is None or moment.utcoffset() is None:
        raise InvalidParameter(
            f"{name} needs a datetime with a time zone, e.g. datetime(2026, 1, 31, tzinfo=timezone.utc)"
        )
    return moment


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


_FIRST_US, _LAST_US = _microseconds(FIRST), _microseconds(LAST)
_YEARS = (
    f"the years {FIRST.year} to {LAST.year - 1}, since Python's calendar ends with the year 9999 (and begins with 1), "
    "and what is due later must fit in"
)
