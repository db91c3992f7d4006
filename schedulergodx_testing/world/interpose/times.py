"""`time.time`, `time.monotonic`, `time.sleep` and their kin."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.world.interpose import patching
from schedulergodx_testing.world.interpose.current import world_of_code

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx_testing.world.scheduler import World

_NS_OF_US = 1000
_WALL = {"CLOCK_REALTIME", "CLOCK_REALTIME_COARSE", "CLOCK_TAI"}
_MONOTONIC = {
    "CLOCK_MONOTONIC",
    "CLOCK_MONOTONIC_RAW",
    "CLOCK_MONOTONIC_COARSE",
    "CLOCK_BOOTTIME",
    "CLOCK_UPTIME",
    "CLOCK_UPTIME_RAW",
    "CLOCK_HIGHRES",
}


def _virtual(name: str, of_world: Callable[..., Any]) -> None:
    if not hasattr(time, name):
        return
    original = getattr(time, name)

    def dispatch(*args: Any) -> Any:
        world = world_of_code()
        return original(*args) if world is None else of_world(world, *args)

    dispatch.__doc__ = original.__doc__
    patching.function(time, name, dispatch)


def _never() -> bool:
    return False


def wall_s(world: World) -> float:
    """Return the wall time in seconds since 1970."""
    world.looked()
    return world.clock.now().timestamp()


def _wall_ns(world: World) -> int:
    return round(wall_s(world) * 1e6) * _NS_OF_US


def _monotonic_s(world: World) -> float:
    world.looked()
    return world.clock.monotonic()


def _monotonic_ns(world: World) -> int:
    world.looked()
    return world.clock.monotonic_us() * _NS_OF_US


def _sleep(world: World, seconds: float, /) -> None:
    if not seconds >= 0:
        raise ValueError("sleep length must be non-negative")
    world.wait(_never, seconds, f"time.sleep({seconds!r})")


def _clock_gettime(world: World, clock: int, /) -> float:
    told = _kind_of(clock)
    return real_clock_gettime(clock) if told is None else told[0](world)


def _clock_gettime_ns(world: World, clock: int, /) -> int:
    told = _kind_of(clock)
    return real_clock_gettime_ns(clock) if told is None else told[1](world)


def _kind_of(clock: int) -> tuple[Callable[[World], float], Callable[[World], int]] | None:
    """Return who tells a system's clock, in seconds and in nanoseconds; None: the system, as for CPU times."""
    if any(getattr(time, name, None) == clock for name in _WALL):
        return wall_s, _wall_ns
    if any(getattr(time, name, None) == clock for name in _MONOTONIC):
        return _monotonic_s, _monotonic_ns
    return None


def _at(name: str) -> Callable[..., Any]:
    original = getattr(time, name)

    def at(world: World, seconds: float | None = None, /) -> Any:
        return original(wall_s(world) if seconds is None else seconds)

    return at


real_asctime, real_localtime, real_strftime = time.asctime, time.localtime, time.strftime
real_clock_gettime: Callable[[int], float] = getattr(time, "clock_gettime", lambda _clock: 0.0)
real_clock_gettime_ns: Callable[[int], int] = getattr(time, "clock_gettime_ns", lambda _clock: 0)


def _asctime(world: World, parts: Any = None, /) -> str:
    return real_asctime(real_localtime(wall_s(world)) if parts is None else parts)


def _strftime(world: World, form: str, parts: Any = None, /) -> str:
    return real_strftime(form, real_localtime(wall_s(world)) if parts is None else parts)


_virtual("time", wall_s)
_virtual("time_ns", _wall_ns)
_virtual("monotonic", _monotonic_s)
_virtual("monotonic_ns", _monotonic_ns)
_virtual("perf_counter", _monotonic_s)
_virtual("perf_counter_ns", _monotonic_ns)
_virtual("clock_gettime", _clock_gettime)
_virtual("clock_gettime_ns", _clock_gettime_ns)
_virtual("sleep", _sleep)
_virtual("localtime", _at("localtime"))
_virtual("gmtime", _at("gmtime"))
_virtual("ctime", _at("ctime"))
_virtual("asctime", _asctime)
_virtual("strftime", _strftime)
