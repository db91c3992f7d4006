"""What the code under test takes from the real world, and a run with the same seed may find otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class RealWorldLeak:
    """One place in the code under test where chance, or the outside, comes in.

    Attributes:
        kind: what was asked for, e.g. `uuid.uuid4`.
        file: where, by path.
        line: where, by line.
    """

    kind: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.kind}"


_told: dict[RealWorldLeak, None] = {}
"""Each place once, in order: it stays small where nobody takes it."""


def tell(leaks: Iterable[RealWorldLeak]) -> None:
    """Keep what a harness that closes has noted, for `take`."""
    _told.update(dict.fromkeys(leaks))


def take() -> list[RealWorldLeak]:
    """Return what the harnesses that were closed since the last time have noted, each place once."""
    taken = list(_told)
    _told.clear()
    return taken
