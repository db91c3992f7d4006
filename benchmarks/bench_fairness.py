"""A client floods the service with 20,000 launches; how long does another client wait for a single one?

Asked three times: when nothing else is there; as the flood begins; and once all of it is launched. Beside the last
stands how long what was left of the flood took. docs/performance.md states the bound.

Run it by hand: `python benchmarks/bench_fairness.py [ROUNDS]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import measuring
import neighbours
import serving
from tasks import nothing

from schedulergodx import Client

if TYPE_CHECKING:
    from pathlib import Path

FLOOD = 20_000
COLUMNS = {
    "single launch to result, nothing else": "ms",
    "single launch to result, as the flood begins": "ms",
    "single launch to result, the flood is launched": "ms",
    "rest of the flood, from then to its last result": "ms",
}


def measured(url: str, database: Path, flood: int) -> tuple[float, ...]:
    """Return the values of `COLUMNS`."""
    clock = measuring.CLOCK
    with Client(name="bench-single", url=url) as client, serving.service(url, database):
        task = client.task(nothing)
        task.launch().result()
        spans_s = [measuring.seconds(lambda: task.launch().result())]
        with neighbours.beside("flood", url, flood) as process:
            spans_s.append(measuring.seconds(lambda: task.launch().result()))
            neighbours.wait_for(process, neighbours.LAUNCHED)
            begun = clock.monotonic()
            spans_s.append(measuring.seconds(lambda: task.launch().result()))
            neighbours.wait_for(process, neighbours.ANSWERED)
            spans_s.append(clock.monotonic() - begun)
    return tuple(span_s * 1000 for span_s in spans_s)


def main() -> None:
    """Measure, and print."""
    options = measuring.asked(__doc__)
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        flood = options.part_of(FLOOD)
        found = measuring.repeated(lambda: measured(url, folder / "fairness.db", flood), rounds=options.rounds)
    measuring.tell("fairness", measuring.in_columns(found, COLUMNS), flood=f"{flood:,}")


if __name__ == "__main__":
    main()
