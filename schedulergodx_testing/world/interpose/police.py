"""The determinism police: chance and the outside, noted with file and line in `World.leaks`, never refused.

Only calls that the code under test makes by itself are noted, not those inside the standard library. `uuid4`,
`os.urandom` and `secrets` stay truly random: made from a seed they would be the same ids in every test and process, and
collide wherever tests share a real database. The functions of `random` are seeded (see `World`), or else noted too.
"""

from __future__ import annotations

import _thread
import functools
import os
import random
import re
import secrets
import socket
import sqlite3
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.world.interpose import current, patching
from schedulergodx_testing.world.leaks import RealWorldLeak

if TYPE_CHECKING:
    from types import FrameType

_RANDOM = (
    "betavariate choice choices expovariate gammavariate gauss getrandbits lognormvariate normalvariate "
    "paretovariate randbytes randint random randrange sample shuffle triangular uniform vonmisesvariate weibullvariate"
)
_SECRETS = "choice randbelow randbits token_bytes token_hex token_urlsafe"


_SQL_NOW = re.compile(r"'now'|\bcurrent_(timestamp|date|time)\b|\bunixepoch\(\s*\)", re.IGNORECASE)
"""SQLite reads the clock of the system itself, and no patch reaches that."""


def _note(kind: str, frame: FrameType, *, is_deep: bool = False) -> None:
    """Note a leak at `frame`; of the standard library, nothing, or (`is_deep`) at whoever called it."""
    world = current.world()
    if world is None or world.is_in_turn():
        return
    place: FrameType | None = frame
    while place is not None and _is_standard(place):
        if not is_deep:
            return
        place = place.f_back
    if place is not None and not current.is_real(place):
        world.leak(RealWorldLeak(kind, place.f_code.co_filename, place.f_lineno))


def _is_standard(frame: FrameType) -> bool:
    root = str(frame.f_globals.get("__name__", "")).split(".", 1)[0]
    return root in sys.stdlib_module_names and root != "__main__"


def _watch(owner: Any, name: str, *, is_seedable: bool = False) -> None:
    if not hasattr(owner, name):
        return
    original = getattr(owner, name)
    kind = f"{owner.__name__}.{name}"

    def watched(*args: Any, **kwargs: Any) -> Any:
        opened = current.Current.world
        if opened is not None and not (is_seedable and opened.is_seeding_random):
            _note(kind, sys._getframe(1))
        return original(*args, **kwargs)

    watched.__doc__ = original.__doc__
    patching.function(owner, name, watched)


def _watch_method(owner: Any, name: str, kind: str) -> None:
    original = getattr(owner, name)

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        if current.Current.world is not None:
            _note(kind, sys._getframe(1), is_deep=True)
        return original(self, *args, **kwargs)

    patching.attribute(owner, name, watched)


@functools.lru_cache(maxsize=512)  # programs say the same again and again
def _asks_for_time(sql: str) -> bool:
    return bool(_SQL_NOW.search(sql))


def _watch_sql(owner: Any, name: str) -> None:
    original = vars(owner)[name]

    def watched(self: Any, sql: Any, *args: Any, **kwargs: Any) -> Any:
        if current.Current.world is not None and isinstance(sql, str) and _asks_for_time(sql):
            _note("the time of SQLite", sys._getframe(1))
        return original(self, sql, *args, **kwargs)

    patching.c_method(owner, name, watched)


for _kind in (sqlite3.Connection, sqlite3.Cursor):
    for _name in ("execute", "executemany", "executescript"):
        _watch_sql(_kind, _name)


def _watch_seed() -> None:
    original = random.Random.seed

    def seed(self: Any, a: Any = None, version: int = 2) -> None:
        if a is None and current.Current.world is not None:
            _note("random.Random without a seed", _past_random(sys._getframe(1)))
        original(self, a, version)

    def seed_all(a: Any = None, version: int = 2) -> None:
        if a is None and current.Current.world is not None:
            _note("random.seed without a seed", sys._getframe(1))
        original_of_all(a, version)

    original_of_all = random.seed
    patching.attribute(random.Random, "seed", seed)
    patching.function(random, "seed", seed_all)


def _watch_system_random(name: str) -> None:
    original = getattr(random.SystemRandom, name)

    def watched(self: Any, *args: Any) -> Any:
        if current.Current.world is not None:
            _note("random.SystemRandom", _past_random(sys._getframe(1)))
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
_watch(os, "urandom")
_watch(os, "getrandom")
_watch(uuid, "getnode")
_watch(uuid, "uuid1")
_watch(uuid, "uuid4")
for _name in _SECRETS.split():
    _watch(secrets, _name)
for _name in _RANDOM.split():
    _watch(random, _name, is_seedable=True)
_watch(_thread, "start_new_thread")
_watch_method(socket.socket, "connect", "a real connection (socket.connect)")
_watch_method(socket.socket, "connect_ex", "a real connection (socket.connect_ex)")
_watch_method(subprocess.Popen, "__init__", "a child process (subprocess.Popen)")
