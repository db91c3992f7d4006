"""Whether a function would be pickled as it was the last time, found out without pickling it."""

from __future__ import annotations

import sys
from functools import lru_cache
from operator import is_
from types import CodeType, FunctionType, ModuleType
from typing import TypeAlias
from weakref import WeakKeyDictionary

from schedulergodx.utils.message.functions import names_in

_KEPT_BYTES_MAX = 64 * 1024
_CONSTANTS = {int, float, complex, str, bytes, bool, type(None)}
_MISSING = object()
_FACTS = 6
_Kept: TypeAlias = tuple[tuple[object, ...], tuple[ModuleType, ...], bytes]
"""What a function was, the modules among it, which must be simple still, and its pickle."""


class PickledFunctions:
    """The last pickle of each function whose content can be told by a glance: one that is launched a thousand times.

    Kept are functions that hold nothing but constants and simple modules of the standard library: no closure, no
    attributes, no globals that could change inside. A global that was bound anew since, or code that was exchanged,
    shows, since everything that goes into the pickle is compared by identity. Safe from any thread.
    """

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[FunctionType, _Kept] = WeakKeyDictionary()

    def get(self, function: object, modules: tuple[str, ...]) -> bytes | None:
        """Return the pickle of `function`, made while `modules` travelled by value, or None when it is to be made."""
        if not isinstance(function, FunctionType) or (kept := self._kept.get(function)) is None:
            return None
        content, held_modules, data = kept
        now = _content(function, modules)
        if now is None or len(now) != len(content) or not all(map(is_, now, content)):
            return None
        return data if all(map(_is_simple_module, held_modules)) else None

    def keep(self, function: object, modules: tuple[str, ...], data: bytes) -> None:
        """Note a pickle, if it is small and it can be found out later whether it still holds."""
        if len(data) > _KEPT_BYTES_MAX:
            return
        if not isinstance(function, FunctionType) or (content := _content(function, modules)) is None:
            return
        held = content[_FACTS + len(modules) :]
        if all(_is_constant(value) for value in held):
            held_modules = tuple([value for value in held if isinstance(value, ModuleType)])
            self._kept[function] = (content, held_modules, data)


def _content(function: FunctionType, modules: tuple[str, ...]) -> tuple[object, ...] | None:
    """Return everything that goes into the pickle of `function`, `_FACTS` first; None when there is more to it."""
    if function.__closure__ or function.__dict__ or function.__kwdefaults__:
        return None
    code, known = function.__code__, function.__globals__
    defaults, annotations = function.__defaults__, function.__annotations__
    facts = (code, defaults, function.__name__, function.__qualname__, function.__module__, function.__doc__)
    held = [known.get(name, _MISSING) for name in _global_names(code)]
    return (*facts, *modules, *annotations, *held, *(defaults or ()), *annotations.values())


@lru_cache(maxsize=256)  # code never changes
def _global_names(code: CodeType) -> tuple[str, ...]:
    """Return the names of globals that travel with code: those that it names, and where it says that it is from."""
    return (*sorted(names_in(code)), "__name__", "__package__", "__file__", "__path__")


def _is_constant(value: object) -> bool:
    return value is _MISSING or type(value) in _CONSTANTS or _is_builtin_type(value) or _is_simple_module(value)


def _is_builtin_type(value: object) -> bool:
    return type(value) is type and value.__module__ == "builtins"


def _is_simple_module(value: object) -> bool:
    """Return whether it is a module of the standard library without parts, which travels as its name alone."""
    return (
        type(value) is ModuleType
        and not value.__package__
        and value.__name__ in sys.stdlib_module_names
        and sys.modules.get(value.__name__) is value
    )
