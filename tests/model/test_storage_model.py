"""`DB` against a model of it, a dict, over random steps: both always give the same answers."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from schedulergodx.rules.lifecycle import Code, Outcome, Report, TaskStatus, may_advance
from schedulergodx.utils.abstractions import Added, TaskSpec
from schedulergodx.utils.storage import DB
from schedulergodx_testing.contracts.stored_tasks import NOON, make_task

pytestmark = pytest.mark.slow

MICROSECOND = timedelta(microseconds=1)


@dataclass
class Known:
    """What the model knows of a task."""

    task: TaskSpec
    status: TaskStatus = TaskStatus.WAITING
    epoch: int = 0
    started_at: datetime | None = None
    outcome: Outcome | None = None


class StorageAgreement(RuleBasedStateMachine):
    """Few ids and few moments, so that steps meet each other."""

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now = NOON
        self.epoch = 0
        self.known: dict[str, Known] = {}  # in the order of storing
        self.forgotten: dict[str, tuple[bytes, datetime]] = {}  # digest, and when it ended
        self.outbox: dict[int, str] = {}
        self.db = self._opened()

    def _opened(self) -> DB:
        self.epoch += 1
        db = DB(self.folder / "tasks.db")
        db.open(owner="model", now=self.now)
        return db

    def teardown(self) -> None:
        self.db.close()
        shutil.rmtree(self.folder)

    # Steps

    @rule(
        target=ids,
        message_id=st.sampled_from("abcdef"),
        content=st.sampled_from([b"one", b"two"]),
        function=st.sampled_from([b"f", b"g", None]),
        delay_us=st.integers(-3, 20),
        is_hard=st.booleans(),
    )
    def add(self, message_id: str, content: bytes, function: bytes | None, delay_us: int, is_hard: bool) -> str:
        """A task arrives, perhaps again, perhaps with another content."""
        run_at = self.now + delay_us * MICROSECOND
        task = replace(make_task(message_id, run_at=run_at, is_hard=is_hard), digest=content, function=function)
        with self.db.transaction():
            added = self.db.add(task, now=self.now)
        known = self.known.get(message_id)
        if known is None and message_id in self.forgotten:
            digest, _ended_at = self.forgotten[message_id]
            assert added is (Added.FORGOTTEN if digest == content else Added.CONFLICT)
        elif known is None:
            self.known[message_id] = Known(task)
            assert added is Added.NEW
        else:
            assert added is (Added.SAME if known.task.digest == content else Added.CONFLICT)
        return message_id

    @rule(message_id=ids)
    def start(self, message_id: str) -> None:
        """A task is started, if it waits."""
        with self.db.transaction():
            is_started = self.db.start(message_id, now=self.now)
        known = self.known.get(message_id)
        assert is_started == (known is not None and known.status is TaskStatus.WAITING)
        if known is not None and is_started:
            known.status, known.epoch, known.started_at = TaskStatus.WORK, self.epoch, self.now

    @rule(message_id=ids, has_run=st.booleans())
    def put_back(self, message_id: str, has_run: bool) -> None:
        """A crash ended its run, or it could not begin: it waits again."""
        with self.db.transaction():
            is_back = self.db.put_back(message_id, has_run=has_run)
        known = self.known.get(message_id)
        assert is_back == (known is not None and known.status is TaskStatus.WORK)
        if known is not None and is_back:
            starts = known.task.starts + has_run
            known.task, known.status = replace(known.task, starts=starts), TaskStatus.WAITING
            known.started_at = known.started_at if starts else None

    @rule(message_id=ids, code=st.sampled_from(Code), text=st.text(alphabet=st.characters(exclude_categories=["Cs"])))
    def finish(self, message_id: str, code: Code, text: str) -> None:
        """A task ends, if it may."""
        report = Report(code=code, result=text if code is Code.OK else None, message=text)
        known = self.known.get(message_id)
        if known is None or known.status.is_ended:
            with self.db.transaction():
                assert self.db.finish(message_id, report, now=self.now) is None
        elif not may_advance(known.status, report.status):
            with pytest.raises(ValueError, match="cannot become"), self.db.transaction():
                self.db.finish(message_id, report, now=self.now)
        else:
            with self.db.transaction():
                outcome = self.db.finish(message_id, report, now=self.now)
            known.status = report.status
            known.outcome = Outcome(
                message_id=message_id,
                report=report,
                run_at=known.task.run_at,
                started_at=known.started_at,
                ended_at=self.now,
            )
            assert outcome == known.outcome

    @rule(message_id=ids)
    def reply(self, message_id: str) -> None:
        """An answer goes into the outbox."""
        with self.db.transaction():
            number = self.db.add_reply("queue", message_id, b"body", now=self.now).number
        assert number > max(self.outbox, default=0)
        self.outbox[number] = message_id

    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        """The broker has some of the answers."""
        numbers = data.draw(st.sets(st.sampled_from(sorted(self.outbox) or [0])))
        with self.db.transaction():
            self.db.remove_replies(numbers)
        for number in numbers:
            self.outbox.pop(number, None)

    @rule(microseconds=st.integers(1, 10))
    def time_passes(self, microseconds: int) -> None:
        """The clock goes on."""
        self.now += microseconds * MICROSECOND

    @rule(age_us=st.integers(0, 10), limit=st.integers(1, 3))
    def prune(self, age_us: int, limit: int) -> None:
        """What ended long enough ago is forgotten."""
        ended_before = self.now - age_us * MICROSECOND
        with self.db.transaction():
            pruned = self.db.prune(ended_before=ended_before, limit=limit)
        ended = sorted(
            (known.outcome.ended_at, place, message_id)
            for place, (message_id, known) in enumerate(self.known.items())
            if known.outcome is not None
            and known.outcome.ended_at is not None
            and known.outcome.ended_at < ended_before
        )
        assert pruned == min(limit, len(ended))
        for ended_at, _place, message_id in ended[:limit]:
            self.forgotten[message_id] = (self.known.pop(message_id).task.digest, ended_at)

    @rule(age_us=st.integers(0, 10))
    def prune_ids(self, age_us: int) -> None:
        """Ids of what was forgotten are forgotten, too."""
        ended_before = self.now - age_us * MICROSECOND
        with self.db.transaction():
            pruned = self.db.prune_ids(ended_before=ended_before, limit=99)
        old = [id_ for id_, (_digest, ended_at) in self.forgotten.items() if ended_at < ended_before]
        assert pruned == len(old)
        for message_id in old:
            del self.forgotten[message_id]

    @rule(message_id=ids)
    def fail(self, message_id: str) -> None:
        """A transaction does many things and is then undone."""
        with pytest.raises(ZeroDivisionError), self.db.transaction():  # noqa: PT012 - the block is the subject
            self.db.add(make_task("undone"), now=self.now)
            self.db.start(message_id, now=self.now)
            self.db.add_reply("queue", message_id, b"undone", now=self.now)
            self.db.prune(ended_before=self.now + MICROSECOND, limit=99)
            self.db.prune_ids(ended_before=self.now + MICROSECOND, limit=99)
            raise ZeroDivisionError

    @rule()
    def reopen(self) -> None:
        """The service ends and another one begins."""
        self.db.close()
        self.db = self._opened()

    # Always

    @invariant()
    def the_same_tasks_are_due(self) -> None:
        """Due tasks, their order, and the next moment are the same."""
        waiting = sorted(
            (known.task for known in self.known.values() if known.status is TaskStatus.WAITING),
            key=lambda task: task.run_at,
        )
        due = [task for task in waiting if task.run_at <= self.now]
        assert self.db.due(self.now, soft_limit=99, hard_limit=99) == due
        soft = [task for task in due if not task.is_hard][:1]
        assert self.db.due(self.now, soft_limit=1, hard_limit=0) == soft
        assert self.db.next_run_at() == (waiting[0].run_at if waiting else None)

    @invariant()
    def the_same_states_are_told(self) -> None:
        """Lists, numbers, outcomes and the interrupted are the same."""
        told = [(state.message_id, state.status, state.started_at, state.outcome) for state in self.db.tasks(limit=99)]
        expected = [(id_, known.status, known.started_at, known.outcome) for id_, known in self.known.items()]
        assert told == expected[::-1]
        statuses = [known.status for known in self.known.values()]
        assert self.db.counts() == {status: statuses.count(status) for status in TaskStatus}
        assert self.db.count_waiting() == statuses.count(TaskStatus.WAITING)
        working = [id_ for id_, known in self.known.items() if known.status is TaskStatus.WORK]
        assert self.db.interrupted() == [id_ for id_ in working if self.known[id_].epoch < self.epoch]

    @invariant()
    def the_same_ids_are_kept(self) -> None:
        """Of what is forgotten, the same ids are known."""
        assert [id_ for id_ in "abcdef" if self.db.is_forgotten(id_)] == sorted(self.forgotten)

    @invariant()
    def the_same_replies_wait(self) -> None:
        """The outbox is the same, in order."""
        replies = self.db.replies(after=0, limit=99)
        assert [(reply.number, reply.message_id) for reply in replies] == list(self.outbox.items())

    @invariant()
    def every_function_is_stored_once_while_it_is_used(self) -> None:
        """There are as many function bodies as different functions of known tasks."""
        bodies = {body for (body,) in self.db._opened().rows("SELECT body FROM functions")}
        assert bodies == {known.task.function for known in self.known.values()} - {None}


StorageAgreement.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
TestStorageAgreement = StorageAgreement.TestCase
