"""Does the memory of a service grow with the tasks that it has answered?

1,000,000 tasks go through one service, 50,000 at a time; after each of these, its memory. It is to be flat after the
first 100,000.

Run it by hand: `python benchmarks/bench_memory.py [--tasks N]`. It takes some ten minutes, and has no rounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import measuring
import serving
from tasks import nothing

from schedulergodx import Client

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from schedulergodx.client import Task

TASKS, STEP, BATCH = 1_000_000, 50_000, 5_000


def answered(client: Client, task: Task[[], None], count: int) -> None:
    """Have so many tasks answered, a batch at a time."""
    for first in range(0, count, BATCH):
        with client.batch():
            ids = [task.launch() for _ in range(min(BATCH, count - first))]
        for message_id in ids:
            message_id.result()


def memory_mb(url: str, database: Path, tasks: int, step: int) -> Iterator[float]:
    """Yield the memory of the service after each step."""
    with Client(name="bench-memory", url=url) as client, serving.service(url, database) as process:
        task = client.task(nothing)
        for done in range(step, tasks + 1, step):
            answered(client, task, step)
            found_mb = serving.resident_mb(process.pid)
            print(f"{done:>9,} tasks: {found_mb:.1f} MB", flush=True)
            yield found_mb


def main() -> None:
    """Measure, and print."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS)
    options = measuring.asked(parser)
    step = options.part_of(STEP)
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        found = list(memory_mb(url, folder / "memory.db", options.part_of(options.tasks), step))
    named = {f"memory after {(place + 1) * step:,} tasks": value for place, value in enumerate(found)}
    settled = found[max(1, len(found) // 10) - 1 :]
    named |= {"growth after the first tenth": settled[-1] - settled[0]}
    named |= {"the most after the first tenth, above it": max(settled) - settled[0]}
    measuring.tell("memory", [measuring.Figure(name=name, unit="MB", values=(value,)) for name, value in named.items()])


if __name__ == "__main__":
    main()
