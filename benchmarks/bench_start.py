"""What does it cost to be there: importing the client, starting a service, its memory, and being idle?

Run it by hand: `python benchmarks/bench_start.py [ROUNDS]`. `bench_waiting.py` asks the same with tasks that wait.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import measuring
import serving
from tasks import nothing

from schedulergodx import Client

if TYPE_CHECKING:
    from pathlib import Path

IDLE_S = 20.0
TRIES = 5
COLUMNS = {"start to first answer": "ms", "memory, idle": "MB", "CPU, idle": "%"}


def importing_ms(statement: str) -> float:
    """Return the milliseconds that an import takes in a fresh interpreter, over what an empty one takes."""
    empty_s = min(measuring.seconds(lambda: _run("pass")) for _ in range(TRIES))
    full_s = min(measuring.seconds(lambda: _run(statement)) for _ in range(TRIES))
    return (full_s - empty_s) * 1000


def _run(statement: str) -> None:
    subprocess.run([sys.executable, "-c", statement], check=True)  # noqa: S603 - statements of this file


def being_there(url: str, database: Path, idle_s: float) -> tuple[float, float, float]:
    """Start a service. Return milliseconds until it has answered, its memory in MB, and its idle CPU in percent."""
    with Client(name="bench-start", url=url) as client:
        launched = client.task(nothing).launch()
        begun = measuring.CLOCK.monotonic()
        with serving.service(url, database) as process:
            launched.result()
            ready_ms = (measuring.CLOCK.monotonic() - begun) * 1000
            measuring.pause(1)  # what belongs to the start is over
            before_s = serving.cpu_s(process.pid)
            measuring.pause(idle_s)
            used_s = serving.cpu_s(process.pid) - before_s
            return ready_ms, serving.resident_mb(process.pid), used_s / idle_s * 100


def main() -> None:
    """Measure, and print."""
    options = measuring.asked(__doc__)
    imports = {
        "import of pika": lambda: importing_ms("import pika"),
        "import of schedulergodx.client": lambda: importing_ms("import schedulergodx.client"),
    }
    figures = measuring.interleaved(imports, "ms", rounds=options.rounds)
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        idle_s = max(1.0, IDLE_S * options.scale)
        found = measuring.repeated(lambda: being_there(url, folder / "empty.db", idle_s), rounds=options.rounds)
    measuring.tell("start", [*figures, *measuring.in_columns(found, COLUMNS)])


if __name__ == "__main__":
    main()
