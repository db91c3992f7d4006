"""How long is it from one launch to its result, one at a time? Over RabbitMQ and over one file.

Run it by hand: `python benchmarks/bench_latency.py [ROUNDS]`. Each round measures many; its median and 99th percentile
are the values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import measuring
import serving
from tasks import nothing

from schedulergodx import Client

if TYPE_CHECKING:
    from pathlib import Path

LAUNCHES = 300
SHARES = {"p50": 0.5, "p99": 0.99}


def latencies_ms(url: str, database: Path, launches: int = LAUNCHES) -> list[float]:
    """Launch and wait, again and again, with one service; return the milliseconds of each, without the first."""
    with Client(name="bench-latency", url=url) as client, serving.service(url, database):
        task = client.task(nothing)
        task.launch().result()
        return [measuring.seconds(lambda: task.launch().result()) * 1000 for _ in range(launches)]


def main() -> None:
    """Measure, and print."""
    options = measuring.asked(__doc__)
    launches = options.part_of(LAUNCHES)
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        file_url = f"sqlite:///{folder / 'broker.db'}"
        found = measuring.in_turn(
            {
                "launch to result over RabbitMQ": lambda: latencies_ms(url, folder / "rabbitmq.db", launches),
                "launch to result over one file": lambda: latencies_ms(file_url, folder / "file.db", launches),
            },
            rounds=options.rounds,
        )
    figures = [figure for name, rounds in found.items() for figure in measuring.spread(name, "ms", rounds, SHARES)]
    measuring.tell("latency", figures)


if __name__ == "__main__":
    main()
