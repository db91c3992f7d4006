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
    from schedulergodx.client import Task

ONE_BY_ONE, MANY, THREADS = 500, 10_000, 8


def one_by_one(task: Task[[], None]) -> None:
    """Launch, and wait for each confirm."""
    for _ in range(ONE_BY_ONE):
        task.launch()


def from_threads(task: Task[[], None]) -> None:
    """Launch from several threads at a time."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda _: one_by_one(task), range(THREADS)))


def in_a_batch(client: Client, task: Task[[], None]) -> None:
    """Launch, and wait for all confirms together."""
    with client.batch():
        for _ in range(MANY):
            task.launch()


def main() -> None:
    """Measure over RabbitMQ, and print."""
    rounds = measuring.rounds_asked(__doc__)
    with serving.rabbitmq_url() as url, Client(name="bench-launch", url=url) as client:
        task = client.task(nothing)
        figures = measuring.interleaved(
            {
                "launches, one thread": lambda: measuring.per_second(ONE_BY_ONE, lambda: one_by_one(task)),
                f"launches, {THREADS} threads": lambda: measuring.per_second(
                    THREADS * ONE_BY_ONE, lambda: from_threads(task)
                ),
                "launches, in a batch": lambda: measuring.per_second(MANY, lambda: in_a_batch(client, task)),
            },
            "/s",
            rounds=rounds,
        )
    measuring.tell("launch", figures)


if __name__ == "__main__":
    main()
