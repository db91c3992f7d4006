"""One hard run as the service sees it: two sockets, and what came through them. Before its task comes it is a spare."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

from schedulergodx.rules.lifecycle import Code, Ending, Report
from schedulergodx.rules.limits import NO_LIMITS
from schedulergodx.service.runner import frames
from schedulergodx.service.runner.notes import BEGAN, EXITED, FAILED, GONE, NOTE

if TYPE_CHECKING:
    from schedulergodx.rules.limits import TaskLimits
    from schedulergodx.utils.message.seals import Verified

PIECE_BYTES = 1024 * 1024
PIECES_AT_ONCE_MAX = 32
"""More than a socket holds; a task that never stops writing must leave time for the others."""


class HardRun:
    """Sockets that never block, and the facts so far. It decides nothing.

    Attributes:
        message_id: which task; "" of a spare.
        channel: to the supervisor.
        pipe: to the worker.
        is_abandoned: the service told it to end.
        is_told: its `Finished` has gone out.
        is_gone: nothing of the task is left.
        is_closed: the supervisor has closed the channel, and is gone, too.
        forget_at: when to stop waiting for the end of what was told to end, on the monotonic clock; None: never.
        spare_since: on the same clock, when it was made, if as a spare.
    """

    def __init__(self, channel: socket.socket, pipe: socket.socket, *, report_bytes_max: int) -> None:
        self.message_id = ""
        self._limits = NO_LIMITS
        self.channel = channel
        self.pipe = pipe
        self.is_abandoned = False
        self.is_told = False
        self.is_gone = False
        self.is_closed = False
        self.spare_since: float | None = None
        self.forget_at: float | None = None
        self.status: int | None = None
        self._order = memoryview(b"")
        self._report = frames.FrameReader(report_bytes_max)
        self._notes = b""
        self._has_begun = False
        self._failure: int | None = None
        channel.setblocking(False)
        pipe.setblocking(False)

    @property
    def is_spare(self) -> bool:
        """Whether it has no task yet."""
        return not self.message_id

    @property
    def is_alive(self) -> bool:
        """Whether the worker of a spare is there, as far as that can be known now."""
        try:
            self.pipe.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # its end, or something that no worker of ours says

    def begin(self, task: Verified, order: bytes) -> None:
        """Have it run this task."""
        self.message_id, self._limits, self._order = task.message_id, task.limits, memoryview(order)
        self.write_order()

    @property
    def is_writing(self) -> bool:
        """Whether some of the order has not been written yet."""
        return bool(self._order)

    @property
    def has_reported(self) -> bool:
        """Whether the report of the worker is here."""
        return self._report.is_complete

    def write_order(self) -> None:
        """Write as much of the order as goes without waiting."""
        try:
            while self._order:
                self._order = self._order[self.pipe.send(self._order[:PIECE_BYTES]) :]
        except BlockingIOError:
            return
        except OSError:  # the worker is gone; the channel will tell
            self._order = memoryview(b"")

    def read_pipe(self) -> bool:
        """Read what has come from the worker, in a bounded look. Returns False when no more will come."""
        for _ in range(PIECES_AT_ONCE_MAX):
            if self.pipe.fileno() == -1:
                return False
            try:
                piece = self.pipe.recv(PIECE_BYTES)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not piece:
                return False
            self._report.feed(piece)
        return True

    def read_channel(self) -> None:
        """Read what has come from the supervisor."""
        try:
            while piece := self.channel.recv(4096):
                self._notes += piece
        except BlockingIOError:
            pass
        except OSError:
            self.is_closed = True
        else:
            self.is_closed = True
        self.is_gone |= self.is_closed
        while len(self._notes) >= NOTE.size:
            kind, number = NOTE.unpack_from(self._notes)
            self._notes = self._notes[NOTE.size :]
            self._has_begun |= kind == BEGAN
            if kind == EXITED:
                self.status = number
            elif kind == FAILED:
                self._failure = number
            elif kind == GONE:
                self.is_gone = True

    def tell(self, order: bytes) -> None:
        """Tell the supervisor what to do; one that is gone needs no telling."""
        with contextlib.suppress(OSError):
            self.channel.send(order)

    def end(self) -> tuple[Report, Ending]:
        """Return what came of the run, as far as it is known, and how it came to its end."""
        if self._report.is_complete and (report := frames.unpack_report(self._report.body())) is not None:
            return report, self._crashed_if(is_killed=report.code is Code.TASK_KILLED)  # asked to end, by SIGTERM
        if self.status is not None:
            report = _report_of_exit(self.status, self._limits, is_abandoned=self.is_abandoned)
            is_over_limit = os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGXCPU
            return report, self._crashed_if(is_killed=report.code is Code.TASK_KILLED and not is_over_limit)
        if self._failure is not None:
            return not_started(os.strerror(self._failure))
        if not self._has_begun:
            return not_started("the fork server, or the task's supervisor, ended before")
        what = "is not gone though it was killed" if not self.is_gone else "is gone with its supervisor"
        report = Report(code=Code.TASK_KILLED, message=f"The process of the task {what}. It may have run partly.")
        return report, self._crashed_if(is_killed=True)

    def _crashed_if(self, *, is_killed: bool) -> Ending:
        return Ending.CRASHED if is_killed and not self.is_abandoned else Ending.ENDED


def not_started(reason: str) -> tuple[Report, Ending]:
    """Return what is told of a task for which no process could be made."""
    message = f"No process could be started for the task: {reason}. It did not run."
    return Report(code=Code.TASK_KILLED, message=message), Ending.NOT_STARTED


def _report_of_exit(status: int, limits: TaskLimits, *, is_abandoned: bool) -> Report:
    if os.WIFEXITED(status):
        code = os.waitstatus_to_exitcode(status)
        text = f"The process of the task ended by itself, with exit code {code} and without a report."
        return Report(code=Code.TASK_EXITED, message=text)
    number = os.WTERMSIG(status)
    try:
        name = signal.Signals(number).name
    except ValueError:  # a real-time signal
        name = "signal"
    why = ", since the service told it to end" if is_abandoned else _guess(number, limits)
    return Report(code=Code.TASK_KILLED, message=f"The process of the task was killed by {name} ({number}){why}.")


def _guess(number: int, limits: TaskLimits) -> str:
    """Return why the system may have sent a signal."""
    if number == signal.SIGXCPU and limits.cpu_s_max is not None:
        return f": it has computed for longer than its limit of {limits.cpu_s_max} s (cpu_s_max)"
    if number == signal.SIGKILL:
        limit = "" if limits.cpu_s_max is None else f", or it ignored SIGXCPU at its limit of {limits.cpu_s_max} s"
        return f", possibly since the system was out of memory; its kernel log would say so{limit}"
    return ""
