"""From an outcome to what `result()` gives: the value, or the error that says how the task ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schedulergodx import errors
from schedulergodx.rules.lifecycle import Code
from schedulergodx.utils.message import results

if TYPE_CHECKING:
    from schedulergodx.rules.lifecycle import Outcome

_ERRORS: dict[Code, type[errors.TaskFailed]] = {
    Code.ERROR_IN_TASK: errors.TaskRaised,
    Code.TASK_TIMEOUT: errors.TaskTimedOut,
    Code.TASK_EXITED: errors.TaskKilled,
    Code.TASK_KILLED: errors.TaskKilled,
    Code.TASK_INTERRUPTED: errors.TaskInterrupted,
    Code.TASK_NOT_IMPORTABLE: errors.TaskNotImportable,
    Code.OVERDUE_SKIPPED: errors.TaskOverdue,
    Code.CANCELLED: errors.TaskCancelled,
}


def value_of(outcome: Outcome) -> Any:
    """Return what the function returned.

    Raises:
        TaskFailed: the task ended otherwise; the subclass says how.
        ResultUnserializable: it completed, but its result did not travel.
    """
    report = outcome.report
    if report.code is Code.OK:
        return None if report.result is None else results.decode(report.result)
    if report.code in {Code.RESULT_UNSERIALIZABLE, Code.RESULT_TOO_LARGE}:
        raise errors.ResultUnserializable(
            f"task {outcome.message_id} completed, but its result did not travel ({report.code.value}): "
            f"{report.message}. Return JSON data, or write the result somewhere and return where.",
            message_id=outcome.message_id,
            code=report.code.value,
            representation=report.message,
        )
    said = f"{report.exception_type}: {report.message}" if report.exception_type else report.message
    raise _ERRORS.get(report.code, errors.TaskRefused)(
        f"task {outcome.message_id}: {report.code.value}: {said}",
        message_id=outcome.message_id,
        code=report.code.value,
        exception_type=report.exception_type,
        message=report.message,
        traceback=report.traceback,
    )
