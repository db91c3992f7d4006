"""The real world beside a virtual one: threads that do not belong to it, and how long to wait for them.

Time must not jump ahead of an answer that a thread of a driver, or of a pool from before, is about to give. But idle
threads are everywhere. So a thread counts as busy while it is anywhere but where it has been seen resting.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING

from schedulergodx_testing.world import real

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from schedulergodx_testing.world.threads import Parked

GRACE_S = 0.05
"""Real seconds for which time stands still while something is awaited from the real world."""
_POLL_S = 0.000_5
_LOOKS_MIN = 60
_DEPTH = 4
_FRUITLESS_MAX = 10


class ForeignThreads:
    """The threads of this process that live in real time.

    Args:
        own: tells which threads, by their idents, live in the world.
    """

    def __init__(self, own: Callable[[], Container[int | None]]) -> None:
        self._own = own
        self._fruitless: dict[int, int] = {}
        self._resting = set(self._places())

    def exist(self) -> bool:
        """Return whether there are any."""
        return bool(self._places())

    def are_busy(self) -> bool:
        """Return whether one of them is where none has been seen resting."""
        return any(place not in self._resting for place in self._places())

    def learn(self) -> None:
        """Take where they are now for their rest: time was given to them, and nothing came of it."""
        for place in self._places():
            if place not in self._resting:
                self._resting.add(place)
                self._fruitless[place[0]] = self._fruitless.get(place[0], 0) + 1

    def bring(self, waiting: Sequence[Parked], is_there: Callable[[], bool]) -> bool:
        """Give them their time. Return whether something of what is waited for is there then."""
        grace_s = max(parked.grace_s for parked in waiting)
        came = poll(lambda: is_there() or (not grace_s and not self.are_busy()), max(grace_s, GRACE_S))
        if not came:
            self.learn()
            for parked in waiting:
                parked.grace_s = 0.0  # once for each wait
        return came and is_there()  # else they rest again

    def bring_at_last(self, waiting: Sequence[Parked], is_there: Callable[[], bool], patience_s: float) -> bool:
        """Give them all the time that there is, if anything is waited for that is theirs, else a little."""
        is_awaited = any(parked.is_outside for parked in waiting)
        return (is_awaited or self.exist()) and poll(is_there, patience_s if is_awaited else GRACE_S)

    def _places(self) -> list[tuple[int, ...]]:
        frames = sys._current_frames()  # noqa: SLF001 - the documented way to see other threads' stacks
        own = self._own()
        return [
            (ident, *_place(frame))
            for ident, frame in frames.items()
            if ident not in own and self._fruitless.get(ident, 0) < _FRUITLESS_MAX
        ]


def _place(frame: FrameType | None) -> list[int]:
    place: list[int] = []
    # The thread runs on meanwhile: then CPython 3.11 has, once, called something else than a frame its `f_back`.
    while isinstance(frame, FrameType) and len(place) < 2 * _DEPTH:
        place += (id(frame.f_code), frame.f_lasti)
        frame = frame.f_back
    return place


def poll(until: Callable[[], bool], timeout_s: float) -> bool:
    """Ask again and again, for so many real seconds, whether `until` holds.

    On a busy machine it takes longer: others, who are slow there too, get as many chances.
    """
    end_s, looks_left = real.monotonic() + timeout_s, _LOOKS_MIN
    while not until():
        if looks_left <= 0 and real.monotonic() >= end_s:
            return False
        looks_left -= 1
        real.sleep(_POLL_S)
    return True
