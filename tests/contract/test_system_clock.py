"""The system's clocks keep the contract of clocks."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from schedulergodx.clock import WAIT_MAX_S, CurrentClock, SystemClock
from schedulergodx_testing.contracts.clock import ClockContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class RealClockContract(ClockContract):
    """The contract, for clocks of which the time passes by itself."""

    @pytest.fixture
    def put_later(self) -> Iterator[Callable[[SimpleQueue[str], str, float], None]]:
        timers: list[threading.Timer] = []

        def put(inbox: SimpleQueue[str], item: str, after_s: float) -> None:
            timers.append(threading.Timer(after_s, inbox.put, [item]))
            timers[-1].start()

        yield put
        for timer in timers:
            timer.join(10)


class TestSystemClock(RealClockContract):
    """The machine's."""

    @pytest.fixture
    def clock(self) -> SystemClock:
        return SystemClock()


class TestCurrentClock(RealClockContract):
    """That of clients and services, outside of every harness."""

    @pytest.fixture
    def clock(self) -> CurrentClock:
        return CurrentClock()


@pytest.mark.parametrize("timeout_s", [None, 1e12, WAIT_MAX_S])
def test_no_single_wait_is_longer_than_the_bound(monkeypatch: pytest.MonkeyPatch, timeout_s: float | None) -> None:
    """So that a jump of the wall clock is noticed, and the platform's own limit is never met."""
    asked: list[float] = []

    class Inbox(SimpleQueue):  # type: ignore[type-arg]
        def get(self, block: bool = True, timeout: float | None = None) -> str:
            asked.append(-1.0 if timeout is None else timeout)
            return "letter"

    assert SystemClock().wait_for(Inbox(), timeout_s) == "letter"
    assert asked == [WAIT_MAX_S]
