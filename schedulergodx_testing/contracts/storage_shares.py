"""`StorageShareContract`: how clients share what room there is. A part of `StorageContract`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from schedulergodx_testing.contracts.stored_tasks import NOON, SECOND, add, ids, make_task

if TYPE_CHECKING:
    from schedulergodx.utils.abstractions import Storage, TaskSpec


class StorageShareContract:
    """A client that floods a service does not hold up the others; see `StorageContract` for the fixtures."""

    def test_a_flood_leaves_room_for_a_single_task(self, storage: Storage) -> None:
        """Each of two clients has half, however old the tasks of one are; what one does not use, the other does."""
        add(storage, *_of("flood", 20, since=timedelta(hours=1)), *_of("single", 1))
        assert ids(storage.due(NOON, soft_limit=4, hard_limit=0)) == ["flood 0", "single 0", "flood 1", "flood 2"]

    def test_where_all_find_room_the_earliest_come_first(self, storage: Storage) -> None:
        """Shares are for want of room alone."""
        add(storage, *_of("ada", 2, since=SECOND), *_of("bob", 2, since=SECOND * 2))
        assert ids(storage.due(NOON, soft_limit=5, hard_limit=0)) == ["bob 0", "bob 1", "ada 0", "ada 1"]

    def test_room_for_one_is_had_in_turns(self, storage: Storage) -> None:
        """Though a flood of three clients is older, whoever has one task waits for one of each at most."""
        for client in ("ada", "cyd", "eve"):
            add(storage, *_of(client, 9, since=timedelta(hours=1)))
        add(storage, *_of("bob", 1))
        assert sorted(_start_one(storage) for _ in range(4)) == ["ada", "bob", "cyd", "eve"]
        assert Counter(_start_one(storage) for _ in range(9)) == {"ada": 3, "cyd": 3, "eve": 3}

    def test_whoever_was_put_back_comes_first(self, storage: Storage) -> None:
        """A task that was to start, and found no thread after all, has not had its turn."""
        add(storage, *_of("ada", 9), *_of("bob", 9))
        assert _start(storage, room=2) == ["ada", "bob"]
        with storage.transaction():
            assert storage.put_back("bob 0", has_run=False)
        assert _start(storage, room=2) == ["bob", "ada"]
        assert _start(storage, room=2) == ["ada", "bob"]

    def test_what_is_not_due_has_no_share(self, storage: Storage) -> None:
        """Neither what comes later, nor tasks of the other kind."""
        add(storage, *_of("ada", 9), *_of("bob", 9, since=-SECOND), *_of("cyd", 9, is_hard=True))
        assert ids(storage.due(NOON, soft_limit=2, hard_limit=2)) == ["ada 0", "ada 1", "cyd 0", "cyd 1"]

    def test_many_clients_have_their_turns(self, storage: Storage) -> None:
        """However many there are, each comes before any comes twice."""
        clients = [f"client {number}" for number in range(250)]
        for client in clients:
            add(storage, *_of(client, 2))
        begun = Counter[str]()
        while len(begun) < len(clients):
            begun.update(_start(storage, room=7))
            assert max(begun.values()) == 1 or len(begun) == len(clients)

    @pytest.mark.parametrize("is_hard", [False, True])
    def test_clients_can_be_left_out(self, storage: Storage, is_hard: bool) -> None:
        """Those that wait behind them are found, the earliest of each, and no more than asked for; also new ones."""
        limits = {"soft_limit": 0, "hard_limit": 0, "hard_limit" if is_hard else "soft_limit": 3}
        with storage.transaction():
            for task in [*_of("ada", 1, is_hard=is_hard), *_of("bob", 1, is_hard=is_hard)]:
                storage.add(task, now=NOON)
            assert ids(storage.due(NOON, **limits, without=["bob"])) == ["ada 0"]
        add(storage, *_of("flood", 9, since=timedelta(hours=1), is_hard=is_hard), *_of("cyd", 9, is_hard=is_hard))
        assert ids(storage.due(NOON, **limits, without=["flood"])) == ["ada 0", "bob 0", "cyd 0"]
        assert ids(storage.due(NOON, **limits, without=["ada", "bob", "flood"])) == ["cyd 0", "cyd 1", "cyd 2"]
        assert storage.due(NOON, **limits, without=["ada", "bob", "cyd", "flood"]) == []
        assert ids(storage.due(NOON, **limits, without=["ada", "bob", "cyd"])) == ["flood 0", "flood 1", "flood 2"]

    def test_shares_hold_for_each_kind(self, storage: Storage) -> None:
        """Hard tasks are shared out like soft ones, by themselves."""
        for is_hard in (False, True):
            kind = "hard" if is_hard else "soft"
            add(
                storage,
                *_of(f"flood {kind}", 9, since=SECOND, is_hard=is_hard),
                *_of(f"one {kind}", 1, is_hard=is_hard),
            )
        begun = ids(storage.due(NOON, soft_limit=2, hard_limit=2))
        assert begun == ["flood soft 0", "flood hard 0", "one soft 0", "one hard 0"]


def _of(client: str, count: int, *, since: timedelta = timedelta(), is_hard: bool = False) -> list[TaskSpec]:
    """Return so many tasks of a client that are due since then."""
    return [
        replace(make_task(f"{client} {number}", run_at=NOON - since, is_hard=is_hard), client=client)
        for number in range(count)
    ]


def _start(storage: Storage, *, room: int) -> list[str]:
    """Start what is due; return whose tasks those are."""
    begun = []
    with storage.transaction():
        for task in storage.due(NOON, soft_limit=room, hard_limit=0):
            assert storage.start(task.message_id, now=NOON)
            begun.append(task.client)
    return begun


def _start_one(storage: Storage) -> str:
    (client,) = _start(storage, room=1)
    return client
