"""How many launches does a client send in a second, each on the broker's disk before it counts?

From one thread, each confirmed before the next; from eight threads; in a batch, whose end waits for all confirms.
No service runs, so nothing else takes the time.

Run it by hand: `python benchmarks/bench_launch.py [ROUNDS]`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import measuring
import serving
from tasks import nothing

from schedulergodx import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.client import Task

ONE_BY_ONE, MANY, THREADS = 500, 10_000, 8


def one_by_one(task: Task[[], None], count: int) -> None:
    """Launch, and wait for each confirm."""
    for _ in range(count):
        task.launch()


def from_threads(task: Task[[], None], count: int) -> None:
    """Launch from several threads at a time, each so many."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda _: one_by_one(task, count), range(THREADS)))


def in_a_batch(client: Client, task: Task[[], None], count: int) -> None:
    """Launch, and wait for all confirms together."""
    with client.batch():
        for _ in range(count):
            task.launch()


def measures(client: Client, options: measuring.Options) -> dict[str, Callable[[], float]]:
    """Return what is measured, each in launches a second."""
    task = client.task(nothing)
    few, many = options.part_of(ONE_BY_ONE), options.part_of(MANY)
    return {
        "one thread": lambda: measuring.per_second(few, lambda: one_by_one(task, few)),
        f"{THREADS} threads": lambda: measuring.per_second(THREADS * few, lambda: from_threads(task, few)),
        "in a batch": lambda: measuring.per_second(many, lambda: in_a_batch(client, task, many)),
    }


def main() -> None:
    """Measure over RabbitMQ, and print."""
    options = measuring.asked(__doc__)
    with serving.rabbitmq_url() as url, Client(name="bench-launch", url=url) as client:
        asked = {f"launches, {name}": measure for name, measure in measures(client, options).items()}
        figures = measuring.interleaved(asked, "/s", rounds=options.rounds)
    measuring.tell("launch", figures)


if __name__ == "__main__":
    main()
