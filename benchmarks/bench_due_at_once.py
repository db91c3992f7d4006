"""What happens when 100,000 tasks are due at the same second?

All of them are stored before. Each tells how late it began: so it is seen that all ran, when the first one began and
when the last; and the service's memory, before that second and at its highest.

Run it by hand: `python benchmarks/bench_due_at_once.py [ROUNDS]`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import measuring
import serving
from tasks import lateness_s, nothing

from schedulergodx import Client

if TYPE_CHECKING:
    from pathlib import Path

TASKS = 100_000
FIRST_S, STORED_PER_S = 10.0, 2_500
"""The moment lies so far ahead that a slow service has stored them all before."""
WAIT_S = 3600.0
COLUMNS = {
    "first began, late by": "ms",
    "last began, late by": "s",
    "tasks that ran": "tasks",
    "tasks, from their moment to the last": "tasks/s",
    "memory before": "MB",
    "memory at its highest": "MB",
}


def measured(url: str, database: Path, tasks: int) -> tuple[float, ...]:
    """Return the values of `COLUMNS`."""
    with Client(name="bench-due", url=url) as client, serving.service(url, database) as process:
        moment = datetime.now(UTC) + timedelta(seconds=FIRST_S + tasks / STORED_PER_S)
        task = client.task(lateness_s).options(enable_overdue=True)  # the last ones are late
        with client.batch():
            ids = [task.launch_at(moment, moment.timestamp()) for _ in range(tasks)]
        client.task(nothing).launch().result(WAIT_S)  # it comes behind them, so they are stored
        assert datetime.now(UTC) < moment, "not all were stored before their moment: the machine is too slow"
        before_mb = serving.resident_mb(process.pid)
        late_s = [message_id.result(WAIT_S) for message_id in ids]
        peak_mb = serving.resident_mb(process.pid, is_peak=True)
    return min(late_s) * 1000, max(late_s), len(late_s), tasks / max(late_s), before_mb, peak_mb


def main() -> None:
    """Measure, and print."""
    options = measuring.asked(__doc__)
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        tasks = options.part_of(TASKS)
        found = measuring.repeated(lambda: measured(url, folder / "due.db", tasks), rounds=options.rounds)
    measuring.tell("due_at_once", measuring.in_columns(found, COLUMNS), tasks=f"{tasks:,}")


if __name__ == "__main__":
    main()
