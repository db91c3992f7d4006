"""What do tasks cost that wait for a year: memory, a later start, or the pace of what is due?

A service on an empty database is compared with one where few (50,000) wait, and with one where many (1,000,000) do:
its memory when it is idle, its start to the first answer, the tasks it answers in a second, and how late delayed ones
are. What waits is stored by `DB.add`, as a service stores it, and sealed.

Run it by hand: `python benchmarks/bench_waiting.py [ROUNDS]`.
"""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import bench_end_to_end
import bench_lateness
import bench_start
import measuring
import serving
from tasks import nothing

from schedulergodx.rules.tasks import TaskSpec
from schedulergodx.utils.id_generators import ulid_generator
from schedulergodx.utils.keys.source import Keys
from schedulergodx.utils.message.seals import Seals
from schedulergodx.utils.storage import DB
from schedulergodx_testing.specs import make_task

if TYPE_CHECKING:
    from pathlib import Path

WAITING = {"none": 0, "few": 50_000, "many": 1_000_000}
DUE_TASKS, DELAYED_TASKS, GROUP, IDLE_S = 10_000, 1_000, 1_000, 1.0
YEAR = timedelta(days=365)
COLUMNS = {
    "memory, idle": "MB",
    "start to first answer": "ms",
    "due tasks, answered": "tasks/s",
    "lateness, p50": "ms",
    "lateness, p99": "ms",
}


def fill(path: Path, tasks: int) -> None:
    """Store tasks that are due in a year."""
    now = measuring.CLOCK.now()
    pattern = make_task(nothing, by="name")
    facts = {field.name: getattr(pattern, field.name) for field in fields(TaskSpec)}
    facts |= {"issued_at": now, "is_delayed": True}
    ids, seals, database = ulid_generator(), Seals(Keys().ring), DB(path)
    database.open(owner="benchmark", now=now)
    for first in range(0, tasks, GROUP):
        with database.transaction():
            for place in range(first, min(first + GROUP, tasks)):
                moment = now + YEAR + timedelta(seconds=place)
                task = TaskSpec(**(facts | {"message_id": next(ids), "run_at": moment}))
                database.add(seals.seal(task), now=now)
    database.close()


def measured(url: str, database: Path, options: measuring.Options) -> tuple[float, ...]:
    """Return the values of `COLUMNS` for a service on a database."""
    ready_ms, memory_mb, _ = bench_start.being_there(url, database, IDLE_S)
    rate = bench_end_to_end.answered_per_second(url, database, options.part_of(DUE_TASKS))
    late_ms = bench_lateness.latenesses_ms(url, database, options.part_of(DELAYED_TASKS))
    return memory_mb, ready_ms, rate, measuring.percentile(late_ms, 0.5), measuring.percentile(late_ms, 0.99)


def main() -> None:
    """Measure, and print."""
    options = measuring.asked(__doc__)
    waiting = {words: options.part_of(tasks) for words, tasks in WAITING.items()}
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        for words, tasks in waiting.items():
            fill(folder / f"{words}.db", tasks)
        measures = {words: partial(measured, url, folder / f"{words}.db", options) for words in waiting}
        found = measuring.in_turn(measures, rounds=options.rounds)
    figures = []
    for words, rounds in found.items():
        figures += measuring.in_columns(rounds, {f"{words} waiting: {name}": unit for name, unit in COLUMNS.items()})
    measuring.tell("waiting", figures, **{words: f"{tasks:,}" for words, tasks in waiting.items()})


if __name__ == "__main__":
    main()
