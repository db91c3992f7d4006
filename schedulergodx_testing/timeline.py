"""What happened, in virtual time: one line each, in lanes, folded where it repeats, also as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Lane: TypeAlias = Literal["test", "client", "broker", "service", "worker", "storage"]

LINES_MAX = 60
COLUMNS_MAX = 100
_ID_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened.

    Attributes:
        at: the virtual wall time.
        lane: who did it.
        what: in a few words.
        message_id: the launch that it concerns, or "".
        is_broken: whether it is where an invariant broke.
    """

    at: datetime
    lane: Lane
    what: str
    message_id: str = ""
    is_broken: bool = False


class Timeline:
    """Entries in the order in which they happened. Printing it gives at most 60 lines of at most 100 columns."""

    def __init__(self, start: datetime) -> None:
        self.start = start
        self.entries: list[Entry] = []

    def add(self, at: datetime, lane: Lane, what: str, message_id: str = "", *, is_broken: bool = False) -> None:
        """Append an entry."""
        self.entries.append(Entry(at, lane, what, message_id, is_broken))

    def of(self, message_id: str) -> list[Entry]:
        """Return the entries of one launch."""
        return [entry for entry in self.entries if entry.message_id == message_id]

    def to_json(self) -> str:
        """Return all entries, none folded, as a JSON list."""
        return json.dumps([asdict(entry) | {"at": entry.at.isoformat()} for entry in self.entries], indent=1)

    def __str__(self) -> str:
        """Return the folded lines; what does not fit is counted in the middle."""
        lines = [_line(entry, count, self.start) for entry, count in _folded(self.entries)]
        if len(lines) > LINES_MAX:
            kept = LINES_MAX - 1
            head = kept // 2
            left_out = len(lines) - kept
            lines = [*lines[:head], f"        … {left_out} lines more …", *lines[-(kept - head) :]]
        return "\n".join(lines)


def _folded(entries: Iterable[Entry]) -> Iterator[tuple[Entry, int]]:
    """Yield entries with how often each stands in a row, but for the launch that it concerns."""
    last: Entry | None = None
    count = 0
    for entry in entries:
        if last is not None and _is_alike(last, entry):
            count += 1
            continue
        if last is not None:
            yield last, count
        last, count = entry, 1
    if last is not None:
        yield last, count


def _is_alike(one: Entry, other: Entry) -> bool:
    return (one.at, one.lane, one.what, one.is_broken) == (other.at, other.lane, other.what, other.is_broken)


def _line(entry: Entry, count: int, start: datetime) -> str:
    mark = ">>" if entry.is_broken else "  "
    about = f" [{entry.message_id[-_ID_CHARACTERS:]}]" if entry.message_id and count == 1 else ""
    times = f" (x{count})" if count > 1 else ""
    line = f"{mark}{_elapsed(entry.at - start):>16}  {entry.lane:<8} {entry.what}{about}{times}"
    return line if len(line) <= COLUMNS_MAX else line[: COLUMNS_MAX - 1] + "…"


def _elapsed(delta: timedelta) -> str:
    """Return a length of time for reading: `+0.5`, `+1:00:00`, `+2d 3:00:00`."""
    sign = "-" if delta < timedelta() else "+"
    delta = abs(delta)
    seconds, microseconds = delta.seconds, delta.microseconds
    fraction = f".{microseconds:06d}".rstrip("0") if microseconds else ""
    days = f"{delta.days}d " if delta.days else ""
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if days or hours:
        return f"{sign}{days}{hours}:{minutes:02d}:{seconds:02d}{fraction}"
    return f"{sign}{minutes}:{seconds:02d}{fraction}" if minutes else f"{sign}{seconds}{fraction}"
