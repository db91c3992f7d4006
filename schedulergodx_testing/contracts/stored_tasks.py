"""What the contract of storages stores: a task, reports, and the steps that many tests take."""

from __future__ import annotations

import hashlib
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from schedulergodx.rules.lifecycle import Code, Report
from schedulergodx.utils.abstractions import Added, TaskSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from schedulergodx.utils.abstractions import Storage, TaskState

NOON = datetime(2030, 6, 1, 12, 0, tzinfo=UTC)
"""The moment at which a contract's storage is opened. Storages are told the time; they never look."""
SECOND = timedelta(seconds=1)

DONE = Report(code=Code.OK, result='{"answer": 42}')
RAISED = Report(
    code=Code.ERROR_IN_TASK, exception_type="builtins.ValueError", message="no é", traceback="Traceback …\n"
)
SKIPPED = Report(code=Code.OVERDUE_SKIPPED, message="late by 61 seconds")
INTERRUPTED = Report(code=Code.TASK_INTERRUPTED)


def make_task(message_id: str = "1", *, run_at: datetime = NOON, is_hard: bool = False) -> TaskSpec:
    """Return a task with something in every field; use `dataclasses.replace` for others."""
    return TaskSpec(
        message_id=message_id,
        client="shop",
        reply_to="service-client.shop.1",
        name="shop.tasks.remind",
        digest=hashlib.sha256(message_id.encode()).digest(),
        function=b"function",
        reference="shop.tasks:remind",
        code_digest="c0de",
        arguments=b"arguments \x00\xff",
        arguments_by_value=b"arguments by value",
        python="3.11.7",
        is_hard=is_hard,
        lifetime_s=1.5,
        issued_at=NOON - timedelta(days=400, microseconds=1),
        run_at=run_at,
        is_delayed=True,
        is_overdue_enabled=True,
    )


@contextmanager
def reopened(storage: Storage, make_storage: Callable[[], Storage]) -> Iterator[Storage]:
    """Close `storage` and open another one on the same place, a day later."""
    storage.close()
    again = make_storage()
    again.open(owner="second", now=NOON + timedelta(days=1))
    with closing(again):
        yield again


def add(storage: Storage, *tasks: TaskSpec) -> None:
    """Store new tasks in one transaction."""
    with storage.transaction():
        for task in tasks:
            assert storage.add(task, now=NOON) is Added.NEW


def start(storage: Storage, message_id: str) -> None:
    """Start a waiting task at noon."""
    with storage.transaction():
        assert storage.start(message_id, now=NOON)


def run(storage: Storage, task: TaskSpec, report: Report, *, ended_at: datetime = NOON) -> None:
    """Store, start and end a task."""
    add(storage, task)
    start(storage, task.message_id)
    with storage.transaction():
        assert storage.finish(task.message_id, report, now=ended_at) is not None


def found(storage: Storage, message_id: str) -> TaskState:
    """Return the state of a task that must be there."""
    state = storage.find(message_id)
    assert state is not None
    return state


def ids(tasks: Iterable[TaskSpec | TaskState]) -> list[str]:
    """Return the ids of tasks, in their order."""
    return [task.message_id for task in tasks]
