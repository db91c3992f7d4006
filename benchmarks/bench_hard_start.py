"""How long does a trivial hard task take, from `start` to its `Finished`, and how many go through in a second?

Run it by hand: `python benchmarks/bench_hard_start.py`. Prints the machine, then milliseconds (median, 5-95 %).
"""

from __future__ import annotations

import os
import platform
import statistics
from queue import SimpleQueue
from typing import TYPE_CHECKING

from schedulergodx.clock import SystemClock
from schedulergodx.rules.lifecycle import Code
from schedulergodx.service.runner import LocalRunner
from schedulergodx_testing.specs import make_task

if TYPE_CHECKING:
    from schedulergodx.utils.abstractions import Finished

COLD_ROUNDS, WARM_ROUNDS, WARM_UP_ROUNDS = 10, 300, 5
THROUGHPUT_TASKS = 300
CLOCK = SystemClock()


class Bench:
    """A runner for two hard tasks at a time, and the queue of what it tells."""

    def __init__(self) -> None:
        self.runner = LocalRunner(threads=1, processes=2)
        self.inbox: SimpleQueue[Finished] = SimpleQueue()
        self.runner.listen(self.inbox.put)

    def start(self) -> None:
        """Start one task."""
        self.runner.start(make_task(abs, -1, is_hard=True), start_number=1)

    def finish(self) -> None:
        """Wait for the end of one."""
        assert self.inbox.get(timeout=30).report.code is Code.OK

    def one(self) -> float:
        """Run one task. Returns its milliseconds."""
        started = CLOCK.monotonic()
        self.start()
        self.finish()
        return (CLOCK.monotonic() - started) * 1000


def cold() -> list[float]:
    """The first task of a new runner: the fork server has to start."""
    times = []
    for _ in range(COLD_ROUNDS):
        bench = Bench()
        times.append(bench.one())
        bench.runner.close()
    return times


def warm(bench: Bench) -> list[float]:
    """One task after the other."""
    for _ in range(WARM_UP_ROUNDS):
        bench.one()
    return [bench.one() for _ in range(WARM_ROUNDS)]


def tasks_per_second(bench: Bench) -> float:
    """As many at a time as there is room for."""
    begun = CLOCK.monotonic()
    started = ended = 0
    while ended < THROUGHPUT_TASKS:
        while started < THROUGHPUT_TASKS and bench.runner.capacity().hard:
            bench.start()
            started += 1
        bench.finish()
        ended += 1
    return THROUGHPUT_TASKS / (CLOCK.monotonic() - begun)


def line(name: str, times: list[float]) -> str:
    """Return a line of the table."""
    cuts = statistics.quantiles(times, n=20)
    return f"{name:6} {statistics.median(times):7.2f} ms   ({cuts[0]:.2f} - {cuts[-1]:.2f})"


if __name__ == "__main__":
    print(
        f"{platform.python_implementation()} {platform.python_version()}, {platform.platform()}, {os.cpu_count()} CPUs"
    )
    print(line("cold", cold()))
    warmed = Bench()
    print(line("warm", warm(warmed)))
    print(f"{tasks_per_second(warmed):.0f} tasks/s, two at a time")
    warmed.runner.close()
