"""What runner contracts start, and how they watch it: tasks that wait at gates, and a runner that is listened to."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from schedulergodx.context import TaskOverrun, current_task
from schedulergodx.rules.lifecycle import Code, Report
from schedulergodx.utils.message import results
from schedulergodx_testing.specs import make_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schedulergodx.utils.abstractions import Capacity, Finished, Runner

    MakeRunner = Callable[[int, int], Runner]
    Open = Callable[..., "Watched"]
    MakeGate = Callable[[str], "Gate"]

WAIT_S = 20.0
"""Longest wait for what must happen, in seconds."""


class Gate:
    """Where a task waits until the test lets it pass."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._opened = threading.Event()

    def wait_until_reached(self) -> None:
        """Return when a task stands before the gate."""
        assert self._reached.wait(WAIT_S), "no task came to the gate"

    def pass_through(self) -> None:
        """Wait until the gate is open: for the task."""
        self._reached.set()
        assert self._opened.wait(WAIT_S), "nobody opened the gate"

    def open(self) -> None:
        """Let everybody pass from now on."""
        self._opened.set()


_gates: dict[str, Gate] = {}


# --- What runs: found by reference, so that soft tasks see the gates of the test


def add(left: int, right: int) -> int:
    """Return the sum."""
    return left + right


def fail(text: str) -> None:
    """Raise."""
    raise LookupError(text)


def leave() -> None:
    """End as `sys.exit` would."""
    raise SystemExit(3)


def pass_gate(name: str) -> str:
    """Wait until the test opens the gate."""
    _gates[name].pass_through()
    return name


def wait_in_bits(name: str, how: str) -> str:
    """Come to the gate, and wait in short pieces until it is asked to stop; then end, as `how` says."""
    try:
        _gates[name].pass_through()
        while True:
            threading.Event().wait(0.01)
    except TaskOverrun:
        if how == "leave":
            raise
    return "late"


def wait_long() -> None:
    """Wait longer than any test."""
    threading.Event().wait(600)


def describe_run() -> Any:
    """Return what a task knows about its run."""
    task = current_task()
    return None if task is None else [task.message_id, task.start_number, task.client]


def noting(begun: list[str], name: str) -> Callable[[], bool]:
    """Return an `on_begin` that notes the name of its run."""

    def on_begin() -> bool:
        begun.append(name)
        return True

    return on_begin


def until(moment: threading.Event) -> Callable[[], float]:
    """Return a `left_s` that has something left until the moment has come."""
    return lambda: 0.0 if moment.is_set() else 0.001


class Watched:
    """A runner together with what it has told."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.capacities: list[Capacity] = []
        self._inbox: SimpleQueue[Finished] = SimpleQueue()
        runner.listen(self._on_finished)

    def _on_finished(self, finished: Finished) -> None:
        self.capacities.append(self.runner.capacity())
        self._inbox.put(finished)

    def start(
        self,
        function: Callable[..., Any],
        *args: Any,
        is_hard: bool = False,
        number: int = 1,
        on_begin: Callable[[], bool] = lambda: True,
        left_s: Callable[[], float] | None = None,
    ) -> str:
        """Start a run. Returns its id."""
        task = make_task(function, *args, is_hard=is_hard, by="reference")
        self.runner.start(task, start_number=number, on_begin=on_begin, left_s=left_s)
        return task.message_id

    def finished(self) -> Finished:
        """Return the next event."""
        return self._inbox.get(timeout=WAIT_S)

    def report(self) -> Report:
        """Return the report of the next event."""
        return self.finished().report

    def result(self) -> Any:
        """Return the result in the next event."""
        report = self.report()
        assert report.code is Code.OK, report
        return results.decode(report.result or "")


class WatchedRuns:
    """The fixtures of a runner contract; `make_runner` is to be overridden.

    Attributes:
        runs_in_caller: `start` returns only when the task has ended, so nothing can be abandoned; such tests skip.
    """

    runs_in_caller = False

    @pytest.fixture
    def make_runner(self) -> MakeRunner:
        """Return a function that makes a runner for so many soft and so many hard tasks at a time."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def open_runner(self, make_runner: MakeRunner) -> Iterator[Open]:
        """Like `make_runner`, watched; what was opened is closed after the test, and its threads have ended then."""
        opened: list[Watched] = []

        def open_runner(soft: int = 2, hard: int = 2) -> Watched:
            opened.append(Watched(make_runner(soft, hard)))
            return opened[-1]

        yield open_runner
        for watched in opened:
            watched.runner.close()
            for thread in watched.runner.threads().values():
                thread.join(WAIT_S)
                assert not thread.is_alive(), f"{thread.name} goes on after close"

    @pytest.fixture
    def make_gate(self) -> Iterator[MakeGate]:
        """Return a function that makes the gate of a name; all are open after the test."""
        made: list[Gate] = []

        def make_gate(name: str) -> Gate:
            made.append(Gate())
            _gates[name] = made[-1]
            return made[-1]

        yield make_gate
        for gate in made:
            gate.open()

    def _needs_hard(self, watched: Watched) -> None:
        if not watched.runner.can_run_hard():
            pytest.skip("this runner runs no hard tasks here")

    def _needs_lead(self, watched: Watched) -> None:
        if not watched.runner.lead_s:
            pytest.skip("this runner is given nothing ahead of its moment")

    def _needs_concurrency(self) -> None:
        if self.runs_in_caller:
            pytest.skip("this runner runs tasks in the caller")
