"""Keeps pika from telling each failed attempt of our connections many times over.

While a broker is away pika logs about fifteen lines for each attempt to reach it, some with tracebacks, and Python
prints those of a program that has not configured logging at all. This library tells each change once instead, by its
own logger. So pika's records are dropped, but only those that come from our own threads, or from one in which pika
looks up a host for us, and only as long as nobody has set a level for the logger `pika`:
`logging.getLogger("pika").setLevel(logging.INFO)` brings them all back. Other users of pika in the same program lose
nothing, and nothing is installed on any logger of theirs.
"""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakSet

from pika.adapters.select_connection import IOLoop

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIKA = logging.getLogger("pika")
_of_this_thread = threading.local()
_loops: WeakSet[IOLoop] = WeakSet()


def quiet_loop() -> IOLoop:
    """Return a new loop; what pika logs when it looks up hosts for it is dropped."""
    # A filter of a logger does not see records of its children, so each of pika's loggers needs it.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("pika."):
            logging.getLogger(name).addFilter(_is_wanted)
    with quiet():
        loop = IOLoop()
    _loops.add(loop)
    return loop


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what pika logs in the calling thread during the block, unless somebody asks for it by a level."""
    was_ours, _of_this_thread.is_ours = _is_ours(), True
    try:
        yield
    finally:
        _of_this_thread.is_ours = was_ours


def _is_ours() -> bool:
    return getattr(_of_this_thread, "is_ours", False)


def _is_wanted(_record: logging.LogRecord) -> bool:
    return _PIKA.level != logging.NOTSET or not (_is_ours() or _is_looking_up_for_us())


def _is_looking_up_for_us() -> bool:
    """Whether this is the timer in which pika resolves a host; one that has been cancelled has no loop any more."""
    resolver = getattr(getattr(threading.current_thread(), "function", None), "__self__", None)
    return resolver is not None and getattr(resolver, "_loop", resolver) in {None, *_loops}
