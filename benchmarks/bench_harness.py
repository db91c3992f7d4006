"""How much real time does virtual time take?

Through the real client, service, database and messages: entering and leaving a harness; a day with 1,000 tasks spread
over it, run and answered; 10,000 launches, run and answered, at one moment; and a year with 100,000 tasks spread over
it, which is measured once. Beside it, a year in which one task sleeps 100,000 times: what time itself costs.

In seconds. `--profile day` (or another measure) shows where they go.
"""

from __future__ import annotations

import cProfile
import pstats
import time
from functools import partial
from typing import TYPE_CHECKING

import measuring

from schedulergodx.client import Client
from schedulergodx_testing import Harness

if TYPE_CHECKING:
    from collections.abc import Callable

DAY_S = 86_400
DAYS_OF_A_YEAR = 365
A_DAY, A_YEAR, AT_ONCE = 1_000, 100_000, 10_000
"""Tasks of a day, of a year, and of one moment."""
ENTERED = 20

client = Client(name="bench")


@client.task
def add(a: int, b: int) -> int:
    """Do as little as a task can."""
    return a + b


def entering() -> None:
    """Open and close a harness in which nothing happens."""
    with Harness():
        pass


def spread(days: int, count: int) -> None:
    """Launch tasks over so many days, let them pass, and look at the answers of each day at its end."""
    with Harness() as scheduler:
        ids = [add.options(delay=place * days * DAY_S / count).launch(place, 1) for place in range(count)]
        for day in range(days):
            scheduler.advance(days=1)
            places = range(-(-day * count // days), -(-(day + 1) * count // days))
            assert [ids[place].result() for place in places] == [place + 1 for place in places]


def launches(count: int) -> None:
    """Launch, and have everything run and answered."""
    with Harness() as scheduler:
        ids = [add.launch(place, 1) for place in range(count)]
        scheduler.run_until_idle()
        assert [message_id.result() for message_id in ids] == list(range(1, count + 1))


@client.task(task_lifetime=2 * DAYS_OF_A_YEAR * DAY_S)
def sleep_on_and_on(days: int, count: int) -> None:
    """Sleep through so many days, in so many parts."""
    for _ in range(count):
        time.sleep(days * DAY_S / count)


def sleeping(days: int, count: int) -> None:
    """Let so many days pass while a task sleeps through them."""
    with Harness() as scheduler:
        message_id = sleep_on_and_on.launch(days, count)
        scheduler.advance(days=days + 1)
        assert message_id.result() is None


def measures(part_of: Callable[[int], int]) -> dict[str, Callable[[], None]]:
    """Return what is measured, with so large a part of each number."""
    return {
        "entering": entering,
        "day": partial(spread, 1, part_of(A_DAY)),
        "launches": partial(launches, part_of(AT_ONCE)),
        "year": partial(spread, DAYS_OF_A_YEAR, part_of(A_YEAR)),
        "year of sleeps": partial(sleeping, DAYS_OF_A_YEAR, part_of(A_YEAR)),
    }


def mean_entering() -> float:
    """Return the seconds of one of several, since one is short."""
    return measuring.seconds(lambda: [entering() for _ in range(ENTERED)]) / ENTERED


def profile(measure: Callable[[], None]) -> None:
    """Print where the time of one measure goes."""
    entering()  # imports, and the scan of modules for what virtual time replaces
    profiler = cProfile.Profile()
    profiler.runcall(measure)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


def main() -> None:
    """Measure, and print."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--profile", metavar="MEASURE", choices=sorted(measures(int)))
    options = measuring.asked(parser)
    measured = measures(options.part_of)
    if options.profile:
        profile(measured[options.profile])
        return
    year = measured.pop("year")
    taken = {name: partial(measuring.seconds, measure) for name, measure in measured.items()}
    figures = measuring.interleaved(taken | {"entering": mean_entering}, "s", rounds=options.rounds)
    once = measuring.Figure(name="year", unit="s", values=(measuring.seconds(year),))
    measuring.tell("harness", [*figures, once])


if __name__ == "__main__":
    main()
