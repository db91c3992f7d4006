"""How room is divided among clients."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.rules.shares import Turns, divide

CLIENTS = st.lists(st.text(min_size=1), min_size=1, max_size=20, unique=True)


@given(room=st.integers(1, 300), clients=CLIENTS)
def test_all_room_is_divided_evenly(room: int, clients: list[str]) -> None:
    """Nobody has two more than anybody else, nothing is left, and who comes first has what cannot be divided."""
    parts = divide(room, clients)
    counts = [parts.get(client, 0) for client in clients]
    assert sum(counts) == room
    assert max(counts) - min(counts) <= 1
    assert counts == sorted(counts, reverse=True)


@given(room=st.integers(1, 300), clients=CLIENTS, rounds=st.integers(1, 30))
def test_over_time_all_have_the_same(room: int, clients: list[str], rounds: int) -> None:
    """What cannot be divided goes round: after any number of rounds nobody is two ahead."""
    counts = dict.fromkeys(clients, 0)
    turns = Turns()
    for _ in range(rounds):
        first = clients.index(turns.after) + 1 if turns.after else 0
        for client, count in divide(room, turns.order(clients[first:] + clients[:first], room)).items():
            counts[client] += count
    assert sum(counts.values()) == rounds * room
    assert max(counts.values()) - min(counts.values()) <= 1


def test_who_is_owed_a_turn_comes_first_once() -> None:
    """Before those whose turn it is, who do not lose it by that; whoever waits no more is owed nothing."""
    turns = Turns()
    assert turns.order(["ada", "bob", "cyd"], 1) == ["ada", "bob", "cyd"]
    assert turns.after == "ada"
    turns.owe("ada")
    turns.owe("gone")
    assert turns.order(["bob", "cyd", "ada"], 1) == ["ada", "bob", "cyd"]
    assert turns.after == "ada"
    assert turns.order(["bob", "cyd", "ada"], 1) == ["bob", "cyd", "ada"]
    assert turns.after == "bob"
