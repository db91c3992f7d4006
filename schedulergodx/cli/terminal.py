"""Standard output, as far as it is a terminal: colours, and a block of lines that is redrawn in place."""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "dim": 2, "bold": 1}
_ESCAPE = re.compile(r"(\x1b\[[0-9;]*m)")
_RESET = "\x1b[0m"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_CLEAR_LINE, _CLEAR_BELOW = "\x1b[K", "\x1b[J"


class Terminal:
    """Writes to `sys.stdout`. A context manager: leaving it restores the cursor, whatever happened.

    Colours are for terminals, unless `NO_COLOR` is set (https://no-color.org) or `TERM` is `dumb`.
    """

    def __init__(self) -> None:
        self._stream = sys.stdout
        self.is_live = self._stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._has_colours = self.is_live and not os.environ.get("NO_COLOR")
        self._drawn = 0
        self._is_cursor_hidden = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._is_cursor_hidden:
            self._is_cursor_hidden = False
            self._write(_SHOW_CURSOR)

    def width(self) -> int | None:
        """Return how many characters fit into a line; None: as many as there are, since it is no terminal."""
        return shutil.get_terminal_size().columns if self._stream.isatty() else None

    def has_room_for(self, lines: int) -> bool:
        """Return whether a block of so many lines can be redrawn in place."""
        return self.is_live and shutil.get_terminal_size().lines > lines

    def paint(self, text: str, colour: str) -> str:
        """Return `text` in a colour, or as it is where there are none."""
        return f"\x1b[{_COLOURS[colour]}m{text}{_RESET}" if self._has_colours and colour else text

    def print(self, *lines: str) -> None:
        """Write lines, below everything before."""
        self._drawn = 0
        self._write("".join(f"{line}\n" for line in lines))

    def redraw(self, lines: Sequence[str]) -> None:
        """Write a block of lines in place of the last block, if nothing was printed since."""
        width = self.width()
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        start = "" if self._is_cursor_hidden else _HIDE_CURSOR
        self._is_cursor_hidden = True
        self._drawn = len(lines)
        body = "".join(f"{_cut(line, width)}{_CLEAR_LINE}\n" for line in lines)
        self._write(f"{start}{up}\r{body}{_CLEAR_BELOW}")

    def erase(self) -> None:
        """Remove the last block, if nothing was printed since."""
        if self._drawn:
            self._write(f"\x1b[{self._drawn}A\r{_CLEAR_BELOW}")
            self._drawn = 0

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _cut(line: str, width: int | None) -> str:
    """Return `line` in at most `width` visible characters: one that wraps would spoil the next redraw."""
    if width is None:
        return line
    parts: list[str] = []
    for part in _ESCAPE.split(line):
        if _ESCAPE.fullmatch(part):
            parts.append(part)
        else:
            parts.append(part[:width])
            width -= len(parts[-1])
    return "".join(parts)
