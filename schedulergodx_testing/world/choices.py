"""Every choice between things that could happen next: drawn from a seed, noted, and replayed from what was noted."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Choices:
    """Draws from a seed; the same seed gives the same choices. One thread at a time uses it.

    Args:
        seed: what the choices are drawn from.
        replay: choices to repeat first, as `taken` gave them; the seed goes on after them.
    """

    def __init__(self, seed: int = 0, replay: Sequence[int] = ()) -> None:
        self.seed = seed
        self.taken: list[int] = []
        self._replay = list(replay)
        self._random = random.Random(seed)

    def one_of(self, count: int) -> int:
        """Return a whole number from 0 to `count - 1`. Nothing is drawn, or noted, where there is no choice."""
        if count <= 1:
            return 0
        drawn = self._random.randrange(count)  # also when it is replayed: the rest then goes on as it did
        place = len(self.taken)
        choice = self._replay[place] % count if place < len(self._replay) else drawn
        self.taken.append(choice)
        return choice
