"""What SQLite takes from the system by itself, and no patch reaches: the time, and chance."""

from __future__ import annotations

import functools
import re
import sqlite3
import sys
from dataclasses import dataclass
from typing import Any

from schedulergodx_testing.world.interpose import current, patching
from schedulergodx_testing.world.interpose.police import note

_OF_A_MOMENT = r"\b(?:date|time|datetime|julianday|unixepoch)\s*\("
_OF_A_FORM = r"\bstrftime\s*\("
_ONE = r"""\s*(?:'[^']*'|"[^"]*"|[^,()'"]+)\s*"""
"""One argument of a function."""
_MEANS_NOW = r"""(?:"now"|["']subsec(?:ond)?["'])"""
"""Where a moment is asked for; 'now' is found anywhere."""
_TIME = re.compile(
    "|".join(
        [
            r"'now'",
            r"\bcurrent_(?:timestamp|date|time)\b",
            rf"{_OF_A_MOMENT}\s*(?:\)|{_MEANS_NOW})",
            rf"{_OF_A_FORM}{_ONE}(?:\)|,\s*{_MEANS_NOW})",
        ]
    ),
    re.IGNORECASE,
)
_TIME_OF_PARAMETERS = re.compile(rf"(?:{_OF_A_MOMENT}|{_OF_A_FORM})[^)]*[?:@$]", re.IGNORECASE)
_CHANCE = re.compile(r"\brandom\s*\(\s*\)|\brandomblob\s*\(", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a statement takes by its text, and whether it takes the time, too, where a parameter says 'now'."""

    kinds: tuple[str, ...]
    is_by_parameters: bool


@functools.lru_cache(maxsize=512)  # programs say the same again and again
def _look(sql: str) -> _Found | None:
    kinds = []
    if is_time := bool(_TIME.search(sql)):
        kinds.append("the time of SQLite")
    if _CHANCE.search(sql):
        kinds.append("the chance of SQLite")
    is_by_parameters = not is_time and bool(_TIME_OF_PARAMETERS.search(sql))
    return _Found(tuple(kinds), is_by_parameters) if kinds or is_by_parameters else None


def _say_now(parameters: Any) -> bool:
    """Return whether a statement's parameters hold 'now'. What can be read only once is left alone."""
    if isinstance(parameters, str):
        return parameters.lower() == "now"
    if isinstance(parameters, dict):
        return any(map(_say_now, parameters.values()))
    return isinstance(parameters, (list, tuple)) and any(map(_say_now, parameters))


def _watch(owner: Any, name: str) -> None:
    original = vars(owner)[name]

    def watched(self: Any, sql: Any, *args: Any, **kwargs: Any) -> Any:
        if current.Current.world is not None and isinstance(sql, str) and (found := _look(sql)) is not None:
            for kind in found.kinds:
                note(kind, sys._getframe(1))
            if found.is_by_parameters and _say_now(args):
                note("the time of SQLite", sys._getframe(1))
        return original(self, sql, *args, **kwargs)

    patching.c_method(owner, name, watched)


for _kind in (sqlite3.Connection, sqlite3.Cursor):
    for _name in ("execute", "executemany", "executescript"):
        _watch(_kind, _name)
