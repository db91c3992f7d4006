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
    from collections.abc import Iterator
    from pathlib import Path

LAUNCHES = 300


def latencies_ms(url: str, database: Path, launches: int = LAUNCHES) -> list[float]:
    """Launch and wait, again and again, with one service; return the milliseconds of each, without the first."""
    with Client(name="bench-latency", url=url) as client, serving.service(url, database):
        task = client.task(nothing)
        task.launch().result()
        return [measuring.seconds(lambda: task.launch().result()) * 1000 for _ in range(launches)]


def figures_of(name: str, rounds: list[list[float]]) -> Iterator[measuring.Figure]:
    """Yield the median and the 99th percentile of rounds."""
    for share, words in ((0.5, "p50"), (0.99, "p99")):
        values = tuple(measuring.percentile(one, share) for one in rounds)
        yield measuring.Figure(name=f"{name}, {words}", unit="ms", values=values)


def main() -> None:
    """Measure, and print."""
    rounds = measuring.rounds_asked(__doc__)
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        file_url = f"sqlite:///{folder / 'broker.db'}"
        over_rabbitmq, over_file = [], []
        for _ in range(rounds):
            over_rabbitmq.append(latencies_ms(url, folder / "rabbitmq.db"))
            over_file.append(latencies_ms(file_url, folder / "file.db"))
    measuring.tell(
        "latency",
        [
            *figures_of("launch to result over RabbitMQ", over_rabbitmq),
            *figures_of("launch to result over one file", over_file),
        ],
    )


if __name__ == "__main__":
    main()
