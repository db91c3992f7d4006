"""What does it cost to be there: importing the client, starting a service, its memory, and an idle minute?

Also with tasks that wait for a year: they cost disk, and no memory.

Run it by hand: `python benchmarks/bench_start.py [ROUNDS] [--waiting N]`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import measuring
import serving
from tasks import nothing

from schedulergodx import Client

WAITING, YEAR_S, IDLE_S = 50_000, 365 * 86_400.0, 5.0
TRIES = 3
_TICKS = os.sysconf("SC_CLK_TCK")


def importing_ms(statement: str) -> float:
    """Return the milliseconds that an import takes in a fresh interpreter, over what an empty one takes."""
    bare, full = (min(measuring.seconds(lambda: _run(what)) for _ in range(TRIES)) for what in ("pass", statement))  # noqa: B023
    return (full - bare) * 1000


def _run(statement: str) -> None:
    subprocess.run([sys.executable, "-c", statement], check=True)  # noqa: S603 - statements of this file


def measured(url: str, database: Path) -> tuple[float, float, float]:
    """Start a service. Return milliseconds until it has answered, its memory in MB, and its idle CPU in percent."""
    with Client(name="bench-start", url=url) as client:
        task = client.task(nothing)
        begun = measuring.CLOCK.monotonic()
        with serving.service(url, database) as process:
            task.launch().result()
            ready_ms = (measuring.CLOCK.monotonic() - begun) * 1000
            before = _cpu_s(process.pid)
            measuring.pause(IDLE_S)
            return ready_ms, _resident_mb(process.pid), (_cpu_s(process.pid) - before) / IDLE_S * 100


def let_wait(url: str, database: Path, tasks: int) -> None:
    """Have a service store tasks that are due in a year."""
    with Client(name="bench-start", url=url) as client, serving.service(url, database):
        task = client.task(nothing)
        later = task.options(delay=YEAR_S)
        with client.batch():
            for _ in range(tasks):
                later.launch()
        task.launch().result()  # it comes behind them, so they are stored


def _resident_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def main() -> None:
    """Measure, and print."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--waiting", type=int, default=WAITING)
    options = parser.parse_args()
    figures = measuring.interleaved(
        {
            "import of pika": lambda: importing_ms("import pika"),
            "import of schedulergodx.client": lambda: importing_ms("import schedulergodx.client"),
        },
        "ms",
        rounds=options.rounds,
    )
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        let_wait(url, folder / "full.db", options.waiting)
        states = {"": "empty.db", f", {options.waiting:,} tasks wait": "full.db"}
        values = {
            words: [measured(url, folder / name) for _ in range(options.rounds)] for words, name in states.items()
        }
    for words, found in values.items():
        for place, (name, unit) in enumerate((("start to first answer", "ms"), ("memory", "MB"), ("idle CPU", "%"))):
            figures.append(measuring.Figure(name=name + words, unit=unit, values=tuple(one[place] for one in found)))
    measuring.tell("start", figures)


if __name__ == "__main__":
    main()
