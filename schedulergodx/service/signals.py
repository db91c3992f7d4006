"""SIGTERM and SIGINT: the first asks the service to stop, the second ends it at once. SIGHUP: read the keys again."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

_Handler: TypeAlias = "Callable[[int, FrameType | None], Any] | int | None"

EXIT_KILLED = 1
"""Exit code after a second signal. What ran is reported TASK_INTERRUPTED at the next start."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Forks:
    """Keeps the handlers out of the processes that tasks fork: those are no service.

    The signals wait while a process forks. Python forgets those that come to a new process before its first line.
    """

    def __init__(self) -> None:
        self.before: dict[int, _Handler] = {}  # the handlers that a service has replaced, while it has
        self._is_registered = False
        self._of_this_thread = threading.local()

    def watch(self) -> None:
        """Begin, once and for good; a process that serves nothing is left alone."""
        if not self._is_registered and hasattr(os, "register_at_fork"):
            self._is_registered = True
            os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._leave)

    def _hold(self) -> None:
        self._of_this_thread.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS) if self.before else None

    def _release(self) -> None:
        if self._of_this_thread.mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._of_this_thread.mask)

    def _leave(self) -> None:
        restore, self.before = self.before, {}
        _restore(restore)
        self._release()


_forks = _Forks()


@contextmanager
def on_stop_signal(ask_to_stop: Callable[[], None], *, on_hangup: Callable[[], None] | None = None) -> Iterator[None]:
    """Call `ask_to_stop` at the first signal, and end the process at the second; call `on_hangup` at each SIGHUP.

    Without `on_hangup`, SIGHUP does what it did before.

    `ask_to_stop` must be safe inside a signal handler: `SimpleQueue.put` is, `threading.Event.set` is not (it takes a
    lock that the interrupted code may hold). Outside the main thread Python allows no handlers, and this does nothing.
    A process that is forked meanwhile has the handlers that were there before.
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

    _forks.watch()
    handlers: dict[int, _Handler] = dict.fromkeys(_SIGNALS, handle)
    if on_hangup is not None and hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = lambda _number, _frame: on_hangup()
    before: dict[int, _Handler] = {number: signal.getsignal(number) for number in handlers}
    outer, _forks.before = _forks.before, before
    _restore(handlers)
    try:
        yield
    finally:
        _restore(before)
        _forks.before = outer


def _restore(handlers: Mapping[int, _Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not Python's, cannot be put back
