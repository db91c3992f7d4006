"""What does a hard task cost, which runs in a process of its own?

Of the runner alone: from `start` to its `Finished`, of the first one, for which a fork server has to start, and of
later ones. And through RabbitMQ and a service: from one launch to its result, one at a time, and how many are answered
in a second.

Run it by hand: `python benchmarks/bench_hard.py [ROUNDS]`.
"""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING

import measuring
import serving
from tasks import nothing

from schedulergodx import Client
from schedulergodx.rules.lifecycle import Code
from schedulergodx.service.runner import LocalRunner
from schedulergodx_testing.specs import make_task

if TYPE_CHECKING:
    from pathlib import Path

    from schedulergodx.utils.abstractions import Finished

STARTS, LATENCIES, TASKS, WARM_UP = 100, 200, 1_000, 5
PROCESSES = 2
SHARES = {"p50": 0.5, "p99": 0.99}
RUNNER = {"hard: first start of a runner": "ms", "hard: start to end, runner alone, p50": "ms"}
RATE = "hard: tasks answered"


def _run_one_ms(runner: LocalRunner, inbox: SimpleQueue[Finished]) -> float:
    def run() -> None:
        runner.start(make_task(abs, -1, is_hard=True), start_number=1)
        assert inbox.get(timeout=30).report.code is Code.OK

    return measuring.seconds(run) * 1000


def of_a_runner(starts: int) -> tuple[float, float]:
    """Return the milliseconds of the first task of a new runner, and the median of later ones."""
    runner = LocalRunner(threads=1, processes=PROCESSES)
    inbox: SimpleQueue[Finished] = SimpleQueue()
    runner.listen(inbox.put)
    try:
        first_ms = _run_one_ms(runner, inbox)
        return first_ms, measuring.percentile([_run_one_ms(runner, inbox) for _ in range(starts)], 0.5)
    finally:
        runner.close()


def latencies_ms(url: str, database: Path, launches: int = LATENCIES) -> list[float]:
    """Return the milliseconds from one launch of a hard task to its result, one at a time."""
    with Client(name="bench-hard", url=url) as client, serving.service(url, database):
        task = client.task(nothing, hard=True)
        for _ in range(WARM_UP):
            task.launch().result()
        return [measuring.seconds(lambda: task.launch().result()) * 1000 for _ in range(launches)]


def answered_per_second(url: str, database: Path, tasks: int = TASKS) -> float:
    """Queue hard tasks, serve them, and return how many answers came in a second."""
    with Client(name="bench-hard", url=url) as client:
        task = client.task(nothing, hard=True)
        with client.batch():
            ids = [task.launch() for _ in range(tasks)]
        with serving.service(url, database, processes=PROCESSES):
            ids[0].result()
            return measuring.per_second(tasks - 1, lambda: [message_id.result() for message_id in ids[1:]])


def main() -> None:
    """Measure, and print."""
    options = measuring.asked(__doc__)
    alone = measuring.repeated(lambda: of_a_runner(options.part_of(STARTS)), rounds=options.rounds)
    with serving.folder() as folder, serving.rabbitmq_url() as url:
        launches, tasks = options.part_of(LATENCIES), options.part_of(TASKS)
        late = measuring.repeated(lambda: latencies_ms(url, folder / "one.db", launches), rounds=options.rounds)
        measures = {RATE: lambda: answered_per_second(url, folder / "many.db", tasks)}
        figures = measuring.interleaved(measures, "tasks/s", rounds=options.rounds)
    figures += measuring.spread("hard: launch to result", "ms", late, SHARES)
    measuring.tell("hard", [*measuring.in_columns(alone, RUNNER), *figures])


if __name__ == "__main__":
    main()
