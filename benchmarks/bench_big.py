"""Do messages of 8 MiB, or a client that does not take its answers, hold up the small tasks of another client?

The time from one small launch to its result, one at a time: alone; beside a client that launches messages as large as
they may be, one after the other; and beside one that stands still after launching 300 tasks with results of 1 MB.

Run it by hand: `python benchmarks/bench_big.py [ROUNDS]`.
"""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING

import measuring
import neighbours
import serving
from tasks import nothing

from schedulergodx import Client

if TYPE_CHECKING:
    from pathlib import Path

LAUNCHES, RESULTS = 500, 300
SHARES = {"p50": 0.5, "p99": 0.99, "longest": 1.0}


def latencies_ms(client: Client, launches: int) -> list[float]:
    """Launch small tasks and wait, one at a time."""
    task = client.task(nothing)
    task.launch().result()
    return [measuring.seconds(lambda: task.launch().result()) * 1000 for _ in range(launches)]


def measured(kind: str, url: str, database: Path, options: measuring.Options) -> list[float]:
    """Return the latencies beside a kind of neighbour; "" is none."""
    launches = options.part_of(LAUNCHES)
    with Client(name="bench-big", url=url) as client, serving.service(url, database):
        if not kind:
            return latencies_ms(client, launches)
        with neighbours.beside(kind, url, options.part_of(RESULTS)) as process:
            if kind == "slow":
                process.send_signal(signal.SIGSTOP)
            return latencies_ms(client, launches)


def main() -> None:
    """Measure, and print."""
    options = measuring.asked(__doc__)
    kinds = {"alone": "", "beside messages of 8 MiB": "big", "beside a client that takes no answers": "slow"}
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        measures = {
            f"small launch to result, {words}": partial(measured, kind, url, folder / "big.db", options)
            for words, kind in kinds.items()
        }
        found = measuring.in_turn(measures, rounds=options.rounds)
    figures = [figure for name, rounds in found.items() for figure in measuring.spread(name, "ms", rounds, SHARES)]
    measuring.tell("big", figures)


if __name__ == "__main__":
    main()
