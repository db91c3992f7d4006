"""`Happening`: one line of what a broker in memory did, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

from schedulergodx_testing import flat

if TYPE_CHECKING:
    from collections.abc import Callable

HappeningKind: TypeAlias = Literal[
    # of a connection
    "connected",
    "connection failed",
    "connection refused",
    "connection lost",
    "blocked",
    "unblocked",
    "closed",
    "killed",
    # of a queue
    "declared",
    "declare refused",
    "consuming",
    "waiting for owner",
    "consume failed",
    "consumer stopped",
    "consumer cancelled",
    "queue deleted",
    "queue expired",
    # of a message
    "kept",
    "refused",
    "returned",
    "confirmed",
    "failed",
    "delivered",
    "acked",
    "given back",
    "dead-lettered",
    "dropped",
    # of the broker
    "restart",
    "crash",
    "away",
    "back",
    "fault",
]
"""What can happen. "refused": the queue is full; "failed": settled with an error; "fault": which, is in `detail`."""

KINDS: frozenset[str] = frozenset(get_args(HappeningKind))


class Happening(NamedTuple):
    """One thing that happened. A day in a test has many, so it is a tuple.

    Attributes:
        at_s: when, on the broker's clock, monotonic.
        kind: what; see `HappeningKind`.
        transport: name of the transport that it concerns, or "".
        queue: name of the queue, or "".
        message_id: of the message, or "".
        detail: a reason, or which fault it was; else "".
    """

    at_s: float
    kind: HappeningKind
    transport: str = ""
    queue: str = ""
    message_id: str = ""
    detail: str = ""

    def __str__(self) -> str:
        """One line: the moment, and what is known."""
        facts = " ".join(fact for fact in (self.transport, self.queue, self.message_id, self.detail) if fact)
        return f"{self.at_s:.6f} {self.kind} {facts}".rstrip()


_made = tuple.__new__
"""Makes a happening of its fields as fast as a tuple; the constructor of a named tuple goes through Python first."""


class Log:
    """Collects happenings. The lock of the broker guards it.

    They are kept as `flat.rows`, and become objects when somebody looks.

    Args:
        now_s: tells the moment of what happens.

    Attributes:
        on_happening: told of everything at once, if anybody is.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self.on_happening: Callable[[Happening], None] | None = None
        self._seen: list[Any] = []

    def add(
        self, kind: HappeningKind, transport: str = "", queue: str = "", message_id: str = "", detail: str = ""
    ) -> None:
        """Note something, as of now."""
        facts = (self._now_s(), kind, transport, queue, message_id, detail)
        self._seen += facts
        if self.on_happening is not None:
            self.on_happening(_made(Happening, facts))

    def all(self) -> list[Happening]:
        """Return everything so far, in order."""
        return [Happening(*facts) for facts in flat.rows(self._seen, len(Happening._fields))]
