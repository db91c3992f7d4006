"""How the process of a hard task ends: as any program does, by the short way where nobody can tell the difference.

An interpreter that ends takes itself apart, object by object. In a forked process this writes into nearly every page
that it shares with the fork server, so that each is copied: several times what all the rest of a small task costs.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import itertools
import os
import sys
import threading
from types import ModuleType

from schedulergodx.service.runner import system

_PURE = (".py", ".pyc")


class Beginnings:
    """What a process has before a task comes to it; made in the fork server once all its objects are frozen."""

    def __init__(self) -> None:
        self._last_module = next(reversed(sys.modules))

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
            system.flush_c_streams()
        except BaseException:  # noqa: BLE001 - a thread, a stream or a class of the task: as the interpreter deals with it
            return
        os._exit(0)

    def _has_left_something(self) -> bool:
        # Only the new modules are looked at: looking at an object writes into its page, by its count of references.
        loaded = itertools.takewhile(lambda name: name != self._last_module, reversed(sys.modules))
        things = gc.get_objects()
        has_frozen = not any(thing is self for thing in things)  # the task itself: then its objects are hidden, too
        return has_frozen or not all(_is_pure(sys.modules[name]) for name in loaded) or _has_any_an_end(things)


def _is_pure(module: ModuleType) -> bool:
    if type(module) is not ModuleType:
        return False
    file = vars(module).get("__file__")
    return file is None or (type(file) is str and file.endswith(_PURE))


def _has_any_an_end(things: list[object]) -> bool:
    kinds = {id(kind): kind for kind in map(type, things)}
    # An object that the collector does not know may be of a class that it does know.
    made = [thing for thing in things if isinstance(thing, type)] if any(map(_makes_classes, kinds.values())) else []
    return any(issubclass(kind, ctypes.CDLL) or hasattr(kind, "__del__") for kind in (*kinds.values(), *made))


def _makes_classes(kind: type) -> bool:
    return issubclass(kind, type)
