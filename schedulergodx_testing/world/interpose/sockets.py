"""Blocking sockets: who waits for one lets the rest of the world go on; its timeout is virtual.

What comes through a socket comes from the real world, so time stands still for a good while (real) before it passes.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from schedulergodx_testing.world import outside
from schedulergodx_testing.world.interpose import current, patching
from schedulergodx_testing.world.interpose.selecting import real_select

_GRACE_S = 1.0
"""Real seconds in which an answer is expected."""
_DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)
_real_sendall = socket.socket.sendall


def _wait(sock: Any, what: str, *, is_writing: bool = False, grace_s: float = _GRACE_S) -> None:
    """Wait until reading, or writing, would not block. Raises TimeoutError, as the socket itself would."""
    world = current.world()
    timeout = sock.gettimeout()
    if world is None or world.is_in_turn() or timeout == 0 or sock.fileno() < 0:
        return
    waiting: tuple[list[Any], list[Any], list[Any]] = ([], [sock], []) if is_writing else ([sock], [], [])
    if not world.wait(lambda: any(real_select(*waiting, 0)), timeout, f"socket.{what}", grace_s=grace_s):
        raise TimeoutError("timed out")


def _reads(name: str, *, grace_s: float = _GRACE_S) -> None:
    original = getattr(socket.socket, name)

    def read(self: Any, *args: Any, **kwargs: Any) -> Any:
        if current.Current.world is not None:
            _wait(self, name, grace_s=grace_s)
        return original(self, *args, **kwargs)

    patching.attribute(socket.socket, name, read)


def _sendall(self: Any, data: Any, flags: int = 0, /) -> None:
    world = current.world()
    if world is None or world.is_in_turn() or self.gettimeout() == 0 or not _DONT_WAIT:
        _real_sendall(self, data, flags)
        return
    left = memoryview(data).cast("B")
    while left:
        _wait(self, "sendall", is_writing=True)
        with suppress(BlockingIOError):
            left = left[self.send(left, flags | _DONT_WAIT) :]


for _name in ("recv", "recv_into", "recvfrom", "recvfrom_into"):
    _reads(_name)
_reads("accept", grace_s=outside.GRACE_S)
patching.attribute(socket.socket, "sendall", _sendall)
