"""The same questions to schedulergodx and to its peers, interleaved in one run, on one broker.

Guarantees differ, and stand in the names: "answered" means durable queue, persistent messages, outcome at the client.
schedulergodx also has each task, its start and its outcome on disk (`synchronous=FULL`). Dramatiq and Taskiq have no
results over RabbitMQ, so they are measured without.

Run it by `make bench-peers`, or by hand: `python benchmarks/bench_peers.py PYTHON [ROUNDS] [--tasks N]`, where PYTHON
is an interpreter with `peers/requirements.txt` installed.
"""

from __future__ import annotations

import json
import os
import subprocess
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench_end_to_end
import bench_latency
import bench_lateness
import bench_launch
import measuring
import serving
from tasks import nothing

from schedulergodx import Client

if TYPE_CHECKING:
    from collections.abc import Callable

PEERS = Path(__file__).parent / "peers"
OURS = "schedulergodx"


class Peers:
    """Asks peers, each in a fresh process."""

    def __init__(self, python: str, url: str, folder: Path, tasks: int) -> None:
        self._python = python
        self._url = url
        self._folder = folder
        self._tasks = tasks
        self._numbers = count()

    def ask(self, question: str, peer: str, *, is_confirmed: bool = False, is_file: bool = False) -> Any:
        """Return what a peer says to a question."""
        place = self._folder / f"peer-{next(self._numbers)}"
        facts = {
            "PEER_URL": f"{place}.db" if is_file else self._url,
            "PEER_TASKS": str(self._tasks),
            "PEER_REPORT": str(place),
            "PEER_CONFIRMS": "1" if is_confirmed else "",
        }
        return self._run("ask.py", question, peer, **facts)

    def lateness_ms(self) -> list[float]:
        """Return by how many milliseconds APScheduler's jobs were late."""
        late: list[float] = self._run("apscheduler_lateness.py", str(self._folder / f"jobs-{next(self._numbers)}.db"))
        return late

    def versions(self) -> dict[str, str]:
        """Return what is compared with."""
        found: dict[str, str] = self._run(
            "-c",
            "import json; from importlib.metadata import version; "
            "print(json.dumps({name: version(name) for name in "
            "('celery', 'dramatiq', 'taskiq', 'taskiq-aio-pika', 'huey', 'apscheduler')}))",
        )
        return found

    def _run(self, *arguments: str, **environment: str) -> Any:
        ended = subprocess.run(  # noqa: S603 - scripts of this folder
            [self._python, *arguments],
            cwd=PEERS,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            check=True,
            timeout=900,
        )
        return json.loads(ended.stdout.splitlines()[-1])


def throughput(peers: Peers, url: str, folder: Path, tasks: int, rounds: int) -> list[measuring.Figure]:
    """Measure tasks a second from the queue to their end."""
    numbers = count()

    def ours(broker: str) -> float:
        return bench_end_to_end.answered_per_second(broker, folder / f"ours-{next(numbers)}.db", tasks)

    file_url = f"sqlite:///{folder / 'broker.db'}"
    return measuring.interleaved(
        {
            f"end to end, answered: {OURS}, RabbitMQ": lambda: ours(url),
            "end to end, answered: Celery, rpc": lambda: peers.ask("answered", "celery_app"),
            "end to end, no results: Celery": lambda: peers.ask("end-to-end", "celery_app"),
            "end to end, no results: Dramatiq": lambda: peers.ask("end-to-end", "dramatiq_app"),
            "end to end, no results: Taskiq": lambda: peers.ask("end-to-end", "taskiq_app"),
            f"end to end, answered: {OURS}, one file": lambda: ours(file_url),
            "end to end, answered: Huey, SQLite": lambda: peers.ask("answered", "huey_app", is_file=True),
        },
        "tasks/s",
        rounds=rounds,
    )


def launching(peers: Peers, url: str, rounds: int) -> list[measuring.Figure]:
    """Measure launches a second from one client."""
    with Client(name="bench-peers", url=url, request_queue="bench-launching") as client:
        task = client.task(nothing)
        alone: Callable[[], float] = lambda: measuring.per_second(  # noqa: E731 - one of a table of measures
            bench_launch.ONE_BY_ONE, lambda: bench_launch.one_by_one(task)
        )
        return measuring.interleaved(
            {
                f"launches, each confirmed: {OURS}": alone,
                "launches, each confirmed: Dramatiq": lambda: peers.ask("launching", "dramatiq_app", is_confirmed=True),
                "launches, not confirmed: Dramatiq": lambda: peers.ask("launching", "dramatiq_app"),
                f"launches, in a batch: {OURS}": lambda: measuring.per_second(
                    bench_launch.MANY, lambda: bench_launch.in_a_batch(client, task)
                ),
            },
            "/s",
            rounds=rounds,
        )


def delays(peers: Peers, url: str, folder: Path, rounds: int) -> list[measuring.Figure]:
    """Measure the time from one launch to its result, and how late delayed tasks are."""
    file_url = f"sqlite:///{folder / 'latency.db'}"
    asked: dict[str, Callable[[], list[float]]] = {
        f"one at a time: {OURS}, RabbitMQ": lambda: bench_latency.latencies_ms(url, folder / "one.db"),
        "one at a time: Celery, rpc": lambda: peers.ask("latency", "celery_app"),
        f"one at a time: {OURS}, one file": lambda: bench_latency.latencies_ms(file_url, folder / "two.db"),
        "one at a time: Huey, SQLite": lambda: peers.ask("latency", "huey_app", is_file=True),
    }
    late: dict[str, Callable[[], list[float]]] = {
        f"lateness: {OURS}": lambda: bench_lateness.latenesses_ms(url, folder / "late.db"),
        "lateness: APScheduler, SQLite": peers.lateness_ms,
    }
    found = {name: [] for name in (*asked, *late)}  # type: dict[str, list[list[float]]]
    for _ in range(rounds):
        for name, measure in (*asked.items(), *late.items()):
            found[name].append(measure())
    figures = [figure for name in asked for figure in bench_latency.figures_of(name, found[name])]
    return [*figures, *(figure for name in late for figure in bench_lateness.figures_of(name, found[name]))]


def ratios(figures: list[measuring.Figure]) -> list[str]:
    """Return, for each figure of ours, how it compares with those of peers that answer the same question."""
    lines = []
    for ours in figures:
        question, _, who = ours.name.partition(": ")
        if not who.startswith(OURS):
            continue
        part = _part(who)
        for other in figures:
            other_question, _, other_who = other.name.partition(": ")
            if OURS in other_who or _part(other_who) != part or other.unit != ours.unit:
                continue
            if question.split(",")[0] == other_question.split(",")[0] and other.median:
                lines.append(f"{ours.median / other.median:8.2f} x  {ours.name}  /  {other.name}")
    return lines


def _part(who: str) -> str:
    """Return what of a distribution a figure is, e.g. `p50`, or ""."""
    last = who.rpartition(", ")[2]
    return last if last in {"p50", "p99", "earliest", "latest"} else ""


def main() -> None:
    """Measure all, and print the table with its ratios."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--python", required=True, help="an interpreter with peers/requirements.txt")
    parser.add_argument("--tasks", type=int, default=bench_end_to_end.TASKS)
    options = parser.parse_args()
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        peers = Peers(options.python, url, folder, options.tasks)
        figures = throughput(peers, url, folder, options.tasks, options.rounds)
        figures += launching(peers, url, options.rounds)
        figures += delays(peers, url, folder, options.rounds)
        measuring.tell("peers", figures, **peers.versions())
    print("\nratios of medians (tasks a second: more is better; milliseconds: less is)")
    print("\n".join(ratios(figures)))


if __name__ == "__main__":
    main()
