"""Shares of ends: which of those that wait a turn records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.rules.lifecycle import Code, Report
from schedulergodx.service import ends
from schedulergodx.service.ends import BYTES_LEAST, Ends
from schedulergodx.utils.abstractions import Finished

ROOM = 10
"""In small ends."""


@pytest.fixture(autouse=True)
def little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "TURN_BYTES_MAX", ROOM * BYTES_LEAST)
    monkeypatch.setattr(ends, "CLIENT_BYTES_MAX", 20 * BYTES_LEAST)
    monkeypatch.setattr(ends, "ALL_BYTES_MAX", 100 * BYTES_LEAST)


def end(name: str, size: int = 1) -> Finished:
    """Return the end of a run that counts as so many small ones."""
    return Finished(message_id=name, report=Report(code=Code.OK, result="x" * (size - 1) * BYTES_LEAST))


def made(**of_clients: list[int]) -> Ends:
    """Return ends of clients that have come one after the other; those of client `a` are named a0, a1 and so on."""
    waiting = Ends(whose)
    for client, sizes in of_clients.items():
        for number, size in enumerate(sizes):
            waiting.add(end(f"{client}{number}", size))
    return waiting


def whose(name: str) -> str:
    """Return the client whose run has such a name."""
    return "" if name == "late" else name.rstrip("0123456789")


def taken(waiting: Ends, count_max: int = 500) -> list[str]:
    return [one.message_id for one in waiting.take(count_max)]


def test_where_there_is_room_for_all_they_come_in_their_order() -> None:
    """Whoever they belong to."""
    waiting = Ends(whose)
    for name in ("a0", "b0", "a1"):
        waiting.add(end(name))
    assert taken(waiting) == ["a0", "b0", "a1"]
    assert not waiting
    assert taken(waiting) == []


def test_a_small_one_does_not_wait_for_those_before_it() -> None:
    """Nor for a large one, in the turn in which it is there."""
    waiting = made(flood=[8] * 9, large=[50], single=[1])
    assert taken(waiting) == ["single0", "flood0"]
    assert "large0" in waiting


def test_what_fits_no_share_has_every_second_turn() -> None:
    """One at a time, and those of several clients in turn, however many others there are."""
    waiting = made(a=[50, 50], b=[50, 50])
    assert [taken(waiting) for _ in range(8)] == [[], ["a0"], [], ["b0"], [], ["a1"], [], ["b1"]]
    assert not waiting


def test_a_large_one_does_not_wait_for_ever_behind_small_ones() -> None:
    """Those of others are taken first, turn after turn, and it has its own turn nevertheless."""
    waiting = made(large=[50])
    turns = 0
    while "large0" in waiting or not turns:
        for number in range(20):
            waiting.add(end(f"flood{turns}{number:02}"))
        taken(waiting, 5)
        turns += 1
        assert turns <= 3


def test_a_turn_has_no_more_than_its_room_and_one() -> None:
    """What one client does not use of its share is for the others."""
    waiting = made(a=[1] * 20, b=[1] * 3, c=[1])
    assert sorted(taken(waiting)) == sorted(["c0", "b0", "b1", "b2", *(f"a{number}" for number in range(6))])
    assert taken(waiting) == [f"a{number}" for number in range(6, 17)]
    assert taken(waiting) == ["a17", "a18", "a19"]


def test_a_turn_may_have_room_for_one() -> None:
    """Then whoever has more waits for less of the others than would come for ever."""
    waiting = made(b=[1] * 3)
    heard: list[str] = []
    for number in range(8):
        waiting.add(end(f"a{number}"))
        heard += taken(waiting, 1)
    assert len(heard) == 8
    assert {"b0", "b1", "b2"} <= set(heard)


def test_it_knows_what_waits() -> None:
    """Until it is taken."""
    waiting = made(a=[50], b=[1])
    assert "a0" in waiting
    assert "b0" in waiting
    assert "c0" not in waiting
    taken(waiting)
    assert "b0" not in waiting
    assert [one.message_id for one in waiting.take_all()] == ["a0"]
    assert "a0" not in waiting
    assert not waiting


def test_what_is_not_recorded_counts_little() -> None:
    """What a run brings after its outcome was told is thrown away, however large it is."""
    waiting = Ends(whose)
    waiting.add(end("late", 50))
    waiting.add(end("a0", 5))
    assert taken(waiting) == ["late", "a0"]


def test_a_client_of_which_much_waits_starts_nothing() -> None:
    """Others do, until too much waits in all."""
    waiting = made(a=[21], b=[20])
    assert waiting.crowded() == ()
    taken(waiting)
    assert waiting.crowded() == ["a"]
    for number in range(12):
        waiting.add(end(f"c{number}", 10))
    taken(waiting)
    assert waiting.crowded() is None
    waiting.take_all()
    assert waiting.crowded() == ()


@given(
    steps=st.lists(
        st.one_of(st.tuples(st.sampled_from("abc"), st.integers(1, 30)), st.integers(1, 20)), min_size=1, max_size=60
    )
)
def test_each_is_taken_once_in_its_clients_order_within_the_bounds(steps: list[tuple[str, int] | int]) -> None:
    """Whatever comes, and whenever turns are."""
    waiting, told, heard = Ends(whose), [], []
    sizes: dict[str, int] = {}

    def turn(count_max: int) -> None:
        got = taken(waiting, count_max)
        assert len(got) <= count_max
        assert sum(sizes[name] for name in sorted(got, key=sizes.__getitem__)[:-1]) <= ROOM
        heard.extend(got)

    for step in steps:
        if isinstance(step, int):
            turn(step)
        else:
            client, size = step
            name = f"{client}{len(told)}"
            told.append(name)
            sizes[name] = size
            waiting.add(end(name, size))
    turns = 0
    while waiting:
        turn(500)
        turns += 1
        assert turns <= 2 * len(told) + 2
    assert sorted(heard) == sorted(told)
    for client in "abc":
        assert [name for name in heard if name[0] == client] == [name for name in told if name[0] == client]
