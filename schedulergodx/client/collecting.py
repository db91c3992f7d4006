"""Whether this thread is collecting garbage. A `__del__` that the collector runs interrupts whatever the thread did.

That may be a call of the same client, with its locks held, or the work of a connection: a launch there could wait for
itself for ever. It is refused instead. The `__del__` of an object in no circle is an ordinary call, at its own moment.
"""

from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

from schedulergodx.errors import LaunchRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

_threads: set[int] = set()


def _note(phase: str, _facts: Mapping[str, int]) -> None:
    if phase == "start":
        _threads.add(threading.get_ident())
    else:
        _threads.discard(threading.get_ident())


gc.callbacks.append(_note)


def is_collecting() -> bool:
    """Return whether this thread is collecting garbage."""
    return bool(_threads) and threading.get_ident() in _threads


def refuse_to_launch(what: str) -> None:
    """Raise LaunchRefused if this thread is collecting garbage; `what` stands in its text."""
    if is_collecting():
        raise LaunchRefused(
            f"{what} was not sent: a `__del__` that the garbage collector runs must not launch: nobody knows what it "
            "interrupts. Launch before the object is dropped, or from somewhere else."
        )
