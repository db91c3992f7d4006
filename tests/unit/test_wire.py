"""`WireConnection`: what goes to the system at once, and what pika is left to send."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from schedulergodx.transport.rabbitmq.wire import WireConnection

if TYPE_CHECKING:
    from collections.abc import Iterator


class Transport:
    """What pika has below a connection: it keeps what it is to send later."""

    _STATE_ACTIVE = 1

    def __init__(self, sock: object) -> None:
        self._sock, self._state, self.left = sock, self._STATE_ACTIVE, b""

    def write(self, data: bytes) -> None:
        self.left += data

    def get_write_buffer_size(self) -> int:
        return len(self.left)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a stream that takes little at a time."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with ours, theirs:
        yield ours, theirs


def connection_on(transport: Transport) -> WireConnection:
    """Return a connection that is open; nothing of it but its writing works."""
    connection = WireConnection.__new__(WireConnection)
    connection._gathered, connection._gathered_bytes, connection._transport = None, 0, transport
    return connection


def test_what_is_gathered_goes_out_in_its_order(ends: tuple[socket.socket, socket.socket]) -> None:
    """In one piece, at once."""
    transport = Transport(ends[0])
    connection = connection_on(transport)
    connection._adapter_emit_data(b"alone ")
    with connection.gathering():
        for data in (b"a", b"b", b"c"):
            connection._adapter_emit_data(data)
    assert ends[1].recv(100) == b"alone abc"
    assert transport.left == b""


def test_what_the_system_does_not_take_is_left_in_its_order(ends: tuple[socket.socket, socket.socket]) -> None:
    """And whatever comes behind it."""
    transport = Transport(ends[0])
    connection = connection_on(transport)
    sent = bytes(range(256)) * 4000
    connection._adapter_emit_data(sent)
    assert 0 < len(transport.left) < len(sent)
    connection._adapter_emit_data(b"behind")
    taken = b""
    ends[1].setblocking(False)
    while len(taken) < len(sent) + len(b"behind") - len(transport.left):
        taken += ends[1].recv(1 << 20)
    assert taken + transport.left == sent + b"behind"


@pytest.mark.parametrize("why", ["given up", "broken", "TLS"])
def test_pika_is_left_what_cannot_go_out_at_once(ends: tuple[socket.socket, socket.socket], why: str) -> None:
    """It knows what to do: nothing, tell that the connection is lost, or encrypt it."""
    transport = Transport(SimpleNamespace(send=len) if why == "TLS" else ends[0])  # any other kind of socket
    if why == "given up":
        transport._state = 2
    elif why == "broken":
        ends[1].close()
    connection_on(transport)._adapter_emit_data(b"data")
    assert transport.left == b"data"
