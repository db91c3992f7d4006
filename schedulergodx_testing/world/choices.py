"""Every choice between things that could happen next: drawn from a seed, noted, and replayed from what was noted."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from schedulergodx_testing.replay import choices_of

if TYPE_CHECKING:
    from collections.abc import Sequence


class Choices:
    """Draws from a seed; the same seed gives the same choices. One thread at a time uses it.

    Args:
        seed: what the choices are drawn from.
        replay: choices to repeat, as `taken` gave them; after them, what could happen first happens first, so that a
            replay does not depend on how a version of Python draws. None: all are drawn.

    Raises:
        InvalidParameter: `replay` is no choices, but their token, say.
    """

    def __init__(self, seed: int = 0, replay: Sequence[int] | None = None) -> None:
        self.seed = seed
        self.taken: list[int] = []
        self._plan = None if replay is None else choices_of(replay)
        self._random = random.Random(seed)

    def one_of(self, count: int) -> int:
        """Return a whole number from 0 to `count - 1`. Nothing is drawn, or noted, where there is no choice."""
        if count <= 1:
            return 0
        place = len(self.taken)
        if self._plan is None:
            choice = self._random.randrange(count)
        else:
            choice = self._plan[place] % count if place < len(self._plan) else 0
        self.taken.append(choice)
        return choice

    def plan(self, choices: Sequence[int]) -> None:
        """Take these next, and after them what could happen first; nothing is drawn from the seed any more."""
        self._plan = [*self.taken, *choices]
