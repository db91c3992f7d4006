"""Locks and simple queues: who waits for one lets the rest of the world go on, so a holder that sleeps stops nobody.

The methods of the C types are replaced, not the types, so it holds for every lock: also those that modules made when
they were imported. A lock made here knows nothing of any world, and is an ordinary one after it.
"""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.clock import microseconds_up
from schedulergodx_testing.world import real
from schedulergodx_testing.world.interpose import current, patching

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx_testing.world.scheduler import World

_US = 1_000_000
_lock_acquire, _lock_enter = vars(real.LOCK)["acquire"], vars(real.LOCK)["__enter__"]
_rlock_acquire, _rlock_enter = vars(real.RLOCK)["acquire"], vars(real.RLOCK)["__enter__"]
_rlock_release, _rlock_is_owned = vars(real.RLOCK)["release"], vars(real.RLOCK)["_is_owned"]
_rlock_release_save, _rlock_restore = vars(real.RLOCK)["_release_save"], vars(real.RLOCK)["_acquire_restore"]
_queue_get = vars(queue.SimpleQueue)["get"]


def _acquire(self: Any, blocking: bool = True, timeout: float = -1) -> bool:
    world = current.world()
    if world is None or not blocking or (timeout < 0 and timeout != -1):
        is_taken: bool = _lock_acquire(self, blocking, timeout)
    else:
        is_taken = _lock_acquire(self, False) or _wait(world, self, timeout, _lock_acquire, lambda: not self.locked())
    if is_taken and world is not None:
        world.took(self)
    return is_taken


def _acquire_rlock(self: Any, blocking: bool = True, timeout: float = -1) -> bool:
    world = current.world()
    if world is None or not blocking or (timeout < 0 and timeout != -1):
        is_taken: bool = _rlock_acquire(self, blocking, timeout)
    else:
        is_taken = _rlock_acquire(self, False) or _wait(world, self, timeout, _rlock_acquire, lambda: _is_free(self))
    if is_taken and world is not None:
        world.took(self)
    return is_taken


def _entering(acquire: Any, enter: Any, slowly: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Return the `__enter__` of a kind of lock."""

    def _enter(self: Any) -> bool:
        world = Current.world
        if world is None:
            return bool(enter(self))
        if not acquire(self, False):
            return slowly(self)
        world.took(self)  # free, as nearly always; and that needs no look at who asks
        return True

    return _enter


def _is_free(lock: Any) -> bool:
    """Return whether a re-entrant lock is free; asked by the driver, which may be its owner."""
    if _rlock_is_owned(lock) or not _rlock_acquire(lock, False):
        return False
    _rlock_release(lock)
    return True


def _wait(
    world: World, lock: Any, timeout: float, acquire: Callable[[Any, bool], bool], is_free: Callable[[], bool]
) -> bool:
    clock = world.clock
    deadline_us = None if timeout < 0 else clock.monotonic_us() + microseconds_up(timeout)
    while True:
        left_s = None if deadline_us is None else (deadline_us - clock.monotonic_us()) / _US
        world.wait(is_free, left_s, f"a {type(lock).__name__}", lock=lock)
        if acquire(lock, False):
            return True
        if deadline_us is not None and clock.monotonic_us() >= deadline_us:
            return False


def restore(condition: Any, saved: Any) -> None:
    """Take the lock of a condition back after a wait, without waiting in C while a thread of the world holds it."""
    lock = condition._lock
    if isinstance(lock, real.RLOCK):
        _acquire_rlock(lock)
        _rlock_release_save(lock)
        _rlock_restore(lock, saved)
    else:
        condition._acquire_restore(saved)


def _get(self: Any, block: bool = True, timeout: float | None = None) -> Any:
    world = current.world()
    if world is None or not block or (timeout is not None and timeout < 0):
        return _queue_get(self, block, timeout)
    deadline_us = None if timeout is None else world.clock.monotonic_us() + microseconds_up(timeout)
    while True:
        try:
            return _queue_get(self, False)
        except queue.Empty:
            now_us = world.clock.monotonic_us()
            left_s = None if deadline_us is None else (deadline_us - now_us) / _US
            if not world.wait(lambda: not self.empty(), left_s, f"SimpleQueue.get(timeout={timeout!r})"):
                raise


Current = current.Current
for _name in ("acquire", "acquire_lock"):
    patching.c_method(real.LOCK, _name, _acquire)
patching.c_method(real.LOCK, "__enter__", _entering(_lock_acquire, _lock_enter, _acquire))
patching.c_method(real.RLOCK, "acquire", _acquire_rlock)
patching.c_method(real.RLOCK, "__enter__", _entering(_rlock_acquire, _rlock_enter, _acquire_rlock))
patching.c_method(queue.SimpleQueue, "get", _get)
