"""How late APScheduler starts delayed jobs that it keeps in SQLite. Prints the milliseconds of each, as JSON."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime

from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
from apscheduler.schedulers.background import BackgroundScheduler

TASKS, FIRST_S, SPREAD_S = 1_000, 4.0, 5.0
late_ms: list[float] = []


def note(due_at: float) -> None:
    """Note by how much this is late."""
    late_ms.append((time.time() - due_at) * 1000)


def main(database: str) -> None:
    """Add the jobs, wait for all, and print."""
    scheduler = BackgroundScheduler(jobstores={"default": SQLAlchemyJobStore(url=f"sqlite:///{database}")})
    scheduler.start()
    begun = time.time() + FIRST_S
    for place in range(TASKS):
        due_at = begun + place * SPREAD_S / TASKS
        moment = datetime.fromtimestamp(due_at, UTC)
        scheduler.add_job("apscheduler_lateness:note", "date", run_date=moment, args=[due_at], misfire_grace_time=60)
    while len(sys.modules["apscheduler_lateness"].late_ms) < TASKS:
        time.sleep(0.1)
    print(json.dumps(sys.modules["apscheduler_lateness"].late_ms))
    scheduler.shutdown()


if __name__ == "__main__":
    import apscheduler_lateness

    apscheduler_lateness.main(sys.argv[1])
