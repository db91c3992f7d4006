"""Event loops: the waiting of selectors, under asyncio's `sleep`, `wait_for` and every other timer."""

from __future__ import annotations

import selectors
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schedulergodx_testing.world.interpose.patching import Patches
    from schedulergodx_testing.world.scheduler import World

_KINDS = ("SelectSelector", "PollSelector", "EpollSelector", "KqueueSelector", "DevpollSelector")


def install(patches: Patches, world: World) -> None:
    """Patch `select` of every kind of selector that this system has."""
    for name in _KINDS:
        kind = getattr(selectors, name, None)
        if kind is not None and "select" in vars(kind):
            _install(patches, world, kind)
    if "select" in vars(selectors._PollLikeSelector):
        _install(patches, world, selectors._PollLikeSelector)


def _install(patches: Patches, world: World, kind: Any) -> None:
    real_select = vars(kind)["select"]

    def select(self: Any, timeout: float | None = None) -> Any:
        if not world.is_mine():
            return real_select(self, timeout)
        events = real_select(self, 0)
        if events or (timeout is not None and timeout <= 0):
            return events
        world.wait(lambda: bool(real_select(self, 0)), timeout, f"an event loop's select({timeout!r})")
        return real_select(self, 0)

    patches.attribute(kind, "select", select)
