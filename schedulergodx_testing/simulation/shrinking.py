"""Making a story that breaks a promise short: steps are left out for as long as it still breaks one of the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx_testing.simulation.playing import Played, play

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIES_MAX = 300


def shrink(played: Played, *, tries_max: int = TRIES_MAX) -> Played:
    """Return what came of a shorter story that breaks one of the same promises, or of the same one.

    Args:
        played: of a story that breaks a promise.
        tries_max: stories that are played at most.
    """
    best, tries = played, 0
    is_better = True
    while is_better:
        is_better = False
        for numbers in _shorter(best.story.numbers):
            if tries == tries_max:
                return best
            tries += 1
            candidate = play(best.story.only(numbers))
            if candidate.numbers & played.numbers:
                best, is_better = candidate, True
                break
    return best


def _shorter(numbers: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield parts of the steps, the boldest first: without a half of them, a quarter, …, one."""
    size = (len(numbers) + 1) // 2
    while size:
        for first in range(0, len(numbers), size):
            yield numbers[:first] + numbers[first + size :]
        size //= 2
