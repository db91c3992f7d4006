"""How many tasks go through in a second, from the queue to the answer at the client?

No-op tasks are queued before, a service with eight threads starts, and the time runs from the first answer at the
client to the last. Each task is stored, run, its outcome stored and its answer confirmed: nothing is lost by a kill.

Run it by hand: `python benchmarks/bench_end_to_end.py [ROUNDS]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import measuring
import serving
from tasks import nothing

from schedulergodx import Client
from schedulergodx.config import MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path

TASKS = 20_000
ALONE_BYTES_MAX = 2_000
"""A launch of these tasks is within it, two are not: a client that sends no larger message makes no bundles."""


def answered_per_second(
    url: str, place: Path, tasks: int = TASKS, *, message_bytes_max: int = MESSAGE_BYTES_MAX, **limits: float
) -> float:
    """Queue tasks, serve them, and return how many answers came in a second."""
    with Client(name="bench", url=url, message_bytes_max=message_bytes_max) as client:
        task = client.task(nothing)
        with client.batch():
            ids = [task.launch() for _ in range(tasks)]
        with serving.service(url, place, **limits):
            ids[0].result()
            return measuring.per_second(tasks - 1, lambda: [message_id.result() for message_id in ids[1:]])


def main() -> None:
    """Measure over RabbitMQ and over one file, and print."""
    options = measuring.asked(__doc__)
    tasks = options.part_of(TASKS)
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        file_url = f"sqlite:///{folder / 'broker.db'}"
        figures = measuring.interleaved(
            {
                "end to end over RabbitMQ": lambda: answered_per_second(url, folder / "rabbitmq.db", tasks),
                "end to end over one file": lambda: answered_per_second(file_url, folder / "file.db", tasks),
            },
            "tasks/s",
            rounds=options.rounds,
        )
    measuring.tell("end_to_end", figures)


if __name__ == "__main__":
    main()
