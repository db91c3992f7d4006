"""Replacing functions for a while, also where modules hold them under names of their own, and putting them back."""

from __future__ import annotations

import ctypes
import gc
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_NOT_OURS = (
    "_pytest",
    "pytest",
    "pluggy",
    "hypothesis",
    "xdist",
    "execnet",
    "coverage",
    "faulthandler",
    "schedulergodx",
    "schedulergodx_testing",
    "pika",
    "subprocess",
    "multiprocessing",
    "importlib",
)
"""Modules (and what is inside them) that keep the real functions: they measure, or wait for, the real world."""

_found: dict[int, list[tuple[ModuleType, str]]] = {}
_scanned: set[str] = set()


class Patches:
    """A context manager that undoes, at its end, everything that was replaced through it, last first."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []
        self._undo_types: list[tuple[type, str, Any]] = []

    def attribute(self, owner: Any, name: str, replacement: Any) -> None:
        """Replace `owner.name`."""
        self._undo.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, replacement)

    def function(self, owner: ModuleType, name: str, replacement: Any) -> None:
        """Replace `owner.name`, and every `from owner import name` of modules that are imported by now."""
        original = getattr(owner, name)
        for module, alias in _holders(original):
            if getattr(module, alias, None) is original:
                self.attribute(module, alias, replacement)

    def of_type(self, owner: type, name: str, replacement: Any) -> None:
        """Replace a method of a type that is written in C and refuses `setattr`."""
        namespace = _namespace(owner)
        self._undo_types.append((owner, name, namespace[name]))
        namespace[name] = replacement
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(owner))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for owner, name, original in reversed(self._undo):
            setattr(owner, name, original)
        for kind_, name, original in reversed(self._undo_types):
            _namespace(kind_)[name] = original
            ctypes.pythonapi.PyType_Modified(ctypes.py_object(kind_))


def watch(*originals: Any) -> None:
    """Have the places found that hold one of these functions. Call it before the first patch, with all of them."""
    for original in originals:
        _found.setdefault(id(original), [])


def _holders(original: Any) -> list[tuple[ModuleType, str]]:
    _scan()
    return _found[id(original)]


def _scan() -> None:
    """Look through the modules that were imported since the last scan."""
    for module_name, module in list(sys.modules.items()):
        if module_name in _scanned or not isinstance(module, ModuleType):
            continue
        _scanned.add(module_name)
        if module_name.split(".")[0] in _NOT_OURS:
            continue
        for name, value in list(vars(module).items()):
            places = _found.get(id(value))
            if places is not None:
                places.append((module, name))


def _namespace(owner: type) -> dict[str, Any]:
    """Return the dictionary behind a type's `__dict__`, which is a read-only view of it."""
    for behind in gc.get_referents(owner.__dict__):
        if isinstance(behind, dict):
            return behind
    raise RuntimeError(f"this Python hides the namespace of {owner.__name__}; virtual time needs CPython")
