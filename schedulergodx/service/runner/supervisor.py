"""One process for each hard task at a time: it watches the worker, kills when told, and leaves nothing of it behind.

It has a channel to the service, on which it writes notes and reads the service's orders. When the channel closes, the
service is gone, and with it goes the task. `GONE` says that nothing of the task is left: then the supervisor may be
told to have the process for one more task ready, so that this one need not wait for its fork. When the supervisor
closes the channel, everything is gone.
"""

from __future__ import annotations

import os
import select
import signal
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from schedulergodx.clock import SystemClock
from schedulergodx.service.runner import system
from schedulergodx.service.runner.notes import BEGAN, EXITED, FAILED, GONE, KILL, KILL_NOW, NOTE, REPORTED
from schedulergodx.service.runner.output import Output
from schedulergodx.service.runner.worker import run_worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RETRY_S = 0.02
FREEZE_ROUNDS_MAX = 10
"""How often to look for what was forked since the last look, before killing what was found. Then it begins anew."""
GIVE_UP_S = 5.0
"""How long to go on against what survives SIGKILL, since it waits inside the kernel (a dead network disk)."""


OUTPUT_WAIT_S = 0.5
"""How long the last output of a task may take to be written, where the stream of the service does not take it."""
THREAD_LOOKS = 20
"""How often to look, every millisecond, whether the threads of the outputs are gone. With one left there is no fork."""
STREAMS = (1, 2)


class _Phase(Enum):
    WATCH = "watch"  # the task runs
    LINGER = "linger"  # it has reported, and may end by itself
    ASKED = "asked"  # everything was asked to end
    FORCED = "forced"  # everything is being killed


def supervise(
    channel: int, pipe: int, *, grace_s: float, output_bytes_max: int, service_pidfd: int | None
) -> Callable[[], None]:
    """Start a worker, and watch it until nothing of it is left; then the next one. Never returns in the supervisor.

    Returns:
        In a worker: its work, to be called when the stack of the fork server has been left.
    """
    try:
        os.setsid()
        system.adopt_orphans()
        wakeup = _wake_on_child()
        # This process ignores TERM, and so do its children at first: blocked, one that comes too early waits for them.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    except OSError as error:
        _fail(channel, error)
    while True:
        try:
            outputs = [Output(stream, output_bytes_max) for stream in STREAMS]
            worker = os.fork()
        except OSError as error:
            _fail(channel, error)
        if worker == 0:
            for output in outputs:
                output.become_stream()
            return partial(run_worker, pipe, os.getppid())
        status = 1  # the fork server then looks for what is left behind
        try:
            os.close(pipe)
            watch = _Watch(channel, worker, outputs, wakeup=wakeup, grace_s=grace_s, service_pidfd=service_pidfd)
            next_pipe = _next_pipe(channel, service_pidfd) if watch.is_over_with_nothing_left() else None
            status = 0
        finally:
            if status or next_pipe is None:
                os._exit(status)
        pipe = next_pipe


def _fail(channel: int, error: OSError) -> NoReturn:
    _tell(channel, NOTE.pack(FAILED, error.errno or 0))
    os._exit(0)


def _wake_on_child() -> int:
    """Return a file descriptor that becomes readable when a child ends."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reading


def _tell(channel: int, notes: bytes) -> None:
    try:
        os.write(channel, notes)
    except OSError:  # the service is gone; reading will say so
        return


def _next_pipe(channel: int, service_pidfd: int | None) -> int | None:
    """Wait until one more worker is wanted, and return its pipe; None: none is, or the service is gone."""
    poller = select.poll()
    for descriptor in (channel, service_pidfd):
        if descriptor is not None:
            poller.register(descriptor, select.POLLIN)
    while True:
        if service_pidfd in {descriptor for descriptor, _ in poller.poll()}:
            return None
        order, descriptors = system.receive(channel, 1)
        if descriptors:
            return descriptors[0]
        if not order:
            return None


class _Watch:
    """Over one worker."""

    def __init__(  # noqa: PLR0913 - what a supervisor watches, and one number
        self,
        channel: int,
        worker: int,
        outputs: Sequence[Output],
        *,
        wakeup: int,
        grace_s: float,
        service_pidfd: int | None,
    ) -> None:
        self._outputs = {output.reading: output for output in outputs}
        self._channel = channel
        self._worker = worker
        self._wakeup = wakeup
        self._grace_s = grace_s
        self._service_pidfd = service_pidfd
        self._clock = SystemClock()
        self._phase = _Phase.WATCH
        self._deadline: float | None = None
        self._give_up_at: float | None = None
        self._is_worker_gone = False
        self._notes = NOTE.pack(BEGAN, worker)

    def is_over_with_nothing_left(self) -> bool:
        """Return True when nothing is left, in this process either, and the service knows; False when something is."""
        for output in self._outputs.values():
            output.keep_reading()
        is_gone = self._run()
        is_clean = is_gone and self._is_output_over()
        if is_clean:
            self._notes += NOTE.pack(GONE, 0)
        self._tell()
        return is_clean

    def _is_output_over(self) -> bool:
        """Let everything that was printed be copied. Returns whether no thread is left of it."""
        outputs = self._outputs.values()
        for output in outputs:
            output.take_rest()
        if not any(output.is_copying for output in outputs):
            self._close_outputs()
            return True
        self._tell()  # the service need not wait for it
        for output in outputs:
            output.finish(OUTPUT_WAIT_S)
        for _ in range(THREAD_LOOKS):  # a thread that was joined may have a few steps to go
            if not system.has_threads():
                self._close_outputs()
                return True
            select.poll().poll(1)
        return False

    def _close_outputs(self) -> None:
        for output in self._outputs.values():
            output.close()

    def _tell(self) -> None:
        if self._notes:
            _tell(self._channel, self._notes)
            self._notes = b""

    def _run(self) -> bool:
        """Return True when the worker and all its descendants are gone; False when some will not go."""
        poller = select.poll()
        for descriptor in (self._channel, self._wakeup, self._service_pidfd, *self._outputs):
            if descriptor is not None:
                poller.register(descriptor, select.POLLIN)
        while self._is_anyone_left() and not self._is_hopeless():
            self._tell()
            for descriptor, events in poller.poll(self._timeout_ms()):
                self._read(descriptor, poller, has_data=bool(events & select.POLLIN))
            self._reap()
            self._escalate()
        return not self._is_anyone_left()

    def _timeout_ms(self) -> float | None:
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - self._clock.monotonic()) * 1000 + 1

    def _read(self, descriptor: int, poller: select.poll, *, has_data: bool) -> None:
        if descriptor == self._wakeup:
            os.read(descriptor, 4096)
            return
        if (output := self._outputs.get(descriptor)) is not None:
            if has_data:
                output.start()
            if output.is_copying or not has_data:  # else everybody who could print is gone
                poller.unregister(descriptor)
            return
        order = self._order() if descriptor == self._channel else b""
        if not order:  # the service is gone
            poller.unregister(descriptor)
        if not order or KILL_NOW in order:
            self._force()
        elif KILL in order and self._phase in {_Phase.WATCH, _Phase.LINGER}:
            self._ask()
        elif REPORTED in order and self._phase is _Phase.WATCH:
            self._enter(_Phase.LINGER, self._grace_s)

    def _order(self) -> bytes:
        try:
            return os.read(self._channel, 64)
        except OSError:
            return b""

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._worker:
                self._is_worker_gone = True
                self._notes += NOTE.pack(EXITED, status)

    def _escalate(self) -> None:
        """Take the next step against what should be gone by now."""
        is_over = self._deadline is not None and self._clock.monotonic() >= self._deadline
        if self._phase in {_Phase.WATCH, _Phase.LINGER} and self._is_worker_gone:
            if self._is_anyone_left():
                self._ask()
        elif self._phase is not _Phase.WATCH and is_over:
            self._force()

    def _ask(self) -> None:
        self._enter(_Phase.ASKED, self._grace_s)
        self._signal_all(signal.SIGTERM)

    def _force(self) -> None:
        if self._give_up_at is None:
            self._give_up_at = self._clock.monotonic() + GIVE_UP_S
        self._enter(_Phase.FORCED, RETRY_S)
        self._freeze()
        self._signal_all(signal.SIGKILL)

    def _freeze(self) -> None:
        """Stop what can fork before any of it is killed: each death would make room for another one."""
        if not self._is_worker_gone:
            system.send_signal_to_group(self._worker, signal.SIGSTOP)
        known: set[int] = set()
        for _ in range(FREEZE_ROUNDS_MAX):
            new = set(system.descendants(os.getpid())) - known
            if not new:
                return
            for pid in new:
                system.send_signal(pid, signal.SIGSTOP)
            known |= new

    def _enter(self, phase: _Phase, seconds: float) -> None:
        self._phase, self._deadline = phase, self._clock.monotonic() + seconds

    def _signal_all(self, number: int) -> None:
        # To force, the group comes first, at one blow: what forks faster than it can be listed is in there. To ask,
        # each process is asked once: a second TERM would kill a task that is clearing up.
        is_forcing = number == signal.SIGKILL and not self._is_worker_gone
        if is_forcing or not system.IS_LINUX:
            system.send_signal_to_group(self._worker, number)
        for pid in system.descendants(os.getpid()):
            system.send_signal(pid, number)

    def _is_anyone_left(self) -> bool:
        if not system.IS_LINUX:
            return not self._is_worker_gone or system.send_signal_to_group(self._worker, 0)
        try:
            # Orphans come to this process, so without children there are no descendants either.
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True

    def _is_hopeless(self) -> bool:
        return self._give_up_at is not None and self._clock.monotonic() >= self._give_up_at
