"""Asking a soft task to stop: one exception, raised in its thread while its function runs and at no other moment.

Python can raise an exception in another thread (`PyThreadState_SetAsyncExc`). It comes between two steps of the
interpreter, so a thread that waits in C gets it when that wait is over.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from typing import TYPE_CHECKING

from schedulergodx.context import TaskOverrun

if TYPE_CHECKING:
    from types import FrameType

_SHARED = ("logging", "importlib", "_frozen_importlib", "_frozen_importlib_external", "schedulergodx")
"""Code that holds locks of the whole process for moments: raised in there, the exception could leave one locked."""
_WAIT = "schedulergodx.clock"
"""But for this wait, which holds nothing."""
_RUN = "schedulergodx.service.execution"
"""Further out than this is no code of the task."""


class Interruption:
    """At most one `TaskOverrun` in the thread that makes this object, between now and `end`.

    The permit is given away by `list.pop`, which the interpreter does in one step: no lock is held by a thread in
    which an exception may come at any moment.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._permit = [None]

    def send(self) -> bool:
        """Ask the task to stop, unless it has ended or was asked before. From another thread.

        Returns:
            False when it is in the middle of what must not be interrupted: try again later.
        """
        if not self._permit:
            return True
        if _is_in_shared_code(sys._current_frames().get(self._thread)):  # noqa: SLF001 - the documented way to see another thread's stack
            return False
        self._is_sent = threading.Lock()  # made only now: hardly any task is asked
        self._is_sent.acquire()
        try:
            self._permit.pop()
        except IndexError:
            return True
        _raise_in(self._thread, TaskOverrun)
        self._is_sent.release()
        return True

    def end(self) -> None:
        """Let no exception come from now on. In the thread itself; one that has not come yet may come here, still."""
        try:
            if not self._take_permit():
                self._is_sent.acquire()
                _raise_in(self._thread, None)
        except TaskOverrun:  # it came at the last moment, and there is only one
            pass

    def _take_permit(self) -> bool:
        try:
            self._permit.pop()
        except IndexError:
            return False
        return True


def _is_in_shared_code(frame: FrameType | None) -> bool:
    if frame is not None and _module(frame) == _WAIT:
        return False
    while frame is not None and (module := _module(frame)) != _RUN:
        if module.partition(".")[0] in _SHARED:
            return True
        frame = frame.f_back
    return False


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Have `error` raised in a thread; None takes back what has not been raised yet."""
    what = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)
