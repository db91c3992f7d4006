"""Whose turn it is, and when time may pass.

One thread drives: the test's own, or, while it sleeps, that of a run that has ended (`World.follow`). It does what can
be done now (a happening of the broker, a turn of a service, a stretch of one of the world's threads), and when nothing
is left, it moves the clock to the next timer. So time passes only when everything waits, and two runs with one seed are
the same.
"""

from __future__ import annotations

import _thread
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from schedulergodx_testing import foreign_clocks
from schedulergodx_testing.errors import Deadlock, NothingLeftToHappen, ThreadStuck, TooManyEvents
from schedulergodx_testing.looks import ClockLooks, Deadlines, Polls
from schedulergodx_testing.world import outside, real, telling
from schedulergodx_testing.world.baton import INTERRUPT_S, Baton
from schedulergodx_testing.world.threads import Parked, VirtualThread, Worker
from schedulergodx_testing.world.turns import Turns
from schedulergodx_testing.world.wait import EVENTS_MAX, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schedulergodx_testing.clock import FakeClock
    from schedulergodx_testing.world.choices import Choices
    from schedulergodx_testing.world.leaks import RealWorldLeak
    from schedulergodx_testing.world.turns import Actor

_get_ident = _thread.get_ident

_FOREIGN: Any = object()  # a thread that lives in real time


class World:
    """The threads, the clock, and what else can happen. The thread that makes it drives it.

    Args:
        clock: the one clock of this world.
        choices: who comes first, where several could.
        patience_s: real seconds that a thread may run without waiting anywhere, before it counts as stuck.
        events_max: what may happen in one wait before it counts as endless.
        is_seeding_random: seed the functions of `random` for as long as the world is open, and put their state back;
            else their use is noted in `leaks`.

    Attributes:
        backlogs, next_us: as of `Turns`: each runner adds to the first what waits for its threads.
        leaks: where the code under test took something from the real world; each place once.
        watch: the ident of the thread that watches over the driver, if there is one; it is none of the code under test.
        launches: tells how many there were so far: what those of before a wait bring may be much, but is not endless.
        is_driving: whether the driver is inside a turn of an actor, or hands the baton over: it cannot drive then.
    """

    def __init__(
        self,
        clock: FakeClock,
        choices: Choices,
        *,
        patience_s: float = 5.0,
        events_max: int = EVENTS_MAX,
        is_seeding_random: bool = True,
    ) -> None:
        self.clock = clock
        self.choices = choices
        self.is_seeding_random = is_seeding_random
        self._turns = Turns(clock, choices)
        self._wait: Wait | None = None  # of the driver, the innermost
        self.actors = self._turns.actors
        self.threads = self._turns.threads
        self.backlogs = self._turns.backlogs
        self.next_us = self._turns.next_us
        self.leaks: list[RealWorldLeak] = []
        self._patience_s = patience_s
        self._events_max = events_max
        self.launches: Callable[[], int] = lambda: 0
        self._test = self._driver = _get_ident()
        self._opener: threading.Thread | None = None
        self._by_ident: dict[int, VirtualThread | None] = {self._driver: None}  # None: the driver
        self.is_driving = False
        self.watch = 0
        self._deadlines = Deadlines()
        self._clock_looks = ClockLooks()
        self._polls = Polls()
        self._baton = Baton(self._turns, self._forget, patience_s)
        self._idle: list[Worker] = []
        self._holders: dict[int, VirtualThread | None] = {}  # None: the driver
        self._foreign = outside.ForeignThreads(self._own)

    # --- who calls ------------------------------------------------------------------------------------------------

    def is_mine(self, ident: int | None = None) -> bool:
        """Return whether a thread (the calling one) lives in virtual time: the driver, or one of the world's."""
        return (_thread.get_ident() if ident is None else ident) in self._by_ident

    def _own(self) -> set[int | None]:
        """Return the threads, by ident, that live in virtual time, or rest until they are to."""
        return {*self._by_ident, self.watch, *[worker.thread.ident for worker in self._idle]}

    def drive_from_here(self) -> bool:
        """Make the calling thread the driver, before anything has begun, or once the one before has ended.

        Returns whether it is the driver now.
        """
        here = threading.current_thread()
        if self._opener is None or not self._opener.is_alive():
            self._by_ident.pop(self._test, None)
            self._opener, self._test = here, _get_ident()
            self._driver = self._test
            self._by_ident[self._test] = None
        return self._opener is here

    def is_driver(self) -> bool:
        """Return whether the calling thread is the one that drives."""
        return _thread.get_ident() == self._driver

    def is_in_turn(self) -> bool:
        """Return whether the driver calls, inside a turn of an actor: there it can neither wait nor let time pass."""
        return self.is_driving and _thread.get_ident() == self._driver

    def current(self) -> VirtualThread | None:
        """Return the world's thread that calls this, or None."""
        return self._by_ident.get(_thread.get_ident())

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Let the calling thread, which lives in the world, see real time in the block."""
        ident = _thread.get_ident()
        thread = self._by_ident.pop(ident)
        try:
            yield
        finally:
            self._by_ident[ident] = thread

    @contextmanager
    def _driving(self) -> Iterator[None]:
        """Mark that the driver works for the world: what it then waits for cannot be waited for by driving."""
        was_driving, self.is_driving = self.is_driving, True
        try:
            yield
        finally:
            self.is_driving = was_driving

    # --- waiting --------------------------------------------------------------------------------------------------

    def wait(
        self,
        ready: Callable[[], bool],
        timeout_s: float | None,
        what: str,
        *,
        grace_s: float = 0.0,
        lock: Any = None,
    ) -> bool:
        """Wait until `ready`, or until `timeout_s` virtual seconds are over. Returns whether it is ready.

        In the driver, the world goes on meanwhile; another thread parks.

        Args:
            ready: asked again and again, by the driver; it must be cheap and change nothing.
            timeout_s: virtual seconds; None: without a limit.
            what: for error texts, e.g. `time.sleep(5)`.
            grace_s: real seconds for which no time passes, since what is awaited comes from the real world.
            lock: the lock that is waited for, if it is one.

        Raises:
            NothingLeftToHappen: nothing can ever make it ready, and there is no timeout.
        """
        deadline_us = None if timeout_s is None else self._deadlines.after_us(self.clock.monotonic_us(), timeout_s)
        if lock is not None and self._is_held_outside(lock):
            grace_s = outside.GRACE_S
        parked = Parked(ready, deadline_us, what, grace_s, lock, is_outside=grace_s > 0)
        if (thread := self.current()) is not None:
            if not ready():
                thread.park(parked)
            return ready()
        if self.is_driving:
            return self._wait_within_a_turn(parked)
        return self._run(Wait(parked))

    def _wait_within_a_turn(self, parked: Parked) -> bool:
        """Wait inside a turn of an actor: no other actor can have a turn, and no time can pass; threads can go on."""
        while not parked.ready():
            threads = self._turns.runnable()
            if threads:
                self.resume(threads[self.choices.one_of(len(threads))])
            elif parked.grace_s and outside.poll(parked.is_ready, self._patience_s):
                return True
            elif parked.deadline_us is None:
                raise NothingLeftToHappen(
                    f"{parked.what}: a turn of a service or of the broker waits for what cannot come within it.\n"
                    f"{self.describe()}"
                )
            else:
                return False
        return True

    # --- driving --------------------------------------------------------------------------------------------------

    def run(  # noqa: PLR0913 - what a wait is told by
        self,
        until: Callable[[], bool],
        deadline_us: int | None,
        what: str,
        *,
        may_time_pass: bool = True,
        is_users: bool = False,
        is_further: bool = False,
    ) -> bool:
        """Let things happen until `until`, or until the clock shows `deadline_us`. Returns whether `until` holds.

        `is_users`: `until` is the test's own; `is_further`: the run before was a part of the same. Raises:
            NothingLeftToHappen: without a deadline, when nothing can ever make it hold.
            Deadlock: threads wait for each other's locks.
            ThreadStuck: a thread runs on without a wait that virtual time can see.
            TooManyEvents: it goes on and on.
        """
        parked = Parked(until, deadline_us, what)
        return self._run(Wait(parked, may_time_pass=may_time_pass, is_users=is_users, is_further=is_further))

    def _run(self, wait: Wait) -> bool:
        foreign_clocks.refuse()
        if not wait.is_further:
            self._polls.turns = 0
        wait.begin(self._events_max, self.launches())
        outer, self._wait = self._wait, wait
        self._turns.begin(wait.parked.ready)
        try:
            return self._drive(wait)
        finally:
            self._wait = outer
            if outer is not None:  # which is for a condition that has waited itself
                self._turns.begin(outer.parked.ready)

    def _drive(self, wait: Wait) -> bool:
        parked = wait.parked
        until, deadline_us, what = parked.ready, parked.deadline_us, parked.what
        while not wait.is_endless:
            if until():
                return True
            if self._do_one(wait):
                wait.happened()
                continue
            if self._came_from_outside(parked):
                continue
            next_us = self.next_us()
            if next_us is not None and wait.may_last_until(next_us):
                self._go_on_at(next_us, wait)
            elif deadline_us is not None or not wait.may_time_pass:
                if deadline_us is not None and wait.may_time_pass:
                    self.clock.forward_to_us(deadline_us)
                self._polls.ended(self._turns.is_anything_due)
                return until()
            elif not self._comes_at_last(parked):
                raise NothingLeftToHappen(f"{what}: nothing is left that could ever end this wait.\n{self.describe()}")
        raise TooManyEvents(f"{what}: {wait.count} things happened without an end.\n{self.describe()}")

    def _go_on_at(self, moment_us: int, wait: Wait) -> None:
        own = wait.parked
        if own.deadline_us is None or wait.is_further:
            self._polls.going_on(own.what, self._turns.is_anything_due, self.describe)
        # An actor's timer that is due and not done yet: floats of seconds differ by less than a microsecond.
        self.clock.forward_to_us(max(moment_us, self.clock.monotonic_us() + 1))
        wait.passed()

    def _do_one(self, wait: Wait) -> bool:
        """Do one of the things that can be done now; False when there is none."""
        was_driving, self.is_driving = self.is_driving, True  # as `_driving`, which costs more than many a step
        try:
            chosen = self._turns.next()
            if isinstance(chosen, VirtualThread):
                self._polls.turns += 1
                self.resume(chosen, may_be_followed=not wait.is_users)
            elif chosen is not None:
                self._polls.happened()
                chosen.step()
            return chosen is not None
        finally:
            self.is_driving = was_driving

    def follow(self, done: VirtualThread) -> VirtualThread | None:
        """Return the run with which the system's thread of `done`, which has ended, goes on; it calls this itself.

        Until there is one it does what the driver would, as long as nobody else is there: the driver sleeps meanwhile,
        and waking one up takes longer than a turn of the broker. Whoever is stepped, or is asked for the choice, finds
        the driver calling. None: the baton goes back to it.
        """
        if done.is_lost:
            return None
        driver, self._driver = self._driver, done.ident
        self._by_ident[done.ident] = None
        try:
            while self._turns.may_go_on_after(done):
                chosen = self._turns.choose()
                if isinstance(chosen, VirtualThread):
                    return self._turns.follow(done, chosen)
                if not self._goes_on(chosen, done):
                    return None
        except BaseException as error:  # noqa: BLE001 - raised again in the driver, which finds it there
            done.error = error
        finally:
            del self._by_ident[done.ident]
            self._driver = driver
        return None

    def _goes_on(self, chosen: Actor | None, done: VirtualThread) -> bool:
        """Do for the driver what was chosen, or let time pass; False: that is the driver's."""
        wait = self._wait
        if wait is None or wait.is_endless or any(one.has_begun for one in self.threads if one is not done):
            return False
        if chosen is not None:
            self._polls.happened()
            with self._turns.taken():
                chosen.step()
            wait.happened()
            return True
        next_us = self.next_us()
        if wait.parked.grace_s or self._foreign.are_busy() or next_us is None or not wait.may_last_until(next_us):
            return False
        self._go_on_at(next_us, wait)
        return True

    # --- the real world beside it -----------------------------------------------------------------------------------

    def _came_from_outside(self, own: Parked) -> bool:
        """Give the real world its time, before virtual time passes. Returns whether something came of it."""
        waiting = self._waiting(own)
        if not any(parked.grace_s for parked in waiting) and not self._foreign.are_busy():
            return False
        with self._driving():
            return self._foreign.bring(waiting, self._turns.are_ready(own))

    def _comes_at_last(self, own: Parked) -> bool:
        """Wait in real time for what only the outside could bring: nothing else is left."""
        with self._driving():
            return self._foreign.bring_at_last(self._waiting(own), self._turns.are_ready(own), self._patience_s)

    def _waiting(self, own: Parked) -> list[Parked]:
        return [own, *[thread.parked for thread in self.threads if thread.parked]]

    def _is_held_outside(self, lock: Any) -> bool:
        """Return whether a lock, which is taken, was taken by a thread that lives in real time."""
        return id(lock) not in self._holders

    def took(self, lock: Any) -> None:
        """Note that the calling thread took a lock; nothing, for one that lives in real time."""
        thread = self._by_ident.get(_get_ident(), _FOREIGN)
        if thread is _FOREIGN:
            return
        self._holders[id(lock)] = thread
        if thread is not None and thread.process is not None:
            thread.holds(lock)

    def holder(self, lock: Any) -> VirtualThread | None:
        """Return the world's thread that took a lock last, if it is taken."""
        if isinstance(lock, real.LOCK) and not lock.locked():
            return None
        thread = self._holders.get(id(lock))
        return None if thread is None or thread.is_done else thread

    # --- threads --------------------------------------------------------------------------------------------------

    def spawn(self, name: str, body: Callable[[], None]) -> VirtualThread:
        """Add a thread; it first runs when it is its turn."""
        thread = VirtualThread(self, name, body, None)
        self.threads.append(thread)
        return thread

    def adopt(self, thread: threading.Thread) -> None:
        """Start a thread that the code under test has made; it first runs when it is its turn."""
        virtual = VirtualThread(self, thread.name, thread.run, thread)
        parent = self.current()
        virtual.process = None if parent is None else parent.process
        thread.run = virtual.run_body  # type: ignore[method-assign]  # it then waits for the baton
        with self.outside():
            virtual.begin()
        self.threads.append(virtual)

    def resume(self, thread: VirtualThread, *, may_be_followed: bool = False) -> None:
        """Hand the baton to `thread`, and wait until it comes back; only the driver does, while `is_driving`.

        Others may follow it if told.

        Raises:
            ThreadStuck: it did not wait anywhere within the patience; it goes on, out of control.
        """
        if not thread.has_begun:
            self._begin(thread)
        if _get_ident() == self._test:
            try:
                thread, came_back = self._baton.hand_over(thread, may_be_followed=may_be_followed)
            finally:
                self._driver = self._test
        elif not (came_back := thread.hand_over(self._patience_s)):  # in a turn that is done for the driver
            self._baton.lose(thread)
        if not came_back:
            raise ThreadStuck(
                f"{thread.name} ran for {self._patience_s:g} real seconds without a wait that virtual time can "
                "see: it spins, or waits in C (a child process, a socket, a foreign library).\n"
                f"{thread.stack()}\n{self.describe()}"
            )
        self._forget(thread)
        if thread.error is not None:
            raise thread.error
        telling.refuse_deadlock(self.holder, thread)

    def _begin(self, thread: VirtualThread) -> None:
        if self._idle and not thread.is_process:
            thread.begin(self._idle.pop())
            return
        with self.outside():
            thread.begin(Worker())

    def _forget(self, thread: VirtualThread) -> None:
        if not thread.is_done:
            return
        self.threads.remove(thread)
        for child in self.threads:
            if child.process is thread:
                child.is_killed = True  # a process takes its threads with it
        if thread.is_lost:  # it swallows what ends it, and rests
            self._baton.lost.append(thread)
            return
        worker = thread.give_back()
        if worker is not None and not thread.is_process:
            self._idle.append(worker)
            return
        with self.outside():
            if worker is not None:
                worker.retire()  # nobody finds in his process what another one has left
            thread.join(self._patience_s)

    def kill(self, thread: VirtualThread) -> None:
        """End `thread` where it waits, and all of the process if it stands for one. Only the driver calls this.

        It unwinds: `finally` blocks run, and what they wait for is refused. Only for the lock of a condition it may
        still have to wait; then it ends as soon as it has that.
        """
        thread.is_killed = True
        if not thread.has_begun and thread in self.threads:
            thread.is_done = True
            self.threads.remove(thread)
        with self._driving():
            while not thread.is_done and thread in self._turns.runnable():
                self.resume(thread)
        for child in [child for child in self.threads if child.process is thread and child is not thread]:
            self.kill(child)

    def end(self) -> list[str]:
        """End all threads, and return the names of those that could not be ended."""
        while True:
            for thread in self.threads:
                thread.is_killed = True
            runnable = self._turns.runnable()
            if not runnable:
                break
            with suppress(ThreadStuck, Deadlock):
                self.kill(runnable[0])
        with self.outside():
            while self._idle:
                worker = self._idle.pop()
                worker.retire()
                real.join_thread(worker.thread, self._patience_s)
            lost = [thread for thread in self._baton.lost if not thread.interrupt(INTERRUPT_S)]
        return [thread.name for thread in [*self.threads, *lost]]

    def virtual_of(self, thread: threading.Thread) -> VirtualThread | None:
        """Return the world's thread behind a system's thread, or None when that is not one of the world's."""
        return next((virtual for virtual in self.threads if virtual.thread is thread), None)

    def enter(self, thread: VirtualThread) -> None:
        """Note that a thread runs for the first time. It calls this itself."""
        self._by_ident[thread.ident] = thread

    def leave(self, thread: VirtualThread) -> None:
        """Note that a thread ends. It calls this itself."""
        self._by_ident.pop(thread.ident, None)

    def leave_all(self) -> None:
        """Let every thread leave it: in the child of a fork, which has no driver that could give one a turn."""
        self._by_ident.clear()

    def leak(self, leak: RealWorldLeak) -> None:
        """Note a leak, once."""
        if leak not in self.leaks:
            self.leaks.append(leak)

    # --- telling --------------------------------------------------------------------------------------------------

    def looked(self) -> None:
        """Note that code under test looks at a clock. Raises HarnessError for a test that does so without an end."""
        if _get_ident() == self._driver and not self.is_driving:
            self._clock_looks.at(self.clock.monotonic_us())

    def describe(self) -> str:
        """Return who waits, and where, for an error's text."""
        waiting = [thread for thread in [*self.threads, *self._baton.lost] if not thread.is_done]
        return telling.situation(self.clock, self.actors, self._test, waiting)
