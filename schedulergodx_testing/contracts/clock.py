"""The contract of `Clock`: what everything that tells the time, and waits, must do."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.utils.abstractions import Clock

_TICK_S = 1 / 64  # whole microseconds, and exact as a float
"""A wait that is long enough to be measured by any clock, and short enough for a test."""
_READINGS = 200


class ClockContract:
    """Subclass it, give `clock` and `put_later`, and every test below runs against your clock."""

    @pytest.fixture
    def clock(self) -> Clock:
        """Return the clock."""
        raise NotImplementedError("return a clock")

    @pytest.fixture
    def put_later(self) -> Callable[[SimpleQueue[str], str, float], None]:
        """Return a function `put(inbox, item, after_s)` that puts `item` into `inbox` while somebody waits.

        `after_s`: seconds of this clock. It returns at once. Skip the test where nothing can happen during a wait.
        """
        raise NotImplementedError("return a function that fills an inbox while somebody waits on it")

    # Telling the time

    def test_now_is_aware_and_in_utc(self, clock: Clock) -> None:
        """A naive datetime, or one in local time, would mean another moment elsewhere."""
        now = clock.now()
        assert type(now) is datetime, "a subclass would travel in pickles"
        assert now.tzinfo is UTC

    def test_monotonic_is_a_finite_number(self, clock: Clock) -> None:
        """In seconds."""
        seconds = clock.monotonic()
        assert isinstance(seconds, float)
        assert math.isfinite(seconds)

    def test_monotonic_never_goes_back(self, clock: Clock) -> None:
        """Also between the readings of several threads, each after the other."""
        readings: list[float] = []

        def read() -> None:
            readings.extend(clock.monotonic() for _ in range(_READINGS))

        for _ in range(3):
            thread = threading.Thread(target=read)
            thread.start()
            thread.join(10)
        assert readings == sorted(readings)
        assert len(readings) == 3 * _READINGS

    # Waiting

    def test_what_is_there_comes_at_once(self, clock: Clock) -> None:
        """Nothing passes on the clock while the inbox has something, whatever the timeout."""
        for timeout_s in (None, 0.0, -1.0, 3600.0):
            inbox: SimpleQueue[str] = SimpleQueue()
            inbox.put("letter")
            before_s = clock.monotonic()
            assert clock.wait_for(inbox, timeout_s) == "letter"
            assert clock.monotonic() - before_s < 1, f"waited although something was there, with {timeout_s}"

    def test_things_come_in_order(self, clock: Clock) -> None:
        """The first one that was put in is the first one that comes, and each comes once."""
        inbox: SimpleQueue[int] = SimpleQueue()
        for number in range(3):
            inbox.put(number)
        assert [clock.wait_for(inbox, _TICK_S) for _ in range(3)] == [0, 1, 2]
        assert clock.wait_for(inbox, 0) is None

    @pytest.mark.parametrize("timeout_s", [0, 0.0, -0.0, -5.0])
    def test_no_time_to_wait_is_a_look(self, clock: Clock, timeout_s: float) -> None:
        """With nothing there and no time left, it returns None at once."""
        before_s = clock.monotonic()
        assert clock.wait_for(SimpleQueue(), timeout_s) is None
        assert clock.monotonic() - before_s < 1

    def test_a_wait_takes_its_time(self, clock: Clock) -> None:
        """None comes when the timeout is over, not before, on both of its clocks."""
        before_s, before = clock.monotonic(), clock.now()
        assert clock.wait_for(SimpleQueue(), _TICK_S) is None
        assert clock.monotonic() - before_s >= _TICK_S
        assert clock.now() - before >= timedelta(seconds=_TICK_S) - timedelta(milliseconds=1)

    def test_who_waits_long_enough_has_waited_long_enough(self, clock: Clock) -> None:
        """Waiting again for what is left, as every caller does, reaches the deadline in few rounds."""
        deadline_s = clock.monotonic() + _TICK_S
        rounds = 0
        while (left_s := deadline_s - clock.monotonic()) > 0:
            assert clock.wait_for(SimpleQueue(), left_s) is None
            rounds += 1
            assert rounds < 100, "a wait that returns early, again and again"
        assert clock.monotonic() >= deadline_s

    def test_what_comes_during_a_wait_ends_it(
        self, clock: Clock, put_later: Callable[[SimpleQueue[str], str, float], None]
    ) -> None:
        """A caller that waits for an hour hears of it long before."""
        inbox: SimpleQueue[str] = SimpleQueue()
        before_s = clock.monotonic()
        put_later(inbox, "letter", _TICK_S)
        heard = None
        while heard is None and clock.monotonic() - before_s < 3600:
            heard = clock.wait_for(inbox, 3600)
        assert heard == "letter"
        assert clock.monotonic() - before_s < 1800

    def test_waits_without_a_timeout_end_when_something_comes(
        self, clock: Clock, put_later: Callable[[SimpleQueue[str], str, float], None]
    ) -> None:
        """None as a timeout may return early, empty-handed; asking again gets it."""
        inbox: SimpleQueue[str] = SimpleQueue()
        put_later(inbox, "letter", _TICK_S)
        heard = None
        while heard is None:
            heard = clock.wait_for(inbox, None)
        assert heard == "letter"
