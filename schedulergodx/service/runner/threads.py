"""Soft tasks: a pool of daemon threads that can lose a thread to a task without losing its strength."""

from __future__ import annotations

import itertools
import os
import threading
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

from schedulergodx import context
from schedulergodx.clock import SystemClock
from schedulergodx.rules.lifecycle import Code, Ending, Report
from schedulergodx.service.execution import not_begun, run_payload
from schedulergodx.service.runner.interruption import Interruption
from schedulergodx.utils.abstractions import Finished

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schedulergodx.utils.message.seals import Verified

_clock = SystemClock()
NAME = "schedulergodx-task"
ABANDONED_FACTOR = 4
"""So many abandoned runs, for each thread allowed, are replaced; what goes beyond makes the pool smaller."""


def abandoned_max(threads: int) -> int:
    """Return with how many abandoned runs a pool of so many threads starts nothing any more."""
    return (ABANDONED_FACTOR + 1) * threads


@dataclass(eq=False, slots=True)
class _Run:
    task: Verified
    start_number: int
    on_begin: Callable[[], bool]
    left_s: Callable[[], float] | None = None
    is_abandoned: bool = False
    is_taken_back: bool = False
    interruption: Interruption | None = None  # once its thread has come to it


class ThreadPool:
    """Runs soft tasks. Threads are made when they are needed, used again, and never waited for.

    It may be given more runs than it has threads: they wait in their order. `start`, `abandon`, `take_back` and `close`
    are for the service's loop; what runs is told from the threads.
    """

    def __init__(
        self, threads: int, *, broker: object | None, result_bytes_max: int, on_finished: Callable[[Finished], None]
    ) -> None:
        self._size = threads
        self._broker = broker
        self._result_bytes_max = result_bytes_max
        self._on_finished = on_finished
        self._queue: SimpleQueue[_Run | None] = SimpleQueue()
        self._nothing: SimpleQueue[None] = SimpleQueue()  # ever comes in here: to wait for a moment
        self._numbers = itertools.count(1)
        self._pid = os.getpid()
        self._lock = threading.Condition()  # guards what follows; notified when a thread leaves
        self._threads: list[threading.Thread] = []
        self._running: dict[str, _Run] = {}
        self._abandoned = 0
        self._to_ask: list[_Run] = []  # abandoned, and in the middle of what must not be interrupted

    def capacity(self, ahead: int) -> int:
        """Return how many more can start, or wait. It is asked at every turn: so runs are asked to stop here, too."""
        with self._lock:
            self._ask(self._to_ask)
            threads = self._strength()
            return max(0, threads + (ahead if threads else 0) - len(self._running))

    def _strength(self) -> int:
        """Return how many runs that are not abandoned can go on at a time."""
        return max(0, self._size - max(0, self._abandoned - ABANDONED_FACTOR * self._size))

    def abandoned(self) -> int:
        """Return how many runs go on after `abandon`."""
        with self._lock:
            return self._abandoned

    def threads(self) -> list[threading.Thread]:
        """Return the threads that live."""
        with self._lock:
            return [thread for thread in self._threads if thread.is_alive()]

    def start(
        self,
        task: Verified,
        *,
        start_number: int,
        on_begin: Callable[[], bool],
        left_s: Callable[[], float] | None = None,
    ) -> None:
        """Start a run in an idle thread, or a new one, or behind others; `on_begin` is called as it begins.

        Where there is no thread to be had its `Finished` tells.
        """
        run = _Run(task, start_number, on_begin, left_s)
        with self._lock:
            self._running[task.message_id] = run
            has_thread = self._has_thread_for_one_more()
        if has_thread:
            self._queue.put(run)
        else:
            report = Report(code=Code.ERROR_IN_TASK, message="No thread could be started for the task. It did not run.")
            self._end(run, report, Ending.NOT_STARTED)

    def _has_thread_for_one_more(self) -> bool:
        """Make sure that all go on that can; a thread may be late where threads are scarce."""
        if min(len(self._running), self._strength()) + self._abandoned > len(self._threads):
            thread = threading.Thread(target=self._work, name=f"{NAME}-{next(self._numbers)}", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # can't start new thread: the system has none left
                return bool(self._threads)
            self._threads.append(thread)
        return True

    def abandon(self, message_id: str) -> None:
        """Ask a run to stop, and count it as abandoned, so that another one can start in its place.

        One that has ended is left alone.
        """
        with self._lock:
            run = self._running.pop(message_id, None)
            if run is not None:
                run.is_abandoned = True
                self._abandoned += 1
                self._ask([*self._to_ask, run])
                if self._waiting():  # behind it
                    self._has_thread_for_one_more()

    def take_back(self) -> list[str]:
        """Give up the runs that have not begun, and return their ids. They do not run, and are not told of."""
        with self._lock:
            waiting = self._waiting()
            for message_id in waiting:
                self._running.pop(message_id).is_taken_back = True
        return waiting

    def _waiting(self) -> list[str]:
        return [message_id for message_id, run in self._running.items() if run.interruption is None]

    def _ask(self, runs: Sequence[_Run]) -> None:
        if runs:
            self._to_ask = [run for run in runs if run.interruption is not None and not run.interruption.send()]

    def close(self, timeout_s: float) -> None:
        """End idle threads and wait at most so long for that. Busy ones end after their run, unwaited for.

        What waits does not begin.
        """
        self.take_back()
        with self._lock:
            for _ in self._threads:
                self._queue.put(None)
            self._lock.wait_for(lambda: len(self._threads) <= len(self._running) + self._abandoned, timeout_s)

    # --- in the threads ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (run := self._queue.get()) is not None:
            if run.left_s is not None:
                self._await_moment(run, run.left_s)
            if (told := self._run(run)) is None:
                continue
            with self._lock:
                is_surplus = run.is_abandoned and len(self._threads) > self._size
                if is_surplus:
                    self._leave()
            self._end(run, *told)
            if is_surplus:
                return
        with self._lock:
            self._leave()

    def _await_moment(self, run: _Run, left_s: Callable[[], float]) -> None:
        """Return when nothing is left, or the run was taken back or abandoned meanwhile."""
        while (seconds := left_s()) > 0 and not (run.is_taken_back or run.is_abandoned):
            _clock.wait_for(self._nothing, seconds)

    def _leave(self) -> None:
        self._threads.remove(threading.current_thread())
        self._lock.notify_all()

    def _run(self, run: _Run) -> tuple[Report, Ending] | None:
        """Return what is to be told of a run that has come to its end; None: it was taken back."""
        try:
            interruption = self._begin(run)
            if interruption is None:
                return None if run.is_taken_back else (_GIVEN_UP, Ending.ENDED)
            told = not_begun(run.on_begin) or (self._report(run), Ending.ENDED)
            interruption.end()
        except context.TaskOverrun:  # it came before or after the function; there is only one for each run
            context.current.set(None)
            told = (Report(code=Code.TASK_TIMEOUT, message="The task was asked to stop, and did."), Ending.ENDED)
        return told

    def _report(self, run: _Run) -> Report:
        report = run_payload(
            run.task, start_number=run.start_number, broker=self._broker, result_bytes_max=self._result_bytes_max
        )
        if os.getpid() != self._pid:  # the function has forked, and this is the child: the others are not its business
            os._exit(1)
        return report

    def _begin(self, run: _Run) -> Interruption | None:
        """From now on the run can be asked to stop, and not be taken back. Returns None when it was before."""
        with self._lock:
            if not run.is_abandoned and not run.is_taken_back:
                run.interruption = Interruption()
            return run.interruption

    def _end(self, run: _Run, report: Report, ending: Ending = Ending.ENDED) -> None:
        """Give the place free, then tell: whoever is told finds the place free."""
        with self._lock:
            if run.is_abandoned:
                self._abandoned -= 1
            elif self._running.get(run.task.message_id) is run:
                del self._running[run.task.message_id]
        self._on_finished(Finished(message_id=run.task.message_id, report=report, ending=ending))


_GIVEN_UP = Report(code=Code.TASK_TIMEOUT, message="The task was given up before a thread came to it.")
