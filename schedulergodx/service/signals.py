"""SIGTERM and SIGINT: the first asks the service to stop, the second ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

EXIT_KILLED = 1
"""Exit code after a second signal. What ran is reported TASK_INTERRUPTED at the next start."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_stop_signal(ask_to_stop: Callable[[], None]) -> Iterator[None]:
    """Call `ask_to_stop` at the first signal, and end the process at the second.

    `ask_to_stop` must be safe inside a signal handler: `SimpleQueue.put` is, `threading.Event.set` is not (it takes a
    lock that the interrupted code may hold). Outside the main thread Python allows no handlers, and this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            os.write(2, b"schedulergodx: second signal, ended at once; running tasks will be reported as interrupted\n")
            os._exit(EXIT_KILLED)
        asked = True
        ask_to_stop()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
