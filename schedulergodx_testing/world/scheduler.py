"""Whose turn it is, and when time may pass.

One thread drives: the test's own. It does what can be done now (a happening of the broker, a turn of a service, a
stretch of one of the world's threads), and when nothing is left, it moves the clock to the next timer. So time passes
only when everything waits, and two runs with one seed are the same.
"""

from __future__ import annotations

import _thread
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from schedulergodx_testing.clock import FakeClock, microseconds_up
from schedulergodx_testing.errors import NothingLeftToHappen, ThreadStuck, TooManyEvents
from schedulergodx_testing.world.threads import Parked, VirtualThread

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from schedulergodx_testing.world.choices import Choices

T = TypeVar("T")

EVENTS_MAX = 1_000_000
"""What may happen in one wait before it counts as endless."""


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


class World:
    """The threads, the clock, and what else can happen.

    Args:
        clock: the one clock of this world.
        choices: who comes first, where several could.
        patience_s: real seconds that a thread may run without waiting anywhere, before it counts as stuck.
        events_max: what may happen in one wait before it counts as endless.
    """

    def __init__(
        self, clock: FakeClock, choices: Choices, *, patience_s: float = 5.0, events_max: int = EVENTS_MAX
    ) -> None:
        self.clock = clock
        self.choices = choices
        self.actors: list[Actor] = []
        self.threads: list[VirtualThread] = []
        self._patience_s = patience_s
        self._events_max = events_max
        self._driver = _thread.get_ident()
        self._by_ident: dict[int, VirtualThread] = {}
        self._is_stepping = False

    # --- who calls ------------------------------------------------------------------------------------------------

    def is_mine(self, ident: int | None = None) -> bool:
        """Return whether a thread (the calling one) lives in virtual time: the driver, or one of the world's."""
        ident = _thread.get_ident() if ident is None else ident
        return ident in self._by_ident or (ident == self._driver and not self._is_stepping)

    def is_driver(self) -> bool:
        """Return whether the calling thread is the one that drives."""
        return _thread.get_ident() == self._driver

    # --- waiting --------------------------------------------------------------------------------------------------

    def wait(self, ready: Callable[[], bool], timeout_s: float | None, what: str) -> bool:
        """Wait until `ready`, or until `timeout_s` virtual seconds are over. Returns whether it is ready.

        In the driver, the world goes on meanwhile; another thread parks.

        Raises:
            NothingLeftToHappen: nothing can ever make it ready, and there is no timeout.
        """
        deadline_us = None if timeout_s is None else self.clock.monotonic_us() + microseconds_up(timeout_s)
        thread = self._by_ident.get(_thread.get_ident())
        if thread is not None:
            if not ready():
                thread.park(Parked(ready, deadline_us, what))
            return ready()
        return self.run(ready, deadline_us, what)

    def wait_for(self, inbox: SimpleQueue[T], timeout_s: float | None) -> T | None:
        """Do the waiting of a `Clock`: also for threads that do not belong to the world, which wait in real time."""
        if not self.is_mine():
            try:
                return inbox.get(timeout=1.0 if timeout_s is None else min(max(timeout_s, 0.0), 1.0))
            except Empty:
                return None
        self.wait(lambda: not inbox.empty(), timeout_s, "a wait for an answer")
        try:
            return inbox.get_nowait()
        except Empty:
            return None

    # --- driving --------------------------------------------------------------------------------------------------

    def run(self, until: Callable[[], bool], deadline_us: int | None, what: str, *, may_time_pass: bool = True) -> bool:
        """Let things happen until `until`, or until the clock shows `deadline_us`. Returns whether `until` holds.

        Raises:
            NothingLeftToHappen: without a deadline, when nothing can ever make it hold.
            TooManyEvents: it goes on and on.
        """
        for _ in range(self._events_max):
            if until():
                return True
            if self._do_one():
                continue
            next_us = self.next_us()
            if not may_time_pass or (deadline_us is not None and (next_us is None or next_us > deadline_us)):
                if may_time_pass and deadline_us is not None:
                    self.clock.forward_to_us(deadline_us)
                return until()
            if next_us is None:
                raise NothingLeftToHappen(f"{what}: nothing is left that could ever end this wait.\n{self.describe()}")
            # A timer that is due and not done yet: floats of seconds differ by less than a microsecond.
            self.clock.forward_to_us(max(next_us, self.clock.monotonic_us() + 1))
        raise TooManyEvents(f"{what}: {self._events_max} things happened without an end.\n{self.describe()}")

    def next_us(self) -> int | None:
        """Return the monotonic moment of the next timer, or None."""
        moments = [actor.next_us() for actor in self.actors]
        moments += [thread.parked.deadline_us for thread in self.threads if thread.parked]
        return min((moment for moment in moments if moment is not None), default=None)

    def _do_one(self) -> bool:
        """Do one of the things that can be done now; False when there is none."""
        for actor in self.actors:
            if actor.is_first and actor.is_ready():
                self._step(actor)
                return True
        actors = [actor for actor in self.actors if not actor.is_first and actor.is_ready()]
        threads = [thread for thread in self.threads if self._can_go_on(thread)]
        if not actors and not threads:
            return False
        choice = self.choices.one_of(len(actors) + len(threads))
        if choice < len(actors):
            self._step(actors[choice])
        else:
            self.resume(threads[choice - len(actors)])
        return True

    def _step(self, actor: Actor) -> None:
        self._is_stepping = True
        try:
            actor.step()
        finally:
            self._is_stepping = False

    def _can_go_on(self, thread: VirtualThread) -> bool:
        parked = thread.parked
        if parked is None:
            return False
        is_late = parked.deadline_us is not None and parked.deadline_us <= self.clock.monotonic_us()
        return is_late or parked.ready()

    # --- threads --------------------------------------------------------------------------------------------------

    def spawn(self, name: str, body: Callable[[], None]) -> VirtualThread:
        """Add a thread; it first runs when it is its turn."""
        thread = VirtualThread(name, body, self.started)
        self.threads.append(thread)
        return thread

    def resume(self, thread: VirtualThread) -> None:
        """Hand the baton to `thread`, and wait until it comes back.

        Raises:
            ThreadStuck: it did not wait anywhere within the patience; it goes on, out of control.
        """
        was_stepping, self._is_stepping = self._is_stepping, True  # starting a thread is the real world's business
        try:
            came_back = thread.hand_over(self._patience_s)
        finally:
            self._is_stepping = was_stepping
        if not came_back:
            self.threads.remove(thread)
            raise ThreadStuck(
                f"{thread.name} ran for {self._patience_s:g} real seconds without a wait that virtual time can see: it "
                "spins, waits in C, or for a lock that was made before the harness opened.\n"
                f"{thread.stack()}\n{self.describe()}"
            )
        self._forget_done()

    def kill(self, thread: VirtualThread) -> None:
        """End `thread` where it waits. Only the driver calls this."""
        thread.is_killed = True
        for _ in range(100):  # it may wait again while it unwinds: in `finally`, or against its will
            if thread.is_done or thread not in self.threads:
                break
            self.resume(thread)

    def end(self) -> list[str]:
        """End all threads, and return the names of those that could not be ended."""
        left = []
        for thread in list(self.threads):
            try:
                self.kill(thread)
            except ThreadStuck:
                left.append(thread.name)
            if not thread.is_done and thread.name not in left:
                left.append(thread.name)
        return left

    def current(self) -> VirtualThread | None:
        """Return the world's thread that calls this, or None."""
        return self._by_ident.get(_thread.get_ident())

    def begin(self, thread: VirtualThread) -> None:
        """Add a thread that the code under test has made; it first runs when it is its turn."""
        self.threads.append(thread)

    def virtual_of(self, thread: threading.Thread) -> VirtualThread | None:
        """Return the world's thread behind a system's thread, or None when that is not one of the world's."""
        return next((virtual for virtual in self.threads if virtual.thread is thread), None)

    def started(self, thread: VirtualThread) -> None:
        """Note that a thread runs for the first time. It calls this itself."""
        self._by_ident[thread.ident] = thread

    def _forget_done(self) -> None:
        for thread in [thread for thread in self.threads if thread.is_done]:
            self.threads.remove(thread)
            self._by_ident.pop(thread.ident, None)
            thread.join(self._patience_s)

    def describe(self) -> str:
        """Return who waits, and where, for an error's text."""
        stacks: list[Any] = [thread.stack() for thread in self.threads]
        timers = [
            f"{actor.name}: timer at {actor.next_us()} us" for actor in self.actors if actor.next_us() is not None
        ]
        return "\n".join([f"It is {self.clock.now()}.", *timers, *stacks])
