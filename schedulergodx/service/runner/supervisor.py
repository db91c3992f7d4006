"""One process for each hard task: it watches the worker, kills when told, and leaves nothing of the task behind.

It has a channel to the service, on which it writes `BEGAN` and `EXITED` and reads the service's orders. When the
channel closes, the service is gone, and with it goes the task. When the supervisor closes it, everything is gone.
"""

from __future__ import annotations

import os
import select
import signal
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from schedulergodx.clock import SystemClock
from schedulergodx.service.runner import system
from schedulergodx.service.runner.notes import BEGAN, EXITED, FAILED, KILL, KILL_NOW, NOTE, REPORTED
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
STREAMS = (1, 2)


class _Phase(Enum):
    WATCH = "watch"  # the task runs
    LINGER = "linger"  # it has reported, and may end by itself
    ASKED = "asked"  # everything was asked to end
    FORCED = "forced"  # everything is being killed


def supervise(
    channel: int, pipe: int, *, grace_s: float, output_bytes_max: int, service_pidfd: int | None
) -> Callable[[], None]:
    """Start the worker, and watch it until nothing of it is left. In the supervisor this never returns.

    Returns:
        In the worker: its work, to be called when the stack of the fork server has been left.
    """
    try:
        os.setsid()
        system.adopt_orphans()
        wakeup = _wake_on_child()
        outputs = [Output(stream, output_bytes_max) for stream in STREAMS]
        # This process ignores TERM, and so does its child at first: blocked, one that comes too early waits for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        worker = os.fork()
    except OSError as error:
        _tell(channel, FAILED, error.errno or 0)
        os._exit(0)
    if worker == 0:
        for output in outputs:
            output.become_stream()
        return partial(run_worker, pipe, os.getppid())
    status = 1  # the fork server then looks for what is left behind
    try:
        os.close(pipe)
        for output in outputs:
            output.keep_reading()
        _tell(channel, BEGAN, worker)
        supervisor = _Supervisor(channel, worker, outputs, wakeup=wakeup, grace_s=grace_s, service_pidfd=service_pidfd)
        is_gone = supervisor.run()
        for output in outputs if is_gone else ():
            output.finish(OUTPUT_WAIT_S)
        status = 0
    finally:
        os._exit(status)


def _wake_on_child() -> int:
    """Return a file descriptor that becomes readable when a child ends."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reading


def _tell(channel: int, kind: bytes, number: int) -> None:
    try:
        os.write(channel, NOTE.pack(kind, number))
    except OSError:  # the service is gone; reading will say so
        return


class _Supervisor:
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

    def run(self) -> bool:
        """Return True when the worker and all its descendants are gone; False when some will not go."""
        poller = select.poll()
        for descriptor in (self._channel, self._wakeup, self._service_pidfd, *self._outputs):
            if descriptor is not None:
                poller.register(descriptor, select.POLLIN)
        while self._is_anyone_left() and not self._is_hopeless():
            for descriptor, _ in poller.poll(self._timeout_ms()):
                self._read(descriptor, poller)
            self._reap()
            self._escalate()
        return not self._is_anyone_left()

    def _timeout_ms(self) -> float | None:
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - self._clock.monotonic()) * 1000 + 1

    def _read(self, descriptor: int, poller: select.poll) -> None:
        if descriptor == self._wakeup:
            os.read(descriptor, 4096)
            return
        if (output := self._outputs.get(descriptor)) is not None:
            output.start()
            if output.is_copying:
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
                _tell(self._channel, EXITED, status)

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
