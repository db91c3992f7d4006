"""The contract of `Storage`: what every keeper of tasks and outcomes must do."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from schedulergodx.rules.lifecycle import Code, Report, TaskStatus
from schedulergodx.rules.limits import TaskLimits
from schedulergodx.utils.abstractions import Added, Storage, TaskState
from schedulergodx_testing.contracts.storage_epochs import StorageEpochContract
from schedulergodx_testing.contracts.storage_new_tasks import StorageNewTaskContract
from schedulergodx_testing.contracts.storage_outbox import StorageOutboxContract
from schedulergodx_testing.contracts.storage_shares import StorageShareContract
from schedulergodx_testing.contracts.stored_tasks import (
    DONE,
    INTERRUPTED,
    NOON,
    RAISED,
    SECOND,
    SKIPPED,
    add,
    found,
    ids,
    make_task,
    reopened,
    run,
    start,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class StorageContract(StorageEpochContract, StorageNewTaskContract, StorageShareContract, StorageOutboxContract):
    """Subclass it, give `make_storage`, and every test below runs against your storage."""

    @pytest.fixture
    def make_storage(self) -> Callable[[], Storage]:
        """Return a function that makes storages, not opened yet, on one and the same place, which is new."""
        raise NotImplementedError("return a function that makes a storage")

    @pytest.fixture
    def storage(self, make_storage: Callable[[], Storage]) -> Iterator[Storage]:
        """Return an open storage without tasks."""
        storage = make_storage()
        storage.open(owner="first", now=NOON)
        with closing(storage):
            yield storage

    # Storing

    def test_a_task_is_stored_whole(self, storage: Storage) -> None:
        """Every field of a task comes back as it was stored, to the byte and the microsecond."""
        task = make_task(run_at=NOON - timedelta(microseconds=7))
        add(storage, task)
        assert storage.due(NOON, soft_limit=1, hard_limit=1) == [task]

    def test_what_is_absent_stays_absent(self, storage: Storage) -> None:
        """None and empty texts come back as such."""
        task = replace(
            make_task(),
            function=None,
            arguments=b"",
            arguments_by_value=None,
            reply_to="",
            reference="",
            code_digest="",
            lifetime_s=None,
            is_delayed=False,
            is_overdue_enabled=False,
            max_starts=3,
            limits=TaskLimits(memory_bytes_max=2**30, processes_max=9),
        )
        add(storage, task)
        assert storage.due(NOON, soft_limit=1, hard_limit=1) == [task]

    def test_a_new_task_waits(self, storage: Storage) -> None:
        """A stored task is WAITING, has not started and has no outcome."""
        task = make_task()
        add(storage, task)
        assert storage.find("1") == TaskState(
            message_id="1",
            client=task.client,
            name=task.name,
            is_hard=False,
            issued_at=task.issued_at,
            run_at=task.run_at,
            status=TaskStatus.WAITING,
            started_at=None,
            starts=0,
            outcome=None,
        )

    def test_a_task_is_stored_once_by_its_id(self, storage: Storage) -> None:
        """The same id with the same digest is SAME and stored once; with another digest it is a CONFLICT."""
        with storage.transaction():
            assert storage.add(make_task(), now=NOON) is Added.NEW
            assert storage.add(make_task(), now=NOON) is Added.SAME
        with storage.transaction():
            assert storage.add(make_task(), now=NOON + SECOND) is Added.SAME
            assert storage.add(replace(make_task(), digest=b"other", name="other"), now=NOON) is Added.CONFLICT
        assert storage.due(NOON, soft_limit=9, hard_limit=9) == [make_task()]

    def test_what_was_looked_up_is_added_as_ever(self, storage: Storage) -> None:
        """Looking ids up together tells of known ones and of new ones, also of an id that comes twice in between."""
        add(storage, make_task("known"))
        with storage.transaction():
            storage.look_up(["known", "new", "new", "never added"])
            assert storage.add(make_task("known"), now=NOON) is Added.SAME
            assert storage.add(make_task("new"), now=NOON) is Added.NEW
            assert ids(storage.tasks(limit=9)) == ["new", "known"]  # a query in the same transaction sees it
            storage.look_up(["new"])
            assert storage.add(make_task("new"), now=NOON) is Added.SAME
            assert storage.add(make_task("not looked up"), now=NOON) is Added.NEW
        assert ids(storage.tasks(limit=9)) == ["not looked up", "new", "known"]

    def test_what_a_failed_transaction_knew_is_forgotten(self, storage: Storage) -> None:
        """A task, its number and its claim are no more known than they are stored."""
        add(storage, make_task("a"))
        with suppress(ZeroDivisionError), storage.transaction():
            storage.add(make_task("b"), now=NOON)
            storage.due(NOON, soft_limit=1, hard_limit=0)
            storage.start("a", now=NOON)
            storage.add_reply("queue", "a", b"", now=NOON)
            raise ZeroDivisionError
        assert found(storage, "a").status is TaskStatus.WAITING
        assert storage.replies(after=0, limit=9) == []
        with storage.transaction():
            assert storage.finish("a", SKIPPED, now=NOON) is not None  # it is not at work
            assert storage.add(make_task("b"), now=NOON) is Added.NEW

    def test_an_ended_task_is_still_known(self, storage: Storage) -> None:
        """The id of a task that has ended is not free: adding it again says SAME and does not make it wait again."""
        run(storage, make_task(), DONE)
        with storage.transaction():
            assert storage.add(make_task(), now=NOON) is Added.SAME
        assert storage.due(NOON, soft_limit=9, hard_limit=9) == []

    def test_unknown_ids_are_nothing(self, storage: Storage) -> None:
        """Of an id that was never stored there is no state, no start, no outcome and no watcher."""
        with storage.transaction():
            assert not storage.start("nobody", now=NOON)
            assert storage.finish("nobody", DONE, now=NOON) is None
            storage.add_watcher("nobody", "queue", client="farm")
        assert storage.find("nobody") is None
        assert list(storage.watchers("nobody")) == []

    # What is due

    def test_a_task_is_never_due_before_its_time(self, storage: Storage) -> None:
        """A task is due from its very microsecond on, and not one earlier."""
        add(storage, make_task(run_at=NOON))
        assert storage.due(NOON - timedelta(microseconds=1), soft_limit=9, hard_limit=9) == []
        assert ids(storage.due(NOON, soft_limit=9, hard_limit=9)) == ["1"]

    def test_the_earliest_comes_first(self, storage: Storage) -> None:
        """Due tasks of both kinds come by `run_at`, and by the order of storing within one moment."""
        add(
            storage,
            make_task("c", run_at=NOON - SECOND),
            make_task("d", run_at=NOON),
            make_task("b", run_at=NOON - SECOND * 2, is_hard=True),
            make_task("a", run_at=NOON - SECOND * 3),
            make_task("0", run_at=NOON, is_hard=True),
        )
        assert ids(storage.due(NOON, soft_limit=9, hard_limit=9)) == ["a", "b", "c", "d", "0"]

    def test_limits_hold_for_each_kind(self, storage: Storage) -> None:
        """Of soft and of hard tasks no more are returned than asked for: the earliest ones."""
        moments = [NOON - SECOND * n for n in range(3)]
        add(storage, *(make_task(f"soft{n}", run_at=moment) for n, moment in enumerate(moments)))
        add(storage, *(make_task(f"hard{n}", run_at=moment, is_hard=True) for n, moment in enumerate(moments)))
        assert ids(storage.due(NOON, soft_limit=2, hard_limit=0)) == ["soft2", "soft1"]
        assert ids(storage.due(NOON, soft_limit=0, hard_limit=1)) == ["hard2"]

    def test_next_run_at_is_the_earliest_of_the_wanted_kinds(self, storage: Storage) -> None:
        """The next moment is that of the earliest WAITING task of a wanted kind, past or future, or None."""
        assert storage.next_run_at() is None
        soft, hard = NOON + timedelta(days=3000), NOON - timedelta(microseconds=1)
        add(storage, make_task("soft", run_at=soft), make_task("hard", run_at=hard, is_hard=True))
        assert storage.next_run_at() == hard
        assert storage.next_run_at(is_hard_wanted=False) == soft
        assert storage.next_run_at(is_soft_wanted=False) == hard
        assert storage.next_run_at(is_soft_wanted=False, is_hard_wanted=False) is None
        start(storage, "hard")
        assert storage.next_run_at(is_soft_wanted=False) is None

    def test_next_run_at_follows_every_change(self, storage: Storage) -> None:
        """An earlier task, a start, an end and a transaction that was rolled back each show in the next answer."""
        add(storage, make_task("late", run_at=NOON + timedelta(hours=2)))
        assert storage.next_run_at() == NOON + timedelta(hours=2)
        add(storage, make_task("early", run_at=NOON + timedelta(hours=1)))
        assert storage.next_run_at() == NOON + timedelta(hours=1)
        with pytest.raises(ZeroDivisionError), storage.transaction():  # noqa: PT012 - the block is the subject
            storage.add(make_task("undone", run_at=NOON), now=NOON)
            assert storage.next_run_at() == NOON
            raise ZeroDivisionError
        assert storage.next_run_at() == NOON + timedelta(hours=1)
        assert ids(storage.due(NOON, soft_limit=9, hard_limit=9)) == []
        start(storage, "early")
        assert storage.next_run_at() == NOON + timedelta(hours=2)
        with storage.transaction():
            storage.finish("late", SKIPPED, now=NOON)
        assert storage.next_run_at() is None

    def test_moments_are_aware_utc(self, storage: Storage) -> None:
        """Every moment that comes out is aware and in UTC, whatever zone it went in with."""
        add(storage, make_task(run_at=NOON.astimezone()))
        (task,) = storage.due(NOON, soft_limit=1, hard_limit=0)
        assert (task.run_at, task.run_at.utcoffset()) == (NOON, timedelta(0))

    # Starting and ending

    def test_a_task_starts_only_once(self, storage: Storage) -> None:
        """The first start makes it WORK and counts; a second one is refused and changes nothing."""
        add(storage, make_task())
        with storage.transaction():
            assert storage.start("1", now=NOON + SECOND)
            assert not storage.start("1", now=NOON + SECOND * 2)
        state = found(storage, "1")
        assert (state.status, state.starts, state.started_at) == (TaskStatus.WORK, 1, NOON + SECOND)
        assert storage.due(NOON, soft_limit=9, hard_limit=9) == []

    @pytest.mark.parametrize("report", [DONE, RAISED], ids=["done", "raised"])
    def test_a_task_ends_only_once(self, storage: Storage, report: Report) -> None:
        """The first outcome is kept as it was reported; a second one is refused and changes nothing."""
        add(storage, make_task())
        start(storage, "1")
        with storage.transaction():
            outcome = storage.finish("1", report, now=NOON + SECOND)
        assert outcome is not None
        assert outcome.report == report
        assert (outcome.run_at, outcome.started_at, outcome.ended_at) == (NOON, NOON, NOON + SECOND)
        with storage.transaction():
            assert storage.finish("1", INTERRUPTED, now=NOON + SECOND * 2) is None
            assert not storage.start("1", now=NOON + SECOND * 2)
        state = found(storage, "1")
        assert (state.status, state.outcome) == (report.status, outcome)

    def test_a_waiting_task_may_be_skipped(self, storage: Storage) -> None:
        """A task that never started may end as OVERDUE, without a moment of starting."""
        add(storage, make_task())
        with storage.transaction():
            outcome = storage.finish("1", SKIPPED, now=NOON)
        assert outcome is not None
        assert (outcome.status, outcome.started_at) == (TaskStatus.OVERDUE, None)
        assert storage.next_run_at() is None

    def test_an_illegal_step_is_refused(self, storage: Storage) -> None:
        """A task that was never started cannot be COMPLETED: that is an error of the caller and changes nothing."""
        add(storage, make_task())
        with pytest.raises(ValueError, match="WAITING"), storage.transaction():
            storage.finish("1", DONE, now=NOON)
        assert found(storage, "1").status is TaskStatus.WAITING

    def test_odd_texts_are_kept_readable(self, storage: Storage) -> None:
        """A report may hold anything that Python calls a text: NUL, emoji, and lone surrogates, written out."""
        report = Report(code=Code.ERROR_IN_TASK, exception_type="T", message="\x00 🐍 \udcff", traceback="\ud800")
        run(storage, make_task(), report)
        outcome = found(storage, "1").outcome
        assert outcome is not None
        assert (outcome.report.message, outcome.report.traceback) == ("\x00 🐍 \\udcff", "\\ud800")

    # Transactions

    def test_a_transaction_is_kept_whole_or_not_at_all(self, storage: Storage) -> None:
        """When the block raises, nothing of it is there; what was committed before stays."""
        add(storage, make_task("before"))
        with pytest.raises(ZeroDivisionError), storage.transaction():  # noqa: PT012 - the block is the subject
            storage.add(make_task("lost"), now=NOON)
            storage.start("before", now=NOON)
            storage.add_reply("queue", "before", b"lost", now=NOON)
            storage.add_watcher("before", "queue", client="farm")
            raise ZeroDivisionError
        assert storage.find("lost") is None
        assert found(storage, "before").status is TaskStatus.WAITING
        assert storage.replies(after=0, limit=9) == []
        assert list(storage.watchers("before")) == [make_task().reply_to]
        add(storage, make_task("lost"))
        assert storage.find("lost") is not None

    def test_a_transaction_sees_its_own_changes(self, storage: Storage) -> None:
        """Within the block, what it changed is already so."""
        with storage.transaction():
            storage.add(make_task(), now=NOON)
            assert ids(storage.due(NOON, soft_limit=1, hard_limit=1)) == ["1"]
            storage.start("1", now=NOON)
            assert found(storage, "1").status is TaskStatus.WORK

    def test_a_change_outside_a_transaction_is_refused(self, storage: Storage) -> None:
        """Changing something without a transaction is an error of the caller and changes nothing."""
        with pytest.raises(RuntimeError, match="transaction"):
            storage.add(make_task(), now=NOON)
        assert storage.find("1") is None

    def test_transactions_do_not_nest(self, storage: Storage) -> None:
        """A transaction in a transaction is an error of the caller, which undoes the outer one."""
        with pytest.raises(RuntimeError, match="transaction"), storage.transaction():  # noqa: PT012 - as above
            storage.add(make_task(), now=NOON)
            with storage.transaction():
                pass
        assert storage.find("1") is None

    # The outbox and the watchers

    def test_the_outbox_keeps_its_order(self, storage: Storage) -> None:
        """Replies come back whole, in the order of adding, from any number on and no more than asked for."""
        with storage.transaction():
            replies = [storage.add_reply(f"queue{n}", f"id{n}", bytes([n]), now=NOON) for n in range(4)]
        assert [(reply.queue, reply.message_id, reply.body) for reply in replies][2] == ("queue2", "id2", b"\x02")
        assert storage.replies(after=0, limit=9) == replies
        assert storage.replies(after=0, limit=2) == replies[:2]
        assert storage.replies(after=replies[1].number, limit=9) == replies[2:]

    def test_a_removed_reply_is_gone(self, storage: Storage) -> None:
        """Removing replies leaves the others; removing one twice does nothing."""
        with storage.transaction():
            replies = [storage.add_reply("queue", f"id{n}", b"", now=NOON) for n in range(3)]
        for _ in range(2):
            with storage.transaction():
                storage.remove_replies([replies[0].number, replies[2].number])
            assert storage.replies(after=0, limit=9) == [replies[1]]

    def test_queues_can_be_left_out(self, storage: Storage) -> None:
        """Replies are counted without those to some queues."""
        with storage.transaction():
            replies = [storage.add_reply(queue, "1", b"", now=NOON) for queue in ("a", "b", "c", "b")]
        assert (storage.count_replies(), storage.count_replies(without=["b", "a"])) == (4, 1)
        assert storage.replies(after=0, limit=9) == replies

    def test_old_replies_to_a_queue_are_dropped(self, storage: Storage) -> None:
        """Only those to this queue that were added before the moment go, no more than asked for."""
        with storage.transaction():
            for n, queue in enumerate(("a", "b", "a", "a", "a")):
                storage.add_reply(queue, f"{n}", b"", now=NOON + n * SECOND)
            assert storage.prune_replies("a", added_before=NOON + 4 * SECOND, limit=2) == ["0", "2"]
            assert storage.prune_replies("a", added_before=NOON + 4 * SECOND, limit=9) == ["3"]
        assert [reply.message_id for reply in storage.replies(after=0, limit=9)] == ["1", "4"]

    def test_a_number_of_the_outbox_is_never_given_again(
        self, storage: Storage, make_storage: Callable[[], Storage]
    ) -> None:
        """Numbers grow for ever, also when the outbox was emptied and the storage opened anew."""
        with storage.transaction():
            first = storage.add_reply("queue", "1", b"", now=NOON)
            storage.remove_replies([first.number])
        with storage.transaction():
            second = storage.add_reply("queue", "2", b"", now=NOON)
            storage.remove_replies([second.number])
        with reopened(storage, make_storage) as again, again.transaction():
            third = again.add_reply("queue", "3", b"", now=NOON)
        assert first.number < second.number < third.number

    def test_watchers_come_without_doubles(self, storage: Storage) -> None:
        """The outcome goes to the task's own queue and to each watcher, once."""
        add(storage, make_task())
        with storage.transaction():
            for queue in ("b", "a", "b", make_task().reply_to):
                storage.add_watcher("1", queue, client="farm")
        watchers = storage.watchers("1")
        assert next(iter(watchers)) == make_task().reply_to
        assert watchers == {make_task().reply_to: make_task().client, "a": "farm", "b": "farm"}

    def test_nobody_need_wait_for_an_answer(self, storage: Storage) -> None:
        """A task without `reply_to` has no watchers but those that were added."""
        add(storage, replace(make_task(), reply_to=""))
        assert list(storage.watchers("1")) == []
        with storage.transaction():
            storage.add_watcher("1", "a", client="farm")
        assert list(storage.watchers("1")) == ["a"]

    def test_an_ended_task_takes_no_watcher(self, storage: Storage) -> None:
        """Who comes after the end is answered at once, by the caller; those who watched before are still known."""
        add(storage, make_task())
        with storage.transaction():
            storage.add_watcher("1", "early", client="farm")
        start(storage, "1")
        with storage.transaction():
            storage.finish("1", DONE, now=NOON)
            storage.add_watcher("1", "late", client="farm")
        assert list(storage.watchers("1")) == [make_task().reply_to, "early"]

    # Looking at it

    def test_tasks_are_listed_newest_first(self, storage: Storage) -> None:
        """The list holds the tasks stored last, at most so many, of the wanted statuses or of all."""
        for message_id in ("z", "y", "x"):
            add(storage, make_task(message_id))
        run(storage, make_task("w"), DONE)
        run(storage, make_task("v"), RAISED)
        assert ids(storage.tasks(limit=9)) == ["v", "w", "x", "y", "z"]
        assert ids(storage.tasks(limit=2)) == ["v", "w"]
        assert ids(storage.tasks(limit=2, statuses=[TaskStatus.WAITING])) == ["x", "y"]
        assert ids(storage.tasks(limit=3, statuses=[TaskStatus.WAITING, TaskStatus.ERROR])) == ["v", "x", "y"]
        assert storage.tasks(limit=9, statuses=[TaskStatus.ORPHAN]) == []

    def test_tasks_are_counted_by_status(self, storage: Storage) -> None:
        """There is a number for each status, zero included."""
        assert storage.counts() == dict.fromkeys(TaskStatus, 0)
        assert storage.count_waiting() == 0
        add(storage, make_task("1"), make_task("2"))
        run(storage, make_task("3"), DONE)
        expected = {TaskStatus.WAITING: 2, TaskStatus.COMPLETED: 1}
        assert storage.counts() == dict.fromkeys(TaskStatus, 0) | expected
        assert storage.count_waiting() == 2

    # Forgetting

    def test_pruning_forgets_what_ended_before(self, storage: Storage) -> None:
        """Only tasks that ended before the moment go; the young, the waiting and the working stay."""
        add(storage, make_task("waiting"), make_task("working"))
        start(storage, "working")
        run(storage, make_task("old"), DONE, ended_at=NOON - timedelta(microseconds=1))
        run(storage, make_task("young"), DONE, ended_at=NOON)
        with storage.transaction():
            assert storage.prune(ended_before=NOON, limit=9) == 1
        assert sorted(ids(storage.tasks(limit=9))) == ["waiting", "working", "young"]
        with storage.transaction():
            assert storage.prune(ended_before=NOON, limit=9) == 0

    def test_pruning_is_bounded(self, storage: Storage) -> None:
        """No more tasks go than asked for, those that ended first before others."""
        for n in (2, 0, 1):
            run(storage, make_task(f"{n}"), DONE, ended_at=NOON + n * SECOND)
        with storage.transaction():
            assert storage.prune(ended_before=NOON + timedelta(days=1), limit=2) == 2
        assert ids(storage.tasks(limit=9)) == ["2"]

    def test_a_pruned_id_is_still_known(self, storage: Storage, make_storage: Callable[[], Storage]) -> None:
        """A late duplicate of a pruned task is FORGOTTEN, not NEW, and never due; another content is a CONFLICT."""
        run(storage, make_task(), DONE)
        assert not storage.is_forgotten("1")
        with storage.transaction():
            storage.prune(ended_before=NOON + SECOND, limit=9)
        with reopened(storage, make_storage) as again:
            assert (again.find("1"), again.is_forgotten("1")) == (None, True)
            with again.transaction():
                assert again.add(make_task(), now=NOON) is Added.FORGOTTEN
                assert again.add(replace(make_task(), digest=b"other"), now=NOON) is Added.CONFLICT
            assert again.due(NOON, soft_limit=9, hard_limit=9) == []

    def test_ids_are_forgotten_in_their_turn(self, storage: Storage) -> None:
        """Only ids of pruned tasks that ended before the moment go, the earliest first, no more than asked for."""
        for n in (2, 0, 1, 3):
            run(storage, make_task(f"{n}"), DONE, ended_at=NOON + n * SECOND)
        with storage.transaction():
            assert storage.prune_ids(ended_before=NOON + 9 * SECOND, limit=9) == 0
            storage.prune(ended_before=NOON + 3 * SECOND, limit=9)
            assert storage.prune_ids(ended_before=NOON + 2 * SECOND, limit=1) == 1
            assert storage.prune_ids(ended_before=NOON + 2 * SECOND, limit=9) == 1
        assert [storage.is_forgotten(f"{n}") for n in range(4)] == [False, False, True, False]

    def test_a_forgotten_id_is_free_again(self, storage: Storage) -> None:
        """Nothing of a pruned task, its watchers included, clings to a new task of the same id."""
        add(storage, make_task())
        with storage.transaction():
            storage.add_watcher("1", "old watcher", client="farm")
        start(storage, "1")
        with storage.transaction():
            storage.finish("1", DONE, now=NOON)
            storage.prune(ended_before=NOON + SECOND, limit=9)
            storage.prune_ids(ended_before=NOON + SECOND, limit=9)
            assert storage.add(replace(make_task(), digest=b"new"), now=NOON) is Added.NEW
        assert list(storage.watchers("1")) == [make_task().reply_to]

    def test_pruning_leaves_functions_that_are_used(self, storage: Storage) -> None:
        """A waiting task keeps its function when another task with the same one is forgotten."""
        run(storage, make_task("old"), DONE)
        add(storage, make_task("waiting"))
        with storage.transaction():
            storage.prune(ended_before=NOON + SECOND, limit=9)
        assert storage.due(NOON, soft_limit=9, hard_limit=9) == [make_task("waiting")]

    def test_pruning_leaves_the_outbox(self, storage: Storage) -> None:
        """An answer that the broker does not have yet stays, however long ago its task ended."""
        run(storage, make_task(), DONE)
        with storage.transaction():
            reply = storage.add_reply("queue", "1", b"body", now=NOON)
            storage.prune(ended_before=NOON + SECOND, limit=9)
        assert storage.replies(after=0, limit=9) == [reply]

    # Closing

    def test_closing_twice_does_nothing(self, storage: Storage) -> None:
        """Closing a closed storage is fine."""
        storage.close()
        storage.close()
