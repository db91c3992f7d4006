"""What the demo launches, and how each of it has to end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from schedulergodx.clock import SystemClock
from schedulergodx.rules.lifecycle import Code

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.client.core import Client
    from schedulergodx.client.task import Task

DELAY_S = 2.0
AMPLE_S = 5.0
"""A lifetime that is never reached, also on a machine that is busy."""
LIFETIME_S = 0.8
HARD_LIFETIME_S = 1.2
WORK_S = 0.5
PRIMES_BELOW = 100_000
PRIMES = 9592
A_LAUNCH = "an id"
"""What is expected of a task that launches another one and returns its id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One launch.

    Attributes:
        title: what it shows.
        task: what is launched.
        args: its arguments.
        expected: how it has to end, in the words of `ended_text`.
    """

    title: str
    task: Task[..., Any]
    args: tuple[Any, ...] = ()
    expected: str

    @property
    def place(self) -> str:
        """Where it runs."""
        return "process" if self.task.parameters.hard else "thread"

    @property
    def delay_s(self) -> float:
        """Seconds from the launch to the start, at the least."""
        return self.task.parameters.delay or 0.0


def value_text(value: object) -> str:
    """Return how a task that returned `value` ended, in words."""
    return repr(value)


def raised_text(exception_type: str) -> str:
    """Return how a task ended that raised."""
    return f"raised {exception_type}"


def work(seconds: float, value: Any) -> Any:
    """Take some time, waiting, and return `value`."""
    SystemClock().wait_for(SimpleQueue(), seconds)
    return value


async def two_at_a_time() -> list[str]:
    """Wait for two things together."""
    return list(await asyncio.gather(asyncio.sleep(0.2, "a"), asyncio.sleep(0.2, "b")))


def primes_below(limit: int) -> int:
    """Count prime numbers, the slow way."""
    return sum(all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(2, limit))


def price_of(drink: str) -> int:
    """Raise KeyError for everything but tea."""
    return {"tea": 3}[drink]


def endless() -> None:
    """Use a processor for ever."""
    while True:
        pass


def parent_of(child: Task[..., Any]) -> Callable[[str], str]:
    """Return a function that launches `child` from inside the service and returns the id of that launch.

    A function in a function, with a task in its closure: it cannot be imported, so it travels by value.
    """

    def parent(value: str) -> str:
        return child.launch(0.1, value)

    return parent


def greeting(client: Client) -> Task[[float, str], Any]:
    """Return the task that is launched before all others, to see whether a service answers."""
    return client.task(work)


def steps(client: Client) -> list[Step]:
    """Return what to launch, all in the same moment."""
    soft = client.task(work).options(task_lifetime=AMPLE_S)
    hard = client.task(primes_below).options(hard=True)
    child = client.task(work)
    return [
        *(
            Step(title=f"at once, {number} of 3", task=soft, args=(WORK_S, number), expected=value_text(number))
            for number in (1, 2, 3)
        ),
        Step(title="tuple and bytes", task=soft, args=(0.1, ("a", b"b")), expected=value_text(("a", b"b"))),
        Step(title="coroutine", task=client.task(two_at_a_time), expected=value_text(["a", "b"])),
        Step(
            title=f"delayed by {DELAY_S:g} s",
            task=soft.options(delay=DELAY_S),
            args=(0.1, "late"),
            expected=value_text("late"),
        ),
        Step(title="count primes", task=hard, args=(PRIMES_BELOW,), expected=value_text(PRIMES)),
        Step(title="raises", task=client.task(price_of), args=("coffee",), expected=raised_text("KeyError")),
        Step(
            title="overruns",
            task=soft.options(task_lifetime=LIFETIME_S),
            args=(3 * LIFETIME_S, "too late"),
            expected=Code.TASK_TIMEOUT.value,
        ),
        Step(
            title="endless loop",
            task=client.task(endless).options(hard=True, hard_task_lifetime=HARD_LIFETIME_S),
            expected=Code.TASK_TIMEOUT.value,
        ),
        Step(title="launches another", task=client.task(parent_of(child)), args=("child",), expected=A_LAUNCH),
    ]


def child_step(client: Client) -> Step:
    """Return the launch that the step expecting `A_LAUNCH` makes inside the service."""
    return Step(title="the other one", task=client.task(work), expected=value_text("child"))
