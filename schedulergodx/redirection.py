"""The one place where a test harness takes over: time, connections, random bits and launches of this process.

Programs under test stay as they are, also those that said `client = Client()` when they were imported. While a
redirection is open, `SystemClock` tells its time, `transport.connect` goes to its broker, new ids take their random
bits from it, and it is told of every launch. In production none is ever open, and all this costs one comparison.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from schedulergodx.utils.abstractions import Clock, Transport


@dataclass(kw_only=True, slots=True)
class Launching:
    """A launch that is about to be sent.

    Attributes:
        message_id: its id.
        client: name of the client.
        function: the plain function.
        name: the name that people know it by.
        arguments: the pickle of `(args, kwargs)`, so that later changes of the caller's objects do not show here.
        delay_s: seconds from the launch to its start, or None for at once.
        run_at: when it is to start, aware UTC, or None for at once.
        is_hard: whether it is to run in a process of its own.
        lifetime_s: seconds that it may run, or None.
    """

    message_id: str
    client: str
    function: Any
    name: str
    arguments: bytes = field(repr=False)
    delay_s: float | None
    run_at: datetime | None
    is_hard: bool
    lifetime_s: float | None


class Redirection(Protocol):
    """What takes over while it is open."""

    @property
    def clock(self) -> Clock:
        """The clock that `SystemClock` speaks for."""

    def connect(self, target: object, *, name: str) -> Transport:
        """Return a transport, whatever broker `target` names."""

    def random_bits(self, bits: int) -> int:
        """Return a whole number from 0 to 2**bits - 1 for an id."""

    def launching(self, launch: Launching) -> None:
        """Take note of a launch, before it is sent."""

    def looking(self, message_id: str) -> None:
        """Take note that a program has looked for the outcome of a launch, in vain. Raises what the program gets."""


_lock = threading.Lock()
_active: Redirection | None = None
_generation = 0


def active() -> Redirection | None:
    """Return the open redirection, or None, as always in production."""
    return _active


def generation() -> int:
    """Return a number that is another one in each redirection, and 0 outside of all."""
    return 0 if _active is None else _generation


@contextmanager
def redirect(redirection: Redirection) -> Iterator[None]:
    """Let `redirection` take over until the block ends.

    What was connected before is left alone and used again afterwards; clients connect anew within the block.

    Raises:
        RuntimeError: another one is open. They do not nest, since one of the two would silently not hold.
    """
    global _active, _generation  # noqa: PLW0603 - the one switch of this process
    with _lock:
        if _active is not None:
            raise RuntimeError(
                "a test harness is open in this process already, and harnesses do not nest: close it first, or use the "
                "one that is open"
            )
        _active = redirection
        _generation += 1
    try:
        yield
    finally:
        with _lock:
            _active = None
