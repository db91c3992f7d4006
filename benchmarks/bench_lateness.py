"""How late do delayed tasks start? 1,000 of them, spread over the seconds from 1 to 6.

Run it by hand: `python benchmarks/bench_lateness.py [ROUNDS]`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import measuring
import serving
from tasks import lateness_s

from schedulergodx import Client

if TYPE_CHECKING:
    from pathlib import Path

TASKS, FIRST_S, SPREAD_S = 1_000, 1.0, 5.0
SHARES = {"earliest": 0.0, "p50": 0.5, "p99": 0.99, "latest": 1.0}


def latenesses_ms(url: str, database: Path, tasks: int = TASKS) -> list[float]:
    """Launch the delayed tasks at once; return by how many milliseconds each was late. Negative would be early."""
    with Client(name="bench-lateness", url=url) as client, serving.service(url, database):
        task = client.task(lateness_s)
        task.launch(0.0).result()  # the service is up
        begun = time.time() + FIRST_S
        with client.batch():
            moments = [begun + place * SPREAD_S / tasks for place in range(tasks)]
            ids = [task.launch_at(datetime.fromtimestamp(moment, UTC), moment) for moment in moments]
        return [message_id.result() * 1000 for message_id in ids]


def main() -> None:
    """Measure, and print."""
    options = measuring.asked(__doc__)
    tasks = options.part_of(TASKS)
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        name = "lateness of delayed tasks"
        found = measuring.in_turn({name: lambda: latenesses_ms(url, folder / "late.db", tasks)}, rounds=options.rounds)
    measuring.tell("lateness", measuring.spread(name, "ms", found[name], SHARES))


if __name__ == "__main__":
    main()
