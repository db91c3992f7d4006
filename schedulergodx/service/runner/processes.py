"""Hard tasks, in the service: how many run, what is told of them, and when they are killed."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING

from schedulergodx.clock import SystemClock
from schedulergodx.rules.lifecycle import Code, Report
from schedulergodx.service.runner import frames
from schedulergodx.service.runner.hard_run import HardRun, not_started
from schedulergodx.service.runner.link import ForkServerLink
from schedulergodx.service.runner.notes import KILL, KILL_NOW, NEXT, REPORTED
from schedulergodx.service.runner.reader import Reader
from schedulergodx.utils.abstractions import Finished
from schedulergodx.utils.message.seals import with_limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.rules.limits import TaskLimits
    from schedulergodx.utils.message.seals import Verified

KILLED_WAIT_S = 8.0
"""Beyond the grace, how long a killed task may take to be gone before its place is given to another one."""
LINGERING_FACTOR = 4
"""How many ended tasks, for each process allowed, may take their time to clear up before the oldest is killed."""
SPARE_S = 60.0
"""How long a process may wait for a task that comes; then it ends."""
REPORT_ROOM_BYTES = 256 * 1024
"""For all of a report but its result: bounded texts, and what JSON adds to them."""


def can_run_hard() -> bool:
    """Return whether processes can be forked and killed by group on this system."""
    needed = ((os, "fork"), (os, "killpg"), (os, "setsid"), (socket, "send_fds"))
    return bool(sys.executable) and all(hasattr(module, name) for module, name in needed)


class ProcessPool:
    """Runs hard tasks. `start`, `abandon` and `close` are for the service's loop; a thread of its own tells the ends.

    A run gives its place free when its end is told. What it leaves behind, a thread or a child, goes within the grace.
    When nothing of it is left, its supervisor gets a process ready for one more task: a spare. There are none before
    the first task, at most as many as tasks may run at a time, and each ends when no task has come to it for a while.
    """

    def __init__(  # noqa: PLR0913 - each is a bound or a fact of its own
        self,
        processes: int,
        *,
        kill_grace_s: float,
        broker: object | None,
        result_bytes_max: int,
        limits: TaskLimits,
        output_bytes_max: int,
        on_finished: Callable[[Finished], None],
    ) -> None:
        self._processes = processes
        self._kill_grace_s = kill_grace_s
        self._broker = broker
        self._result_bytes_max = result_bytes_max
        self._limits = limits
        self._on_finished = on_finished
        self._clock = SystemClock()
        self._link = ForkServerLink(kill_grace_s, output_bytes_max)
        self._reader: Reader | None = None
        self._lock = threading.Lock()
        self._running: dict[str, HardRun] = {}
        self._spares: list[HardRun] = []  # under the lock, as what runs
        self._runs: list[HardRun] = []  # of the reader's thread: all that are not gone, the oldest first
        self._is_closing = False
        self._all_gone = threading.Event()

    def capacity(self) -> int:
        """Return how many more can start now."""
        with self._lock:
            return max(0, self._processes - len(self._running))

    def spares(self) -> int:
        """Return how many processes wait for a task."""
        with self._lock:
            return len(self._spares)

    def end_spares(self) -> None:
        """Let the processes that wait for a task end, without waiting for that."""
        if self._reader is not None:
            self._reader.call(self._drop_spares)

    def threads(self) -> list[threading.Thread]:
        """Return the thread that reads, if it lives."""
        return [self._reader.thread] if self._reader is not None and self._reader.thread.is_alive() else []

    def warm_up(self) -> None:
        """Start the fork server, without waiting for it, so that the first task need not. Raises nothing."""
        with contextlib.suppress(OSError):  # the first task will say so
            self._link.start()

    def start(self, task: Verified, *, start_number: int) -> None:
        """Start a run. Where that fails its `Finished` tells, at once."""
        if not can_run_hard():
            text = "this system cannot kill processes by group, so the service runs no hard tasks. It did not run."
            report = Report(code=Code.HARD_NOT_SUPPORTED, message=text)
            self._on_finished(Finished(message_id=task.message_id, report=report))
            return
        try:
            self._start(task, start_number)
        except (OSError, RuntimeError) as error:  # no descriptors, no processes, no threads, no memory left
            report, ending = not_started(str(error))
            self._on_finished(Finished(message_id=task.message_id, report=report, ending=ending))

    def _start(self, task: Verified, start_number: int) -> None:
        reader = self._started_reader()
        order = frames.Order(
            task=with_limits(task, task.limits.within(self._limits)),
            start_number=start_number,
            broker=self._broker,
            result_bytes_max=self._result_bytes_max,
        )
        packed = frames.pack_order(order)
        spare = self._begun_spare(order.task, packed)
        if spare is not None:
            if spare.is_writing:
                reader.call(partial(self._watch_pipe, spare))
            return
        run = self._new_run()
        with self._lock:
            run.begin(order.task, packed)
            self._running[task.message_id] = run
        reader.call(partial(self._watch, run))

    def _begun_spare(self, task: Verified, order: bytes) -> HardRun | None:
        """Have a spare run the task. Returns None where there is none."""
        if self._spares and not self._link.is_there:  # what is left of a killed supervisor goes to the fork server
            self.end_spares()
            return None
        with self._lock:
            while self._spares:
                spare = self._spares.pop()
                if spare.is_alive:
                    spare.begin(task, order)
                    self._running[task.message_id] = spare
                    return spare
        return None

    def _new_run(self) -> HardRun:
        """Have the fork server make a supervisor, and that one a worker. Raises OSError."""
        with contextlib.ExitStack() as on_failure, contextlib.ExitStack() as always:
            ends = []
            for _ in range(2):
                own, its = socket.socketpair()
                on_failure.callback(own.close)
                always.callback(its.close)
                ends.append((own, its))
            (channel, its_channel), (pipe, its_pipe) = ends
            self._link.send(its_channel, its_pipe)
            on_failure.pop_all()
        return self._made_run(channel, pipe)

    def _made_run(self, channel: socket.socket, pipe: socket.socket) -> HardRun:
        return HardRun(channel, pipe, report_bytes_max=self._result_bytes_max + REPORT_ROOM_BYTES)

    def _started_reader(self) -> Reader:
        if self._reader is None:
            reader = Reader(self._turn)
            reader.start()
            self._reader = reader
        return self._reader

    def abandon(self, message_id: str) -> None:
        """Have a run killed with its children. One that has ended is left alone."""
        with self._lock:
            run = self._running.get(message_id)
        if run is not None and self._reader is not None:
            self._reader.call(partial(self._kill, run))

    def close(self, timeout_s: float) -> None:
        """Kill what runs, and wait at most so long until it is gone; what is not by then is killed without grace."""
        deadline = self._clock.monotonic() + timeout_s
        if self._reader is not None:
            self._reader.call(self._kill_all)
            self._all_gone.wait(timeout_s)
            self._reader.call(self._drop_all)
            self._reader.stop()
            self._reader.thread.join()
            self._reader = None
        self._link.close(max(0.1, deadline - self._clock.monotonic()))

    # --- in the reader's thread --------------------------------------------------------------------------------------

    def _watch(self, run: HardRun) -> None:
        assert self._reader is not None  # noqa: S101 - it calls this
        self._runs.append(run)
        self._reader.watch(run.channel, partial(self._on_channel, run))
        self._watch_pipe(run)

    def _watch_pipe(self, run: HardRun) -> None:
        assert self._reader is not None  # noqa: S101 - it calls this
        if run.pipe.fileno() != -1:
            self._reader.watch(run.pipe, partial(self._on_pipe, run), is_writing=run.is_writing)

    def _on_pipe(self, run: HardRun) -> None:
        assert self._reader is not None  # noqa: S101 - it calls this
        if self._drop_spare(run):  # its worker is gone, or says what no worker of ours does
            return
        if run.is_writing:
            run.write_order()
            self._watch_pipe(run)
        is_open = run.read_pipe()
        if run.has_reported and not run.is_abandoned:
            run.tell(REPORTED)
            self._tell(run)
        if run.has_reported or not is_open:
            self._reader.forget(run.pipe)

    def _on_channel(self, run: HardRun) -> None:
        run.read_channel()
        if run.status is None and not run.is_gone:
            return
        self._drop_spare(run)
        if not run.is_spare:
            run.read_pipe()  # what the worker wrote before it ended is all there
            if run.is_gone or not run.is_abandoned:
                self._tell(run)
        if run.is_closed:
            self._end(run)
        elif run.is_gone and not self._has_made_spare_of(run):
            self._let_end(run)

    def _has_made_spare_of(self, run: HardRun) -> bool:
        """Have the supervisor of a run of which nothing is left make a worker for one more, if it is wanted."""
        assert self._reader is not None  # noqa: S101 - it calls this
        with self._lock:
            is_wanted = len(self._spares) < self._processes
        if run.is_spare or not is_wanted or self._is_closing:
            return False
        try:
            pipe, its = socket.socketpair()
        except OSError:
            return False
        with its:
            try:
                socket.send_fds(run.channel, [NEXT], [its.fileno()])
            except OSError:
                pipe.close()
                return False
        spare = self._made_run(run.channel, pipe)
        spare.spare_since = self._clock.monotonic()
        self._reader.forget(run.pipe)
        self._runs.remove(run)
        self._watch(spare)
        with self._lock:
            self._spares.append(spare)
        return True

    def _drop_spare(self, run: HardRun) -> bool:
        """Let a spare end. Returns False when it has become a run, or is one."""
        with self._lock:
            if not run.is_spare:
                return False
            if run in self._spares:
                self._spares.remove(run)
        self._let_end(run)
        return True

    def _drop_spares(self) -> None:
        for run in [run for run in self._runs if run.is_spare]:
            self._drop_spare(run)

    def _let_end(self, run: HardRun) -> None:
        """Tell a supervisor that it is not wanted any more. It kills what it has, and closes the channel."""
        assert self._reader is not None  # noqa: S101 - it calls this
        self._reader.forget(run.pipe)
        with contextlib.suppress(OSError):
            run.channel.shutdown(socket.SHUT_WR)
        if run.forget_at is None:
            run.forget_at = self._clock.monotonic() + KILLED_WAIT_S

    def _kill(self, run: HardRun) -> None:
        if run not in self._runs or self._drop_spare(run):  # its channel may be that of another run by now
            return
        if not run.is_told:
            run.is_abandoned = True
        if run.forget_at is None:
            run.forget_at = self._clock.monotonic() + self._kill_grace_s + KILLED_WAIT_S
            run.tell(KILL)

    def _kill_all(self) -> None:
        self._is_closing = True
        for run in self._runs:
            self._kill(run)

    def _drop_all(self) -> None:
        for run in list(self._runs):
            self._tell(run)
            self._end(run)

    def _turn(self) -> float | None:
        """See to what takes too long. Returns the seconds until the next look, or None."""
        now = self._clock.monotonic()
        for run in [run for run in self._runs if run.forget_at is not None and now >= run.forget_at]:
            self._tell(run)
            self._end(run)
        for run in [run for run in self._runs if run.is_spare and run.forget_at is None]:
            if run.spare_since is not None and now >= run.spare_since + SPARE_S:
                self._drop_spare(run)
        lingering = [run for run in self._runs if run.is_told]
        for run in lingering[: -LINGERING_FACTOR * self._processes]:
            if run.forget_at is None:
                run.forget_at = now + KILLED_WAIT_S
                run.tell(KILL_NOW)
        if self._is_closing and not self._runs:
            self._all_gone.set()
        return min((look_at - now for run in self._runs if (look_at := _look_at(run)) is not None), default=None)

    def _tell(self, run: HardRun) -> None:
        if run.is_told or run.is_spare:
            return
        run.is_told = True
        with self._lock:
            if self._running.get(run.message_id) is run:
                del self._running[run.message_id]
        report, ending = run.end()
        self._on_finished(Finished(message_id=run.message_id, report=report, ending=ending))

    def _end(self, run: HardRun) -> None:
        """Let go of a run. A supervisor that still lives then kills what is left, without grace."""
        assert self._reader is not None  # noqa: S101 - it calls this
        self._reader.forget(run.pipe)
        self._reader.forget(run.channel)
        self._runs.remove(run)


def _look_at(run: HardRun) -> float | None:
    """Return when a run needs a look though nothing comes from it."""
    if run.forget_at is not None:
        return run.forget_at
    return run.spare_since + SPARE_S if run.is_spare and run.spare_since is not None else None
