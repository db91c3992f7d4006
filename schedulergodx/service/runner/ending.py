"""How the process of a hard task ends: as any program does, by the short way where nobody can tell the difference.

An interpreter that ends takes itself apart, object by object. In a forked process this writes into nearly every page
that it shares with the fork server, so that each is copied: several times what all the rest of a small task costs.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import sys
import threading
from types import ModuleType

_PURE = (".py", ".pyc")


class Beginnings:
    """What a process has before a task comes to it; made in the fork server once all its objects are frozen."""

    def __init__(self) -> None:
        self._modules = frozenset(sys.modules)
        self._frozen = gc.get_freeze_count()

    def end(self) -> None:
        """Wait for threads, call what `atexit` has, flush, and end this process.

        Returns when the task has left what is only ended by the interpreter's own end, which then follows: an object
        with a `__del__` (a file that was not closed, a generator in the middle of a `finally`), or a library in C.
        """
        try:
            threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - what the interpreter itself calls
            atexit._run_exitfuncs()  # noqa: SLF001 - the same
            gc.collect()
            if self._has_left_something():
                return
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
            ctypes.CDLL(None).fflush(None)
        except BaseException:  # noqa: BLE001 - a thread, a stream or a class of the task: as the interpreter deals with it
            return
        os._exit(0)

    def _has_left_something(self) -> bool:
        if gc.get_freeze_count() > self._frozen:  # by the task itself: then its objects cannot be told from ours
            return True
        loaded = [module for name, module in list(sys.modules.items()) if name not in self._modules]
        return not all(map(_is_pure, loaded)) or any(map(_has_an_end, gc.get_objects()))


def _is_pure(module: ModuleType) -> bool:
    if type(module) is not ModuleType:
        return False
    file = vars(module).get("__file__")
    return file is None or (type(file) is str and file.endswith(_PURE))


def _has_an_end(thing: object) -> bool:
    kind = type(thing)
    if issubclass(kind, ctypes.CDLL):
        return True
    if issubclass(kind, type):  # an object of it may be one that the collector does not know
        return "__del__" in kind.__dict__ or "__del__" in vars(thing)
    return hasattr(kind, "__del__")
