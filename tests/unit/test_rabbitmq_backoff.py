"""Pauses between attempts grow, are bounded, and differ between clients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.transport.rabbitmq.backoff import PAUSE_MAX_S, PAUSE_MIN_S, pause_s


@pytest.mark.parametrize(("failures", "expected_s"), [(1, 0.1), (2, 0.2), (5, 1.6), (8, 10.0), (10**6, 10.0)])
def test_it_doubles_up_to_ten_seconds(failures: int, expected_s: float) -> None:
    """From 0.1 s at the first failure to 10 s, also after a broker was away for days."""
    assert pause_s(failures, 0.0) == pytest.approx(expected_s)


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_jitter_takes_at_most_half(failures: int, jitter: float) -> None:
    """Whatever the jitter, there is a pause, and not above the bound."""
    assert pause_s(failures, 0.0) / 2 <= pause_s(failures, jitter) <= pause_s(failures, 0.0) <= PAUSE_MAX_S
    assert pause_s(failures, jitter) >= PAUSE_MIN_S / 2
