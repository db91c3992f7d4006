"""Which world is open, and whether a caller lives in it.

What is put in the place of the system's functions is made once, and asks here at each call. So a reference to it that
somebody keeps is right in the next world too, and like the system's own when none is open.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

    from schedulergodx_testing.world.scheduler import World

REAL = frozenset(
    {
        "_pytest",
        "coverage",
        "execnet",
        "faulthandler",
        "hypothesis",
        "importlib",
        "multiprocessing",
        "pika",
        "pluggy",
        "pytest",
        "pytest_timeout",
        "schedulergodx",
        "schedulergodx_testing",
        "subprocess",
        "unittest",
        "xdist",
    }
)
"""Packages that see real time in every thread: they measure the real world, or wait for it."""
PROCESS_POOLS = "concurrent.futures.process"
"""A single module that does."""


class Current:
    """The open world, or None."""

    world: World | None = None


_is_real: dict[str, bool] = {}


def world() -> World | None:
    """Return the open world if the calling thread lives in it."""
    opened = Current.world
    return opened if opened is not None and opened.is_mine() else None


def world_of_code() -> World | None:
    """Return the open world if the calling thread lives in it, and who called the caller is code under test."""
    opened = Current.world
    return opened if opened is not None and opened.is_mine() and not is_real(sys._getframe(2)) else None


def is_real(frame: FrameType) -> bool:
    """Return whether a frame is that of a package that sees real time."""
    name = frame.f_globals.get("__name__", "")
    known = _is_real.get(name)
    if known is None:
        known = _is_real[name] = str(name).split(".", 1)[0] in REAL or name == PROCESS_POOLS
    return known
