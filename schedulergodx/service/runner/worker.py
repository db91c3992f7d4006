"""The process in which one hard task runs: read what to do, do it, report, and end like any program."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from typing import TYPE_CHECKING, Any

from schedulergodx.rules.lifecycle import Code, Report
from schedulergodx.service.execution import run_payload
from schedulergodx.service.runner import bounds, frames, system

if TYPE_CHECKING:
    from types import FrameType

_STANDARD_ERROR = 2
_DESCRIPTOR_LEAST = 512
"""The report's pipe is moved out of the way of tasks that close "all" descriptors, which often means 3 to 255."""

_ENDED_BY_THE_SIGNAL = (Code.TASK_EXITED, Code.BAD_PAYLOAD)
"""What the signal's `SystemExit` looks like while the function runs, and while it is loaded."""


def run_worker(pipe: int, supervisor: int) -> None:
    """Run the task whose order comes through `pipe`, and write its report there.

    The process then ends, see `ending`: threads of the task are waited for and its `atexit` functions run; the
    supervisor sees to it that this has an end, too.
    """
    _stand_alone(supervisor)
    pipe = _keep_only(pipe)
    order = _read_order(pipe)
    bounds.set_bounds(order.task.limits)
    own_pid = os.getpid()
    termination = _Termination()
    report = _run(order, termination)
    if os.getpid() != own_pid:  # the task forked, and its child came back from the function, too: it has no say here
        os._exit(0)
    termination.end()
    _write(pipe, frames.pack_report(report))
    os.close(pipe)


def _stand_alone(supervisor: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # see `supervise`: a TERM that came too early is due now
    os.setsid()
    system.die_with_parent(supervisor)
    system.be_first_to_die()


def _keep_only(pipe: int) -> int:
    """Close everything but the standard streams and the pipe. Returns the pipe's new number."""
    try:
        pipe = fcntl.fcntl(pipe, fcntl.F_DUPFD_CLOEXEC, _DESCRIPTOR_LEAST)
    except OSError:  # so many are not allowed here
        os.set_inheritable(pipe, False)
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - numbers, no paths
        if int(name) > _STANDARD_ERROR and int(name) != pipe:
            with contextlib.suppress(OSError):  # the one that has just listed them
                os.close(int(name))
    return pipe


def _read_order(pipe: int) -> frames.Order:
    reader = frames.FrameReader()
    while not reader.is_complete:
        piece = os.read(pipe, 1024 * 1024)
        if not piece:  # the service is gone, or has thought better of it
            os._exit(1)
        reader.feed(piece)
    return frames.unpack_order(reader.body())


def _run(order: frames.Order, termination: _Termination) -> Report:
    try:
        report = run_payload(
            order.task,
            start_number=order.start_number,
            broker=order.broker,
            result_bytes_max=order.result_bytes_max,
            on_ended=bounds.give_room,
        )
    except BaseException:  # noqa: BLE001 - only the signal's SystemExit gets here, in an unlucky moment
        return termination.report()
    if termination.was_asked and report.code in _ENDED_BY_THE_SIGNAL:
        return termination.report()
    return report


class _Termination:
    """SIGTERM as an exception, so that `finally` and `with` of the task do their work within the grace.

    It comes once; a second SIGTERM kills.
    """

    def __init__(self) -> None:
        self.was_asked = False
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> Any:
        self.was_asked = True
        self.end()
        raise SystemExit(128 + number)

    def end(self) -> None:
        """Let SIGTERM kill from now on."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def report(self) -> Report:
        """Return what is told of a task that ended since it was asked to."""
        return Report(code=Code.TASK_KILLED, message="The process of the task was asked to end by SIGTERM, and did.")


def _write(pipe: int, data: bytes) -> None:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(pipe, rest) :]
    except OSError:  # the service is gone, or the task closed the pipe: there is nobody to tell
        os._exit(1)
