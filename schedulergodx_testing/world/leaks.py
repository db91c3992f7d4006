"""What the code under test takes from the real world, and a run with the same seed may find otherwise."""

from __future__ import annotations

from dataclasses import dataclass


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
