"""What is known of a function without pickling it: its name, its reference, its code's hash, what it captures."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def function_name(function: Callable[..., Any]) -> str:
    """Return the name that people know `function` by, e.g. `shop.tasks.remind`."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    module = getattr(function, "__module__", None)
    return f"{module}.{name}" if module else name


def code_digest(function: Callable[..., Any]) -> str:
    """Return a hash of what `function` does: its bytecode, constants and names, not its file or line.

    Its default values count, too, and so do the functions in its closure: what it wraps, when it is decorated.
    Two Pythons of different minor versions compile to different bytecode, so it compares within one only.
    """
    if not hasattr(function, "__code__"):
        function = inspect.unwrap(function)  # e.g. of `functools.cache`
    if not isinstance(function, FunctionType):
        return ""
    if function.__defaults__ or function.__kwdefaults__ or function.__closure__:
        return _digest(_function_facts(function, set()))
    return _digest_of_code(function.__code__)


@functools.lru_cache(maxsize=256)  # code never changes, and is asked for at every launch and every run
def _digest_of_code(code: CodeType) -> str:
    """Return the hash of a function that has nothing but its code."""
    return _digest((_code_facts(code), []))


def _digest(facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _function_facts(function: FunctionType, seen: set[int]) -> object:
    if id(function) in seen:
        return "itself"
    seen.add(id(function))
    defaults = [*(function.__defaults__ or ()), *sorted((function.__kwdefaults__ or {}).items())]
    held = [_held_facts(value, seen) for value in (*defaults, *_cell_contents(function))]
    return (_code_facts(function.__code__), held)


def _held_facts(value: object, seen: set[int]) -> object:
    """Return what is known of a value without asking it: user objects may have any `__repr__`."""
    value = plain(value)
    if isinstance(value, FunctionType):
        return _function_facts(value, seen)
    if type(value) is tuple:
        return tuple(_held_facts(item, seen) for item in value)
    return _constant_facts(value) if type(value) in _CONSTANTS else type(value).__qualname__


_CONSTANTS = {int, float, complex, str, bytes, bool, type(None)}


def _cell_contents(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # still empty
            yield None


def _code_facts(code: CodeType) -> tuple[object, ...]:
    constants = tuple(_constant_facts(constant) for constant in code.co_consts)
    signature = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return (code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, signature)


def _constant_facts(constant: object) -> object:
    if isinstance(constant, CodeType):
        return _code_facts(constant)
    if isinstance(constant, frozenset):
        return ("frozenset", sorted(repr(_constant_facts(item)) for item in constant))  # its order is not stable
    if isinstance(constant, tuple):
        return tuple(_constant_facts(item) for item in constant)
    return (type(constant).__name__, constant)


def reference_of(function: Callable[..., Any]) -> str:
    """Return `module:qualname` where that gives `function` again, else ""."""
    module_name, qualname = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not module_name or not qualname or module_name == "__main__" or isinstance(function, MethodType):
        return ""
    found: Any = sys.modules.get(module_name)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return f"{module_name}:{qualname}" if plain(found) is function else ""


def modules_of(function: Callable[..., Any]) -> list[str]:
    """Return the names of the modules whose code a call of `function` runs first; none for what is written in C."""
    if type(function) is FunctionType:  # almost every one
        name: object = function.__module__
        return [name] if isinstance(name, str) and name != "builtins" else []
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, BuiltinFunctionType):
        return []
    owners: list[object] = [function, type(function.__self__)] if isinstance(function, MethodType) else [function]
    names = (getattr(owner, "__module__", None) for owner in owners)
    return [name for name in names if isinstance(name, str) and name != "builtins"]


def plain(found: object) -> object:
    """Return the function inside a decorated task, or what was given."""
    return getattr(found, "__schedulergodx_function__", found)


def captured(function: Callable[..., Any]) -> Iterator[tuple[str, object]]:
    """Yield what travels with `function` by value, each with the words that name it to a person."""
    if isinstance(function, MethodType):
        yield "object (self)", function.__self__
        function = function.__func__
    if not isinstance(function, FunctionType):
        yield "state", function
        return
    code_names = names_in(function.__code__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"closure variable {name!r}", cell.cell_contents
        except ValueError:  # a cell that is still empty
            continue
    for name in sorted(code_names & function.__globals__.keys()):
        yield f"global {name!r}", function.__globals__[name]
    for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
        yield "default value", default


def names_in(code: CodeType) -> set[str]:
    """Return the names that `code`, and functions inside it, look up as globals or attributes."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= names_in(constant)
    return names


def named_arguments(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[str, object]]:
    """Yield the arguments of a call, each with the words that name it to a person."""
    try:
        bound = inspect.signature(function).bind_partial(*args, **kwargs).arguments
    except (TypeError, ValueError):
        for place, value in enumerate(args, start=1):
            yield f"argument {place}", value
        bound = dict(kwargs)
    for name, value in bound.items():
        yield f"argument {name!r}", value
