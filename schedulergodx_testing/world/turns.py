"""Who has the next turn: an actor that the driver steps, or a thread that goes on.

Handing the baton between two threads of the system takes longer than most tasks. So a thread that has ended its body
makes the choice that the driver would make next, and where that is another run which has not begun, it goes on with it
itself; while nobody else is there, it steps actors until there is one. The choices, and so everything that happens, are
the same as if the driver had made them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from schedulergodx_testing.world.threads import VirtualThread, at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sized

    from schedulergodx_testing.clock import FakeClock
    from schedulergodx_testing.world.choices import Choices
    from schedulergodx_testing.world.threads import Parked


class Actor(Protocol):
    """Something that the driver steps: a broker, or a service."""

    name: str
    is_first: bool

    def is_ready(self) -> bool:
        """Return whether it has something to do now."""

    def step(self) -> None:
        """Do one thing."""

    def next_us(self) -> int | None:
        """Return the monotonic moment of its next timer in microseconds, or None."""


class Turns:
    """Chooses among what can be done now. Whoever has the baton uses it: the driver, or a thread at its end.

    Attributes:
        actors: what is stepped.
        threads: all threads that have not ended.
        backlogs: what waits for a thread, of each runner. It takes part when a turn is drawn, and a thread that can go
            on has the turn then: the more there is to run, the more of it runs before a service has its next turn, as
            in production, where many that are quick share a turn.
        running: the thread that has the baton, while the driver waits for it, or had it last.
        may_follow: whether another one may go on after it by itself.
    """

    def __init__(self, clock: FakeClock, choices: Choices) -> None:
        self.actors: list[Actor] = []
        self.threads: list[VirtualThread] = []
        self.backlogs: list[Sized] = []
        self.running: VirtualThread
        self.may_follow = False
        self._clock = clock
        self._choices = choices
        self._until: Callable[[], bool] = lambda: True
        self._chosen: Actor | VirtualThread | None = None
        self._taken = 0  # odd while one is done

    def next(self) -> Actor | VirtualThread | None:
        """Return what is to be done now, chosen a moment ago or just now; None: nothing can be done."""
        chosen, self._chosen = self._chosen, None
        return self._choose() if chosen is None else chosen

    def begin(self, until: Callable[[], bool]) -> None:
        """Begin to let things happen until `until` holds."""
        self._until, self._chosen = until, None

    def may_go_on_after(self, done: VirtualThread) -> bool:
        """Return whether the system's thread of `done`, which has ended, may go on by itself."""
        if not self.may_follow or done.error is not None or done.is_process or done.is_lost:
            return False
        return self.running is done and not self._until()

    def choose(self) -> Actor | VirtualThread | None:
        """Choose what is to be done next, which the driver finds if nobody does it before."""
        self._chosen = self._choose()
        return self._chosen

    def follow(self, done: VirtualThread, chosen: VirtualThread) -> VirtualThread | None:
        """Return what was chosen, if it can have the thread of the system of `done`; else it is the driver's."""
        if chosen.has_begun or chosen.is_process or chosen.is_dying or not self.may_follow:
            return None
        self.threads.remove(done)
        self._chosen, self.running = None, chosen
        return chosen

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Mark that what was chosen is done in the block, by the thread of the run that was the last."""
        self._chosen = None
        self._taken += 1
        try:
            yield
        finally:
            self._taken += 1

    def progress(self) -> object:
        """Return something that is another one after each turn and each run, and always while a turn is done."""
        return object() if self._taken % 2 else (self.running, self._taken)

    def _choose(self) -> Actor | VirtualThread | None:
        ready: list[Actor] = []
        for actor in self.actors:
            if actor.is_ready():
                if actor.is_first:
                    return actor
                ready.append(actor)
        threads = self.runnable() if self.threads else []
        if not ready and not threads:
            return None
        waiting = sum(map(len, self.backlogs)) if ready and threads else 0
        waiting -= waiting % max(1, len(threads))  # so that each thread has the same chance
        choice = self._choices.one_of(len(ready) + len(threads) + waiting)
        return ready[choice] if choice < len(ready) else threads[(choice - len(ready)) % len(threads)]

    def next_us(self) -> int | None:
        """Return the monotonic moment of the next timer, or None."""
        moments = [actor.next_us() for actor in self.actors]
        moments += [thread.parked.deadline_us for thread in self.threads if thread.parked]
        return min((moment for moment in moments if moment is not None), default=None)

    def is_anything_due(self) -> bool:
        """Return whether a service, or the broker, has a timer."""
        return any(actor.next_us() is not None for actor in self.actors)

    def are_ready(self, own: Parked) -> Callable[[], bool]:
        """Return what tells whether a thread, or the driver, which waits in `own`, can go on now."""
        return lambda: own.is_ready() or bool(self.runnable())

    def runnable(self) -> list[VirtualThread]:
        """Return the threads that can go on now; of those whose time is over, the earliest only."""
        late_us = self._clock.monotonic_us()
        runnable: list[VirtualThread] = []
        late: list[VirtualThread] = []
        for thread in self.threads:
            parked = thread.parked
            if parked is None:
                continue
            if parked.ready is at_once or thread.is_dying or parked.is_ready():
                runnable.append(thread)
            elif parked.deadline_us is not None and parked.deadline_us <= late_us:
                if parked.deadline_us < late_us:
                    late_us, late = parked.deadline_us, []
                late.append(thread)
        return runnable + late
