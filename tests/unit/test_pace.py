"""How many tasks are claimed ahead: as many as ended a moment ago."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.rules.pace import AHEAD_MAX, WINDOW_MAX_S, WINDOW_S, Pace


def test_nothing_is_claimed_ahead_before_anything_has_ended() -> None:
    """A single task, and the first of many, find their threads one commit at a time."""
    pace = Pace()
    pace.ended(0, 5.0)
    assert pace.ahead(5.0) == 0


def test_a_moment_later_it_is_forgotten() -> None:
    """What has ended counts for a moment, to its very end."""
    pace = Pace()
    pace.ended(3, 1.0)
    pace.ended(4, 1.0 + WINDOW_S / 2)
    assert [pace.ahead(1.0 + part * WINDOW_S) for part in (0.5, 1.0, 1.01, 1.5, 1.51, 9)] == [7, 7, 4, 4, 0, 0]


def test_while_turns_take_long_a_moment_is_two_of_them() -> None:
    """Else what ended during one turn would be forgotten at the next, and hardly anything be claimed ahead."""
    pace = Pace()
    pace.took(WINDOW_S)
    pace.ended(3, 1.0)
    pace.ended(4, 1.0 + WINDOW_S)
    assert [pace.ahead(1.0 + 2 * WINDOW_S), pace.ahead(1.0 + 2.01 * WINDOW_S)] == [7, 4]
    pace.took(0.001)
    assert pace.ahead(1.0 + 2.01 * WINDOW_S) == 0


def test_a_moment_is_no_longer_than_half_a_second_however_long_a_turn_takes() -> None:
    """A disk that stood still says nothing about the tasks."""
    pace = Pace()
    pace.took(60.0)
    pace.ended(5, 1.0)
    assert [pace.ahead(1.0 + WINDOW_MAX_S), pace.ahead(1.001 + WINDOW_MAX_S)] == [5, 0]


def test_there_is_a_most() -> None:
    """However many end, and they are counted on all the same."""
    pace = Pace()
    pace.ended(10 * AHEAD_MAX, 1.0)
    pace.ended(1, 1.0 + WINDOW_S)
    assert [pace.ahead(1.0 + WINDOW_S), pace.ahead(1.0 + 2 * WINDOW_S)] == [AHEAD_MAX, 1]


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 0.2)), max_size=30))
def test_it_is_what_has_ended_within_the_window(ends: list[tuple[int, float]]) -> None:
    """Whatever comes when, and however often it is asked."""
    pace, moment, so_far = Pace(), 0.0, []
    for count, pause_s in ends:
        moment += pause_s
        pace.ended(count, moment)
        so_far.append((count, moment))
        recent = sum(one for one, ended_at in so_far if ended_at >= moment - WINDOW_S)
        assert pace.ahead(moment) == min(recent, AHEAD_MAX)
