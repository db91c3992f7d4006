"""Functions that a test gives: each must be one that can be called, and that has done its work when it returns."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from schedulergodx.errors import InvalidParameter
from schedulergodx.utils.id_generators import MessageId
from schedulergodx_testing.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_RUNS_LATER: tuple[Callable[[object], bool], ...] = (
    inspect.iscoroutinefunction,
    inspect.isasyncgenfunction,
    inspect.isgeneratorfunction,
)
_HAS_NOT_RUN: tuple[Callable[[object], bool], ...] = (inspect.iscoroutine, inspect.isasyncgen, inspect.isgenerator)
_INSTEAD = "write a plain function, which may call asyncio.run(…)"


def must_take(name: str, function: object, *arguments: str) -> None:
    """Refuse what cannot be called with such arguments, and what would not have run when the call returns.

    Args:
        name: what the function is to its user, as errors name it.
        function: what was given.
        arguments: names for what it is called with, by position.

    Raises:
        InvalidParameter: no function; a coroutine function or a generator function; or it takes something else.
    """
    plain = must_be_plain(name, function)
    try:
        signature = inspect.signature(plain)
    except (TypeError, ValueError):
        return  # something built in, which does not tell what it takes
    try:
        signature.bind(*arguments)
    except TypeError as error:
        wanted = f"one argument, the {arguments[0]}" if arguments else "no argument"
        raise InvalidParameter(f"{name} is called with {wanted}; {_name(function)} cannot be: {error}") from None


def must_be_plain(name: str, function: object) -> Callable[..., Any]:
    """Return a function, and refuse what is none, or one that only returns what somebody else would have to run.

    Raises:
        InvalidParameter: no function; a coroutine function or a generator function.
    """
    if not callable(function):
        raise InvalidParameter(f"{name} must be a function, got {function!r:.40} ({type(function).__name__})")
    parts: tuple[object, ...] = (function, type(function).__call__)  # an object may be called, too
    if any(runs_later(part) for runs_later in _RUNS_LATER for part in parts):
        raise InvalidParameter(
            f"{name} must be a plain function: nothing awaits a coroutine function here, or goes through a generator, "
            f"so {_name(function)} would never run; {_INSTEAD}"
        )
    return function


def has_run(name: str, returned: T) -> T:
    """Return what a function of a test has returned, unless that still has to be run.

    Ids of launches can be awaited, too, and are fine: what they stand for runs anyhow.

    Raises:
        HarnessError: it is a coroutine, a generator, or something else to be awaited.
    """
    has_not = any(is_one(returned) for is_one in _HAS_NOT_RUN)
    if not has_not and (isinstance(returned, MessageId) or not inspect.isawaitable(returned)):
        return returned
    if inspect.iscoroutine(returned):
        returned.close()  # so that nobody is warned of it as well
    raise HarnessError(
        f"{name} has returned something that nothing awaits here, a {type(returned).__name__}, so it has not run; "
        f"{_INSTEAD}"
    )


def _name(function: object) -> str:
    return str(getattr(function, "__qualname__", function))
