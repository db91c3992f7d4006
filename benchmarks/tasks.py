"""The tasks that benchmarks launch; the service imports them, as it does a user's."""

from __future__ import annotations

import time


def nothing() -> None:
    """Do nothing."""


def lateness_s(due_at: float) -> float:
    """Return how many seconds after `due_at`, in seconds since 1970, this runs."""
    return time.time() - due_at


def size_of(data: bytes) -> int:
    """Return how many bytes came."""
    return len(data)


def text_of(size: int) -> str:
    """Return a text of so many bytes."""
    return "x" * size
