"""How much real time does virtual time take?

Three measures, each through the real client, service, database and messages: entering and leaving a harness; a day
with 1,000 tasks spread over it, run and answered; and 10,000 launches, run and answered, at one moment.

Run it by hand: `python benchmarks/bench_harness.py [ROUNDS]`. Prints the machine, then seconds (median, lowest and
highest). `--profile day` (or `launches`, `entering`) shows where they go.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import platform
import pstats
import statistics
from typing import TYPE_CHECKING

from schedulergodx.client import Client
from schedulergodx.clock import SystemClock
from schedulergodx_testing import Harness

if TYPE_CHECKING:
    from collections.abc import Callable

DELAYED_TASKS, DAY_S = 1_000, 86_400
LAUNCHES = 10_000
CLOCK = SystemClock()

client = Client(name="bench")


@client.task
def add(a: int, b: int) -> int:
    """Do as little as a task can."""
    return a + b


def entering() -> None:
    """Open and close a harness in which nothing happens."""
    with Harness():
        pass


def day() -> None:
    """Launch tasks over a day, let it pass, and look at each answer."""
    with Harness() as scheduler:
        ids = [add.options(delay=place * DAY_S / DELAYED_TASKS).launch(place, 1) for place in range(DELAYED_TASKS)]
        scheduler.advance(days=1)
        assert [message_id.result() for message_id in ids] == list(range(1, DELAYED_TASKS + 1))


def launches() -> None:
    """Launch, and have everything run and answered."""
    with Harness() as scheduler:
        ids = [add.launch(place, 1) for place in range(LAUNCHES)]
        scheduler.run_until_idle()
        assert [message_id.result() for message_id in ids] == list(range(1, LAUNCHES + 1))


MEASURES: dict[str, tuple[Callable[[], None], int]] = {
    "entering": (entering, 20),
    "day": (day, 1),
    "launches": (launches, 1),
}
"""Each with how often it runs in one round."""


def seconds(measure: Callable[[], None], times: int) -> float:
    """Return the real seconds that one of `times` runs takes."""
    begun = CLOCK.monotonic()
    for _ in range(times):
        measure()
    return (CLOCK.monotonic() - begun) / times


def profile(name: str) -> None:
    """Print where the time of one measure goes."""
    profiler = cProfile.Profile()
    profiler.runcall(MEASURES[name][0])
    pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", nargs="?", type=int, default=5)
    parser.add_argument("--profile", choices=sorted(MEASURES))
    options = parser.parse_args()
    entering()  # imports, and the scan of modules for what virtual time replaces
    if options.profile:
        profile(options.profile)
        return
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}, {os.cpu_count()} CPUs")
    for name, (measure, times) in MEASURES.items():
        taken = [seconds(measure, times) for _ in range(options.rounds)]
        print(f"{name:8} {statistics.median(taken):8.4f} s   ({min(taken):.4f} - {max(taken):.4f})")


if __name__ == "__main__":
    main()
