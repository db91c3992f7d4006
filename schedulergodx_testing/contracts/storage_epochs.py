"""`StorageEpochContract`: what a service that starts again finds, and puts back. A part of `StorageContract`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx_testing.contracts.stored_tasks import (
    DONE,
    INTERRUPTED,
    NOON,
    SECOND,
    add,
    found,
    make_task,
    reopened,
    run,
    start,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.utils.abstractions import Storage


class StorageEpochContract:
    """Each opening of a storage is an epoch; see `StorageContract` for the fixtures."""

    def test_everything_is_there_after_closing(self, storage: Storage, make_storage: Callable[[], Storage]) -> None:
        """Tasks, outcomes, watchers and the outbox outlive the storage that wrote them."""
        add(storage, make_task("waiting"))
        run(storage, make_task("done"), DONE)
        with storage.transaction():
            storage.add_watcher("waiting", "watcher", client="farm")
            reply = storage.add_reply("queue", "done", b"body", now=NOON)
        states = storage.tasks(limit=9)
        with reopened(storage, make_storage) as again:
            assert again.tasks(limit=9) == states
            assert again.due(NOON, soft_limit=9, hard_limit=9) == [make_task("waiting")]
            assert list(again.watchers("waiting")) == [make_task().reply_to, "watcher"]
            assert again.replies(after=0, limit=9) == [reply]

    def test_what_an_older_epoch_left_at_work_is_interrupted(
        self, storage: Storage, make_storage: Callable[[], Storage]
    ) -> None:
        """Only tasks in WORK that an earlier opening started are interrupted, until their outcome is recorded."""
        add(storage, make_task("waiting"), make_task("b"), make_task("a"))
        start(storage, "a")
        start(storage, "b")
        run(storage, make_task("done"), DONE)
        assert storage.interrupted() == []
        with reopened(storage, make_storage) as again:
            start(again, "waiting")
            assert sorted(again.interrupted()) == ["a", "b"]
            with again.transaction():
                outcome = again.finish("a", INTERRUPTED, now=NOON + SECOND)
            assert outcome is not None
            assert outcome.started_at == NOON
            assert again.interrupted() == ["b"]

    def test_what_had_begun_is_known_or_feared(self, storage: Storage, make_storage: Callable[[], Storage]) -> None:
        """A task that noted its beginning had begun; one that could note it and did not had not. Else it may have."""
        hard = make_task("hard", is_hard=True)
        add(storage, make_task("ended"), make_task("begun"), make_task("claimed"), hard)
        for name in ("ended", "begun", "claimed", "hard"):
            start(storage, name)
        notes = {name: storage.beginning(name) for name in ("ended", "begun", "claimed")}
        for name in ("ended", "begun"):
            if (note := notes[name]) is not None:
                note()
        with storage.transaction():
            storage.finish("ended", DONE, now=NOON)
        for _ in range(2):  # it is still known when the first to look was killed before it could change anything
            with reopened(storage, make_storage) as storage:  # noqa: PLR1704 - the next one on the same place
                assert sorted(storage.interrupted()) == ["begun", "claimed", "hard"]
                assert storage.has_begun("begun")
                assert storage.has_begun("hard")
                assert storage.has_begun("claimed") is (notes["claimed"] is None)
        with reopened(storage, make_storage) as again:
            for name in again.interrupted():
                with again.transaction():
                    assert again.put_back(name, has_run=again.has_begun(name))
            start(again, "claimed")
            assert again.has_begun("claimed")  # this epoch's claims are nobody's to judge

    def test_a_task_can_be_put_back(self, storage: Storage, make_storage: Callable[[], Storage]) -> None:
        """A task in WORK waits again, knows how often it was started, and a start that was none does not count."""
        task = replace(make_task("1"), max_starts=3)
        add(storage, task)
        with storage.transaction():
            assert not storage.put_back("1", has_run=True)
            assert not storage.put_back("unknown", has_run=True)
        start(storage, "1")
        with storage.transaction():
            assert storage.next_run_at() is None
            assert storage.put_back("1", has_run=False)
        assert storage.next_run_at() == NOON
        state = found(storage, "1")
        assert (state.status, state.starts, state.started_at) == (TaskStatus.WAITING, 0, None)
        for starts in (1, 2):
            start(storage, "1")
            with storage.transaction():
                assert storage.put_back("1", has_run=True)
            state = found(storage, "1")
            assert (state.starts, state.max_starts, state.started_at) == (starts, 3, NOON)
            assert storage.due(NOON, soft_limit=1, hard_limit=0) == [replace(task, starts=starts)]
        with reopened(storage, make_storage) as again:
            assert again.interrupted() == []
            start(again, "1")
            with again.transaction():
                assert again.finish("1", DONE, now=NOON) is not None
                assert not again.put_back("1", has_run=True)
