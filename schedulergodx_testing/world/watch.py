"""The watch over a test that spins: `while not outbox: pass` asks nobody, so nobody else could say that it never ends.

A thread of the system looks now and then whether anything happens. It counts the processor time of the test while
nothing does: a busy machine, or a real wait for a child process, uses up none of the patience.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import sys
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.errors import ThreadStuck
from schedulergodx_testing.looks import HELP
from schedulergodx_testing.world import real

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schedulergodx_testing.world.scheduler import World

_LOOKS = 10  # within the patience
_TRIES, _TRY_S = 2000, 0.001
_OURS = frozenset({"schedulergodx", "schedulergodx_testing"})
_IMPORTS = "importlib._bootstrap"
_RUNNERS = frozenset({"_pytest", "coverage", "execnet", "hypothesis", "pluggy", "pytest", "xdist", _IMPORTS})


@contextmanager
def watched(world: World, state: Callable[[], object], patience_s: float) -> Iterator[None]:
    """End the calling thread, the driver, by ThreadStuck when it spins in the block; its stack is the traceback's.

    Args:
        world: what it drives; while it does, the world's own bounds hold.
        state: what differs as soon as anything has happened; asked from another thread.
        patience_s: seconds of processor time for which nothing may happen.
    """
    watch = _Watch(world, state, patience_s)
    watch.start()
    try:
        yield
    finally:
        watch.end()


class _Watch:
    """The thread, which `threading` does not show to the code under test, and what it has seen."""

    def __init__(self, world: World, state: Callable[[], object], patience_s: float) -> None:
        self._world = world
        self._state = state
        self._patience_s = patience_s
        self._driver = _thread.get_ident()
        self._used_s = _cpu_clock(self._driver)
        self._ending = _thread.allocate_lock()
        self._ended = _thread.allocate_lock()
        self._process = os.getpid()

    def start(self) -> None:
        real.acquire(self._ending)
        real.acquire(self._ended)
        self._world.watch = _thread.start_new_thread(self._look, ())

    def end(self) -> None:
        self._ending.release()
        if os.getpid() == self._process:  # the child of a fork has no such thread
            real.acquire(self._ended)

    def _look(self) -> None:
        try:
            since_s, state = self._used_s(), self._state()
            while not real.acquire(self._ending, True, self._patience_s / _LOOKS):
                now_s, now = self._used_s(), self._state()
                if self._is_going_on(state):
                    since_s, state = now_s, now
                elif now_s - since_s > self._patience_s:
                    self._interrupt(state)
                    since_s = self._used_s()
        finally:
            self._ended.release()

    def _is_going_on(self, state: object) -> bool:
        """Return whether anything has happened since `state`, or the thread is where a test does not wait."""
        return self._world.is_driving or self._state() != state or self._place() in _RUNNERS

    def _place(self) -> str:
        """Return whose code the thread is in: the package, not counting what it calls of the standard library."""
        frame: FrameType | None = sys._current_frames().get(self._driver)  # noqa: SLF001 - as in threads.py
        place = ""
        while isinstance(frame, FrameType):  # as in outside.py
            name = str(frame.f_globals.get("__name__", ""))
            if name == _IMPORTS:
                return name
            root = name.split(".", 1)[0]
            if not place and root not in sys.stdlib_module_names:
                place = root
            frame = frame.f_back
        return place

    def _interrupt(self, state: object) -> None:
        """Raise in the thread while it is in code of the test: in the library's, it could leave a lock behind."""
        error = ctypes.py_object(_stuck(self._patience_s))
        for _ in range(_TRIES):
            if self._is_going_on(state):
                return
            if self._place() not in _OURS:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._driver), error)
                return
            if real.acquire(self._ending, True, _TRY_S):
                self._ending.release()
                return


def _stuck(patience_s: float) -> type[ThreadStuck]:
    """Return the error as a class: in another thread Python raises classes only, and makes the instance there."""

    def begin(self: ThreadStuck) -> None:
        ThreadStuck.__init__(
            self,
            f"the test itself ran for {patience_s:g} seconds of processor time and let nothing happen: it waits in a "
            f"loop for what cannot come so. {HELP}. One that really computes for so long says so: patience_s=60",
        )

    return type(ThreadStuck.__name__, (ThreadStuck,), {"__init__": begin, "__module__": ThreadStuck.__module__})


def _cpu_clock(ident: int) -> Callable[[], float]:
    """Return what tells the processor time of a thread; of the whole process, where the system knows no better."""
    if real.thread_clock is None or real.clock_s is None:
        return real.process_s
    clock, clock_s = real.thread_clock(ident), real.clock_s

    def used_s() -> Any:
        return clock_s(clock)

    return used_s
