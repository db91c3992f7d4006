"""A real thread that runs only while it has the baton."""

from __future__ import annotations

import _thread
import ctypes
import os
import sys
import threading
import traceback
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.world import outside, real

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from schedulergodx_testing.world.scheduler import World

_WORLD = Path(__file__).parent
_RUNNERS = frozenset({"_pytest", "pluggy"})
_LINES_MAX = 8
_ONCE_S = 0.02
"""How long an exception that was raised in a thread may take to end it, before it is raised again."""
_UNWINDING_MAX = 10
"""Waits that a thread may come to while it unwinds, in its `finally` blocks, before it counts as swallowing its end."""
_SWALLOWED_MAX = 100
"""How often it may do so, at one wait after the other, before it is laid to rest."""


class VirtualKill(BaseException):
    """Ends a virtual thread where it waits, as SIGKILL ends a process; for `finally` blocks it looks like an exit."""


def at_once() -> bool:
    """Return True: what has not begun waits for its turn only."""
    return True


@dataclass(slots=True, eq=False)
class Parked:
    """Where a thread waits.

    Attributes:
        ready: whether it could go on; asked again and again, so it is cheap and changes nothing.
        deadline_us: monotonic moment at which it goes on in any case, or None.
        what: what it waits in, for people, e.g. `time.sleep(5)`.
        grace_s: real seconds for which no time passes yet, since what it waits for comes from the real world.
        lock: the lock that it waits for, if it does.
        is_outside: whether what it waits for comes from the real world.
    """

    ready: Callable[[], bool]
    deadline_us: int | None
    what: str
    grace_s: float = 0.0
    lock: Any = None
    is_outside: bool = False

    def is_ready(self) -> bool:
        """Ask whether it could go on. What cannot be asked any more (a closed selector) tells its own waiter."""
        try:
            return self.ready()
        except Exception:  # noqa: BLE001 - raised again in the thread that waits, when it asks itself
            return True


class VirtualThread:
    """One thread of a world. It starts parked, and ends when `body` does.

    Only the driver calls `hand_over`; only the thread itself calls `park`.

    Attributes:
        is_own: whether the world itself has started it; else the code under test has.
        process: the thread that stands for the process this one is in; None: the test's own process.
        status: how that process ended by its own hand, as `subprocess` tells it; None: not so.
        error: what the body of a thread of the harness itself raised.
        asked: what is to be raised in it when its next wait is over, as the system raises an exception in a thread.
    """

    def __init__(self, world: World, name: str, body: Callable[[], None], thread: threading.Thread | None) -> None:
        self.name = name
        self.parked: Parked | None = Parked(at_once, None, "its start")
        self.is_done = False
        self.is_killed = False
        self.is_lost = False  # whether it runs on without the baton
        self.process: VirtualThread | None = None
        self.status: int | None = None
        self.error: BaseException | None = None
        self.asked: BaseException | None = None
        self.ident = 0
        self.thread = thread
        self.is_own = thread is None
        self._worker: Worker | None = None
        self._world = world
        self._body = body
        self._shields = 0
        self._held: list[Any] = []
        self._handed_over = 0  # how often it was given the baton, and of these, the last that it has given back
        self._given_back = -1
        self._swallowed = 0
        self._traced: tuple[Any, ...] = ()  # by whom it was traced before, once that is done here
        # Those of its worker, once it has one.
        self._go: Any = None if thread is None else _taken_lock()
        self._back: Any = None if thread is None else _taken_lock()

    @property
    def is_process(self) -> bool:
        """Whether it stands for a process, or lives in one that another thread stands for."""
        return self.process is not None

    @property
    def is_dying(self) -> bool:
        """Whether it was killed, and nothing holds its end up."""
        return self.is_killed and not self._shields

    @property
    def has_begun(self) -> bool:
        """Whether there is a thread of the system behind it."""
        return self._worker is not None or bool(self.thread and self.thread.ident)

    @property
    def has_given_back(self) -> bool:
        """Whether it has given the baton back since it was handed it: it waits, or has ended."""
        return self._given_back == self._handed_over

    def begin(self, worker: Worker | None = None) -> None:
        """Start the system's thread, its own or `worker`; it then waits for the baton."""
        if worker is None:
            if self.thread is not None:
                real.start_thread(self.thread)
        else:
            self._use(worker)
            worker.take(self)

    def _use(self, worker: Worker) -> None:
        self._worker, self.thread, self._go, self._back = worker, worker.thread, worker.go, worker.back
        worker.thread.name = self.name

    def give_back(self) -> Worker | None:
        """Return the worker, once it is done; None when it had a thread of its own."""
        worker, self._worker = self._worker, None
        return worker

    def hand_over(self, patience_s: float) -> bool:
        """Let it run until it parks or ends. Returns False when it does neither within `patience_s` real seconds."""
        self._handed_over += 1
        self._go.release()
        return self.has_baton_back(patience_s)

    def has_baton_back(self, patience_s: float) -> bool:
        """Wait until it parks or ends, or at most `patience_s` real seconds. Returns whether it has."""
        return real.acquire(self._back, True, patience_s)

    def take_baton(self) -> None:
        """Take the baton that it has given back, unless that was done already."""
        real.acquire(self._back, False)

    def park(self, parked: Parked) -> None:
        """Give the baton back and wait for it. Raises VirtualKill when the thread is to end."""
        self._refuse_to_go_on()
        self.parked = parked
        handed_over = self._handed_over
        self._back.release()
        self._given_back = handed_over  # only now: whoever sees it can take it
        real.acquire(self._go)
        self.parked = None
        self._refuse_to_go_on()
        if self.asked is not None and not self._shields:
            asked, self.asked = self.asked, None
            raise asked

    def _refuse_to_go_on(self) -> None:
        if self.is_dying or self.is_lost:
            self._swallowed += 1
            if self._swallowed > _SWALLOWED_MAX:
                self._rest()
            elif self._swallowed == _UNWINDING_MAX:
                self._traced = self._traced or (sys.gettrace(),)  # after a rest it may be this one's own
                sys.settrace(_unswallowed())
            raise VirtualKill

    def _rest(self) -> None:
        """Wait until the world's end: a run that swallows its end would spin, and production's kill asks nobody."""
        self._swallowed = 0
        if not self.is_done:
            self.is_lost = self.is_done = True
            self._end()
        real.acquire(self._go)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Let a wait of the block come to its end, also in a thread that was killed."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    def holds(self, lock: Any) -> None:
        """Note that it took `lock`: a process that is killed leaves no lock behind, its memory is gone."""
        self._held.append(lock)
        if len(self._held) > 1000:  # noqa: PLR2004 - now and then, forget those that were given back
            self._held = [held for held in self._held if self._world.holder(held) is self]

    def run_body(self) -> None:
        """Run in the thread itself: wait for the first turn, and go on to the end."""
        real.acquire(self._go)
        try:
            self._live()
        finally:
            self._end()

    def run_in(self, worker: Worker) -> VirtualThread | None:
        """Run in a worker's thread, which has its first turn, to the end.

        Returns the run that has the next turn, if the worker goes on with it; else the baton is given back.
        """
        self._live()
        following = self._world.follow(self)
        if following is None:
            self._end()
        else:
            following._use(worker)  # noqa: SLF001 - another of this class
        return following

    def _end(self) -> None:
        """Give the baton back, at the end. One that was lost may have done so when it came to a wait."""
        with suppress(RuntimeError) if self.is_lost else nullcontext():
            self._back.release()
        self._given_back = self._handed_over

    def _live(self) -> None:
        self.ident, pid = _thread.get_ident(), os.getpid()
        self._world.enter(self)
        self.parked = None
        try:
            if not self.is_killed:
                self._body()
        except VirtualKill:
            pass
        except BaseException as error:
            if not self.is_own:
                raise  # to `threading.excepthook`, as in every thread
            self.error = error
        finally:
            if self._traced:
                sys.settrace(*self._traced)
            if os.getpid() != pid:  # a child that was forked, and comes out of what its parent is to go on with
                os._exit(0 if self.error is None else 1)
            if not self.is_own:
                threading.current_thread().__dict__.pop("run", None)  # where `World.adopt` has put this method
            if self.is_process:
                self._free_locks()
            self._world.leave(self)
            self.is_done = True

    def _free_locks(self) -> None:
        for lock in self._held:
            owner: Any = lock  # to type checkers, `_is_owned` is not there
            is_ours = owner._is_owned() if isinstance(lock, real.RLOCK) else self._world.holder(lock) is self  # noqa: SLF001 - public from 3.14 on
            if is_ours:
                lock.release()

    def interrupt(self, timeout_s: float) -> bool:
        """Raise VirtualKill in a thread that goes on without the baton. Returns whether there is no such thread then.

        It ends one that spins in Python, also one that swallows it here and there: it is raised again and again. One
        that waits in C goes on.
        """
        if self._is_gone(0):
            return True
        if self._worker is not None:
            self._worker.is_last = True
        if self.parked is not None or self.is_done:
            # It has come to a wait meanwhile, or to its end, or has not had the turn that was its first.
            with suppress(RuntimeError):
                self._go.release()
            if self._is_gone(_ONCE_S):
                return True
        end_s = real.monotonic() + timeout_s
        while real.monotonic() < end_s:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.ident), ctypes.py_object(VirtualKill))
            if self._is_gone(_ONCE_S):
                return True
        return False

    def _is_gone(self, timeout_s: float) -> bool:
        """As `join`, for a driver that lives in the world."""
        thread = self.thread
        return thread is None or outside.poll(lambda: not thread.is_alive(), timeout_s)

    def join(self, timeout_s: float) -> bool:
        """Wait in real time for the end of the system's thread. Returns whether it has ended."""
        if self.thread is None:
            return True
        real.join_thread(self.thread, timeout_s)
        return not self.thread.is_alive()

    def stack(self) -> str:
        """Return where it is, as a traceback's text without the frames of this package."""
        where = f"waits in {self.parked.what}" if self.parked else "runs"
        frame = sys._current_frames().get(self.ident)  # noqa: SLF001 - the documented way to see another thread's stack
        return f"{self.name} {where}:\n{stack_text(frame)}"


class Worker:
    """A thread of the system that runs one thing after the other, as those of a service do. The driver uses it.

    Attributes:
        go: the lock whose release is a turn: the first one of a body, and each further one.
        back: the lock whose release gives the baton back.
        is_last: whether the thread ends with what it runs now.
    """

    def __init__(self) -> None:
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.go = _taken_lock()
        self.back = _taken_lock()
        self.is_last = False
        self._next: VirtualThread | None = None

    def take(self, thread: VirtualThread) -> None:
        """Run what `thread` is for, from the next turn on. What it ran before is done."""
        self._next = thread
        if self.thread.ident is None:
            real.start_thread(self.thread)

    def retire(self) -> None:
        """End the thread. What it ran is done."""
        self.go.release()

    def _work(self) -> None:
        with suppress(VirtualKill):  # one that came too late for what it was to end
            while not self.is_last:
                real.acquire(self.go)
                thread, self._next = self._next, None
                if thread is None:
                    return
                while thread is not None:
                    thread = thread.run_in(self)


def _unswallowed() -> Any:
    """Return a trace function that raises VirtualKill where the code under test goes on after it has caught many.

    There, outside of its handlers and `finally` blocks, these run and give back what they hold.
    """
    caught: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, _told: Any) -> Any:
        if event == "exception":
            caught[frame] = caught.get(frame, 0) + 1
        elif event == "line" and caught.get(frame, 0) > _UNWINDING_MAX and sys.exc_info()[0] is None:
            raise VirtualKill
        return trace

    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to one's own stack
    while frame is not None:
        if _is_under_test(frame):
            frame.f_trace = trace
        frame = frame.f_back
    return lambda frame, _event, _told: trace if _is_under_test(frame) else None


def _is_under_test(frame: FrameType) -> bool:
    root = str(frame.f_globals.get("__name__", "")).split(".", 1)[0]
    return root == "__main__" or not (root in sys.stdlib_module_names or root.startswith("schedulergodx"))


def _taken_lock() -> Any:
    lock = real.allocate_lock()
    real.acquire(lock)
    return lock


def stack_text(frame: Any) -> str:
    """Return the innermost calls of `frame`, as in a traceback, without those of this package."""
    if frame is None:
        return "  (has not begun)\n"
    lines = [line for line in traceback.format_stack(frame) if not _is_machinery(line.split("\n")[0])]
    return "".join(lines[-_LINES_MAX:])


def _is_machinery(head: str) -> bool:
    """Return whether a line of a traceback is of this package, or leads to the body of any test or thread."""
    file = Path(head.split('"')[1])
    return (
        _WORLD in file.parents
        or file.parent == _WORLD.parent
        or not _RUNNERS.isdisjoint(file.parts)
        or (head.endswith((" in _bootstrap", " in _bootstrap_inner", " in run")) and str(file) == threading.__file__)
    )
