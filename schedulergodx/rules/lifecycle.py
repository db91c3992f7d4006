"""The states of a task, the steps between them, and the codes that say why it ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class TaskStatus(Enum):
    """Where a task is. The numbers are those of 1.0.0: they are in databases and messages."""

    WAITING = 0
    WORK = 1
    COMPLETED = 2
    ERROR = 3
    CANCELLED = 4
    OVERDUE = 5
    ORPHAN = 6

    __hash__ = object.__hash__
    """By identity, as members are compared; that of `Enum` is a function in Python, and takes longer."""

    @property
    def is_ended(self) -> bool:
        """Whether no step leads on from here."""
        return not TRANSITIONS[self]


TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.WAITING: frozenset(
        # ERROR without WORK: the service could not even start it.
        {TaskStatus.WORK, TaskStatus.CANCELLED, TaskStatus.OVERDUE, TaskStatus.ERROR, TaskStatus.ORPHAN}
    ),
    TaskStatus.WORK: frozenset(
        # WAITING again: a crash ended the run, and the task may be started once more.
        {TaskStatus.COMPLETED, TaskStatus.ERROR, TaskStatus.CANCELLED, TaskStatus.WAITING}
    ),
    TaskStatus.COMPLETED: frozenset(),
    TaskStatus.ERROR: frozenset(),
    TaskStatus.CANCELLED: frozenset(),
    TaskStatus.OVERDUE: frozenset(),
    TaskStatus.ORPHAN: frozenset(),
}
"""Every legal step. Nothing leads out of an ended state, so a task has exactly one outcome."""


class Code(Enum):
    """Why a task ended as it did, beside its status. The values travel as `code` in replies."""

    OK = "OK"
    RESULT_UNSERIALIZABLE = "RESULT_UNSERIALIZABLE"
    RESULT_TOO_LARGE = "RESULT_TOO_LARGE"
    ERROR_IN_TASK = "ERROR_IN_TASK"
    TASK_TIMEOUT = "TASK_TIMEOUT"
    TASK_EXITED = "TASK_EXITED"
    TASK_KILLED = "TASK_KILLED"
    TASK_INTERRUPTED = "TASK_INTERRUPTED"
    TASK_NOT_IMPORTABLE = "TASK_NOT_IMPORTABLE"
    PYTHON_MISMATCH = "PYTHON_MISMATCH"
    BAD_PAYLOAD = "BAD_PAYLOAD"
    HARD_NOT_SUPPORTED = "HARD_NOT_SUPPORTED"
    OVERDUE_SKIPPED = "OVERDUE_SKIPPED"
    CANCELLED = "CANCELLED"
    DUPLICATE_ID = "DUPLICATE_ID"
    UNKNOWN_ID = "UNKNOWN_ID"
    OUTCOME_PRUNED = "OUTCOME_PRUNED"
    INVALID_TASK = "INVALID_TASK"
    STALE = "STALE"
    NOT_ALLOWED = "NOT_ALLOWED"
    TAMPERED = "TAMPERED"

    __hash__ = object.__hash__
    """As of `TaskStatus`."""


STATUS_OF: dict[Code, TaskStatus] = {
    Code.OK: TaskStatus.COMPLETED,
    Code.RESULT_UNSERIALIZABLE: TaskStatus.COMPLETED,
    Code.RESULT_TOO_LARGE: TaskStatus.COMPLETED,
    Code.OVERDUE_SKIPPED: TaskStatus.OVERDUE,
    Code.CANCELLED: TaskStatus.CANCELLED,
}
"""The status that goes with a code; every code that is not named here goes with ERROR."""


class Ending(Enum):
    """How a run came to its end, beside what it brought.

    ENDED: by its function, or since the service wished it. CRASHED: its process was killed from outside, or broke; the
    task may start again where it allows that. NOT_STARTED: there was no thread or process to be had; it did not run.
    NOT_BEGUN: when its turn came it was not to run any more, and did not.
    """

    ENDED = "ended"
    CRASHED = "crashed"
    NOT_STARTED = "not started"
    NOT_BEGUN = "not begun"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a run, or the decision not to run, brought: an outcome without its moments.

    Attributes:
        code: the reason.
        result: the result as JSON text (see `utils.message.results`), or None when there is none.
        exception_type: qualified name of what the function raised, or "".
        message: text of the exception, or a sentence about what happened, or the repr of an unserializable result.
        traceback: the traceback as text, or "".
    """

    code: Code
    result: str | None = None
    exception_type: str = ""
    message: str = ""
    traceback: str = ""

    @property
    def status(self) -> TaskStatus:
        """The state in which a task with this report is."""
        if self.code is Code.OK:  # nearly always, and asked for again and again: members hash slowly
            return TaskStatus.COMPLETED
        return STATUS_OF.get(self.code, TaskStatus.ERROR)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How one launch ended, once and for all.

    Attributes:
        message_id: which launch.
        report: what it brought.
        run_at: when it was to start, aware UTC.
        started_at: when it started, or None when it never did.
        ended_at: when its outcome was recorded.
    """

    message_id: str
    report: Report
    run_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def status(self) -> TaskStatus:
        """The state in which the task ended."""
        return self.report.status

    @property
    def code(self) -> Code:
        """The reason beside the status."""
        return self.report.code


def may_advance(current: TaskStatus, following: TaskStatus) -> bool:
    """Return whether a task may step from `current` to `following`."""
    return following in TRANSITIONS[current]
