"""Errors of the testing half. Each says what the test did, and what to do instead."""

from __future__ import annotations

from schedulergodx.errors import BrokerError, SchedulerError


class HarnessError(SchedulerError):
    """A harness was used in a way that it cannot serve."""


class NotEmulated(HarnessError):
    """A broker can do this, but the one in memory does not. Use a real one for this test."""


class NothingLeftToHappen(HarnessError):
    """A wait can never end: nothing runs, nothing is due, nothing is on its way."""


class Deadlock(HarnessError):
    """Threads wait for each other's locks, and will for ever."""


class TooManyEvents(HarnessError):
    """Things go on and on, e.g. a task that launches itself without a delay."""


class ThreadStuck(HarnessError):
    """A task, or a thread of it, or the test itself, runs on without any wait that virtual time can see."""


class LeftBehind(HarnessError):
    """At its end, the test left something that a strict harness does not accept."""


class ClientCrashed(BrokerError):
    """The program of a client was killed by the test. Whatever it waited for ends with this."""


FORKED = "forked"
"""The state of a harness in a child process."""


def not_open(state: str) -> HarnessError:
    """Return the error for the use of a harness that is "new", "closed" or `FORKED`."""
    if state == FORKED:
        return HarnessError(
            "a child process lives in real time, and has no part in the harness of the process that has forked it: it "
            "launches nothing, and hears of nothing. Launch in the task or the test itself"
        )
    return HarnessError(f"this harness is {state}: use it inside `with Harness() as scheduler:`")
