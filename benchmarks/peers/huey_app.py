"""Huey on SQLite, with results kept in the same file; its URL is the path of that file."""

from __future__ import annotations

import counted
from huey import SqliteHuey

huey = SqliteHuey("peer", filename=counted.URL, fsync=True)
WORKER = ["-m", "huey.bin.huey_consumer", "huey_app.huey", "-w", "8", "-k", "thread"]


@huey.task()
def answered() -> int:
    """Do as little as a task with a result can."""
    counted.count()
    return 1


def launch_answered() -> object:
    """Queue one, and return what can be asked for its result."""
    return answered()


launch = launch_answered


def wait_for(launched: object) -> None:
    """Wait for the result."""
    launched.get(blocking=True, timeout=120)  # type: ignore[attr-defined]  # a Result
