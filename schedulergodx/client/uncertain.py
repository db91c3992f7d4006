"""Launches that the broker perhaps has: kept, to be sent once more."""

from __future__ import annotations

import threading

KEPT_MAX = 1000
"""Launches that are kept; the oldest go first."""
KEPT_BYTES_MAX = 64 * 1024 * 1024
"""The same in bytes; the newest is kept, however large."""


class Uncertain:
    """The messages of uncertain launches, by id. Safe from any thread."""

    def __init__(self, kept_max: int = KEPT_MAX, kept_bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._lock = threading.Lock()
        self._kept_max = kept_max
        self._kept_bytes_max = kept_bytes_max
        self._kept_bytes = 0
        self._bodies: dict[str, bytes] = {}

    def get(self, message_id: str) -> bytes | None:
        """Return the message of a launch that is uncertain, or None."""
        with self._lock:
            return self._bodies.get(message_id)

    def has_any(self) -> bool:
        """Return whether any launch is uncertain."""
        return bool(self._bodies)

    def add(self, message_id: str, body: bytes) -> None:
        """Keep a message, as the newest."""
        with self._lock:
            self._remove(message_id)
            self._bodies[message_id] = body
            self._kept_bytes += len(body)
            while len(self._bodies) > 1 and (
                len(self._bodies) > self._kept_max or self._kept_bytes > self._kept_bytes_max
            ):
                self._remove(next(iter(self._bodies)))

    def remove(self, message_id: str) -> None:
        """Forget a launch that is certain now."""
        with self._lock:
            self._remove(message_id)

    def _remove(self, message_id: str) -> None:
        self._kept_bytes -= len(self._bodies.pop(message_id, b""))
