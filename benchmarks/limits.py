"""What nothing here can beat: bare pika, bare SQLite, a hop between threads, pickling.

Run it by hand: `python benchmarks/limits.py [ROUNDS]`, beside the other benchmarks, to see how near they come.
"""

from __future__ import annotations

import pickle
import sqlite3
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

import cloudpickle
import measuring
import pika
import serving
from tasks import nothing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

MESSAGES, CONFIRMED, ECHOES, COMMITS, HOPS, PICKLES = 5_000, 300, 300, 300, 10_000, 5_000
GROUP = 100
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
        echoes = [[_echo_ms(plain) for _ in range(ECHOES)] for _ in range(rounds)]
    values = tuple(measuring.percentile(one, 0.5) for one in echoes)
    return [*figures, measuring.Figure(name="pika: a message there and back, p50", unit="ms", values=values)]


def _confirmed(plain: BlockingChannel, careful: BlockingChannel) -> float:
    rate = measuring.per_second(CONFIRMED, publishing(careful, CONFIRMED))
    plain.queue_purge("limits")
    return rate


def _echo_ms(channel: BlockingChannel) -> float:
    def echo() -> None:
        channel.basic_publish("", "limits", BODY)
        while channel.basic_get("limits", auto_ack=True)[0] is None:
            pass

    return measuring.seconds(echo) * 1000


def commits_per_second(folder: Path, rows: int) -> float:
    """Return the rows a second that SQLite keeps, in transactions of so many rows, synchronous=FULL."""
    connection = sqlite3.connect(folder / "limits.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS kept (body BLOB)")

    def keep() -> None:
        for _ in range(COMMITS):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO kept VALUES (?)", [(BODY,)] * rows)
            connection.execute("COMMIT")

    try:
        return measuring.per_second(COMMITS * rows, keep)
    finally:
        connection.close()


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


def _repeated(action: Callable[[], object], count: int) -> Callable[[], None]:
    def repeat() -> None:
        for _ in range(count):
            action()

    return repeat


def main() -> None:
    """Measure, and print."""
    rounds = measuring.rounds_asked(__doc__)
    with serving.rabbitmq_url() as url:
        figures = over_the_broker(url, rounds)
    by_value, plain = (
        _repeated(lambda: cloudpickle.dumps(lambda: nothing), PICKLES),
        _repeated(lambda: pickle.dumps(((1, 2), {})), PICKLES),
    )
    with serving.folder() as folder:
        figures += measuring.interleaved(
            {
                "SQLite: one row in each commit": lambda: commits_per_second(folder, 1),
                f"SQLite: {GROUP} rows in each commit": lambda: commits_per_second(folder, GROUP),
                "threads: there and back": lambda: measuring.per_second(HOPS, hop),
                "cloudpickle: a function by value": lambda: measuring.per_second(PICKLES, by_value),
                "pickle: plain arguments": lambda: measuring.per_second(PICKLES, plain),
            },
            "/s",
            rounds=rounds,
        )
    measuring.tell("limits", figures)


if __name__ == "__main__":
    main()
