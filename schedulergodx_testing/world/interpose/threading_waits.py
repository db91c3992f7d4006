"""Waits of `threading`, new locks, and new threads.

`Condition.wait` is under `Event`, `Queue`, `Semaphore`, `Barrier` and `Future`, so patching it covers them. Locks that
the world's threads make are cooperative: a holder that sleeps does not stop the others. Locks from before are the
system's own, and a thread that waits for one is reported as stuck.
"""

from __future__ import annotations

import _thread
import queue
import threading
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.world.interpose.patching import watch
from schedulergodx_testing.world.threads import VirtualThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from schedulergodx_testing.world.interpose.patching import Patches
    from schedulergodx_testing.world.scheduler import World

_allocate_lock = _thread.allocate_lock
_real_lock, _real_rlock, _real_simple_queue = threading.Lock, threading.RLock, queue.SimpleQueue
watch(_real_lock, _real_rlock, _real_simple_queue)


class CooperativeLock:
    """A lock whose waiters let the rest of the world go on. Also used by threads outside of it, who really wait."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = _allocate_lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Acquire, as `threading.Lock` does; the timeout is in virtual seconds."""
        if not self._world.is_mine():
            return self._lock.acquire(blocking, timeout)
        if not blocking:
            return self._lock.acquire(blocking=False)
        if self._lock.acquire(blocking=False):
            return True
        is_free = self._world.wait(lambda: not self._lock.locked(), None if timeout < 0 else timeout, "a lock")
        return is_free and self._lock.acquire(blocking=False)

    def release(self) -> None:
        """Release."""
        self._lock.release()

    def locked(self) -> bool:
        """Return whether somebody holds it."""
        return self._lock.locked()

    def _at_fork_reinit(self) -> None:
        self._lock = _allocate_lock()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def install(patches: Patches, world: World) -> None:
    """Patch waits, the makers of locks, and the start and join of threads."""
    _install_condition(patches, world)
    _install_locks(patches, world)
    _install_threads(patches, world)


def _install_condition(patches: Patches, world: World) -> None:
    real_wait = threading.Condition.wait

    def wait(self: Any, timeout: float | None = None) -> bool:
        if not world.is_mine():
            return real_wait(self, timeout)
        if not self._is_owned():
            raise RuntimeError("cannot wait on un-acquired lock")
        waiter = _allocate_lock()
        waiter.acquire()
        self._waiters.append(waiter)
        saved = self._release_save()
        was_notified = False
        try:
            was_notified = world.wait(lambda: not waiter.locked(), timeout, f"Condition.wait({timeout!r})")
            return was_notified
        finally:
            if not was_notified and waiter in self._waiters:
                self._waiters.remove(waiter)
            _acquire_again(self, saved, world)

    patches.attribute(threading.Condition, "wait", wait)


def _acquire_again(condition: Any, saved: Any, world: World) -> None:
    """Take the condition's lock back, without waiting in C while another thread of the world holds it."""
    lock = condition._lock
    is_free: Callable[[], bool] | None = getattr(lock, "locked", None)
    if is_free is not None and lock.locked():
        world.wait(lambda: not lock.locked(), None, "a condition's lock")
    condition._acquire_restore(saved)


def _install_locks(patches: Patches, world: World) -> None:
    def make_lock() -> Any:
        return CooperativeLock(world) if world.is_mine() else _real_lock()

    def make_rlock() -> Any:
        if not world.is_mine():
            return _real_rlock()
        lock = threading._PyRLock()  # type: ignore[attr-defined]  # the one written in Python, over a lock of ours
        lock._block = CooperativeLock(world)
        return lock

    def make_simple_queue() -> Any:
        # The one in C waits in C; the one in Python waits on a semaphore, and so in virtual time.
        return queue._PySimpleQueue() if world.is_mine() else _real_simple_queue()  # type: ignore[attr-defined]

    patches.function(threading, "Lock", make_lock)
    patches.function(threading, "RLock", make_rlock)
    patches.attribute(queue, "SimpleQueue", make_simple_queue)  # `concurrent.futures` takes it from there


def _install_threads(patches: Patches, world: World) -> None:
    real_start, real_join = threading.Thread.start, threading.Thread.join

    def start(self: threading.Thread) -> None:
        if not world.is_mine():
            real_start(self)
            return
        run = self.run
        virtual = VirtualThread(self.name, run, world.started)
        virtual.adopt(self)
        self.run = virtual.run_body  # type: ignore[method-assign]  # the system's thread begins with its first turn
        world.begin(virtual)

    def join(self: threading.Thread, timeout: float | None = None) -> None:
        virtual = world.virtual_of(self)
        if world.is_mine() and virtual is not None:
            world.wait(lambda: virtual.is_done, timeout, f"joining {self.name}")
            return
        real_join(self, timeout)

    patches.attribute(threading.Thread, "start", start)
    patches.attribute(threading.Thread, "join", join)
