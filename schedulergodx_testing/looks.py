"""A test, or a task, that looks again and again, and nothing happens in between: it would never end."""

from __future__ import annotations

import _thread
from typing import TYPE_CHECKING

from schedulergodx_testing.clock import microseconds_up
from schedulergodx_testing.errors import HarnessError, TooManyEvents

if TYPE_CHECKING:
    from collections.abc import Callable

LOOKS_MAX = 100_000
"""Looks at launches, with nothing in between, after which they count as a loop without an end."""
CLOCK_LOOKS_MAX = 1_000_000
"""The same of looks at a clock, which are many in an honest program too."""
POLLS_MAX = 100_000
"""Turns of threads in one wait without a limit, with nothing else in between, after which they count as endless."""
FRUITLESS_MAX = 100_000
"""Waits of a test that ended by their own time, with nothing in between, after which they count as endless."""
_WAITS_OF_NO_TIME = 1000
"""After so many a microsecond has passed; after so many more two, and so on: a loop of them comes to its lifetime."""
_PASSES_MAX_US = 20_000
"""What passes with so many at most: about the time that they take."""
_WITH_THREADS = 10  # so many times as often, where threads of the program go on meanwhile
HELP = "Nothing happens by itself: advance(…), run_until_idle() or run_until(id) lets it"


class Looks:
    """Counts looks of a test at what has not ended.

    Attributes:
        waits: how many waits go on; while one does, nothing is counted, since things happen in it.
    """

    def __init__(self) -> None:
        self.waits = 0
        self._state: object = None
        self._count = 0

    def at(self, what: str, state: object, *, weight: int = 1) -> None:
        """Note a look at `what`, the world being in `state`. Raises HarnessError for a loop.

        `weight`: for how many looks at a launch that has not ended it counts.
        """
        if self.waits:
            return
        self._count = self._count + weight if state == self._state else weight
        self._state = state
        if self._count > LOOKS_MAX:
            self._count = 0
            raise HarnessError(
                f"the test has asked again and again for {what}, {LOOKS_MAX // weight} times, and let nothing happen. "
                f"{HELP}"
            )


class ClockLooks:
    """Counts looks of a test's body at the clock of one instant."""

    def __init__(self) -> None:
        self._instant_us = -1
        self._count = 0

    def at(self, instant_us: int) -> None:
        """Note a look. Raises HarnessError for a loop."""
        if instant_us != self._instant_us:
            self._instant_us, self._count = instant_us, 0
        self._count += 1
        if self._count > CLOCK_LOOKS_MAX:
            self._count = 0
            raise HarnessError(
                f"the test has looked at the clock {CLOCK_LOOKS_MAX} times at one instant: it waits in a loop for time "
                f"that does not pass. {HELP}; time.sleep(…) lets time pass, too"
            )


class Deadlines:
    """When waits are over. Looking again and again takes time, or loops until it is *later* never end."""

    def __init__(self) -> None:
        self._looks: dict[int, tuple[int, int, int]] = {}  # of a thread: until when, how many, and what passes next

    def after_us(self, now_us: int, timeout_s: float) -> int:
        """Return the end of a wait of the calling thread; of a wait of no time now, and now and then a little later."""
        deadline_us = now_us + microseconds_up(timeout_s)
        if deadline_us > now_us:
            return deadline_us
        ident = _thread.get_ident()
        at_us, looks, passes_us = self._looks.get(ident, (now_us, 0, 1))
        if now_us - at_us > _PASSES_MAX_US:  # it has done something else meanwhile
            looks, passes_us = 0, 1
        elif looks + 1 == _WAITS_OF_NO_TIME:
            at_us = now_us + passes_us
            self._looks[ident] = (at_us, 0, min(2 * passes_us, _PASSES_MAX_US))
            return at_us
        self._looks[ident] = (now_us, looks + 1, passes_us)
        return now_us


class Polls:
    """Counts waits that end by their own time only, while neither a service nor the broker does anything.

    Attributes:
        turns: of threads, since one of those has done something, or since the wait of the driver began.
    """

    def __init__(self) -> None:
        self.turns = 0
        self._fruitless = 0

    def happened(self) -> None:
        """Note that a service or the broker has done something."""
        self.turns = self._fruitless = 0

    def going_on(self, what: str, is_anything_due: Callable[[], bool], describe: Callable[[], str]) -> None:
        """Note that time passes in a wait without a limit. Raises TooManyEvents when only threads look, for ever."""
        if self.turns <= POLLS_MAX or is_anything_due():
            return
        self.turns = 0
        raise TooManyEvents(
            f"{what}: threads waited for a moment and looked again {POLLS_MAX} times, and nothing else is left that "
            f"could happen.\n{describe()}"
        )

    def ended(self, is_anything_due: Callable[[], bool]) -> None:
        """Note that a wait of the driver has ended by its time. Raises HarnessError for a loop of such."""
        self._fruitless += 1 if self.turns else _WITH_THREADS
        if self._fruitless <= FRUITLESS_MAX * _WITH_THREADS or is_anything_due():
            return
        self._fruitless = 0
        raise HarnessError(
            f"the test has let time pass, or waited, {FRUITLESS_MAX} times or more, and nothing is left that could "
            "happen: it waits in a loop for what never comes. Whatever is to bring it was not launched, has ended, or "
            "waits for something itself"
        )
