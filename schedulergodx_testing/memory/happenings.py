"""`Happening`: one line of what a broker in memory did, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

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


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened.

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


class Log:
    """Collects happenings. The lock of the broker guards it.

    Happenings are kept as plain tuples, which cost a fraction of an object, and become objects when somebody looks.
    """

    def __init__(self) -> None:
        self.at_s = 0.0
        self.on_happening: Callable[[Happening], None] | None = None
        self._seen: list[Happening] = []
        self._new: list[tuple[float, HappeningKind, str, str, str, str]] = []

    def add(
        self, kind: HappeningKind, transport: str = "", queue: str = "", message_id: str = "", detail: str = ""
    ) -> None:
        """Note something, as of the moment `at_s`."""
        if self.on_happening is None:
            self._new.append((self.at_s, kind, transport, queue, message_id, detail))
        else:
            happening = Happening(self.at_s, kind, transport, queue, message_id, detail)
            self._catch_up()
            self._seen.append(happening)
            self.on_happening(happening)

    def all(self) -> list[Happening]:
        """Return everything so far, in order."""
        self._catch_up()
        return self._seen.copy()

    def _catch_up(self) -> None:
        if self._new:
            self._seen += [Happening(*facts) for facts in self._new]
            self._new.clear()
