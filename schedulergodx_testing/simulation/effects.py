"""The function that the tasks of a story run, and what its runs really did, beside what was told of them."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from schedulergodx.context import current_task

if TYPE_CHECKING:
    from schedulergodx.client.task import Task

BIG_BYTES = 300 * 1024
"""A result above what a story's service sends."""


class Effects:
    """What runs did, by the id of their launch.

    Attributes:
        begun: how often the function was entered.
        ended: how often it came to its end.
        launched: ids that launches within functions returned, and the client that launched.
    """

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.launched: dict[str, str] = {}


_effects = Effects()


def begin() -> Effects:
    """Return new, empty effects, on which runs write from now on."""
    global _effects  # noqa: PLW0603 - the function that runs has no other way to say what it did
    _effects = Effects()
    return _effects


def work(tag: int, seconds: float, end: str, task: Task[..., Any] | None) -> object:
    """Take some seconds, and then end in some way; `tag` is what it returns."""
    running = current_task()
    message_id = "" if running is None else running.message_id
    effects = _effects
    effects.begun[message_id] += 1
    if seconds:
        threading.Event().wait(seconds)
    effects.ended[message_id] += 1
    if end == "raise":
        raise ValueError("as it was told")
    if end == "exit":
        sys.exit(3)
    if end == "chain" and task is not None:
        child = task.launch(tag + 1, 0, "return", None)
        effects.launched[str(child)] = "a task"
    if end == "big":
        return "x" * BIG_BYTES
    return [object] if end == "odd" else tag  # what no JSON can hold
