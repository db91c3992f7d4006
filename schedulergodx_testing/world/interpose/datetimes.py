"""`datetime.now`, `datetime.utcnow`, `datetime.today`, `date.today`: real values of the real types, at virtual moments.

The methods of the C types are replaced, not the types: what was imported earlier follows, `isinstance` holds, and a
pickle of such a moment knows nothing of a test.
"""

from __future__ import annotations

import sys
import warnings
from datetime import UTC, date, datetime, tzinfo
from functools import partial
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.world import real
from schedulergodx_testing.world.interpose import patching
from schedulergodx_testing.world.interpose.current import world_of_code
from schedulergodx_testing.world.interpose.times import wall_s

if TYPE_CHECKING:
    from collections.abc import Callable

_real_now = vars(datetime)["now"]
_real_today = vars(date)["today"]
_UTCNOW_IS_OLD = sys.version_info >= (3, 12)


def _now(cls: Any, tz: tzinfo | None = None) -> Any:
    world = world_of_code()
    return _real_now.__get__(None, cls)(tz) if world is None else cls.fromtimestamp(wall_s(world), tz)


def _utcnow(cls: Any) -> Any:
    if _UTCNOW_IS_OLD:  # the warning of the original would name this file, not its caller
        warnings.warn(
            "datetime.datetime.utcnow() is deprecated and scheduled for removal in a future version. Use "
            "timezone-aware objects to represent datetimes in UTC: datetime.datetime.now(datetime.UTC).",
            DeprecationWarning,
            stacklevel=2,
        )
    world = world_of_code()
    return cls.fromtimestamp(real.time_s() if world is None else wall_s(world), UTC).replace(tzinfo=None)


def _today(cls: Any) -> Any:
    world = world_of_code()
    return _real_today.__get__(None, cls)() if world is None else cls.fromtimestamp(wall_s(world))


class _ClassMethod:
    """A class method that pickles as those of C types do: by the name of its class and its own."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __get__(self, instance: object, owner: type | None = None) -> _Bound:
        bound = _Bound(self._function, type(instance) if owner is None else owner)
        bound.__name__ = self.__name__
        return bound

    __name__ = ""  # set when it is registered


class _Bound(partial[Any]):
    """A call of it needs no frame of Python in between: who calls is asked for."""

    __name__: str

    @property
    def __self__(self) -> Any:
        return self.args[0]

    def __reduce__(self) -> Any:
        return getattr, (self.__self__, self.__name__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bound) and (self.func, self.args) == (other.func, other.args)

    def __hash__(self) -> int:
        return hash((self.func, self.args))


patching.c_method(datetime, "now", _ClassMethod(_now))
patching.c_method(datetime, "utcnow", _ClassMethod(_utcnow))
patching.c_method(date, "today", _ClassMethod(_today))
