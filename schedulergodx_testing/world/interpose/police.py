"""The determinism police: chance and the outside, noted with file and line in `World.leaks`, never refused.

Only calls that the code under test makes by itself are noted, not those inside the standard library. `uuid4`,
`os.urandom` and `secrets` stay truly random: made from a seed they would be the same ids in every test and process, and
collide wherever tests share a real database. The functions of `random` are seeded (see `World`), or else noted too.

Here is chance; `sqlite_time` and `outlets` watch what SQLite knows by itself, and the ways out of the process.
"""

from __future__ import annotations

import _thread
import os
import random
import secrets
import sys
import uuid
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.world.interpose import current, patching
from schedulergodx_testing.world.leaks import RealWorldLeak

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_RANDOM = (
    "betavariate choice choices expovariate gammavariate gauss getrandbits lognormvariate normalvariate "
    "paretovariate randbytes randint random randrange sample shuffle triangular uniform vonmisesvariate weibullvariate"
)
_SECRETS = "choice randbelow randbits token_bytes token_hex token_urlsafe"


_IN_BETWEEN = "schedulergodx_testing.world.interpose.sockets"
"""Stands where the methods of `socket.socket` stand."""


def note(kind: str, frame: FrameType | None, *, is_deep: bool = False) -> None:
    """Note a leak at `frame`; of the standard library, nothing, or (`is_deep`) at whoever called it.

    What is called within another watched call is that one's: the walk ends there, at a frame of this package.
    """
    world = current.world()
    if world is None or world.is_in_turn():
        return
    place = frame
    while place is not None and _root(place) == "cloudpickle":  # which makes ids for whoever launches
        place = place.f_back
    while place is not None and _is_standard(place):
        if not is_deep or _is_pair(place):
            return
        place = place.f_back
    if place is not None and not current.is_real(place):
        world.leak(RealWorldLeak(kind, place.f_code.co_filename, place.f_lineno))


def _root(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).split(".", 1)[0]


def _is_standard(frame: FrameType) -> bool:
    root = _root(frame)
    return (root in sys.stdlib_module_names and root != "__main__") or frame.f_globals.get("__name__") == _IN_BETWEEN


def _is_pair(frame: FrameType) -> bool:
    """Return whether it makes two ends within this process; systems that lack pairs do it by a server of their own."""
    return _root(frame) == "socket" and frame.f_code.co_name in {"socketpair", "_fallback_socketpair"}


def watch(owner: Any, name: str, kind: str = "", *, is_seedable: bool = False, is_deep: bool = False) -> None:
    """Register a function whose calls are noted, as `kind`, if the system has it; as of `note`."""
    if not hasattr(owner, name):
        return
    original = getattr(owner, name)
    kind = kind or f"{owner.__name__}.{name}"

    def watched(*args: Any, **kwargs: Any) -> Any:
        opened = current.Current.world
        if opened is not None and not (is_seedable and opened.is_seeding_random):
            note(kind, sys._getframe(1), is_deep=is_deep)
        return original(*args, **kwargs)

    watched.__doc__ = original.__doc__
    patching.function(owner, name, watched)
    if owner is os:
        watched.__module__ = original.__module__  # `posix`, say: by this name it is launched, allowed and refused


def watch_method(owner: Any, name: str, kind: str, *, is_noted: Callable[..., bool] | None = None) -> None:
    """Register a method whose calls are noted, deeply; `is_noted` tells of which arguments, default: all."""
    original = getattr(owner, name)

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        if current.Current.world is not None and (is_noted is None or is_noted(*args)):
            note(kind, sys._getframe(1), is_deep=True)
        return original(self, *args, **kwargs)

    patching.attribute(owner, name, watched)


def _watch_seed() -> None:
    original = random.Random.seed

    def seed(self: Any, a: Any = None, version: int = 2) -> None:
        if a is None and current.Current.world is not None:
            note("random.Random without a seed", _past_random(sys._getframe(1)))
        original(self, a, version)

    def seed_all(a: Any = None, version: int = 2) -> None:
        if a is None and current.Current.world is not None:
            note("random.seed without a seed", sys._getframe(1))
        original_of_all(a, version)

    original_of_all = random.seed
    patching.attribute(random.Random, "seed", seed)
    patching.function(random, "seed", seed_all)


def _watch_system_random(name: str) -> None:
    original = getattr(random.SystemRandom, name)

    def watched(self: Any, *args: Any) -> Any:
        if current.Current.world is not None:
            note("random.SystemRandom", _past_random(sys._getframe(1)))
        return original(self, *args)

    patching.attribute(random.SystemRandom, name, watched)


def _past_random(frame: FrameType) -> FrameType:
    """Return who called into `random`, whose methods call each other."""
    while frame.f_back is not None and frame.f_globals.get("__name__") == "random":
        frame = frame.f_back
    return frame


_watch_seed()
for _name in ("random", "getrandbits", "randbytes"):
    _watch_system_random(_name)
watch(os, "urandom")
watch(os, "getrandom")
watch(uuid, "getnode")
watch(uuid, "uuid1")
watch(uuid, "uuid4")
for _name in _SECRETS.split():
    watch(secrets, _name)
for _name in _RANDOM.split():
    watch(random, _name, is_seedable=True)
watch(_thread, "start_new_thread")
