"""Waits of `threading`, and new threads.

`Condition.wait` is under `Event`, `Queue`, `Semaphore`, `Barrier` and `Future`, so patching it covers them.
"""

from __future__ import annotations

import sys
import threading
from contextlib import nullcontext, suppress
from typing import Any

from schedulergodx_testing.world import outside, real
from schedulergodx_testing.world.interpose import current, patching
from schedulergodx_testing.world.interpose.locks import restore

_real_wait = threading.Condition.wait


def is_real(condition: threading.Condition) -> bool:
    """Return whether what a condition waits for comes from a process, and time stands still until it comes."""
    return getattr(condition, "is_real", False)


def _wait(self: Any, timeout: float | None = None) -> bool:
    world = current.world()
    if world is None:
        return _real_wait(self, timeout)
    if is_real(self):
        with world.outside():
            return _real_wait(self, timeout)
    if not self._is_owned():
        raise RuntimeError("cannot wait on un-acquired lock")
    waiter = real.allocate_lock()
    real.acquire(waiter)
    self._waiters.append(waiter)
    saved = self._release_save()
    was_notified = False
    try:
        was_notified = world.wait(lambda: not waiter.locked(), timeout, f"Condition.wait({timeout!r})")
        return was_notified
    finally:
        thread = world.current()
        # Who leaves `with condition` releases its lock, so also a thread that was killed must have it first.
        with nullcontext() if thread is None else thread.shielded():
            restore(self, saved)
        if not was_notified:
            with suppress(ValueError):
                self._waiters.remove(waiter)


def _start(self: threading.Thread) -> None:
    world = current.world_of_code()
    if world is not None and not world.is_in_turn() and self.ident is None:
        world.adopt(self)
        return
    opened = current.world()
    with nullcontext() if opened is None else opened.outside():  # `start` waits until it runs, which is in real time
        real.start_thread(self)


def _join(self: threading.Thread, timeout: float | None = None) -> None:
    world = current.world()
    if world is None or self is threading.current_thread() or self.ident is None:
        real.join_thread(self, timeout)
        return
    if current.is_real(sys._getframe(1)):  # a pool of processes, at its end
        with world.outside():
            real.join_thread(self, timeout)
        return
    virtual = world.virtual_of(self)
    if virtual is not None:
        world.wait(lambda: virtual.is_done, timeout, f"joining {self.name}")
    elif self.is_alive():
        world.wait(lambda: not self.is_alive(), timeout, f"joining {self.name}", grace_s=outside.GRACE_S)


patching.attribute(threading.Condition, "wait", _wait)
patching.attribute(threading.Thread, "start", _start)
patching.attribute(threading.Thread, "join", _join)
