"""Rows that are kept in one flat list, their fields one after the other.

A tuple for each is one more object that the collector of garbage goes through, and a harness notes a dozen things for
each task. They become objects when somebody looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def rows(flat: list[Any], width: int, first: int = 0) -> Iterator[list[Any]]:
    """Yield the rows of so many fields, from the row `first` on."""
    for place in range(first * width, len(flat), width):
        yield flat[place : place + width]
