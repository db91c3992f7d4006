"""What the commands write: safe texts, moments, tables that fit, and the help's endings."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

GAP = "  "
CUT = ".."


def printable(text: str) -> str:
    """Return `text` with everything that a terminal might obey, or not show, written as an escape.

    Names and messages come from others: none of them shall move the cursor of whoever looks at them.
    """
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def write(*lines: str) -> None:
    """Write lines to stdout."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def complain(text: str) -> None:
    """Write one line to stderr, whatever `text` holds, with the program's name before it. A full disk stops nothing."""
    with suppress(OSError):
        sys.stderr.write(f"schedulergodx: {printable(' '.join(text.split()))}\n")
        sys.stderr.flush()


def printable_lines(text: str) -> list[str]:
    """Return the lines of `text`, each printable."""
    return [printable(line.expandtabs()) for line in text.splitlines()]


def shortened(text: str, width: int, *, keeps_end: bool = False) -> str:
    """Return `text` in at most `width` characters, its beginning or its end."""
    if len(text) <= width:
        return text
    kept = max(0, width - len(CUT))
    return (CUT + text[len(text) - kept :] if keeps_end else text[:kept] + CUT)[:width]


def moment_text(moment: datetime | None, *, now: datetime) -> str:
    """Return a moment in UTC as short as it is clear at `now`: the time, with its date unless that is today's."""
    if moment is None:
        return "-"
    return f"{moment:%H:%M:%S}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        title: stands above it.
        shrinks_to: how narrow it may become when the table is too wide, losing the beginnings of its texts; None: not.
        drops: when it is left out of a table that is still too wide, the highest first; 0: never.
    """

    title: str
    shrinks_to: int | None = None
    drops: int = 0


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int | None
) -> tuple[list[str], list[str]]:
    """Return the lines of a table, its titles first, and the titles of the columns that found no room in `width`.

    `width` None: there is room for everything.
    """
    cells = [[column.title for column in columns], *rows]
    places = list(range(len(columns)))
    widths = [max(len(row[place]) for row in cells) for place in places]
    left_out: list[str] = []
    while width is not None and (excess := _total([widths[place] for place in places]) - width) > 0:
        room = {place: widths[place] - least for place in places if (least := columns[place].shrinks_to) is not None}
        place = max(places, key=lambda place: columns[place].drops)
        if _total_room(room) >= excess or not columns[place].drops:
            _shrink(widths, room, excess)
            break  # what is still too wide has to stay, and the terminal wraps it
        places.remove(place)
        left_out.append(columns[place].title)
    lines = [
        GAP.join(shortened(row[place], widths[place], keeps_end=True).ljust(widths[place]) for place in places).rstrip()
        for row in cells
    ]
    return lines, left_out


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _total_room(room: Mapping[int, int]) -> int:
    return sum(max(0, most) for most in room.values())


def _shrink(widths: list[int], room: Mapping[int, int], excess: int) -> None:
    """Make columns narrower by `excess` together, or by all that there is `room` for."""
    for place, most in room.items():
        taken = max(0, min(most, excess))
        widths[place] -= taken
        excess -= taken


def add_command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, endings: Mapping[str, str]
) -> argparse.ArgumentParser:
    """Add a command; its help ends in the titled texts of `endings`, which keep their lines."""
    return commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog="\n\n".join(f"{title}:\n{text}" for title, text in endings.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def exits_text(exits: Mapping[int, str]) -> str:
    """Return a table of exit codes for the end of a help."""
    return "\n".join(f"  {code:<4} {meaning}" for code, meaning in exits.items())


def facts_text(facts: Mapping[str, Any]) -> list[str]:
    """Return lines of `name  value`; a text of several lines stands indented below its name."""
    width = max(map(len, facts))
    lines: list[str] = []
    for name, value in facts.items():
        first, *others = printable_lines(str(value)) or [""]
        if others:
            lines += [name, *(f"  {line}" for line in (first, *others))]
        else:
            lines.append(f"{name.ljust(width)}{GAP}{first}".rstrip())
    return lines
