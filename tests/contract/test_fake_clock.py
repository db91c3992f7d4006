"""The clock of tests keeps the contract of clocks: alone, and as the one that clients see while a harness is open."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from schedulergodx.clock import CurrentClock
from schedulergodx.errors import InvalidParameter
from schedulergodx_testing import FakeClock, Harness
from schedulergodx_testing.contracts.clock import ClockContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class TestFakeClock(ClockContract):
    """Used alone: a wait jumps over its time."""

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def put_later(self) -> Callable[[SimpleQueue[str], str, float], None]:
        pytest.skip("a fake clock that is used alone jumps over each wait: nothing can happen in it")


class TestCurrentClockInAHarness(ClockContract):
    """What clients and services see while a harness is open."""

    @pytest.fixture
    def scheduler(self) -> Iterator[Harness]:
        with Harness() as scheduler:
            yield scheduler

    @pytest.fixture
    def clock(self, scheduler: Harness) -> CurrentClock:
        return CurrentClock()

    @pytest.fixture
    def put_later(self, scheduler: Harness) -> Iterator[Callable[[SimpleQueue[str], str, float], None]]:
        timers: list[threading.Timer] = []

        def put(inbox: SimpleQueue[str], item: str, after_s: float) -> None:
            timers.append(threading.Timer(after_s, inbox.put, [item]))  # in virtual time, like everything here
            timers[-1].start()

        yield put
        for timer in timers:
            timer.join(10)


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_it_stands_still() -> None:
    """Until somebody moves it, both of its times."""
    clock = FakeClock(NOON)
    assert [(clock.now(), clock.monotonic()) for _ in range(3)] == [(NOON, clock.monotonic())] * 3


def test_both_times_pass_together() -> None:
    """By `advance`, by a wait, and by `travel_to`, to the microsecond."""
    clock = FakeClock(NOON)
    before_s = clock.monotonic()
    clock.advance(hours=1, minutes=1, seconds=0.1)
    clock.wait_for(SimpleQueue(), 0.2)
    clock.travel_to(clock.now() + timedelta(days=1, microseconds=1))
    assert clock.now() == NOON + timedelta(days=1, hours=1, minutes=1, seconds=0.3, microseconds=1)
    assert clock.monotonic() - before_s == pytest.approx(90_060.300001, abs=1e-6)


def test_many_small_waits_are_exact() -> None:
    """Ten thousand tenths of a second are a thousand seconds."""
    clock = FakeClock(NOON)
    for _ in range(10_000):
        clock.advance(seconds=0.1)
    assert clock.now() == NOON + timedelta(seconds=1000)


@pytest.mark.parametrize("hours", [1, -1, 24 * 3650])
def test_a_jump_moves_the_wall_alone(hours: float) -> None:
    """As an operator, NTP or a resumed machine does: no time passes by it."""
    clock = FakeClock(NOON)
    before_s = clock.monotonic()
    clock.jump_wall(hours=hours)
    assert clock.now() == NOON + timedelta(hours=hours)
    assert clock.monotonic() == before_s


@pytest.mark.parametrize("seconds", [-1, -1e-6, float("nan"), float("inf")])
def test_time_does_not_pass_backwards(seconds: float) -> None:
    """Nor by no number; the clock is as it was, and the error names what sets a wall clock back."""
    clock = FakeClock(NOON)
    with pytest.raises(InvalidParameter, match="time passes forward only"):
        clock.advance(seconds=seconds)
    assert clock.now() == NOON


def test_travel_goes_forward_only() -> None:
    """And to a moment that is one, of whatever time zone."""
    clock = FakeClock(NOON)
    with pytest.raises(InvalidParameter, match="jump_wall sets a wall clock back"):
        clock.travel_to(NOON - timedelta(seconds=1))
    with pytest.raises(InvalidParameter, match="moment needs a datetime with a time zone"):
        clock.travel_to(datetime(2027, 1, 1))  # noqa: DTZ001 - what is refused
    clock.travel_to(datetime(2026, 3, 1, 15, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now() == NOON + timedelta(hours=1)


def test_a_start_needs_a_time_zone() -> None:
    """A naive one would mean another moment on each machine."""
    with pytest.raises(InvalidParameter, match="start needs a datetime with a time zone"):
        FakeClock(datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused
