"""What does virtual time cost: opening a world, a turn of a thread, a sleep, a lock, a look at the clock?

Run it by hand: `python benchmarks/bench_virtual_world.py`. Prints the machine, then microseconds each.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from datetime import UTC
from typing import TYPE_CHECKING

from schedulergodx.clock import SystemClock
from schedulergodx_testing.clock import FakeClock
from schedulergodx_testing.world import World
from schedulergodx_testing.world.choices import Choices
from schedulergodx_testing.world.interpose import interposed

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, OPENINGS, THREADS, QUICK_ROUNDS = 5_000, 100, 200, 100_000
CLOCK = SystemClock()  # the real one, also inside


def measure(name: str, count: int, action: Callable[[], None]) -> None:
    """Print how long one of `count` takes."""
    start_s = CLOCK.monotonic()
    action()
    print(f"{name:<50}{(CLOCK.monotonic() - start_s) / count * 1e6:10.1f}")


def repeat(count: int, action: Callable[[], object]) -> Callable[[], None]:
    """Return a function that does it so many times."""

    def repeated() -> None:
        for _ in range(count):
            action()

    return repeated


def open_world() -> None:
    """Open one, and close it."""
    with interposed(World(FakeClock(), Choices()), UTC):
        pass


def run_threads(*bodies: Callable[[], None]) -> None:
    """Run them at the same time."""
    threads = [threading.Thread(target=body) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """Measure everything."""
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} processors; microseconds")
    measure("open and close a world, the first time", 1, open_world)
    measure("open and close a world", OPENINGS, repeat(OPENINGS, open_world))
    lock = threading.Lock()

    def use_lock() -> None:
        with lock:
            pass

    with interposed(World(FakeClock(), Choices()), UTC):
        sleep, pause = repeat(ROUNDS, lambda: time.sleep(1)), repeat(ROUNDS, lambda: time.sleep(0))
        measure("a turn, between two threads", 2 * ROUNDS, lambda: run_threads(pause, pause))
        measure("a sleep in a thread", ROUNDS, lambda: run_threads(sleep))
        measure("a sleep in the test", ROUNDS, sleep)
        measure("a thread, started and joined", THREADS, repeat(THREADS, lambda: run_threads(lambda: None)))
        measure("a lock, taken and given back", QUICK_ROUNDS, repeat(QUICK_ROUNDS, use_lock))
        measure("time.time()", QUICK_ROUNDS, repeat(QUICK_ROUNDS, time.time))


if __name__ == "__main__":
    main()
