"""A TCP proxy on the loopback interface that can stop forwarding, or tear a connection in the middle."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from contextlib import suppress
from typing import Self

_LINGER_NONE = struct.pack("ii", 1, 0)
"""Closing with this sends a reset instead of a goodbye."""

_LOOK_S = 0.05


class TcpProxy:
    """Forwards connections to a target, in one thread, as long as its block lasts.

    Attributes:
        is_black_hole: nothing is forwarded any more, and new connections are taken and left alone: packets vanish, as
            behind a firewall that has lost its state. Afterwards those connections are closed: nobody knows of them.
        reset_after: a client connection that has sent more bytes than that is reset, once; None: never.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._sent: dict[socket.socket, int] = {}
        self._held: list[socket.socket] = []
        self._peers: dict[socket.socket, socket.socket] = {}
        self._ends, self._is_over = socket.socketpair()
        self.is_black_hole = False
        self.reset_after: int | None = None
        self.has_reset = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tcp proxy")

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.getsockname()[1])

    def __enter__(self) -> Self:
        self._selector.register(self._server, selectors.EVENT_READ)
        self._selector.register(self._is_over, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ends.send(b"x")
        self._thread.join()
        for one in (self._server, self._ends, self._is_over, *self._held, *self._peers):
            one.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            while self._held and not self.is_black_hole:
                self._held.pop().close()
            for key, _ in self._selector.select(timeout=_LOOK_S if self._held else None):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                if one is self._is_over:
                    return
                if one is self._server:
                    self._accept()
                elif one in self._peers:
                    self._forward(one)

    def _accept(self) -> None:
        client, _ = self._server.accept()
        if self.is_black_hole:
            self._held.append(client)
            return
        try:
            target = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        self._sent[client] = 0
        for one, other in ((client, target), (target, client)):
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _forward(self, one: socket.socket) -> None:
        data = b""
        with suppress(OSError):
            data = one.recv(65536)
        if self.is_black_hole and data:
            return
        if not data:
            self._close(one)
            return
        if one in self._sent:
            self._sent[one] += len(data)
            if self.reset_after is not None and self._sent[one] > self.reset_after:
                self.reset_after = None
                self._reset(one)
                return
        try:
            self._peers[one].sendall(data)
        except OSError:
            self._close(one)

    def _reset(self, client: socket.socket) -> None:
        for one in (client, self._peers[client]):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        self._close(client)
        self.has_reset.set()

    def _close(self, one: socket.socket) -> None:
        for end in (one, self._peers[one]):
            self._selector.unregister(end)
            self._peers.pop(end)
            self._sent.pop(end, None)
            end.close()
