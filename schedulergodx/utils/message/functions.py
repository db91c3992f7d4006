"""What is known of a function without pickling it: its name, its reference, its code's hash, what it captures."""

from __future__ import annotations

import hashlib
import inspect
import sys
from types import CodeType, FunctionType, MethodType
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

    Two Pythons of different minor versions compile to different bytecode, so it compares within one only.
    """
    code = getattr(function, "__code__", None)
    return "" if code is None else hashlib.sha256(repr(_code_facts(code)).encode()).hexdigest()


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
        bound = {f"number {place}": value for place, value in enumerate(args, start=1)} | dict(kwargs)
    for name, value in bound.items():
        yield f"argument {name!r}", value
