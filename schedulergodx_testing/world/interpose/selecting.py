"""Event loops: the waiting of selectors, under asyncio's `sleep`, `wait_for` and every other timer."""

from __future__ import annotations

import select
import selectors
import sys
from typing import Any

from schedulergodx_testing.world import outside
from schedulergodx_testing.world.interpose import current, patching

_KINDS = ("SelectSelector", "_PollLikeSelector", "PollSelector", "EpollSelector", "KqueueSelector", "DevpollSelector")
_EMPTY_LOOKS_MAX = 100
_YIELD_S = 1e-6


def _install(kind: Any) -> None:
    real_wait = vars(kind)["select"]

    def wait(self: Any, timeout: float | None = None) -> Any:
        world = current.world()
        if world is None or current.is_real(sys._getframe(1)):
            return real_wait(self, timeout)
        events = real_wait(self, 0)
        if events or world.is_in_turn():
            return events
        if timeout is not None and timeout <= 0:
            # A loop that only looks, e.g. `await asyncio.sleep(0)` until something is there, lets others go on too.
            self._empty_looks = getattr(self, "_empty_looks", 0) + 1
            if self._empty_looks % _EMPTY_LOOKS_MAX:
                return events
            timeout = _YIELD_S
        world.wait(
            lambda: bool(real_wait(self, 0)),
            timeout,
            f"an event loop's select({timeout!r})",
            grace_s=outside.GRACE_S if _has_foreign(self) else 0.0,
        )
        return real_wait(self, 0)

    patching.attribute(kind, "select", wait)


def _has_foreign(selector: Any) -> bool:
    """Return whether it waits for more than what the event loop tells itself through its own pair of sockets."""
    for key in list((selector.get_map() or {}).values()):
        reader = key.data[0] if isinstance(key.data, tuple) else None
        callback = getattr(reader, "_callback", None)
        if getattr(callback, "__name__", "") != "_read_from_self":
            return True
    return False


real_select = select.select


def _select(reading: Any, writing: Any, special: Any, timeout: float | None = None) -> Any:
    world = current.world_of_code()
    if world is None or world.is_in_turn():
        return real_select(reading, writing, special, timeout)
    reading, writing, special = list(reading), list(writing), list(special)
    if timeout is None or timeout > 0:
        world.wait(
            lambda: any(real_select(reading, writing, special, 0)),
            timeout,
            f"select.select(…, {timeout!r})",
            grace_s=outside.GRACE_S if reading or writing or special else 0.0,
        )
    return real_select(reading, writing, special, 0)


for _name in _KINDS:
    _kind = getattr(selectors, _name, None)
    if _kind is not None and "select" in vars(_kind):
        _install(_kind)
patching.function(select, "select", _select)
