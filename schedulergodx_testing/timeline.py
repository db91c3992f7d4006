"""What happened, in virtual time: one entry each, in lanes, with what led to it. Printed folded, or whole as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from schedulergodx_testing.drawing import draw

if TYPE_CHECKING:
    from datetime import datetime

Lane: TypeAlias = Literal["test", "client", "broker", "service", "worker", "storage"]


@dataclass(slots=True)
class Entry:
    """One thing that happened. It is not changed any more; that nothing forbids it makes it four times as cheap.

    Attributes:
        at: the virtual wall time.
        lane: who did it.
        what: in a few words.
        message_id: the launch that it concerns, or "".
        is_broken: whether it is where an invariant broke.
        cause: the place, in `Timeline.entries`, of the entry that led to it, or None when nothing is known of one.
    """

    at: datetime
    lane: Lane
    what: str
    message_id: str = ""
    is_broken: bool = False
    cause: int | None = None


class Timeline:
    """Entries in the order in which they happened. Printing it gives at most 60 lines of at most 100 columns.

    Attributes:
        start: the wall time from which stamps are counted.
        entries: all of them, in order.
    """

    def __init__(self, start: datetime) -> None:
        self.start = start
        self.entries: list[Entry] = []
        self._last: dict[str, int] = {}

    def add(  # noqa: PLR0913 - the fields of an entry
        self,
        at: datetime,
        lane: Lane,
        what: str,
        message_id: str = "",
        *,
        is_broken: bool = False,
        caused_by: str = "",
    ) -> None:
        """Append an entry.

        Its cause is the last entry of the same launch, or, for the first one, that of the launch `caused_by`.
        """
        cause = self._last.get(message_id, self._last.get(caused_by)) if message_id else None
        if message_id:
            self._last[message_id] = len(self.entries)
        self.entries.append(Entry(at, lane, what, message_id, is_broken, cause))

    def of(self, message_id: str) -> list[Entry]:
        """Return the entries of one launch."""
        return [entry for entry in self.entries if entry.message_id == message_id]

    def to_json(self) -> str:
        """Return all entries, none folded, as a JSON list in their order; `cause` counts in it from 0."""
        return json.dumps([asdict(entry) | {"at": entry.at.isoformat()} for entry in self.entries], indent=1)

    def __str__(self) -> str:
        """Return the folded lines; see docs/testing.md for how to read them."""
        return "\n".join(draw(self.entries, self.start))
