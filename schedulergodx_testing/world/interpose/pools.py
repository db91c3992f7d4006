"""`ThreadPoolExecutor`: while a world is open, work given to a pool runs on threads of that world.

A pool may be older than the world, with threads that live in real time, and it may outlive it, when its threads are
gone. So it works with other threads, and another queue, for as long as the world is open, and with its own afterwards.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.world.interpose import current, patching

if TYPE_CHECKING:
    from collections.abc import Iterator

_real_submit = ThreadPoolExecutor.submit
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


patching.attribute(ThreadPoolExecutor, "submit", _submit)
