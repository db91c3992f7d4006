"""What an error says about a world: who waits, and where, and who waits for whom."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.errors import Deadlock
from schedulergodx_testing.world import real
from schedulergodx_testing.world.threads import VirtualThread, stack_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from schedulergodx_testing.clock import FakeClock
    from schedulergodx_testing.world.turns import Actor


def refuse_deadlock(holder: Callable[[Any], VirtualThread | None], thread: VirtualThread) -> None:
    """Raise Deadlock when `thread` waits for a lock whose holder waits, in the end, for one that `thread` holds.

    `holder` tells which thread holds a lock.
    """
    ring: list[VirtualThread] = []
    one: VirtualThread | None = thread
    while one is not None and one not in ring:
        if one.parked is None or one.parked.lock is None or one.parked.deadline_us is not None or one.is_dying:
            return
        ring.append(one)
        one = holder(one.parked.lock)
    if one is not thread or thread.parked is None or thread.parked.is_ready():
        return
    # One that waits for a plain lock of its own waits for a signal: another one will give it back.
    if len(ring) > 1 or isinstance(thread.parked.lock, real.RLOCK):
        names = " and ".join(member.name for member in ring)
        raise Deadlock(f"{names} wait for each other's locks.\n" + "\n".join(member.stack() for member in ring))


def situation(clock: FakeClock, actors: Iterable[Actor], driver: int, threads: Iterable[VirtualThread]) -> str:
    """Return the moment, the timers, and where the test and the threads are."""
    test = f"The test is at:\n{stack_text(sys._current_frames().get(driver))}"  # noqa: SLF001 - see threads.py
    moments = [(actor.name, actor.next_us()) for actor in actors]
    timers = [f"{name}: timer at {moment} us" for name, moment in moments if moment is not None]
    return "\n".join([f"It is {clock.now()}.", *timers, test, *(thread.stack() for thread in threads)])
