"""The ways out of the process, noted as leaks: children, which live in real time, and sockets.

Each is noted once, with the line of the code under test, however many of the others it calls by itself. Those of this
library and of pika are theirs, and none.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from multiprocessing.process import BaseProcess

from schedulergodx_testing.world.interpose import current
from schedulergodx_testing.world.interpose.police import note, watch, watch_method

_SERVER = "a real server (socket.bind, socket.listen)"


def _forks() -> None:
    """Note a fork; called by the system just before it, so that warnings about it keep the place they have."""
    if current.Current.world is not None:
        note("a child process (fork)", sys._getframe(1), is_deep=True)


def _leave_world() -> None:
    """Let a forked child live in real time, as every other one: the world's threads are not in it, nor is its end."""
    if current.Current.world is not None:
        current.Current.world.leave_all()
    current.Current.world = None


def _has_address(*args: object) -> bool:
    """Return whether `sendmsg` is given an address; without one, its socket is connected, or one of a pair."""
    return len(args) > 3 and args[3] is not None  # noqa: PLR2004 - buffers, what belongs to them, flags, address


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forks, after_in_child=_leave_world)
for _name in ("popen", "posix_spawn", "posix_spawnp", "spawnv", "spawnve", "system"):
    watch(os, _name, f"a child process (os.{_name})", is_deep=True)
watch_method(subprocess.Popen, "__init__", "a child process (subprocess.Popen)")
watch_method(BaseProcess, "start", "a child process (multiprocessing)")
for _name in ("connect", "connect_ex", "sendto"):
    watch_method(socket.socket, _name, f"a real connection (socket.{_name})")
watch_method(socket.socket, "sendmsg", "a real connection (socket.sendmsg)", is_noted=_has_address)
watch_method(socket.socket, "bind", _SERVER)
watch_method(socket.socket, "listen", _SERVER)
watch_method(socket.socket, "_accept", "a real connection (socket.accept)")
