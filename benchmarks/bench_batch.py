"""What does it bring to do many things together: launches in a batch, and events in a turn of the service?

Launches a second, when so many share one `client.batch()`; and tasks answered a second, when a turn of the service,
which is one commit, takes at most so many events. For the latter, launches travel one by one: no bundle is divided.
`plots.py` draws both.

Run it by hand: `python benchmarks/bench_batch.py [ROUNDS]`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import bench_end_to_end
import measuring
import serving
from tasks import nothing

from schedulergodx import Client

if TYPE_CHECKING:
    from schedulergodx.client import Task

SIZES = (1, 10, 100, 1_000)
LAUNCHES_MAX, BATCHES_MAX = 10_000, 300
TASKS, TASKS_A_TURN_MAX = 10_000, 1_000
LAUNCHES, ANSWERS = "launches, {} in a batch", "tasks answered, {} events in a turn"


def launches_per_second(client: Client, task: Task[[], None], size: int, count: int) -> float:
    """Launch so many, in batches of a size."""

    def launch() -> None:
        for _ in range(count // size):
            with client.batch():
                for _ in range(size):
                    task.launch()

    return measuring.per_second(count // size * size, launch)


def main() -> None:
    """Measure over RabbitMQ, and print."""
    options = measuring.asked(__doc__)
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        with Client(name="bench-batch", url=url, request_queue="bench-batch") as client:
            task = client.task(nothing)
            launches = {
                LAUNCHES.format(f"{size:,}"): partial(
                    launches_per_second, client, task, size, options.part_of(min(LAUNCHES_MAX, size * BATCHES_MAX))
                )
                for size in SIZES
            }
            figures = measuring.interleaved(launches, "/s", rounds=options.rounds)
        answers = {
            ANSWERS.format(f"{size:,}"): partial(
                bench_end_to_end.answered_per_second,
                url,
                folder / f"{size}.db",
                options.part_of(min(TASKS, size * TASKS_A_TURN_MAX)),
                message_bytes_max=bench_end_to_end.ALONE_BYTES_MAX,
                events_per_turn_max=size,
            )
            for size in SIZES
        }
        figures += measuring.interleaved(answers, "tasks/s", rounds=options.rounds)
    measuring.tell("batch", figures)


if __name__ == "__main__":
    main()
