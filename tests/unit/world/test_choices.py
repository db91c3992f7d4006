"""Choices: drawn from a seed, noted, replayed."""

from hypothesis import given
from hypothesis import strategies as st

from schedulergodx_testing.world.choices import Choices

COUNTS = st.lists(st.integers(1, 9), max_size=30)


@given(COUNTS, st.integers())
def test_a_seed_gives_the_same_choices(counts, seed):
    """Whoever asks the same questions gets the same answers."""
    one, other = Choices(seed), Choices(seed)
    assert [one.one_of(count) for count in counts] == [other.one_of(count) for count in counts]
    assert one.taken == other.taken


@given(COUNTS, st.integers(), st.integers())
def test_what_was_taken_is_replayed(counts, seed, other_seed):
    """With any seed; and only where there was a choice at all."""
    noted = Choices(seed)
    answers = [noted.one_of(count) for count in counts]
    assert len(noted.taken) == sum(count > 1 for count in counts)
    replayed = Choices(other_seed, noted.taken)
    assert [replayed.one_of(count) for count in counts] == answers


@given(COUNTS, st.integers(), st.data())
def test_after_a_replay_the_first_comes_first(counts, seed, data):
    """What goes beyond a prefix of a run does not depend on how anything is drawn."""
    noted = Choices(seed)
    answers = [noted.one_of(count) for count in counts]
    kept = data.draw(st.integers(0, len(noted.taken)))
    replayed = Choices(seed, noted.taken[:kept])
    again = [replayed.one_of(count) for count in counts]
    assert replayed.taken == noted.taken[:kept] + [0] * (len(noted.taken) - kept)
    assert all(mine in {theirs, 0} for mine, theirs in zip(again, answers, strict=True))


@given(st.lists(st.integers(0, 99), max_size=20), COUNTS)
def test_a_shrunk_replay_fits_any_question(replay, counts):
    """Choices of another story stay within what can be chosen."""
    choices = Choices(0, replay)
    for count in counts:
        assert 0 <= choices.one_of(count) < count
