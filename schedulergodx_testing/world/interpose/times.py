"""`time.time`, `time.monotonic`, `time.sleep` and their kin."""

from __future__ import annotations

import time
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.world.interpose.patching import watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx_testing.world.interpose.patching import Patches
    from schedulergodx_testing.world.scheduler import World

_NS_OF_US = 1000
_NAMES = (
    "time",
    "time_ns",
    "monotonic",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
    "sleep",
    "localtime",
    "gmtime",
    "ctime",
    "strftime",
)
_ORIGINALS: dict[str, Callable[..., Any]] = {name: getattr(time, name) for name in _NAMES}
watch(*_ORIGINALS.values())


def install(patches: Patches, world: World, time_zone: tzinfo) -> None:
    """Patch them."""
    clock = world.clock

    def virtual(name: str, replacement: Callable[..., Any]) -> None:
        original = _ORIGINALS[name]

        def dispatch(*args: Any) -> Any:
            return replacement(*args) if world.is_mine() else original(*args)

        dispatch.__name__ = dispatch.__qualname__ = name
        patches.function(time, name, dispatch)

    def wall_s() -> float:
        return clock.now().timestamp()

    def sleep(seconds: float, /) -> None:
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        world.wait(lambda: False, seconds, f"time.sleep({seconds!r})")

    def localtime(seconds: float | None = None, /) -> time.struct_time:
        moment = clock.now() if seconds is None else datetime.fromtimestamp(seconds, UTC)
        return moment.astimezone(time_zone).timetuple()

    def gmtime(seconds: float | None = None, /) -> time.struct_time:
        return _ORIGINALS["gmtime"](wall_s() if seconds is None else seconds)  # type: ignore[no-any-return]

    def strftime(form: str, parts: Any = None, /) -> str:
        return str(_ORIGINALS["strftime"](form, localtime() if parts is None else parts))

    virtual("time", wall_s)
    virtual("time_ns", lambda: round(wall_s() * 1e6) * _NS_OF_US)
    virtual("monotonic", clock.monotonic)
    virtual("monotonic_ns", lambda: clock.monotonic_us() * _NS_OF_US)
    virtual("perf_counter", clock.monotonic)
    virtual("perf_counter_ns", lambda: clock.monotonic_us() * _NS_OF_US)
    virtual("sleep", sleep)
    virtual("localtime", localtime)
    virtual("gmtime", gmtime)
    virtual("ctime", lambda seconds=None, /: time.asctime(localtime(seconds)))
    virtual("strftime", strftime)
