"""The collector of garbage, while a harness is open: it looks less often."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

OBJECTS_LEAST = 5_000
"""New objects after which the collector looks for garbage among them, at the earliest."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Let the collector look less often in the block, unless it was told so already, or is to look never.

    A harness keeps what happens, so that hundreds of new objects for each task are no garbage; to look at them again
    and again took a twentieth of all time. What is garbage in circles is collected all the same, a little later.
    """
    before = gc.get_threshold()
    if not 0 < before[0] < OBJECTS_LEAST:
        yield
        return
    inside = (OBJECTS_LEAST, *before[1:])
    gc.set_threshold(*inside)
    try:
        yield
    finally:
        if gc.get_threshold() == inside:  # else the test has set another one, which stays
            gc.set_threshold(*before)
