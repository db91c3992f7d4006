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


def latenesses_ms(url: str, database: Path) -> list[float]:
    """Launch the delayed tasks at once; return by how many milliseconds each was late. Negative would be early."""
    with Client(name="bench-lateness", url=url) as client, serving.service(url, database):
        task = client.task(lateness_s)
        task.launch(0.0).result()  # the service is up
        begun = time.time() + FIRST_S
        with client.batch():
            moments = [begun + place * SPREAD_S / TASKS for place in range(TASKS)]
            ids = [task.launch_at(datetime.fromtimestamp(moment, UTC), moment) for moment in moments]
        return [message_id.result() * 1000 for message_id in ids]


def figures_of(name: str, rounds: list[list[float]]) -> list[measuring.Figure]:
    """Return the least, the median, the 99th percentile and the greatest lateness of rounds."""
    shares = {"earliest": 0.0, "p50": 0.5, "p99": 0.99, "latest": 1.0}
    return [
        measuring.Figure(
            name=f"{name}, {words}", unit="ms", values=tuple(measuring.percentile(one, share) for one in rounds)
        )
        for words, share in shares.items()
    ]


def main() -> None:
    """Measure, and print."""
    rounds = measuring.rounds_asked(__doc__)
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        measured = [latenesses_ms(url, folder / f"{place}.db") for place in range(rounds)]
    measuring.tell("lateness", figures_of("lateness of delayed tasks", measured))


if __name__ == "__main__":
    main()
