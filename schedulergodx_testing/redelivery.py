"""`check_redelivery_safe`: whether a function may run twice, stopped the first time, and do what one run does."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from schedulergodx import redirection
from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.service.execution import run_payload
from schedulergodx.utils.message import payload
from schedulergodx.utils.message.functions import function_name
from schedulergodx_testing.errors import HarnessError
from schedulergodx_testing.given import has_run, must_take
from schedulergodx_testing.harness import Harness
from schedulergodx_testing.launched import function_of
from schedulergodx_testing.specs import make_task
from schedulergodx_testing.world.threads import VirtualKill

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.rules.lifecycle import Report
    from schedulergodx_testing.world.threads import VirtualThread

_RESULT_BYTES_MAX = 8 * 1024 * 1024
_TOLD_MAX = 5


def check_redelivery_safe(
    task: Any,
    *args: Any,
    observe: Callable[[], object],
    reset: Callable[[], object] | None = None,
    **kwargs: Any,
) -> list[str]:
    """Assert that a function that is run again, after a run that was cut off, leaves what one undisturbed run leaves.

    It runs once undisturbed, under virtual time, and then once more, as if the service had died at its end. Then, for
    each place at which it waited (`time.sleep`, a lock, a launch, an `await`), it runs until there, is killed as by the
    end of the service, and runs again from its beginning. These are the windows W8 and W9 of docs/crash-windows.md.
    After each, what `observe` returns must be what it returned after the undisturbed run.

    A kill comes where the function waits, never between two statements without a wait. It unwinds: what stands in
    `finally` still runs. Without `reset`, each trial starts from what the one before has left; a function that sees
    there that its work is done does not come to its waits again, and needs `reset`.

    Args:
        task: a task, or any function, also a coroutine function. It gets copies of the arguments, as in a service.
        args: its positional arguments.
        observe: returns what the function is for: rows of a table, mails that went out. Compared by `==`.
        reset: puts the world back to how it was before the first run.
        kwargs: its keyword arguments.

    Returns:
        The places at which it was cut off, in words.

    Raises:
        AssertionError: it is not safe; the message tells what was observed instead, and after which kill. Or it fails
            undisturbed, or in the run after the kill.
        HarnessError: it did not come again to a wait at which it was to be killed, so that nothing is shown of that
            kill; or `task` is no task and no function, or `observe` or `reset` returned a coroutine.
        InvalidParameter: `observe` or `reset` cannot be called without an argument, or is a coroutine function.
        TaskNotSerializable: the arguments could not be sent to a service.
    """
    must_take("observe", observe)
    if reset is not None:
        must_take("reset", reset)
    trial = _Trial(function_of(task), args, kwargs, observe, reset)
    with _harness() as harness:
        waits = trial.run_undisturbed(harness)
        trial.run_again(harness, "the end of its run (W9)")
        if reset is not None:
            reset()
            trial.run_again(harness, "its start, before any effect (W8)")
        for number, what in enumerate(waits, 1):
            reached = trial.run_until(harness, number)
            if reached is None:
                trial.refuse_unsafe()
                raise HarnessError(_not_killed(trial.name, what, number, has_reset=reset is not None))
            trial.run_again(harness, f"{reached}, its wait {number} (W9)")
    trial.refuse_unsafe()
    return trial.places


def _not_killed(name: str, what: str, number: int, *, has_reset: bool) -> str:
    """Return why nothing can be told of a kill at a wait, and what to do."""
    why = (
        "Does reset=… put back all that a run changes, and does the function do the same each time?"
        if has_reset
        else "It begins from what the trial before has left: give reset=…, which puts the world back to how it was."
    )
    return (
        f"{name} was to be killed at {what}, wait {number} of its undisturbed run, and did not come there again: "
        f"nothing is known of that kill. {why}"
    )


def _harness() -> AbstractContextManager[Harness]:
    """Return the harness that is open, or one that opens for this."""
    active = redirection.active()
    return nullcontext(active) if isinstance(active, Harness) else Harness(is_capturing=True)


class _Trial:
    """One function, run again and again.

    Attributes:
        expected: what was observed after the undisturbed run.
        places: where it was cut off.
        failures: what was observed instead.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        observe: Callable[[], object],
        reset: Callable[[], object] | None,
    ) -> None:
        self.name = function_name(function)
        self.expected: object = None
        self.places: list[str] = []
        self.failures: list[str] = []
        self._function = function
        self._observe = observe
        self._reset = reset or (lambda: None)
        self._task = make_task(_nothing, *args, **kwargs)

    def run_undisturbed(self, harness: Harness) -> list[str]:
        """Run it to its end, and return where it waited."""
        has_run("reset", self._reset())
        waits, report = self._run(harness, None)
        if report is None or report.status is not TaskStatus.COMPLETED:
            raise AssertionError(f"{self.name} fails undisturbed: {_told(report)}")
        self.expected = copy.deepcopy(has_run("observe", self._observe()))
        return waits

    def run_until(self, harness: Harness, wait: int) -> str | None:
        """Run it until its `wait`-th wait, and kill it there. Returns the wait in words, or None: it did not come."""
        has_run("reset", self._reset())
        waits, _ = self._run(harness, wait)
        return waits[-1] if len(waits) == wait else None

    def run_again(self, harness: Harness, place: str) -> None:
        """Run it to its end, after it was cut off at `place`, and look."""
        _, report = self._run(harness, None)
        self.places.append(place)
        observed = self._observe()
        if observed != self.expected:
            self.failures.append(f"{observed!r:.200} after redelivery at {place}")
        elif report is None or report.status is not TaskStatus.COMPLETED:
            self.failures.append(f"it fails after redelivery at {place}: {_told(report)}")

    def refuse_unsafe(self) -> None:
        """Raise AssertionError if anything else was observed than after the undisturbed run."""
        if not self.failures:
            return
        more = [f"  … and {len(self.failures) - _TOLD_MAX} more"] if len(self.failures) > _TOLD_MAX else []
        told = "\n".join([f"  {failure}" for failure in self.failures[:_TOLD_MAX]] + more)
        raise AssertionError(
            f"{self.name} is not safe to run again: {self.expected!r:.200} after one undisturbed run, but\n{told}"
        )

    def _run(self, harness: Harness, stop_at: int | None) -> tuple[list[str], Report | None]:
        """Run it in a thread of the world; killed at its `stop_at`-th wait, there is no report."""
        reports: list[Report] = []
        thread = harness.world.spawn(f"run of {self.name}", lambda: reports.append(self._report()))
        waits: list[str] = []
        last = thread.parked

        def is_there() -> bool:
            nonlocal last
            if thread.parked is not None and thread.parked is not last:
                last = thread.parked
                waits.append(last.what)
            return thread.is_done or len(waits) == stop_at

        harness.world.run(is_there, None, f"run of {self.name}")
        self._end(harness, thread)
        return waits, reports[0] if reports else None

    def _end(self, harness: Harness, thread: VirtualThread) -> None:
        if not thread.is_done:
            harness.world.kill(thread)

    def _report(self) -> Report:
        return run_payload(
            self._task,
            start_number=1,
            broker=None,
            result_bytes_max=_RESULT_BYTES_MAX,
            load=self._load,
            passes=(VirtualKill,),
        )

    def _load(self, task: Any) -> payload.Loaded:
        """Return the original function, with copies of the arguments: each run has its own."""
        loaded = payload.load(task)
        return payload.Loaded(function=self._function, args=loaded.args, kwargs=loaded.kwargs)


def _told(report: Report | None) -> str:
    return "it was killed" if report is None else f"{report.exception_type}: {report.message}\n{report.traceback}"


def _nothing(*_args: Any, **_kwargs: Any) -> None:
    """Stand in for the function, which need not be serializable here, while its arguments are."""
