"""The same questions to schedulergodx and to its peers, interleaved in one run, on one broker.

Guarantees differ, and stand in the names: "answered" means durable queue, persistent messages, outcome at the client.
schedulergodx also has each task, its start and its outcome on disk (`synchronous=FULL`), and signs every message.
Dramatiq and Taskiq keep results in a Redis, without its persistence; without a redis-server these rows are left out.

Run it by `make bench-peers`, which ends with the table of `targets.py`, or by hand:
`python benchmarks/bench_peers.py --python PYTHON [ROUNDS] [--tasks N]`, where PYTHON is an interpreter with
`peers/requirements.txt` installed.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, TypeVar

import bench_end_to_end
import bench_latency
import bench_lateness
import bench_launch
import bench_start
import limits
import measuring
import serving
import targets
from peers_asked import NO_REDIS, Peers, redis_url

from schedulergodx import Client

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OURS = targets.OURS
T = TypeVar("T")


class Comparison:
    """Everything that is asked, on one broker and in one folder."""

    def __init__(self, peers: Peers, url: str, folder: Path, tasks: int, options: measuring.Options) -> None:
        self._peers = peers
        self._url = url
        self._folder = folder
        self._tasks = tasks
        self._options = options
        self._numbers = count()

    def figures(self) -> list[measuring.Figure]:
        """Measure all."""
        return [*self.throughput(), *self.launching(), *self.latency(), *self.lateness(), *self.starting()]

    def throughput(self) -> list[measuring.Figure]:
        """Measure tasks a second from the queue to their end."""
        ask = self._peers.ask
        asked: dict[str, Callable[[], float]] = {
            f"end to end, answered: {OURS}, RabbitMQ": lambda: self._answered_per_second(self._url),
            "end to end, answered: Celery, rpc": lambda: ask("answered", "celery_app"),
            "end to end, answered: Dramatiq, Redis": lambda: ask("answered", "dramatiq_app"),
            "end to end, answered: Taskiq, Redis": lambda: ask("answered", "taskiq_app"),
            "end to end, no results: Celery": lambda: ask("end-to-end", "celery_app"),
            "end to end, no results: Dramatiq": lambda: ask("end-to-end", "dramatiq_app"),
            "end to end, no results: Taskiq": lambda: ask("end-to-end", "taskiq_app"),
            f"end to end, answered: {OURS}, one file": lambda: self._answered_per_second(self._file_url("many")),
            "end to end, answered: Huey, SQLite": lambda: ask("answered", "huey_app", is_file=True),
        }
        return measuring.interleaved(self._askable(asked), "tasks/s", rounds=self._options.rounds)

    def launching(self) -> list[measuring.Figure]:
        """Measure launches a second from one client."""
        ask = self._peers.ask
        with Client(name="bench-peers", url=self._url, request_queue="bench-launching") as client:
            ours = bench_launch.measures(client, self._options)
            asked = {f"launches, confirmed: {OURS}, {words}": measure for words, measure in ours.items()}
            asked |= {
                "launches, confirmed: Dramatiq": lambda: ask("launching", "dramatiq_app", is_confirmed=True),
                "launches, not confirmed: Dramatiq": lambda: ask("launching", "dramatiq_app"),
            }
            return measuring.interleaved(asked, "/s", rounds=self._options.rounds)

    def latency(self) -> list[measuring.Figure]:
        """Measure the time from one launch to its result, one at a time."""
        ask, launches = self._peers.ask, self._options.part_of(bench_latency.LAUNCHES)
        asked: dict[str, Callable[[], list[float]]] = {
            f"one at a time: {OURS}, RabbitMQ": lambda: self._latencies_ms(self._url, launches),
            "one at a time: Celery, rpc": lambda: ask("latency", "celery_app"),
            "one at a time: Dramatiq, Redis": lambda: ask("latency", "dramatiq_app"),
            "one at a time: Taskiq, Redis": lambda: ask("latency", "taskiq_app"),
            "one at a time: bare pika, to a worker and back": lambda: limits.echo_ms(self._url, 1)[0],
            f"one at a time: {OURS}, one file": lambda: self._latencies_ms(self._file_url("one"), launches),
            "one at a time: Huey, SQLite": lambda: ask("latency", "huey_app", is_file=True),
        }
        return self._spread(self._askable(asked), bench_latency.SHARES)

    def lateness(self) -> list[measuring.Figure]:
        """Measure how late delayed tasks are."""
        tasks = self._options.part_of(bench_lateness.TASKS)
        asked: dict[str, Callable[[], list[float]]] = {
            f"lateness: {OURS}": lambda: bench_lateness.latenesses_ms(self._url, self._database("late"), tasks),
            "lateness: APScheduler, SQLite": self._peers.lateness_ms,
            "lateness: a thread that sleeps and counts": lambda: limits.bare_latenesses_ms(tasks),
        }
        return self._spread(asked, bench_lateness.SHARES)

    def starting(self) -> list[measuring.Figure]:
        """Measure the time from the start of a service, or worker, to its first task."""
        asked = {
            f"start to first task: {OURS}": lambda: bench_start.being_there(self._url, self._database("start"), 0.1)[0],
            "start to first task: Dramatiq": lambda: self._peers.ask("starting", "dramatiq_app", tasks=1),
        }
        return measuring.interleaved(asked, "ms", rounds=self._options.rounds)

    def _spread(self, asked: dict[str, Callable[[], list[float]]], shares: dict[str, float]) -> list[measuring.Figure]:
        found = measuring.in_turn(asked, rounds=self._options.rounds)
        return [figure for name, rounds in found.items() for figure in measuring.spread(name, "ms", rounds, shares)]

    def _askable(self, asked: dict[str, Callable[[], T]]) -> dict[str, Callable[[], T]]:
        has_results = self._peers.has_results
        return {name: measure for name, measure in asked.items() if has_results or not name.endswith(", Redis")}

    def _answered_per_second(self, url: str) -> float:
        return bench_end_to_end.answered_per_second(url, self._database(f"ours-{next(self._numbers)}"), self._tasks)

    def _latencies_ms(self, url: str, launches: int) -> list[float]:
        return bench_latency.latencies_ms(url, self._database(f"ours-{next(self._numbers)}"), launches)

    def _database(self, name: str) -> Path:
        return self._folder / f"{name}.db"

    def _file_url(self, name: str) -> str:
        return f"sqlite:///{self._folder / f'broker-{name}.db'}"


def main() -> None:
    """Measure all, and print the figures and the table of targets."""
    parser = measuring.parser(__doc__)
    parser.add_argument("--python", required=True, help="an interpreter with peers/requirements.txt")
    parser.add_argument("--tasks", type=int, help=f"of the end-to-end questions; default: {bench_end_to_end.TASKS:,}")
    options = measuring.asked(parser)
    tasks = options.tasks or options.part_of(bench_end_to_end.TASKS)
    with serving.folder() as folder, serving.rabbitmq_url() as url, redis_url(folder) as redis:
        peers = Peers(options.python, url, redis, folder, tasks)
        figures = Comparison(peers, url, folder, tasks, options).figures()
        measuring.tell("peers", figures, **peers.versions(), tasks=f"{tasks:,}")
    if not redis:
        print(NO_REDIS)
    targets.main()


if __name__ == "__main__":
    main()
