"""`StorageNewTaskContract`: tasks that start in the transaction that stores them. A part of `StorageContract`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.utils.abstractions import Added
from schedulergodx_testing.contracts.stored_tasks import (
    DONE,
    NOON,
    SECOND,
    SKIPPED,
    add,
    found,
    ids,
    make_task,
    reopened,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.utils.abstractions import Storage


class StorageNewTaskContract:
    """What was just stored is found, started and ended like any other task; see `StorageContract` for the fixtures."""

    def test_a_new_task_is_due_at_once(self, storage: Storage) -> None:
        """Whole, and in its place among the others: the earliest first, then as they were stored."""
        later, second, first = make_task("later", run_at=NOON + SECOND), make_task("b"), make_task("a")
        earlier = make_task("earlier", run_at=NOON - SECOND, is_hard=True)
        with storage.transaction():
            for task in (later, second, first, earlier):
                storage.add(task, now=NOON)
            assert storage.due(NOON, soft_limit=9, hard_limit=9) == [earlier, second, first]

    def test_an_older_one_comes_before_it(self, storage: Storage) -> None:
        """Also where there is room for one alone."""
        add(storage, make_task("old", run_at=NOON - SECOND))
        with storage.transaction():
            storage.add(make_task("new"), now=NOON)
            assert ids(storage.due(NOON, soft_limit=1, hard_limit=0)) == ["old"]
            assert ids(storage.due(NOON, soft_limit=9, hard_limit=0)) == ["old", "new"]

    def test_limits_hold_for_new_ones(self, storage: Storage) -> None:
        """What finds no room waits, and is next."""
        with storage.transaction():
            for name in "abc":
                storage.add(make_task(name), now=NOON)
            for task in storage.due(NOON, soft_limit=2, hard_limit=0):
                assert storage.start(task.message_id, now=NOON)
        assert storage.next_run_at() == NOON
        assert ids(storage.due(NOON, soft_limit=9, hard_limit=0)) == ["c"]

    def test_it_starts_and_ends(self, storage: Storage, make_storage: Callable[[], Storage]) -> None:
        """In the transaction that stores it, or in a later one; and it is all on disk."""
        with storage.transaction():
            for name in ("ended", "started", "waiting"):
                storage.add(make_task(name), now=NOON)
            assert ids(storage.due(NOON, soft_limit=9, hard_limit=0)) == ["ended", "started", "waiting"]
            for name in ("ended", "started"):
                assert storage.start(name, now=NOON)
                assert not storage.start(name, now=NOON)
            outcome = storage.finish("ended", DONE, now=NOON + SECOND)
            assert storage.count_waiting() == 1
        assert storage.next_run_at() == NOON
        assert outcome is not None
        assert outcome.started_at == NOON
        with reopened(storage, make_storage) as again:
            assert again.interrupted() == ["started"]
            assert found(again, "started").starts == 1
            assert found(again, "ended").outcome == outcome
            assert ids(again.due(NOON, soft_limit=9, hard_limit=0)) == ["waiting"]

    def test_what_has_just_gone_is_not_the_earliest(self, storage: Storage) -> None:
        """A task that was skipped, or started, in the transaction that looks for what is due."""
        add(storage, make_task("skipped", run_at=NOON + SECOND), make_task("started"))
        with storage.transaction():
            assert storage.finish("skipped", SKIPPED, now=NOON) is not None
            storage.add(make_task("new"), now=NOON)
            assert ids(storage.due(NOON, soft_limit=1, hard_limit=0)) == ["started"]
            assert storage.start("started", now=NOON)
            assert ids(storage.due(NOON, soft_limit=1, hard_limit=0)) == ["new"]
            assert storage.start("new", now=NOON)
            assert storage.due(NOON, soft_limit=1, hard_limit=0) == []
        assert storage.next_run_at() is None

    def test_it_is_known_while_it_runs(self, storage: Storage) -> None:
        """Sent again in the same transaction it is the same; who watches it is told of its end."""
        with storage.transaction():
            storage.add(make_task(), now=NOON)
            (task,) = storage.due(NOON, soft_limit=9, hard_limit=0)
            storage.start(task.message_id, now=NOON)
            assert storage.add(make_task(), now=NOON) is Added.SAME
            storage.add_watcher(task.message_id, "watcher", client="farm")
        assert list(storage.watchers(task.message_id)) == [make_task().reply_to, "watcher"]

    def test_a_failed_transaction_leaves_nothing_of_it(self, storage: Storage) -> None:
        """It is new again then."""
        with suppress(KeyError), storage.transaction():
            storage.add(make_task(), now=NOON)
            for task in storage.due(NOON, soft_limit=9, hard_limit=0):
                storage.start(task.message_id, now=NOON)
            raise KeyError
        assert storage.due(NOON, soft_limit=9, hard_limit=0) == []
        add(storage, make_task())
        assert found(storage, make_task().message_id).status is TaskStatus.WAITING
