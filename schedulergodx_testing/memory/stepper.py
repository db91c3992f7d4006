"""`Stepper`: what can happen next in a broker in memory, and one of it at a time."""

from __future__ import annotations

import heapq
import logging
import math
import random
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from schedulergodx_testing.memory.happenings import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schedulergodx.utils.abstractions import Clock

logger = logging.getLogger("schedulergodx.transport")


_RLock: Any = type(threading.RLock())


class _BrokerLock(_RLock):  # type: ignore[misc]  # mypy takes it for a function
    """The lock of a broker. It is held for moments only, by nobody who waits for anything else meanwhile.

    So whoever meets it taken waits in real time: a harness, which lets virtual time pass where other locks are waited
    for, has nothing to see here. It is taken a dozen times for each task.
    """

    __slots__ = ()
    # Of their own, since a harness replaces those of every plain lock.
    acquire, __enter__ = _RLock.acquire, _RLock.__enter__


class Lane:
    """Things that happen one after the other, e.g. what travels over one connection in one direction.

    The owner keeps the things; a lane counts them, and `do` makes the next one happen. Between lanes, any order goes.
    """

    __slots__ = ("_halts", "_place", "_stepper", "do", "waiting")

    def __init__(self, stepper: Stepper, do: Callable[[], None]) -> None:
        self._stepper = stepper
        self._halts: list[object] = []
        self._place = -1
        self.do = do
        self.waiting = 0

    def add(self) -> None:
        """One thing more waits."""
        self.waiting += 1
        if self._place < 0 and not self._halts:
            self._join()

    def take(self, count: int = 1) -> None:
        """So many things wait no more."""
        self.waiting -= count
        if not self.waiting:
            self._leave()

    def clear(self) -> None:
        """Nothing waits, and nothing holds the lane up."""
        self.waiting = 0
        self._halts.clear()
        self._leave()

    def halt(self) -> object:
        """Hold everything up until `resume` is called with what this returns."""
        halt = object()
        self._halts.append(halt)
        self._leave()
        return halt

    def resume(self, halt: object) -> None:
        """End a `halt`. Nothing happens if `clear` ended it before."""
        if halt in self._halts:
            self._halts.remove(halt)
            if self.waiting and not self._halts and self._place < 0:
                self._join()

    @property
    def is_halted(self) -> bool:
        """Whether it is held up."""
        return bool(self._halts)

    @property
    def is_ready(self) -> bool:
        """Whether its next thing can happen now."""
        return self._place >= 0

    def _join(self) -> None:
        ready = self._stepper.ready
        self._place = len(ready)
        ready.append(self)
        self._stepper.notify()

    def _leave(self) -> None:
        place = self._place
        if place >= 0:
            last = self._stepper.ready.pop()
            if last is not self:
                self._stepper.ready[place] = last
                last._place = place  # noqa: SLF001 - another of this class
            self._place = -1


class Timer:
    """Something that happens at a moment, unless it is cancelled."""

    __slots__ = ("do",)

    def __init__(self, do: Callable[[], None]) -> None:
        self.do: Callable[[], None] | None = do

    def cancel(self) -> None:
        """Have it not happen; nothing, when it has."""
        self.do = None


class Stepper:
    """Lanes, timers, and the calls that leave the broker.

    Everything inside the broker is guarded by `lock`. Callbacks into programs are made outside of it, by whoever steps
    and in the order in which they came up.

    Args:
        clock: when timers are due.
        choose: draws a whole number below the one given; called only where there is a choice.
    """

    def __init__(self, clock: Clock, choose: Callable[[int], int]) -> None:
        self.clock = clock
        self.log = Log(clock.monotonic)
        self.lock = _BrokerLock()
        self.ready: list[Lane] = []
        self.changed: threading.Condition | None = None
        self._choose = choose
        self._step_lock = threading.RLock()
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._timer_count = 0
        self._due: deque[Timer] = deque()
        self._due_lane = Lane(self, self._ring)

    # --- For whoever steps

    def step(self, lanes: Callable[[], list[Lane]] | None = None) -> bool:
        """Let one thing happen, of all or of `lanes`, and make the calls that it leads to; False if there is none."""
        with self._step_lock:
            with self.lock:
                if self._timers and self._timers[0][0] <= (now_s := self.clock.monotonic()):
                    self._wake_timers(now_s)
                ready = self.ready if lanes is None else [lane for lane in lanes() if lane.is_ready]
                count = len(ready)
                if count:
                    ready[self._choose(count) if count > 1 else 0].do()
                    if self.changed is not None:
                        self.notify()  # somebody may wait for an end, in `close`
            if self._calls:
                self._make_calls()
            return count > 0

    @contextmanager
    def standing_still(self, timeout_s: float = -1.0) -> Iterator[None]:
        """Keep everybody else from stepping in the block, if that can be had in time; make the calls at its end."""
        has_it = self._step_lock.acquire(timeout=timeout_s)
        try:
            yield
            self._make_calls()
        finally:
            if has_it:
                self._step_lock.release()

    def next_timer(self) -> float | None:
        """Return the monotonic moment of the next timer that is not due yet, or None."""
        with self.lock:
            while self._timers and self._timers[0][2].do is None:
                heapq.heappop(self._timers)
            return self._timers[0][0] if self._timers else None

    def is_ready(self) -> bool:
        """Return whether something can happen now."""
        if self.ready:  # the usual answer, and to look needs no lock
            return True
        timers = self._timers
        if not timers or timers[0][0] > (now_s := self.clock.monotonic()):  # nor does this
            return False
        with self.lock:
            self._wake_timers(now_s)
            return bool(self.ready)

    # --- For the inside of the broker, under the lock

    def choose(self, count: int) -> int:
        """Return a whole number below `count`."""
        return self._choose(count) if count > 1 else 0

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have a program's function called, by whoever steps, after those before it."""
        self._calls.append((function, arguments))

    def after(self, delay_s: float, do: Callable[[], None]) -> Timer:
        """Have `do` happen after so many seconds."""
        # In whole microseconds, rounded up: a clock that counts them gets there exactly.
        moment_s = math.ceil((self.clock.monotonic() + delay_s) * 1e6 - 1e-3) / 1e6
        timer = Timer(do)
        heapq.heappush(self._timers, (moment_s, self._timer_count, timer))
        self._timer_count += 1
        self.notify()
        return timer

    def notify(self) -> None:
        """Wake the thread that steps by itself, and whoever waits for it; nothing, if there is none."""
        if self.changed is not None:
            self.changed.notify_all()

    def _wake_timers(self, now_s: float) -> None:
        while self._timers and self._timers[0][0] <= now_s:
            timer = heapq.heappop(self._timers)[2]
            if timer.do is not None:
                self._due.append(timer)
                self._due_lane.add()

    def _ring(self) -> None:
        timer = self._due.popleft()
        self._due_lane.take()
        if timer.do is not None:
            timer.do()

    def _make_calls(self) -> None:
        while self._calls:
            function, arguments = self._calls.popleft()
            try:
                function(*arguments)
            except Exception:
                logger.exception("%s raised; the broker goes on", getattr(function, "__qualname__", "a listener"))


def seeded(seed: int) -> Callable[[int], int]:
    """Return a `choose` that draws from `seed`: the same numbers on every version of Python."""
    draw = random.Random(seed).random
    return lambda count: int(draw() * count)
