"""What happened, in virtual time: one entry each, in lanes, with what led to it. Printed folded, or whole as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from schedulergodx_testing import flat
from schedulergodx_testing.drawing import draw

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

Lane: TypeAlias = Literal["test", "client", "broker", "service", "worker", "storage"]


@dataclass(slots=True)
class Entry:
    """One thing that happened. It is not changed any more.

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


_FIELDS = len(fields(Entry))


class Timeline:
    """Entries in the order in which they happened. Printing it gives at most 60 lines of at most 100 columns.

    There are a dozen for each task, and mostly nobody looks. So what is added is kept as `flat.rows`, and becomes an
    entry, with its cause and its words, when somebody does.

    Args:
        start: the wall time from which stamps are counted.
        words_of: makes the words of what `hear` was given. It must always give the same, and run no code of a test.
    """

    def __init__(self, start: datetime, words_of: Callable[[Any], str] = str) -> None:
        self.start = start
        self._words_of = words_of
        self._added: list[Any] = []
        self._looked_at = 0
        self._entries: list[Entry] = []
        self._last: dict[str, int] = {}

    @property
    def count(self) -> int:
        """How much was added: it differs as soon as anything was."""
        return len(self._added)

    @property
    def entries(self) -> list[Entry]:
        """All entries so far, in order."""
        for at, lane, what, ids, is_broken, caused_by in flat.rows(self._added, _FIELDS, first=self._looked_at):
            words = what if isinstance(what, str) else self._words_of(what)
            for message_id in ids:
                cause = self._cause(message_id, caused_by) if message_id else None
                self._entries.append(Entry(at, lane, words, message_id, is_broken, cause))
            self._looked_at += 1
        return self._entries

    def _cause(self, message_id: str, caused_by: str) -> int | None:
        cause = self._last.get(message_id)
        if cause is None and caused_by:
            cause = self._last.get(caused_by)
        self._last[message_id] = len(self._entries)
        return cause

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
        self._added += (at, lane, what, (message_id,), is_broken, caused_by)

    def hear(self, at: datetime, lane: Lane, facts: object, ids: tuple[str, ...], caused_by: str = "") -> None:
        """Append an entry for each of the launches `ids`, with words that are made of `facts` when somebody looks."""
        self._added += (at, lane, facts, ids, False, caused_by)

    def of(self, message_id: str) -> list[Entry]:
        """Return the entries of one launch."""
        return [entry for entry in self.entries if entry.message_id == message_id]

    def to_json(self) -> str:
        """Return all entries, none folded, as a JSON list in their order; `cause` counts in it from 0."""
        return json.dumps([asdict(entry) | {"at": entry.at.isoformat()} for entry in self.entries], indent=1)

    def __str__(self) -> str:
        """Return the folded lines; see docs/testing.md for how to read them."""
        return "\n".join(draw(self.entries, self.start))
