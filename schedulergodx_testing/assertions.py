"""Assertions about launches and outcomes. Their messages tell what was found instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from schedulergodx.client import failures
from schedulergodx.errors import InvalidParameter, SchedulerError
from schedulergodx.rules.lifecycle import Code, Outcome, TaskStatus
from schedulergodx_testing.errors import HarnessError
from schedulergodx_testing.launched import ANY, Launch, Wanted, id_of, ids_of, known_function_of

if TYPE_CHECKING:
    from collections.abc import Mapping


CAPTURES = "this harness only captures launches and runs none; open it with is_capturing=False"


class _Records(Protocol):
    is_capturing: bool

    @property
    def launched(self) -> list[Launch]: ...

    def outcome(self, message_id: str | Launch) -> Outcome | None: ...


class Assertions:
    """The assertions of a `Harness`. Where they take a task, a decorated task or its plain function will do."""

    def assert_launched(  # noqa: PLR0913 - what a launch can be told by
        self: _Records,
        task: Any,
        *,
        args: tuple[Any, ...] = ANY,
        kwargs: Mapping[str, Any] = ANY,
        delay: Any = ANY,
        hard: bool = ANY,
        times: int | None = None,
    ) -> Launch:
        """Assert that `task` was launched so, and return the (last such) launch.

        Args:
            task: which task.
            args: its positional arguments, exactly; not compared when left out. Things like `pytest.approx` work.
            kwargs: its keyword arguments, exactly.
            delay: seconds to its start; 0 and None mean at once.
            hard: whether it was launched as a hard task.
            times: how often, exactly, from 1 on; None: at least once. `assert_not_launched` is for never.

        Raises:
            AssertionError: it was not; the message shows near misses.
            HarnessError: `task` is no task.
            InvalidParameter: `times` is no whole number from 1 on.
        """
        __tracebackhide__ = True
        if times is not None:
            _check_times(times)
        wanted = Wanted(known_function_of(task, self.launched), args, kwargs, delay, hard)
        found = [launch for launch in self.launched if wanted.matches(launch)]
        if times is None and not found:
            raise AssertionError(f"{wanted} was not launched; {wanted.report(self.launched)}")
        if times is not None and len(found) != times:
            raise AssertionError(
                f"{wanted} was launched {len(found)} times, not {times}; {wanted.report(self.launched)}"
            )
        return found[-1]

    def assert_not_launched(
        self: _Records,
        task: Any,
        *,
        args: tuple[Any, ...] = ANY,
        kwargs: Mapping[str, Any] = ANY,
        delay: Any = ANY,
        hard: bool = ANY,
    ) -> None:
        """Assert that `task` was never launched so; without more than the task: that it was never launched."""
        __tracebackhide__ = True
        wanted = Wanted(known_function_of(task, self.launched), args, kwargs, delay, hard)
        found = [launch for launch in self.launched if wanted.matches(launch)]
        if found:
            raise AssertionError(f"{wanted} was launched {len(found)} times, first as {found[0]} at {found[0].at}")

    def assert_completed(self: _Records, task_or_id: Any, *, result: Any = ANY) -> Outcome:
        """Assert that a launch (the last one of a task) completed, with that result, and return its outcome.

        Args:
            task_or_id: which launch: a task, the id of a launch, or a `Launch`.
            result: what it returned; not compared when left out.
        """
        __tracebackhide__ = True
        launch, outcome = _ended(self, task_or_id)
        if outcome.status is not TaskStatus.COMPLETED:
            raise AssertionError(f"{launch} did not complete: {_shown(outcome)}")
        if result is not ANY:
            value = failures.value_of(outcome)
            if value != result:
                raise AssertionError(f"{launch} returned {value!r:.200}, not {result!r:.200}")
        return outcome

    def assert_failed(self: _Records, task_or_id: Any, *, error: Any = ANY) -> Outcome:
        """Assert that a launch (the last one of a task) ended otherwise, and return its outcome.

        Args:
            task_or_id: which launch: a task, the id of a launch, or a `Launch`.
            error: how: a `TaskFailed` subclass, a `Code` (or its name), or the exception type that the function raised
                (or its name).
        """
        __tracebackhide__ = True
        launch, outcome = _ended(self, task_or_id)
        if outcome.status is TaskStatus.COMPLETED:
            raise AssertionError(f"{launch} completed")
        if error is not ANY and not _is_error(outcome, error):
            name = error.__name__ if isinstance(error, type) else str(error)
            raise AssertionError(f"{launch} did not fail with {name}: {_shown(outcome)}")
        return outcome


def _check_times(times: object) -> None:
    if isinstance(times, bool) or not isinstance(times, int) or times < 1:
        raise InvalidParameter(
            f"times must be a whole number from 1 on, got {times!r:.40}; that there is none is for "
            "assert_not_launched(…)"
        )


def _ended(records: _Records, task_or_id: Any) -> tuple[Any, Outcome]:
    __tracebackhide__ = True
    launch: Launch | str
    if isinstance(task_or_id, (str, Launch)):
        message_id = id_of(task_or_id)
        found = next((one for one in records.launched if one.message_id == message_id), None)
        if found is None and records.outcome(message_id) is None:  # a message of one's own may have one
            raise AssertionError(f"no launch of this harness has the id {message_id!r:.80}; {ids_of(records.launched)}")
        launch = found or f"message {message_id}"
    else:
        wanted = Wanted(known_function_of(task_or_id, records.launched))
        launches = [one for one in records.launched if wanted.matches(one)]
        if not launches:
            raise AssertionError(f"{wanted} was not launched; {wanted.report(records.launched)}")
        launch, message_id = launches[-1], launches[-1].message_id
    outcome = records.outcome(message_id)
    if outcome is None and records.is_capturing:
        raise AssertionError(f"{launch} has not ended: {CAPTURES}")
    if outcome is None:
        raise AssertionError(
            f"{launch} has not ended; run_until_idle() lets things happen, advance(…) lets time pass before you look"
        )
    return launch, outcome


def _is_error(outcome: Outcome, error: Any) -> bool:
    if isinstance(error, Code):
        return outcome.code is error
    if isinstance(error, str):
        return error in {outcome.code.value, outcome.report.exception_type, _last(outcome.report.exception_type)}
    if not isinstance(error, type):
        raise HarnessError(f"error= takes an exception type, a Code, or a name of one; got {error!r:.80}")
    return isinstance(_raised(outcome), error) or _last(outcome.report.exception_type) == error.__name__


def _raised(outcome: Outcome) -> SchedulerError | None:
    try:
        failures.value_of(outcome)
    except SchedulerError as error:
        return error
    return None


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _shown(outcome: Outcome) -> str:
    report = outcome.report
    said = f"{report.exception_type}: {report.message}" if report.exception_type else report.message
    return f"{report.code.value}, {said}\n{report.traceback}".rstrip()
