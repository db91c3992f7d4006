"""The functions that travel by value: each is stored once, and read once, as long as there are few of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx.utils.digests import digest_of

if TYPE_CHECKING:
    from schedulergodx.utils.storage.connection import Connection

KEPT_BYTES_MAX = 1024 * 1024
"""Of bodies in memory."""


class Functions:
    """Numbers and bodies of functions. What it knows is right as long as no transaction fails; then `forget` it."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Ask the database again."""
        self._last: tuple[bytes, int] | None = None  # as in a burst of launches
        self._bodies: dict[int, bytes] = {}
        self._kept_bytes = 0

    def number_of(self, connection: Connection, body: bytes) -> int:
        """Return the number of a body, storing it if it is new."""
        if self._last is not None and self._last[0] == body:
            return self._last[1]
        digest = digest_of(body)
        known = connection.row("SELECT number FROM functions WHERE digest = ?", (digest,))
        if known is not None:
            number = int(known[0])
        else:
            number = connection.insert("INSERT INTO functions (digest, body) VALUES (?, ?)", (digest, body))
        self._last = (body, number)
        return number

    def body_of(self, connection: Connection, number: int) -> bytes:
        """Return the body with a number that a task has."""
        body = self._bodies.get(number)
        if body is None:
            body = connection.value("SELECT body FROM functions WHERE number = ?", (number,))
            self._keep(number, body)
        return body

    def _keep(self, number: int, body: bytes) -> None:
        if len(body) > KEPT_BYTES_MAX:
            return
        self._kept_bytes += len(body)
        if self._kept_bytes > KEPT_BYTES_MAX:
            self._bodies.clear()
            self._kept_bytes = len(body)
        self._bodies[number] = body
