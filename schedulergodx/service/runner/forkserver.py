"""The fork server: a small process without threads that is forked for each hard task, instead of the service.

It is exec'd, so it has nothing of the service but its environment, and it has imported what every run needs. It forks
a supervisor for each pair of descriptors that comes through its control socket, and ends when the service does. A
supervisor is used for one task after another; each task has a process of its own, forked by its supervisor.
"""

from __future__ import annotations

import asyncio as _asyncio  # noqa: F401 - imported once here, it costs the tasks nothing
import contextlib
import gc
import os
import select
import signal
from typing import TYPE_CHECKING

from schedulergodx.service.runner import system
from schedulergodx.service.runner.ending import Beginnings
from schedulergodx.service.runner.notes import FAILED, NOTE
from schedulergodx.service.runner.supervisor import supervise

if TYPE_CHECKING:
    from collections.abc import Callable

DESCRIPTORS = 2  # for each supervisor: its channel, and the pipe of its first worker
STANDARD_ERROR = 2
ORPHANS_RETRY_MS = 50


def main(control: int, service: int, grace_s: float, output_bytes_max: int) -> None:
    """Serve until the service ends.

    Args:
        control: descriptor of the socket to the service.
        service: process id of the service.
        grace_s: seconds between TERM and KILL.
        output_bytes_max: what a task may print on each of its streams.
    """
    _fill_standard_streams()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A supervisor of services that stops a whole group (systemd) must not end tasks that are still waited for.
        signal.signal(number, signal.SIG_IGN)
    system.adopt_orphans()
    gc.collect()
    gc.freeze()  # what is here now stays shared with all children
    beginnings = Beginnings()
    server = _ForkServer(control, service, grace_s, output_bytes_max)
    work = server.serve()
    del server
    if work is not None:  # in a worker: it ends as any program does
        work()
        beginnings.end()


def _fill_standard_streams() -> None:
    """Where the service has closed a standard stream, let no socket of ours be taken for it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STANDARD_ERROR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


class _ForkServer:
    def __init__(self, control: int, service: int, grace_s: float, output_bytes_max: int) -> None:
        self._control = control
        self._grace_s = grace_s
        self._output_bytes_max = output_bytes_max
        self._service_pidfd = system.open_pidfd(service)
        self._is_service_gone = os.getppid() != service
        self._supervisors: set[int] = set()
        self._has_orphans = False
        self._wakeup, self._wakeup_writing = os.pipe()
        for descriptor in (self._wakeup, self._wakeup_writing):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wakeup_writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> Callable[[], None] | None:
        """Return None when the service is gone; in a worker, return its work."""
        poller = select.poll()
        for descriptor in (self._control, self._wakeup, self._service_pidfd):
            if descriptor is not None:
                poller.register(descriptor, select.POLLIN)
        while not self._is_service_gone:
            ready = {descriptor for descriptor, _ in poller.poll(ORPHANS_RETRY_MS if self._has_orphans else None)}
            if self._wakeup in ready:
                os.read(self._wakeup, 4096)
            self._reap()
            if self._service_pidfd in ready:
                return None
            if self._control in ready and (work := self._take()) is not None:
                return work
        return None

    def _take(self) -> Callable[[], None] | None:
        """Make a supervisor for what comes from the control socket. Returns the work, in a worker."""
        data, descriptors = system.receive(self._control, DESCRIPTORS)
        self._is_service_gone = not data
        if len(descriptors) == DESCRIPTORS:
            channel, pipe = descriptors
            try:
                supervisor = os.fork()
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.write(channel, NOTE.pack(FAILED, error.errno or 0))
            else:
                if supervisor == 0:
                    self._close_own()
                    return supervise(
                        channel,
                        pipe,
                        grace_s=self._grace_s,
                        output_bytes_max=self._output_bytes_max,
                        service_pidfd=self._service_pidfd,
                    )
                self._supervisors.add(supervisor)
        # With fewer of them this process has too many open: closing them tells the service.
        for descriptor in descriptors:
            os.close(descriptor)
        return None

    def _close_own(self) -> None:
        """In a supervisor: let go of what belongs to the fork server, so that its end can be seen."""
        signal.set_wakeup_fd(-1)
        for descriptor in (self._control, self._wakeup, self._wakeup_writing):
            os.close(descriptor)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if pid in self._supervisors:
                    self._supervisors.discard(pid)
                    self._has_orphans |= status != 0
        if self._has_orphans:
            self._kill_orphans()

    def _kill_orphans(self) -> None:
        """Kill what came here since its supervisor was killed."""
        everyone = system.descendants(os.getpid())
        spared = self._supervisors.union(*map(system.descendants, self._supervisors))
        orphans = [pid for pid in everyone if pid not in spared]
        self._has_orphans = bool(orphans)
        for pid in orphans:
            system.send_signal(pid, signal.SIGKILL)
