"""Pools: while a world is open, work given to a `ThreadPoolExecutor` runs on threads of that world.

It may be older than the world, with threads that live in real time, and it may outlive it, when its threads are
gone. So it works with other threads, and another queue, for as long as the world is open, and with its own afterwards.

A `ProcessPoolExecutor` lives in real time, with its threads: whoever waits for what it is to bring does so, too.
"""

from __future__ import annotations

import queue
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor, _base
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.world.interpose import current, patching
from schedulergodx_testing.world.interpose.threading_waits import is_real

if TYPE_CHECKING:
    from collections.abc import Iterator

_real_submit, _real_init = ThreadPoolExecutor.submit, Future.__init__
_real_install: Any = _base._create_and_install_waiters  # type: ignore[attr-defined]
_NAMES = ("_threads", "_idle_semaphore", "_work_queue")
_lent: list[tuple[Any, dict[str, Any]]] = []


class _InOrder(set[threading.Thread]):
    """A set in the order in which its members came: a pool joins its threads as its set has them, by address."""

    def __init__(self) -> None:
        super().__init__()
        self._members: list[threading.Thread] = []

    def add(self, thread: threading.Thread, /) -> None:
        super().add(thread)
        self._members.append(thread)

    def __iter__(self) -> Iterator[threading.Thread]:
        return iter(self._members)


def _submit(self: Any, /, fn: Any, *args: Any, **kwargs: Any) -> Any:
    world = current.world()
    if world is not None and not world.is_in_turn() and not any(pool is self for pool, _ in _lent):
        _lent.append((self, {name: getattr(self, name) for name in _NAMES}))
        self._threads, self._idle_semaphore = _InOrder(), threading.Semaphore(0)
        self._work_queue = queue.SimpleQueue()
    return _real_submit(self, fn, *args, **kwargs)


def give_back() -> None:
    """Give every pool its own threads again; what was not begun is cancelled."""
    while _lent:
        pool, own = _lent.pop()
        while not pool._work_queue.empty():
            item = pool._work_queue.get_nowait()
            if item is not None:
                item.future.cancel()
        for name, value in own.items():
            setattr(pool, name, value)
        if pool._shutdown:
            pool._work_queue.put(None)  # its own threads have not heard of it yet


def _init(self: Any) -> None:
    """Begin a future. Who makes it is looked at, since to import the pools of processes takes time."""
    _real_init(self)
    if sys._getframe(1).f_globals.get("__name__") == current.PROCESS_POOLS:
        self._condition.is_real = True


def _install(futures: Any, when: Any) -> Any:
    """Install what waits for any, or all, of several futures."""
    waiter = _real_install(futures, when)
    waiter.event._cond.is_real = any(is_real(future._condition) for future in futures)
    return waiter


patching.attribute(ThreadPoolExecutor, "submit", _submit)
patching.attribute(Future, "__init__", _init)
patching.function(_base, "_create_and_install_waiters", _install)
