"""A `Runner` whose threads and processes live in a world: they take no real time, and their order is the seed's."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedulergodx.context import TaskOverrun
from schedulergodx.errors import Closed
from schedulergodx.rules.lifecycle import Code, Ending, Report
from schedulergodx.service.execution import not_begun, run_payload
from schedulergodx.utils.abstractions import Capacity, Finished
from schedulergodx.utils.message import payload
from schedulergodx_testing.world.threads import VirtualKill

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from schedulergodx.utils.keys.access import Access
    from schedulergodx.utils.message.seals import Verified
    from schedulergodx_testing.world.scheduler import World
    from schedulergodx_testing.world.threads import VirtualThread

_ABANDONED_MAX_PER_THREAD = 4  # as in production: further abandoned runs take room from others


@dataclass(eq=False, slots=True)
class _Waiting:
    """A run that has not begun. One that was given ahead of its moment has a thread, in which it waits for that."""

    task: Verified
    start_number: int
    on_begin: Callable[[], bool]
    left_s: Callable[[], float]
    is_taken_back: bool = False
    thread: VirtualThread | None = None


class VirtualRunner:
    """Runs soft tasks on threads of the world, and hard ones on threads that stand for processes, which can be killed.

    Args:
        world: where they live.
        threads: soft tasks at a time.
        processes: hard tasks at a time.
        result_bytes_max: a larger result is told as RESULT_TOO_LARGE.
        lead_s: how many seconds ahead of its moment a soft run may be given; it holds a thread meanwhile, as in
            production. 0: none is, so that everything happens at its moment.
        access: what the service lends to clients inside of its tasks.
        load: makes a function and arguments of a stored task.
        on_run: told when a run begins, when its thread starts, and when it ends, with the task and "begin", "start",
            "end" or "kill". A run begins as soon as there is room for it: a thread may be that quick.
    """

    def __init__(  # noqa: PLR0913 - bounds of a service, and two hooks
        self,
        world: World,
        *,
        threads: int,
        processes: int,
        result_bytes_max: int,
        lead_s: float = 0.0,
        access: Access | None = None,
        load: Callable[[Verified], payload.Loaded] = payload.load,
        on_run: Callable[[Verified, str], None] = lambda _task, _what: None,
    ) -> None:
        self._world = world
        self._threads = threads
        self._processes = processes
        self._result_bytes_max = result_bytes_max
        self._lead_s = lead_s
        self._access = access
        self._load = load
        self._on_run = on_run
        self._on_finished: Callable[[Finished], None] = lambda _finished: None
        self._running: dict[str, tuple[Verified, VirtualThread]] = {}
        self._hard = 0  # how many of those are hard
        self._abandoned: dict[str, tuple[Verified, VirtualThread]] = {}
        self._waiting: dict[str, _Waiting] = {}
        world.backlogs.append(self._waiting)
        self._early: list[_Waiting] = []  # those with a thread, until that has ended or they begin
        self._is_closed = False
        self._is_gone = False

    def listen(self, on_finished: Callable[[Finished], None]) -> None:
        """Hand every `Finished` to `on_finished`, from the world's threads."""
        self._on_finished = on_finished

    @property
    def lead_s(self) -> float:
        """How many seconds ahead of its moment a soft run may be given; 0: none may."""
        return self._lead_s

    def can_run_hard(self) -> bool:
        """Return True: virtual processes can be killed on every system."""
        return True

    def capacity(self, ahead: int = 0) -> Capacity:
        """Return how many more runs can start now; with `ahead`, so many more soft ones, which wait for a thread."""
        threads = self._strength()
        soft = threads + (ahead if threads else 0) - self._busy() - len(self._waiting)
        return Capacity(soft=max(0, soft), hard=max(0, self._processes - self._hard))

    def _strength(self) -> int:
        """Return how many soft runs that are not abandoned can go on at a time."""
        too_many = len(self._abandoned) - _ABANDONED_MAX_PER_THREAD * self._threads
        return self._threads if too_many <= 0 else max(0, self._threads - too_many)

    def _busy(self) -> int:
        """Return how many threads have a run that is not abandoned."""
        busy = len(self._running) - self._hard
        if self._early:
            busy += sum(not run.is_taken_back for run in self._early)
        return busy

    def start(
        self,
        task: Verified,
        *,
        start_number: int,
        on_begin: Callable[[], bool] = lambda: True,
        left_s: Callable[[], float] | None = None,
    ) -> None:
        """Add the run to the world; its first turn comes later. A soft one waits where every thread has a run.

        Raises:
            Closed: the runner was closed.
        """
        if self._is_closed:
            raise Closed(f"the runner is closed: task {task.message_id} was not started")
        if task.is_hard:
            self._spawn(task, start_number)
        else:
            self._waiting[task.message_id] = _Waiting(task, start_number, on_begin, left_s or _none_left)
            self._go_on()

    def _go_on(self) -> None:
        """Begin what waits, as far as there are threads."""
        while self._waiting and self._busy() < self._strength() and not self._is_closed:
            run = self._waiting.pop(next(iter(self._waiting)))
            if run.left_s() > 0:
                self._spawn_early(run)
            elif self._begins(run):
                self._spawn(run.task, run.start_number)

    def _begins(self, run: _Waiting) -> bool:
        told = not_begun(run.on_begin)
        if told is not None:
            report, ending = told
            self._on_finished(Finished(message_id=run.task.message_id, report=report, ending=ending))
        return told is None

    def _spawn_early(self, run: _Waiting) -> None:
        def body() -> None:
            while not run.is_taken_back and (seconds := run.left_s()) > 0:
                self._world.wait(lambda: run.is_taken_back, seconds, "a wait for the moment of its task")
            self._early.remove(run)
            if run.is_taken_back:
                return
            if self._begins(run):
                self._enter(run.task, thread)
                self._run(run.task, run.start_number, thread)
            else:
                self._go_on()

        self._early.append(run)
        thread = run.thread = self._world.spawn(_name("thread", run.task), body)

    def _spawn(self, task: Verified, start_number: int) -> None:
        name = _name("process" if task.is_hard else "thread", task)
        thread = self._world.spawn(name, lambda: self._run(task, start_number, thread))
        if task.is_hard:
            thread.process = thread
            self._hard += 1
        self._enter(task, thread)

    def _enter(self, task: Verified, thread: VirtualThread) -> None:
        self._on_run(task, "begin")
        self._running[task.message_id] = (task, thread)

    def _run(self, task: Verified, start_number: int, thread: VirtualThread) -> None:
        self._on_run(task, "start")
        try:
            report = run_payload(
                task,
                start_number=start_number,
                broker=self._access,
                result_bytes_max=self._result_bytes_max,
                load=self._load,
                passes=(VirtualKill,),
            )
        except VirtualKill:
            report = None
        thread.asked = None
        # A function that catches everything outlives no kill: what it returns then is nobody's.
        if report is not None and not thread.is_killed:
            self._finish(task, report)
        else:
            # By its own hand, as by that of a stranger: nobody can tell the two apart.
            is_crash = thread.status is not None and thread.status < 0
            self._finish(task, _of_killed(thread.status), Ending.CRASHED if is_crash else Ending.ENDED)

    def _finish(self, task: Verified, report: Report, ending: Ending = Ending.ENDED) -> None:
        known = self._running.pop(task.message_id, None)
        if known is not None:
            self._hard -= task.is_hard
        else:
            known = self._abandoned.pop(task.message_id, None)
        if known is None:
            return
        _, thread = known
        self._on_run(task, "kill" if thread.is_killed else "end")
        if not self._is_gone:
            self._on_finished(Finished(message_id=task.message_id, report=report, ending=ending))
            self._go_on()

    def abandon(self, message_id: str) -> None:
        """Kill a virtual process where it waits; ask a soft run to stop when its wait is over, and let go of it."""
        task, thread = self._running.get(message_id, (None, None))
        if task is None or thread is None:
            return
        if task.is_hard:
            self._kill(task, thread)
        else:
            self._abandoned[message_id] = self._running.pop(message_id)
            thread.asked = TaskOverrun()
            self._go_on()

    def take_back(self) -> list[str]:
        """Give up what waits, and return the ids."""
        waiting = [run.task.message_id for run in self._early if not run.is_taken_back]
        for run in self._early:
            run.is_taken_back = True
        waiting += self._waiting
        self._waiting.clear()
        return waiting

    def _kill(self, task: Verified, thread: VirtualThread) -> None:
        self._world.kill(thread)
        self._finish(task, _KILLED)  # unless its thread has told it: when it had no turn, or has not unwound yet

    def abandoned(self) -> int:
        """Return how many soft runs go on after `abandon`."""
        return len(self._abandoned)

    def threads(self) -> Mapping[str, threading.Thread]:
        """Return the system's threads behind the runs, by name."""
        virtual = [thread for _, thread in [*self._running.values(), *self._abandoned.values()]]
        virtual += self._early_threads()
        return {thread.name: thread.thread for thread in virtual if thread.thread is not None}

    def _early_threads(self) -> list[VirtualThread]:
        return [run.thread for run in self._early if run.thread is not None]

    def close(self, timeout_s: float = 5.0) -> None:  # noqa: ARG002 - nothing here takes real time
        """Kill what runs in processes. Soft runs go on, and are told, as long as the service's process would live.

        What waits does not begin.
        """
        self._is_closed = True
        self.take_back()
        for task, thread in list(self._running.values()):
            if task.is_hard:
                self._kill(task, thread)

    def crash(self) -> None:
        """End every run, as the end of the service's process does. Nothing is told to anybody."""
        self._is_closed = self._is_gone = True
        self.take_back()
        self._world.backlogs[:] = [one for one in self._world.backlogs if one is not self._waiting]
        for thread in self._early_threads():
            self._world.kill(thread)
        for task, thread in [*self._running.values(), *self._abandoned.values()]:
            self._kill(task, thread)


def _none_left() -> float:
    return 0.0


def _name(kind: str, task: Verified) -> str:
    return f"{kind} of {task.name} {task.message_id}"


_KILLED = Report(
    code=Code.TASK_KILLED,
    message="The process of the task was killed by SIGTERM (15), since the service told it to end.",
)


def _of_killed(status: int | None) -> Report:
    """Return what is told of a process that was killed, or that ended itself with a status."""
    if status is None:
        return _KILLED
    if status < 0:
        name = signal.Signals(-status).name
        return Report(code=Code.TASK_KILLED, message=f"The process of the task was killed by {name} ({-status}).")
    text = f"The process of the task ended by itself, with exit code {status} and without a report."
    return Report(code=Code.TASK_EXITED, message=text)
