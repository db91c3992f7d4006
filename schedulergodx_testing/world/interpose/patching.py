"""Replacing functions for a while, also where modules hold them under names of their own, and putting them back.

Which functions, and by what, is registered once, when this package is imported. `put_in` replaces them, `put_back`
undoes it, and what was imported meanwhile gets the system's own functions too.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from contextlib import suppress
from types import FunctionType, ModuleType
from typing import Any

from schedulergodx_testing.world.interpose.current import REAL

_MISSING = object()
_DEEP = {"sched"}
"""Modules of the standard library that are looked through as those of users are."""


class _Function:
    """One function of a module, what replaces it, and who holds it."""

    def __init__(self, owner: ModuleType, name: str, replacement: Any) -> None:
        self.owner, self.name, self.replacement = owner, name, replacement
        self.original = getattr(owner, name)
        self.places: list[_Place] = []

    def put(self, value: Any, instead_of: Any) -> None:
        for place in self.places:
            place.replace(instead_of, value)


class _Place:
    """An attribute of a module or a class that holds a function, plainly or as a static method."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name
        self._before: Any = _MISSING

    def replace(self, old: Any, new: Any) -> None:
        """Put `new` where `old` is; what was there before comes back as it was."""
        held = vars(self.owner).get(self.name)
        if _plain(held) is not old:
            return
        before, self._before = self._before, held
        if before is not _MISSING and _plain(before) is new:
            self._put(before)
        else:
            # A function of Python in a class would become a method; one of C does not.
            is_method = isinstance(self.owner, type) and isinstance(new, FunctionType)
            self._put(staticmethod(new) if is_method else new)

    def _put(self, value: Any) -> None:
        with suppress(AttributeError, TypeError):  # a class may refuse; then it keeps what it has
            setattr(self.owner, self.name, value)


class _Default(_Place):
    """A function whose default arguments hold a function."""

    def replace(self, old: Any, new: Any) -> None:
        """Put `new` in for each `old`."""
        function = self.owner
        if any(value is old for value in function.__defaults__ or ()):
            function.__defaults__ = tuple(new if value is old else value for value in function.__defaults__)
        for name, value in (function.__kwdefaults__ or {}).items():
            if value is old:
                function.__kwdefaults__[name] = new


def _plain(value: Any) -> Any:
    return value.__func__ if isinstance(value, staticmethod) else value


_functions: list[_Function] = []
_of_id: dict[int, _Function] = {}
_attributes: list[tuple[Any, str, Any, Any]] = []
_c_methods: list[tuple[type, str, Any, Any]] = []
_scanned: dict[str, tuple[ModuleType, int]] = {}


def function(owner: ModuleType, name: str, replacement: Any) -> None:
    """Register what replaces `owner.name`, also where others hold it. Called while this package is imported."""
    if not hasattr(owner, name):
        return
    _name(replacement, name, owner.__name__, name)
    found = _Function(owner, name, replacement)
    found.places.append(_Place(owner, name))
    _functions.append(found)
    _of_id[id(found.original)] = _of_id[id(replacement)] = found


def attribute(owner: Any, name: str, replacement: Any) -> None:
    """Register what replaces an attribute of a class that is written in Python."""
    _name(replacement, name, owner.__module__, f"{owner.__qualname__}.{name}")
    _attributes.append((owner, name, vars(owner).get(name, _MISSING), replacement))


def c_method(owner: type, name: str, replacement: Any) -> None:
    """Register what replaces a method of a type that is written in C and refuses `setattr`."""
    _name(replacement, name, owner.__module__, f"{owner.__qualname__}.{name}")
    _c_methods.append((owner, name, vars(owner)[name], replacement))


def _name(replacement: Any, name: str, module: str, qualified: str) -> None:
    """Let it be called as what it replaces: a pickle that refers to it then names the original."""
    replacement.__name__, replacement.__qualname__, replacement.__module__ = name, qualified, module


def put_in() -> None:
    """Replace everything that is registered."""
    _scan()
    for found in _functions:
        found.put(found.replacement, found.original)
    for owner, name, _, replacement in _attributes:
        setattr(owner, name, replacement)
    for owner, name, _, replacement in _c_methods:
        _put_c_method(owner, name, replacement)


def put_back() -> None:
    """Undo it, also in modules that were imported meanwhile."""
    for owner, name, original, _ in reversed(_c_methods):
        _put_c_method(owner, name, original)
    for owner, name, original, _ in reversed(_attributes):
        if original is _MISSING:
            delattr(owner, name)
        else:
            setattr(owner, name, original)
    _put_functions_back()


def _correct_mocks() -> None:
    """Let patches of `unittest.mock` that are still on, and were made during a world, put the originals back.

    Those that `start()` has made: they may be stopped after the world's end. Others end in the block they began in.
    """
    mock: Any = sys.modules.get("unittest.mock")
    started = getattr(getattr(mock, "_patch", None), "_active_patches", ())
    originals = {id(found.replacement): found.original for found in _functions}
    originals |= {id(replacement): original for _, _, original, replacement in _attributes if original is not _MISSING}
    for patch in started:
        held = getattr(patch, "temp_original", None)
        if id(held) in originals:
            patch.temp_original = originals[id(held)]


def _put_functions_back() -> None:
    _correct_mocks()
    _scan()
    for found in reversed(_functions):
        found.put(found.original, found.replacement)


def sweep() -> None:
    """Put back once more what another tool has put in again: it found it during a world, and ended after that."""
    for owner, name, original, replacement in _attributes:
        if original is not _MISSING and vars(owner).get(name) is replacement:
            setattr(owner, name, original)
    _put_functions_back()


def _scan() -> None:
    """Look through the modules that were imported, or have grown, since the last scan."""
    modules: list[tuple[str, Any]] = list(sys.modules.items())
    for name, module in modules:
        if not isinstance(module, ModuleType):
            continue
        size = len(vars(module))
        if _scanned.get(name) != (module, size):
            _scanned[name] = (module, size)
            _scan_module(name, module)


def _scan_module(name: str, module: ModuleType) -> None:
    root = name.split(".", 1)[0]
    if root in REAL:
        return
    is_deep = root not in sys.stdlib_module_names or root in _DEEP or root == "__main__"
    for attribute_name, value in list(vars(module).items()):
        _note(module, attribute_name, value)
        if is_deep and isinstance(value, FunctionType) and value.__module__ == name:
            _note_defaults(value)
        elif is_deep and isinstance(value, type) and value.__module__ == name:
            _scan_class(value)


def _scan_class(owner: type) -> None:
    for name, value in list(vars(owner).items()):
        plain = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        _note(owner, name, plain)
        if isinstance(plain, FunctionType):
            _note_defaults(plain)


def _note(owner: Any, name: str, value: Any) -> None:
    found = _of_id.get(id(value))
    if found is not None and not any(place.owner is owner and place.name == name for place in found.places):
        found.places.append(_Place(owner, name))


def _note_defaults(function: FunctionType) -> None:
    for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        found = _of_id.get(id(value))
        if found is not None and not any(place.owner is function for place in found.places):
            found.places.append(_Default(function, ""))


def _put_c_method(owner: type, name: str, value: Any) -> None:
    _namespace(owner)[name] = value
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(owner))


def _namespace(owner: type) -> dict[str, Any]:
    """Return the dictionary behind a type's `__dict__`, which is a read-only view of it."""
    for behind in gc.get_referents(owner.__dict__):
        if isinstance(behind, dict):
            return behind
    raise RuntimeError(f"this Python hides the namespace of {owner.__name__}; virtual time needs CPython")
