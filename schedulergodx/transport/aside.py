"""Closing what the garbage collector found."""

from __future__ import annotations

import _thread
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def call_aside(function: Callable[[], None]) -> None:
    """Call a function in a thread of its own, soon; not at all while Python ends.

    This takes no lock of Python's, unlike `threading`: the garbage collector may call it in the middle of anything.
    """
    with suppress(RuntimeError):
        _thread.start_new_thread(function, ())
