"""How a test drives its harness: time, events, and what came of them."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from queue import Empty
from typing import TYPE_CHECKING, Any, TypeVar

from schedulergodx import config
from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx_testing import given
from schedulergodx_testing.assertions import CAPTURES
from schedulergodx_testing.chains import Chains, most
from schedulergodx_testing.clock import jump_s, span_s
from schedulergodx_testing.drawing import duration
from schedulergodx_testing.errors import FORKED, HarnessError, NothingLeftToHappen, TooManyEvents, not_open
from schedulergodx_testing.launched import Launches, id_of
from schedulergodx_testing.looks import Looks

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from queue import SimpleQueue

    from schedulergodx.rules.lifecycle import Outcome
    from schedulergodx.rules.tasks import TaskState
    from schedulergodx_testing.clock import FakeClock
    from schedulergodx_testing.launched import Launch
    from schedulergodx_testing.served import Served
    from schedulergodx_testing.timeline import Timeline
    from schedulergodx_testing.world.scheduler import World

T = TypeVar("T")

RUN_ALL_LIMIT = 10_000
"""Timers that `run_all` runs through before it gives up."""
LIMIT_MAX = 10**9
_LOOKS_OF_TASKS = 5  # a look at all of them counts for so many at one: it takes longer, and is done less often
_TIMERS_OF_A_LAUNCH = 10


class Driving:
    """The part of a `Harness` that lets things happen; the other parts fill in what it works with."""

    world: World
    clock: FakeClock
    timeline: Timeline
    broker: Any
    is_capturing: bool
    _services: list[Served]

    def __init__(self) -> None:
        self._state = "new"
        self._looks = Looks()
        self._launches = Launches()
        self._chains = Chains(self._launches.all)

    def advance(
        self,
        delta: timedelta | None = None,
        *,
        seconds: float = 0.0,
        minutes: float = 0.0,
        hours: float = 0.0,
        days: float = 0.0,
    ) -> None:
        """Let time pass, and everything happen that happens in it, up to and including its last moment.

        Raises:
            InvalidParameter: the time is no number, negative, NaN or infinite, or leads beyond `FakeClock`'s calendar;
                nothing has happened.
        """
        self._must_drive()
        by_s = span_s(delta, seconds=seconds, minutes=minutes, hours=hours, days=days)
        until_us = self.clock.monotonic_us() + self.clock.ahead_us(by_s)
        self.note("test", f"advance by {duration(timedelta(seconds=by_s))}")
        self.world.run(self._chains.never, until_us, "advance")

    def travel_to(self, moment: datetime) -> None:
        """Let time pass as `advance` does, until the wall shows `moment`, an aware datetime.

        Raises:
            InvalidParameter: it has no time zone, or is over (`jump_wall` sets a wall clock back), or is beyond
                `FakeClock`'s calendar; nothing has happened.
        """
        self.advance(self.clock.until(moment))

    def run_until_idle(self) -> None:
        """Let everything happen that can happen now. No time passes."""
        self._must_drive()
        self.world.run(self._chains.never, None, "run_until_idle", may_time_pass=False)

    def run_until(self, what: str | Callable[[], bool], *, timeout_s: float | None = None) -> None:
        """Let things happen, and time pass as far as needed, until a launch has ended or a condition holds.

        Args:
            what: the id of a launch, or a function that returns whether the condition holds.
            timeout_s: virtual seconds to wait at most; None: as long as anything can still happen.

        Raises:
            NothingLeftToHappen: it can never come.
            HarnessError: not in time; or `what` is no id and no condition.
            InvalidParameter: `timeout_s` is no number from 0 to ten years, or the condition is a coroutine function or
                takes arguments; nothing has happened.
        """
        self._must_drive()
        _refuse_what_never_comes(what)
        holds = what if callable(what) else self._has_ended(what)
        deadline_us = None
        if timeout_s is not None:
            deadline_us = self.clock.monotonic_us() + self.clock.ahead_us(config.seconds("timeout_s", timeout_s))
        told = f"run_until({what!r:.80})"
        until, is_users = (lambda: holds() or self._chains.never()), callable(what)
        has_come = self._explained(lambda: self.world.run(until, deadline_us, told, is_users=is_users))
        if not has_come:
            raise HarnessError(f"{told}: not within {timeout_s:g} virtual seconds\n{self.timeline}")

    def _has_ended(self, message_id: str) -> Callable[[], bool]:
        """Return what tells whether a launch has ended; a database is looked into only after something was noted."""
        count, has_ended = -1, False

        def holds() -> bool:
            nonlocal count, has_ended
            if not has_ended and count != self.timeline.count:
                count = self.timeline.count
                has_ended = self.outcome(message_id) is not None
            return has_ended

        return holds

    def run_all(self, limit: int = RUN_ALL_LIMIT) -> None:
        """Go from timer to timer until no task waits or runs.

        Raises:
            TooManyEvents: `limit` timers were not enough, or a tenth as many launches in a row, each made by the task
                before it; the message says which tasks keep launching, and who waits for what.
            InvalidParameter: `limit` is no whole number above 0.
        """
        config.whole_number("limit", limit, least=1, most=LIMIT_MAX)
        self._must_drive()
        self._chains.begin()
        self.run_until_idle()
        for _ in range(limit):
            if not self._is_busy():
                return
            self._chains.refuse_longer(limit // _TIMERS_OF_A_LAUNCH)
            next_us = self.world.next_us()
            if next_us is None:
                return
            until_us = max(next_us, self.clock.monotonic_us() + 1)
            self.world.run(self._chains.never, until_us, "run_all", is_further=True)
        raise TooManyEvents(
            f"run_all went through {limit} timers, and tasks still wait. Launched most: {most(self._launches.all())}\n"
            f"{self.world.describe()}"
        )

    def jump_wall(
        self,
        delta: timedelta | None = None,
        *,
        seconds: float = 0.0,
        minutes: float = 0.0,
        hours: float = 0.0,
        days: float = 0.0,
    ) -> None:
        """Set the wall clock, forward or back, as an operator, NTP or a resumed machine does. No time passes by it.

        Raises:
            InvalidParameter: the time is no number, NaN or infinite, or leads out of `FakeClock`'s calendar; nothing
                has happened.
        """
        self._must_drive()
        self.clock.set_wall(jump_s(delta, seconds=seconds, minutes=minutes, hours=hours, days=days))
        self.note("test", f"wall clock set to {self.clock.now():%Y-%m-%d %H:%M:%S}")
        for served in self._services:
            served.refresh()

    @property
    def tasks(self) -> list[TaskState]:
        """What the services' databases hold: each task, and where it is; the newest last."""
        self._must_be_open()
        self._look("the tasks", weight=_LOOKS_OF_TASKS)
        return [state for served in self._services for state in reversed(served.tasks())]

    def outcome(self, message_id: str | Launch) -> Outcome | None:
        """Return how a launch ended, as the service recorded it; None until it has.

        Args:
            message_id: of which launch; the `Launch` itself, as `launched` has it, will do.

        Raises:
            HarnessError: it is neither; or it was asked for in a loop, in which nothing can happen.
        """
        self._must_be_open()
        message_id = id_of(message_id)
        found = (served.find(message_id) for served in self._services)
        outcome = next((state.outcome for state in found if state is not None), None)
        if outcome is None:
            self.looking(message_id)
        return outcome

    def looking(self, message_id: str) -> None:
        """Count a look of the test at a launch that has not ended. Raises HarnessError for a loop without an end."""
        self._look(f"outcomes, at last for that of {message_id}")

    def _look(self, what: str, *, weight: int = 1) -> None:
        if self.world.is_driver():
            self._looks.at(what, (self.clock.monotonic_us(), self.timeline.count), weight=weight)

    def note(self, lane: Any, what: str, message_id: str = "") -> None:
        """Add a line to the timeline."""
        self.timeline.add(self.clock.now(), lane, what, message_id)

    def _is_busy(self) -> bool:
        if not self.broker.is_idle or any(thread.is_own for thread in self.world.threads):
            return True  # a thread that the program has started is no task: it may go on for ever
        return any(served.count(TaskStatus.WAITING) + served.count(TaskStatus.WORK) for served in self._services)

    def _wait_for(self, inbox: SimpleQueue[object], timeout_s: float | None) -> object:
        if self._state == FORKED:
            self._must_be_open()
        if not inbox.empty():  # what has come needs no wait, and so nothing to be explained
            with suppress(Empty):  # another thread may take it meanwhile
                return inbox.get_nowait()
        if not self.world.is_mine():  # a thread that lives in real time
            with suppress(Empty):
                return inbox.get(timeout=1.0 if timeout_s is None else min(max(timeout_s, 0.0), 1.0))
            return None
        self._explained(lambda: self.world.wait(lambda: not inbox.empty(), timeout_s, "a wait for an answer"))
        with suppress(Empty):
            return inbox.get_nowait()
        return None

    def _explained(self, wait: Callable[[], T]) -> T:
        """Wait, and say of a wait without an end what may be the reason."""
        self._looks.waits += 1
        try:
            return wait()
        except NothingLeftToHappen as error:
            if not self.is_capturing:
                raise
            raise NothingLeftToHappen(f"{CAPTURES}. {error}") from None
        finally:
            self._looks.waits -= 1

    def _must_be_open(self) -> None:
        if self._state != "open":
            raise not_open(self._state)

    def _must_drive(self) -> None:
        self._must_be_open()
        if not self.world.is_driver():
            raise HarnessError(
                "only the thread that opened it drives a harness; what runs in it, a task or a thread, waits "
                "(time.sleep, id.result(), …) and so lets time pass"
            )


def _refuse_what_never_comes(what: object) -> None:
    """Refuse what is neither an id nor a condition. Calling a task would run it here and now, and launch nothing."""
    if isinstance(what, str):
        return
    if callable(what) and not hasattr(what, "__schedulergodx_function__"):
        given.must_take("the condition of run_until", what)  # a coroutine would hold at once
        return
    raise HarnessError(
        f"run_until needs the id of a launch, as launch() returns it, or a function that returns whether a condition "
        f"holds; got {what!r:.80} ({type(what).__name__}), which is no id and no condition"
    )
