"""Bounded waiting for real processes, and the first words of an AMQP server. The only polling in the tests."""

import contextlib
import socket
import time
from collections.abc import Callable

LOOPBACK = "127.0.0.1"

# What a client of AMQP 0-9-1 says first; the server answers with its name and version, before any login.
_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_METHOD_FRAME = b"\x01"
_VERSION_FIELD = b"\x07versionS"


def wait_until(check: Callable[[], bool], what: str, *, timeout_s: float, poll_s: float = 0.05) -> None:
    """Ask `check()` again and again until it is true.

    `timeout_s` and `poll_s` are seconds. `check` is asked at least once, also after the time is over.

    Raises:
        TimeoutError: it did not become true in time; the message says `what` was waited for.
    """
    deadline = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() >= deadline:
            message = f"waited {timeout_s:g} s for {what}"
            raise TimeoutError(message)
        time.sleep(poll_s)


def seconds_left(timeout_s: float) -> Callable[[], float]:
    """Return a function that says how many seconds of `timeout_s` are left, never below 0."""
    deadline = time.monotonic() + timeout_s
    return lambda: max(0.0, deadline - time.monotonic())


def free_port() -> int:
    """Return a TCP port that nothing on the loopback interface uses at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def greeting_version(host: str, port: int, *, timeout_s: float = 2.0) -> str | None:
    """Return the version that an AMQP server names when greeted, without logging in.

    None means that nobody answered as an AMQP server within `timeout_s` seconds: a port which is open
    before the broker behind it listens (as that of a container) gives None too.
    """
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=timeout_s) as connection:
        left_s = seconds_left(timeout_s)
        connection.sendall(_PROTOCOL_HEADER)
        answer = b""
        while (left := left_s()) > 0:
            connection.settimeout(left)
            piece = connection.recv(4096)
            answer += piece
            if not piece or not answer.startswith(_METHOD_FRAME):
                return None
            if (version := _version_in(answer)) is not None:
                return version
    return None


def _version_in(answer: bytes) -> str | None:
    """Return the version inside a `connection.start` frame; None while it has not arrived as a whole."""
    _, found, rest = answer.partition(_VERSION_FIELD)
    size = int.from_bytes(rest[:4], "big")
    if not found or len(rest) < 4 + size:
        return None
    return rest[4 : 4 + size].decode("utf-8", "replace")
