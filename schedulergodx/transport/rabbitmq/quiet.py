"""Keeps pika from telling each failed attempt of our connections many times over.

While a broker is away pika logs about fifteen lines for each attempt to reach it, some with tracebacks, and Python
prints those of a program that has not configured logging at all. This library tells each change once instead, by its
own logger. So pika's records are dropped, but only those that come from our own threads, and only as long as nobody
has set a level for the logger `pika`: `logging.getLogger("pika").setLevel(logging.INFO)` brings them all back. Other
users of pika in the same program lose nothing, and nothing is installed on any logger of theirs.
"""

from __future__ import annotations

import logging
import threading

_PIKA = logging.getLogger("pika")
_is_ours = threading.local()


def quieten_this_thread() -> None:
    """Drop what pika logs in the calling thread, unless somebody asks for it by a level."""
    _is_ours.value = True
    # A filter of a logger does not see records of its children, so each of pika's loggers needs it.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("pika."):
            logging.getLogger(name).addFilter(_is_wanted)


def _is_wanted(record: logging.LogRecord) -> bool:
    del record
    return not getattr(_is_ours, "value", False) or _PIKA.level != logging.NOTSET
