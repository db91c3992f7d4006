"""A timeline as text: stamps, lanes, what led to what, in few enough lines to be read in a test's report.

One line, e.g. `+1d 0:00:00  worker   start remind  #1 < storage +0`: a day after the start a worker started the launch
`#1`, since the storage did something with it at `+0`. `>>` marks where a promise broke; what led to it is never folded.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence

LINES_MAX = 60
COLUMNS_MAX = 100
_BLOCK_LINES_MAX = 12
_CHAIN_MAX = 24
_WORD = re.compile(r"[^\s'\"(),]{33,}")
_MODULE = re.compile(r"^(launch|store|start|end|kill) [^\s(]*\.")
_WORD_HEAD, _WORD_TAIL = 20, 8
_ID_CHARACTERS = 8


class Drawn(Protocol):
    """What a line is drawn from; see `timeline.Entry`."""

    @property
    def at(self) -> datetime: ...  # noqa: D102 - see `timeline.Entry`
    @property
    def lane(self) -> str: ...  # noqa: D102
    @property
    def what(self) -> str: ...  # noqa: D102
    @property
    def message_id(self) -> str: ...  # noqa: D102
    @property
    def is_broken(self) -> bool: ...  # noqa: D102
    @property
    def cause(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class _Row:
    """A line to be: an entry, by its place, with how many alike it stands for; or words about what is left out."""

    first: int
    last: int
    words: str = ""
    is_important: bool = False
    is_gap: bool = False


def draw(entries: Sequence[Drawn], start: datetime) -> list[str]:
    """Return the lines, at most `LINES_MAX` of at most `COLUMNS_MAX` characters."""
    return _Drawing(entries, start).lines()


class _Drawing:
    def __init__(self, entries: Sequence[Drawn], start: datetime) -> None:
        self._entries = entries
        self._start = start
        self._chain = _led_to_the_first_broken(entries)
        self._handles: dict[str, int] = {}
        self._first_of: dict[str, int] = {}
        for place, entry in enumerate(entries):
            if entry.message_id and entry.message_id not in self._handles:
                self._handles[entry.message_id] = len(self._handles) + 1
                self._first_of[entry.message_id] = place

    def lines(self) -> list[str]:
        rows = list(self._alike())
        if len(rows) > LINES_MAX:
            rows = list(self._blocks(rows))
        drawn: list[str] = []
        above: int | None = None
        for row in _fitting(rows):
            words = self._left_out(row) if row.is_gap else row.words
            drawn.append(words or self._line(row, above))
            above = None if words else row.last
        return drawn

    # --- folding

    def _alike(self) -> Iterator[_Row]:
        """Yield a row for each run of entries that differ by their launch alone."""
        place = 0
        while place < len(self._entries):
            last = place
            while (
                last + 1 < len(self._entries)
                and self._key(last + 1) == self._key(place)
                and not self._chain & {place, last + 1}
            ):
                last += 1
            yield _Row(place, last, is_important=place in self._chain)
            place = last + 1

    def _blocks(self, rows: list[_Row]) -> Iterator[_Row]:
        """Yield rows, of each block of them that is repeated the first and a word about the others."""
        shapes = [self._shape(row) for row in rows]
        place = 0
        while place < len(rows):
            size, times = _repeated(shapes, place)
            yield from rows[place : place + size]
            if times > 1:
                yield self._and_so_on(rows[place + size : place + size * times], size, times - 1)
            place += size * times

    def _and_so_on(self, folded: list[_Row], size: int, times: int) -> _Row:
        first, last = folded[0].first, folded[-1].last
        what = "this line" if size == 1 else f"these {size} lines"
        until = stamp(self._entries[last].at - self._start)
        launches = [
            self._handles[one.message_id]
            for row in folded
            for one in self._entries[row.first : row.last + 1]
            if one.message_id
        ]
        about = f", #{min(launches)} to #{max(launches)}" if len(set(launches)) > 1 else ""
        times_word = "once" if times == 1 else f"{times} times"
        return _Row(first, last, f"{'':>18}  … {what} {times_word} more, until {until}{about} …")

    def _left_out(self, gap: _Row) -> str:
        """Return what a gap leaves out, the most frequent first."""
        entries = self._entries[gap.first : gap.last + 1]
        counts = Counter(f"{entry.lane} {entry.what.split(maxsplit=1)[0].strip(':,')}" for entry in entries)
        most = ", ".join(f"{name} x{count}" for name, count in counts.most_common(3))
        line = f"{'':>18}  … {len(entries)} left out: {most} …"
        return line if len(line) <= COLUMNS_MAX else f"{line[: COLUMNS_MAX - 1]}…"

    def _key(self, place: int) -> Hashable:
        entry = self._entries[place]
        return entry.at, entry.lane, entry.what, entry.is_broken

    def _shape(self, row: _Row) -> Hashable:
        entry = self._entries[row.first]
        if row.is_important or entry.is_broken:
            return row.first
        return entry.lane, entry.what.partition("(")[0].partition(",")[0].partition(" by ")[0]

    # --- drawing

    def _line(self, row: _Row, above: int | None) -> str:
        entry = self._entries[row.first]
        mark = ">>" if entry.is_broken else "  "
        count = row.last - row.first + 1
        what = _WORD.sub(_shortened, _MODULE.sub(r"\1 ", entry.what)).replace("\n", " ")
        about = f"  (x{count})" if count > 1 else self._about(row.first, above)
        head = f"{mark}{stamp(entry.at - self._start):>16}  {entry.lane:<8} "
        room = COLUMNS_MAX - len(head) - len(about)
        return head + (what if len(what) <= room else what[: room - 1] + "…") + about

    def _about(self, place: int, above: int | None) -> str:
        """Return which launch it is about, and what led to it, unless that is the line above."""
        entry = self._entries[place]
        if not entry.message_id:
            return ""
        is_first = self._first_of[entry.message_id] == place
        name = f"  #{self._handles[entry.message_id]}" + (
            f" …{entry.message_id[-_ID_CHARACTERS:]}" if is_first and len(entry.message_id) > _ID_CHARACTERS else ""
        )
        if entry.cause is None or entry.cause == above:
            return name
        cause = self._entries[entry.cause]
        other = f"#{self._handles[cause.message_id]} " if cause.message_id != entry.message_id else ""
        when = f" {stamp(cause.at - self._start)}" if cause.at != entry.at else ""
        return f"{name} ← {other}{cause.lane}{when}"


def _led_to_the_first_broken(entries: Sequence[Drawn]) -> frozenset[int]:
    """Return the places of the first entry that is broken, and of what led to it."""
    place = next((place for place, entry in enumerate(entries) if entry.is_broken), None)
    chain: set[int] = set()
    while place is not None and place not in chain and len(chain) < _CHAIN_MAX:
        chain.add(place)
        place = entries[place].cause
    return frozenset(chain)


def _repeated(shapes: list[Hashable], place: int) -> tuple[int, int]:
    """Return size and number of equal blocks that stand one after the other at `place`: the most lines that go away."""
    best = (1, 1)
    for size in range(1, _BLOCK_LINES_MAX + 1):
        times, block = 1, shapes[place : place + size]
        while shapes[place + size * times : place + size * (times + 1)] == block:
            times += 1
        if size * (times - 1) > best[0] * (best[1] - 1) + 1:  # the word about it takes a line, too
            best = (size, times)
    return best


def _fitting(rows: list[_Row]) -> list[_Row]:
    """Return the rows that fit: what led to a broken promise, then as much of beginning and end as there is room.

    Rows of what is left out stand between them.
    """
    kept = {place for place, row in enumerate(rows) if row.is_important}
    for pair in zip(range(len(rows)), reversed(range(len(rows))), strict=True):
        for place in pair:
            if len(_with_gaps(rows, kept | {place})) > LINES_MAX:
                return _with_gaps(rows, kept)
            kept.add(place)
    return rows


def _with_gaps(rows: list[_Row], kept: set[int]) -> list[_Row]:
    found: list[_Row] = []
    after = 0
    for place in [*sorted(kept), len(rows)]:
        if place == after + 1:
            found.append(rows[after])
        elif place > after:
            found.append(_Row(rows[after].first, rows[place - 1].last, is_gap=True))
        if place < len(rows):
            found.append(rows[place])
        after = place + 1
    return found


def _shortened(word: re.Match[str]) -> str:
    text = word.group()
    return f"{text[:_WORD_HEAD]}…{text[-_WORD_TAIL:]}"


def stamp(delta: timedelta) -> str:
    """Return a moment, from the start, for reading: `+0.5`, `+1:00:00`, `+2d 3:00:00`."""
    sign = "-" if delta < timedelta() else "+"
    delta = abs(delta)
    days = f"{delta.days}d " if delta.days else ""
    fraction = f".{delta.microseconds:06d}".rstrip("0") if delta.microseconds else ""
    hours, rest = divmod(delta.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    if days or hours:
        return f"{sign}{days}{hours}:{minutes:02d}:{seconds:02d}{fraction}"
    return f"{sign}{minutes}:{seconds:02d}{fraction}" if minutes else f"{sign}{seconds}{fraction}"


@lru_cache(maxsize=256)  # launches have the same lifetimes, and the same delays, again and again
def duration(delta: timedelta) -> str:
    """Return a length of time for reading: `0.5s`, `90s` as `1m 30s`, a day as `1d`."""
    if delta < timedelta():
        return f"-{duration(-delta)}"
    minutes, seconds = divmod(delta.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{delta.microseconds:06d}".rstrip("0") if delta.microseconds else ""
    parts = [f"{delta.days}d"] if delta.days else []
    parts += [f"{hours}h"] if hours else []
    parts += [f"{minutes}m"] if minutes else []
    parts += [f"{seconds}{fraction}s"] if seconds or fraction or not parts else []
    return " ".join(parts)
