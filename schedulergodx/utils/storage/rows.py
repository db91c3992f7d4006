"""Between rows of the database and the values of the seam: tasks, states, outcomes, moments."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from schedulergodx.rules.lifecycle import Code, Outcome, Report, TaskStatus
from schedulergodx.rules.limits import NO_LIMITS, TaskLimits
from schedulergodx.utils.abstractions import Reply, TaskSpec, TaskState
from schedulergodx.utils.storage.known import Claim

if TYPE_CHECKING:
    from schedulergodx.utils.storage.connection import Row

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

TASK_COLUMNS = (
    "status, message_id, client, reply_to, name, digest, function, reference, code_digest, python, "
    "is_hard, lifetime_s, issued_at, run_at, is_delayed, is_overdue_enabled, stored_at, max_starts, limits, seal"
)
"""What `task` gives, in its order."""
SPEC_COLUMNS = (
    "tasks.number, run_at, function, message_id, client, reply_to, is_hard, name, digest, reference, code_digest, "
    "arguments.body, by_value, python, lifetime_s, issued_at, is_delayed, is_overdue_enabled, "
    "max_starts, limits, starts, seal, EXISTS (SELECT 1 FROM watchers WHERE task = tasks.number)"
)
"""What `spec` and `claim` take, in its order."""
STATE_COLUMNS = (
    "number, message_id, client, name, is_hard, issued_at, run_at, status, started_at, starts, "
    "max_starts, "
    "ended_at, code, result, exception_type, message, traceback"
)
"""What `state` takes, in its order."""


def to_microseconds(moment: datetime) -> int:
    """Return an aware moment as whole microseconds since 1970 UTC, exactly. A naive one raises TypeError."""
    return (moment - _EPOCH) // _MICROSECOND


def to_moment(microseconds: int) -> datetime:
    """Return the aware UTC moment of `to_microseconds`."""
    return _EPOCH + timedelta(microseconds=microseconds)


_WAITING = TaskStatus.WAITING.value
known_microseconds = lru_cache(maxsize=64)(to_microseconds)
_known_moment = lru_cache(maxsize=64)(to_moment)
"""The same two, kept: tasks start and end together, in the moments of a few turns."""
_COMPLETED, _OK = TaskStatus.COMPLETED.value, Code.OK.value


def task(spec: TaskSpec, claim: Claim, *, function: int | None, now: datetime) -> Row:
    """Return the row of a new task, and `claim` is its; `function` is the number of its function's body."""
    run_at = claim.run_at
    return (
        _WAITING,
        spec.message_id,
        spec.client,
        spec.reply_to,
        spec.name,
        spec.digest,
        function,
        spec.reference,
        spec.code_digest,
        spec.python,
        spec.is_hard,
        spec.lifetime_s,
        run_at if spec.issued_at is spec.run_at else to_microseconds(spec.issued_at),
        run_at,
        spec.is_delayed,
        spec.is_overdue_enabled,
        known_microseconds(now),
        spec.max_starts,
        None if spec.limits is NO_LIMITS or not (limits := spec.limits.given()) else json.dumps(limits),
        spec.seal,
    )


def task_number(row: Row) -> int:
    """Return the number of the task in a row of `SPEC_COLUMNS`."""
    found: int = row[0]
    return found


def function_number(row: Row) -> int | None:
    """Return the number of the function's body in a row of `SPEC_COLUMNS`; None: it travels by reference alone."""
    number: int | None = row[2]
    return number


def claim(row: Row) -> Claim:
    """Return what is kept of the task in a row of `SPEC_COLUMNS`, or of `WAITING_CLAIM`, while it is under way."""
    number, run_at, _function, _message_id, client, reply_to, is_hard, *_others, is_watched = row
    return Claim(number, run_at, client, reply_to, bool(is_watched), bool(is_hard))


def new_claim(number: int, task: TaskSpec) -> Claim:
    """Return the same of a task that is to be stored under this number."""
    return Claim(
        number, to_microseconds(task.run_at), task.client, task.reply_to, is_watched=False, is_hard=task.is_hard
    )


def spec(row: Row, function: bytes | None) -> TaskSpec:
    """Return the task in a row of `SPEC_COLUMNS`; `function` is the body that its function number stands for."""
    (
        _number,
        run_at,
        _function,
        message_id,
        client,
        reply_to,
        is_hard,
        name,
        digest,
        reference,
        code_digest,
        arguments,
        by_value,
        python,
        lifetime_s,
        issued_at,
        is_delayed,
        is_overdue_enabled,
        max_starts,
        limits,
        starts,
        seal,
        _is_watched,
    ) = row
    run_moment = to_moment(run_at)
    return TaskSpec(
        message_id=message_id,
        client=client,
        reply_to=reply_to,
        name=name,
        digest=digest,
        function=function,
        reference=reference,
        code_digest=code_digest,
        arguments=arguments,
        arguments_by_value=by_value,
        python=python,
        is_hard=bool(is_hard),
        lifetime_s=lifetime_s,
        issued_at=run_moment if issued_at == run_at else to_moment(issued_at),
        run_at=run_moment,
        is_delayed=bool(is_delayed),
        is_overdue_enabled=bool(is_overdue_enabled),
        max_starts=max_starts,
        limits=NO_LIMITS if limits is None else TaskLimits(**json.loads(limits)),
        starts=starts,
        seal=seal,
    )


def reply(row: Row) -> Reply:
    """Return the reply in a row of the outbox: number, queue, message id and body."""
    number, queue, message_id, body = row
    return Reply(number=number, queue=queue, message_id=message_id, body=body)


def stored_order(row: Row) -> int:
    """Return what rows of `STATE_COLUMNS` are sorted by, the newest having the highest."""
    number: int = row[0]
    return number


def state(row: Row) -> TaskState:
    """Return the task in a row of `STATE_COLUMNS`."""
    _number, message_id, client, name, is_hard, issued_at, run_at, status, started_at, starts, *rest = row
    max_starts, ended_at, *words = rest
    return TaskState(
        message_id=message_id,
        client=client,
        name=name,
        is_hard=bool(is_hard),
        issued_at=to_moment(issued_at),
        run_at=to_moment(run_at),
        status=TaskStatus(status),
        started_at=None if started_at is None else to_moment(started_at),
        starts=starts,
        max_starts=max_starts,
        outcome=None if ended_at is None else outcome(message_id, run_at, started_at, ended_at, _report(*words)),
    )


def outcome(message_id: str, run_at: int, started_at: int | None, ended_at: int, report: Report) -> Outcome:
    """Return the outcome of a task whose moments are those of its row."""
    return Outcome(
        message_id=message_id,
        report=report,
        run_at=to_moment(run_at),
        started_at=None if started_at is None else _known_moment(started_at),
        ended_at=_known_moment(ended_at),
    )


def storable(report: Report) -> Report:
    """Return `report` with texts that are valid UTF-8: an exception may say anything, lone surrogates included."""
    words = report.message + report.exception_type + report.traceback  # of most, there are none
    if words.isascii() and (report.result is None or report.result.isascii()):
        return report
    return replace(
        report,
        result=None if report.result is None else _valid(report.result),
        exception_type=_valid(report.exception_type),
        message=_valid(report.message),
        traceback=_valid(report.traceback),
    )


def end_values(report: Report, ended_at: int) -> Row:
    """Return the columns status, ended_at, code, result, exception_type, message and traceback."""
    if report.code is Code.OK:  # nearly always; the value of a member of an Enum takes a call
        status, code = _COMPLETED, _OK
    else:
        status, code = report.status.value, report.code.value
    return status, ended_at, code, report.result, report.exception_type, report.message, report.traceback


def _report(code: str, result: str | None, exception_type: str, message: str, traceback: str) -> Report:
    return Report(
        code=Code(code),
        result=result,
        exception_type=exception_type,
        message=message,
        traceback=traceback,
    )


def _valid(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
