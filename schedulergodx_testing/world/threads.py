"""A real thread that runs only while it has the baton."""

from __future__ import annotations

import _thread
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_allocate_lock = _thread.allocate_lock  # the system's own: never one of the world's


class VirtualKill(BaseException):
    """Ends a virtual thread where it waits, as SIGKILL ends a process; for `finally` blocks it looks like an exit."""


@dataclass(frozen=True, slots=True)
class Parked:
    """Where a thread waits.

    Attributes:
        ready: whether it could go on; asked again and again, so it is cheap and changes nothing.
        deadline_us: monotonic moment at which it goes on in any case, or None.
        what: what it waits in, for people, e.g. `time.sleep(5)`.
    """

    ready: Callable[[], bool]
    deadline_us: int | None
    what: str


class VirtualThread:
    """One thread of a world. It starts parked, and ends when `body` does.

    Only the driver calls `hand_over` and `kill`; only the thread itself calls `park`.
    """

    def __init__(self, name: str, body: Callable[[], None], on_start: Callable[[VirtualThread], None]) -> None:
        self.name = name
        self.parked: Parked | None = Parked(lambda: True, None, "its start")
        self.is_done = False
        self.is_killed = False
        self.is_process = False  # whether it stands for a process: then exits and signals end it alone
        self._body = body
        self._on_start = on_start
        self._go = _allocate_lock()
        self._go.acquire()
        self._back = _allocate_lock()
        self._back.acquire()
        self.ident = 0
        self._system_thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._is_started = False

    def adopt(self, thread: threading.Thread) -> None:
        """Be `thread`, which the code under test made, instead of a thread of our own."""
        self._system_thread = thread

    @property
    def thread(self) -> threading.Thread:
        """The system's thread."""
        return self._system_thread

    def hand_over(self, patience_s: float) -> bool:
        """Let it run until it parks or ends. Returns False when it does neither within `patience_s` real seconds."""
        if not self._is_started:
            self._is_started = True
            self._system_thread.start()
        else:
            self._go.release()
        return self._back.acquire(True, patience_s)

    def take_back(self, patience_s: float) -> bool:
        """Wait once more for a thread that did not come back in time."""
        return self._back.acquire(True, patience_s)

    def park(self, parked: Parked) -> None:
        """Give the baton back and wait for it. Raises VirtualKill when the thread is to end."""
        if self.is_killed:
            raise VirtualKill
        self.parked = parked
        self._back.release()
        self._go.acquire()
        self.parked = None
        if self.is_killed:
            raise VirtualKill

    def run_body(self) -> None:
        """Run in the thread itself, from its first turn to its end."""
        self.ident = _thread.get_ident()
        self._on_start(self)
        self.parked = None
        try:
            if not self.is_killed:
                self._body()
        except VirtualKill:
            pass
        finally:
            self.is_done = True
            self._back.release()

    def _run(self) -> None:
        self.run_body()

    def join(self, timeout_s: float) -> None:
        """Wait for the system's thread to be gone, once it is done."""
        if self._is_started and self._system_thread.is_alive():
            self._system_thread.join(timeout_s)

    def stack(self) -> str:
        """Return where it is, as a traceback's text without the frames of this package."""
        frame = sys._current_frames().get(self.ident)  # noqa: SLF001 - the documented way to see another thread's stack
        if frame is None:
            return f"{self.name}: has no stack\n"
        lines = [
            line for line in traceback.format_stack(frame) if "schedulergodx_testing/world" not in line.split("\n")[0]
        ]
        where = f", waits in {self.parked.what}" if self.parked else ", runs"
        return f"{self.name}{where}:\n{''.join(lines[-6:])}"
