"""What the driver of a world steps: the broker, and the services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx_testing.clock import microseconds_up
from schedulergodx_testing.errors import TooManyEvents

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.service import Service
    from schedulergodx_testing.calls import Calls
    from schedulergodx_testing.clock import FakeClock
    from schedulergodx_testing.memory import MemoryBroker

IDLE_TURNS_MAX = 10_000
"""Turns of a service in a row, at one instant and without an event, before they count as endless."""


class BrokerActor:
    """A broker in memory. It comes first: what is on its way arrives before anybody acts upon it.

    Args:
        broker: which.
        calls: counts the steps.
        after_step: called after each happening.
    """

    name = "broker"
    is_first = True

    def __init__(self, broker: MemoryBroker, calls: Calls, after_step: list[Callable[[], None]]) -> None:
        self._broker = broker
        self._calls = calls
        self._after_step = after_step

    def is_ready(self) -> bool:
        """Return whether something is on its way, or due."""
        return not self._broker.is_idle

    def step(self) -> None:
        """Do one happening."""
        self._calls.turn += 1
        self._broker.step()
        for told in self._after_step:
            told()

    def next_us(self) -> int | None:
        """Return the moment of the next timed happening."""
        moment_s = self._broker.next_timer()
        return None if moment_s is None else microseconds_up(moment_s)


class ServiceActor:
    """A service, stepped a turn at a time.

    Args:
        service: it is open.
        clock: its clock.
        calls: counts the turns.
        on_crash: told when a turn was ended by a crash that a test asked for.
    """

    is_first = False

    def __init__(
        self, service: Service, clock: FakeClock, calls: Calls, on_crash: Callable[[ServiceActor], None]
    ) -> None:
        self.name = f"service {service.name}"
        self.service = service
        self._clock = clock
        self._calls = calls
        self._on_crash = on_crash
        self._next_us: int | None = None
        self._turned_us = -1
        self._idle_turns = 0
        self._is_stale = True

    def is_ready(self) -> bool:
        """Return whether an event waits, or something is due, unless the service has ended by itself."""
        if self.service.is_done:
            return False
        if self.service.has_events():
            return True
        moment_us = self.next_us()
        return moment_us is not None and moment_us <= self._clock.monotonic_us()

    def step(self) -> None:
        """Do one turn. Raises TooManyEvents when it is one of very many that nothing asked for."""
        self._is_stale = True
        now_us = self._clock.monotonic_us()
        self._idle_turns = self._idle_turns + 1 if now_us == self._turned_us and not self.service.has_events() else 0
        self._turned_us = now_us
        if self._idle_turns > IDLE_TURNS_MAX:
            raise TooManyEvents(
                f"{self.name} turns again and again at one instant, though nothing happens: {IDLE_TURNS_MAX} times so "
                "far. Something tells it that there is work to do, and the turn does not find any."
            )
        self._calls.turn += 1
        try:
            self.service.step(None)
        except ServiceCrash:
            self._on_crash(self)
        finally:
            self._calls.turn += 1

    def next_us(self) -> int | None:
        """Return the moment at which something is due."""
        if self._is_stale:
            wait_s = None if self.service.is_done else self.service.wait_s()
            self._next_us = None if wait_s is None else self._moment_us(wait_s)
            self._is_stale = False
        return self._next_us

    def _moment_us(self, wait_s: float) -> int:
        """Return the end of a wait, after this moment where a turn of this moment left it: then it is no rounding."""
        now_us = self._clock.monotonic_us()
        least_us = 1 if wait_s > 0 and self._turned_us == now_us else 0
        return now_us + max(least_us, microseconds_up(wait_s))

    def refresh(self) -> None:
        """Ask the service again when something is due: the wall clock was set."""
        self._is_stale = True


class Timer:
    """Does something once, at a moment.

    Args:
        name: for error texts.
        clock: what the moment is counted on.
        after_s: seconds from now.
        action: what is done.
    """

    is_first = False

    def __init__(self, name: str, clock: FakeClock, after_s: float, action: Callable[[], None]) -> None:
        self.name = name
        self._clock = clock
        self._at_us: int | None = clock.monotonic_us() + microseconds_up(after_s)
        self._action = action

    def is_ready(self) -> bool:
        """Return whether its moment has come."""
        return self._at_us is not None and self._at_us <= self._clock.monotonic_us()

    def step(self) -> None:
        """Do it."""
        self._at_us = None
        self._action()

    def next_us(self) -> int | None:
        """Return its moment, until it has come."""
        return self._at_us


class ServiceCrash(BaseException):
    """Ends a service's process in the middle of a turn, as SIGKILL does. Nothing of the library catches it."""
