"""Launches that follow one from the other: a task that launches itself, for ever, is told by name, and soon."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from schedulergodx_testing.errors import TooManyEvents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from schedulergodx_testing.launched import Launch

INSTANT_MAX = 1_000
"""Launches in a row at one instant, each made by the task before it, after which they count as endless."""
_NAMES_MAX = 5


_Link: TypeAlias = "tuple[datetime, int, int]"
"""Of a launch: when it came, its place in its chain, and its place among those at that instant.

A plain tuple: there is one for each launch, and the collector of garbage passes over it.
"""


class Chains:
    """How many launches follow one from the other.

    Args:
        launches: returns all of them, to be counted in errors.
    """

    def __init__(self, launches: Callable[[], Iterable[Launch]]) -> None:
        self._launches = launches
        self._links: dict[str, _Link] = {}
        self._longest_at_instant = 0
        self._longest = 0
        self._began = 0

    def add(self, message_id: str, parent_id: str, at: datetime) -> None:
        """Note a launch, and the task that has made it ("": none has)."""
        parent = self._links.get(parent_id)
        if parent is None:
            self._links[message_id] = (at, 0, 0)
            return
        parent_at, number, at_instant = parent
        number, at_instant = number + 1, at_instant + 1 if parent_at == at else 0
        self._links[message_id] = (at, number, at_instant)
        self._longest = max(self._longest, number)
        self._longest_at_instant = max(self._longest_at_instant, at_instant)

    def begin(self) -> None:
        """Count the longest chain from here on, for `refuse_longer`."""
        self._began = self._longest

    def never(self) -> bool:
        """Return False: for a wait that nothing ends before its time.

        Raises TooManyEvents when tasks launch each other on and on, without a delay, since it would have no end.
        """
        if self._longest_at_instant > INSTANT_MAX:
            self._longest_at_instant = 0  # told once
            raise TooManyEvents(
                f"{INSTANT_MAX} launches in a row at one instant, each made by the task before it: they would go on "
                f"without an end. Launched most: {most(self._launches())}"
            )
        return False

    def refuse_longer(self, length: int) -> None:
        """Raise TooManyEvents when a chain has grown by more than `length` since `begin`."""
        if self._longest - self._began > length:
            raise TooManyEvents(
                f"run_all went through {length} launches in a row, each made by the task before it, and tasks still "
                f"wait: advance(…) goes through a given time of such. Launched most: {most(self._launches())}"
            )


def most(launches: Iterable[Launch]) -> str:
    """Return which tasks were launched most, in words."""
    counts = Counter(launch.name for launch in launches)
    return ", ".join(f"{name} {count} times" for name, count in counts.most_common(_NAMES_MAX))
