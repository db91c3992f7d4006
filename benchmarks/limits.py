"""What nothing here can beat: bare pika, bare SQLite, a hop between threads, pickling, and the machine's own pauses.

Run it by hand: `python benchmarks/limits.py [ROUNDS]`, beside the other benchmarks, to see how near they come.
"""

from __future__ import annotations

import pickle
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import bench_lateness
import cloudpickle
import measuring
import pika
import serving
from tasks import nothing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

COUNTED_TO = 20_000
"""At each moment: 0.5 ms of Python on a fast machine."""
MESSAGES, CONFIRMED, ECHOES, COMMITS, HOPS, PICKLES = 5_000, 300, 300, 300, 10_000, 5_000
GROUP = 100
GROUPS = (1, 10, 50, 100, 500)
"""Rows of one commit."""
TASK_SQL = (
    "INSERT INTO tasks (id, run_at, status, body) VALUES (:id, :place, 0, :body)",
    "UPDATE tasks SET status = 1, started_at = :place WHERE id = :id",
    "UPDATE tasks SET status = 2, ended_at = :place WHERE id = :id",
    "INSERT INTO outbox (id, body) VALUES (:id, :body)",
    "DELETE FROM outbox WHERE id = :id",
)
"""The least that a task needs so that it is stored, started once, ended and answered whatever happens."""
TASK_COMMITS = ((0, 1), (2, 3), (4,))
"""Which of these share a commit: a task may begin only once its start is on disk."""
_ECHOING = """
import sys, pika
channel = pika.BlockingConnection(pika.URLParameters(sys.argv[1])).channel()
channel.queue_declare("limits-echo", durable=True)
def answer(channel, method, properties, body):
    channel.basic_publish("", properties.reply_to, body, pika.BasicProperties(delivery_mode=2))
    channel.basic_ack(method.delivery_tag)
channel.basic_consume("limits-echo", answer)
channel.start_consuming()
"""
BODY = b"x" * 500
KEPT = pika.BasicProperties(delivery_mode=2)


def publishing(channel: BlockingChannel, count: int) -> Callable[[], None]:
    """Return what sends so many persistent messages; on a channel with confirms, it waits for each."""

    def publish() -> None:
        for _ in range(count):
            channel.basic_publish("", "limits", BODY, KEPT, mandatory=True)

    return publish


def consuming(channel: BlockingChannel) -> Callable[[], None]:
    """Return what takes the messages off, acking a group at a time."""

    def consume() -> None:
        for place, (method, _, _) in enumerate(channel.consume("limits"), start=1):
            if place % GROUP == 0:
                channel.basic_ack(method.delivery_tag or 0, multiple=True)
            if place == MESSAGES:
                channel.cancel()
                return

    return consume


def over_the_broker(url: str, rounds: int) -> list[measuring.Figure]:
    """Measure pika alone."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        plain, careful = connection.channel(), connection.channel()
        plain.queue_declare("limits", durable=True)
        plain.basic_qos(prefetch_count=1000)
        careful.confirm_delivery()
        figures = measuring.interleaved(
            {
                "pika: publish, not confirmed": lambda: measuring.per_second(MESSAGES, publishing(plain, MESSAGES)),
                "pika: consume, acked in groups": lambda: measuring.per_second(MESSAGES, consuming(plain)),
                "pika: publish, each confirmed": lambda: _confirmed(plain, careful),
            },
            "/s",
            rounds=rounds,
        )
        echoes = echo_ms(url, rounds)
    return [*figures, *measuring.spread("pika: to a bare worker and back", "ms", echoes, {"p50": 0.5, "p99": 0.99})]


def echo_ms(url: str, rounds: int) -> list[list[float]]:
    """Return the milliseconds of messages to a bare worker in another process and back, one at a time."""
    with (
        subprocess.Popen([sys.executable, "-c", _ECHOING, url]) as worker,  # noqa: S603 - the program above
        pika.BlockingConnection(pika.URLParameters(url)) as connection,
    ):
        channel = connection.channel()
        channel.queue_declare("limits-echo", durable=True)
        queue = channel.queue_declare("", exclusive=True).method.queue or ""
        back: list[bytes] = []
        channel.basic_consume(queue, lambda _channel, _method, _properties, body: back.append(body), auto_ack=True)
        properties = pika.BasicProperties(delivery_mode=2, reply_to=queue)

        def echo() -> None:
            back.clear()
            channel.basic_publish("", "limits-echo", BODY, properties)
            while not back:
                connection.process_data_events(time_limit=60)

        try:
            echo()
            return [[measuring.seconds(echo) * 1000 for _ in range(ECHOES)] for _ in range(rounds)]
        finally:
            worker.kill()


def _confirmed(plain: BlockingChannel, careful: BlockingChannel) -> float:
    rate = measuring.per_second(CONFIRMED, publishing(careful, CONFIRMED))
    plain.queue_purge("limits")
    return rate


@contextmanager
def durable_database(folder: Path) -> Iterator[sqlite3.Connection]:
    """Yield a new database as a service has one: WAL, synchronous=FULL."""
    with tempfile.TemporaryDirectory(dir=folder) as made:
        connection = sqlite3.connect(Path(made) / "limits.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        try:
            yield connection
        finally:
            connection.close()


def rows_per_second(folder: Path, rows: int, commits: int) -> float:
    """Return the rows a second that SQLite keeps, in transactions of so many rows."""
    with durable_database(folder) as connection:
        connection.execute("CREATE TABLE kept (body BLOB)")

        def keep() -> None:
            for _ in range(commits):
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT INTO kept VALUES (?)", [(BODY,)] * rows)
                connection.execute("COMMIT")

        return measuring.per_second(commits * rows, keep)


def tasks_per_second(folder: Path, group: int, commits: int) -> float:
    """Return the tasks a second whose bare SQL SQLite does, when so many tasks share each commit."""
    with durable_database(folder) as connection:
        connection.execute(
            "CREATE TABLE tasks (id TEXT PRIMARY KEY, run_at INT, status INT, started_at INT, ended_at INT, body BLOB)"
        )
        connection.execute("CREATE INDEX waiting ON tasks (run_at) WHERE status = 0")
        connection.execute("CREATE TABLE outbox (id TEXT PRIMARY KEY, body BLOB)")

        def work() -> None:
            for first in range(0, commits * group, group):
                rows = [{"id": f"{place:026}", "place": place, "body": BODY} for place in range(first, first + group)]
                for together in TASK_COMMITS:
                    connection.execute("BEGIN IMMEDIATE")
                    for place in together:
                        connection.executemany(TASK_SQL[place], rows)
                    connection.execute("COMMIT")

        return measuring.per_second(commits * group, work)


def hop() -> None:
    """Hand something to another thread, and wait until it comes back, many times."""
    there: SimpleQueue[int] = SimpleQueue()
    back: SimpleQueue[int] = SimpleQueue()

    def answer() -> None:
        for _ in range(HOPS):
            back.put(there.get())

    thread = threading.Thread(target=answer)
    thread.start()
    for number in range(HOPS):
        there.put(number)
        back.get()
    thread.join()


def bare_latenesses_ms(moments: int) -> list[float]:
    """Return how late a thread alone is that sleeps until each moment, and counts a little: what the machine adds."""
    found = []
    begun = time.time()
    for place in range(1, moments + 1):
        moment = begun + place * bench_lateness.SPREAD_S / moments
        while (left_s := moment - time.time()) > 0:
            time.sleep(left_s)
        found.append((time.time() - moment) * 1000)
        for _ in range(COUNTED_TO):
            pass
    return found


def _repeated(action: Callable[[], object], count: int) -> Callable[[], None]:
    def repeat() -> None:
        for _ in range(count):
            action()

    return repeat


def of_this_machine(folder: Path, options: measuring.Options) -> dict[str, Callable[[], float]]:
    """Return what is measured without a broker, each in so many a second."""
    commits, pickles = options.part_of(COMMITS), options.part_of(PICKLES)
    by_value = _repeated(lambda: cloudpickle.dumps(lambda: nothing), pickles)
    plain = _repeated(lambda: pickle.dumps(((1, 2), {})), pickles)
    return {
        **{f"SQLite: rows, {rows} in each commit": partial(rows_per_second, folder, rows, commits) for rows in GROUPS},
        **{
            f"SQLite: the bare SQL of a task, {group} in each commit": partial(tasks_per_second, folder, group, commits)
            for group in GROUPS
        },
        "threads: there and back": lambda: measuring.per_second(HOPS, hop),
        "cloudpickle: a function by value": lambda: measuring.per_second(pickles, by_value),
        "pickle: plain arguments": lambda: measuring.per_second(pickles, plain),
    }


def main() -> None:
    """Measure, and print."""
    options = measuring.asked(__doc__)
    with serving.rabbitmq_url() as url:
        figures = over_the_broker(url, options.rounds)
    with serving.folder() as folder:
        figures += measuring.interleaved(of_this_machine(folder, options), "/s", rounds=options.rounds)
    name, moments = "a thread that sleeps and counts, late by", options.part_of(bench_lateness.TASKS)
    late_ms = measuring.repeated(lambda: bare_latenesses_ms(moments), rounds=options.rounds)
    figures += measuring.spread(name, "ms", late_ms, bench_lateness.SHARES)
    measuring.tell("limits", figures)


if __name__ == "__main__":
    main()
