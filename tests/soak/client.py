"""A client of a soak, as a program: it launches until it is asked to end, and writes down before and after.

Its argument is a JSON object: url, ledger, name, seed, rate (launches a second), request_queue,
rests_s (how long a task may take, in seconds; one is chosen for each).
"""

from __future__ import annotations

import json
import random
import signal
import sys
from queue import SimpleQueue
from typing import TYPE_CHECKING

from schedulergodx import (
    BatchFailed,
    BrokerError,
    Client,
    LaunchUncertain,
    UnknownMessageId,
)
from schedulergodx.clock import SystemClock
from tests.soak.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from schedulergodx.client.task import Task

UNCERTAIN_S = 60.0
"""How long an ending client tries to be sure of its last launches."""
clock = SystemClock()


def work(ledger: str, number: int, rests_s: float, fails: bool) -> int:
    """Note that it was entered, take a while, and return or raise something that can be checked."""
    import os
    import sqlite3
    import threading
    import time
    from contextlib import closing

    import schedulergodx

    task = schedulergodx.current_task()
    assert task is not None
    with closing(sqlite3.connect(ledger, timeout=60.0, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        row = (task.message_id, task.start_number, os.getpid(), time.time())
        connection.execute("INSERT INTO starts VALUES (?, ?, ?, ?)", row)
    threading.Event().wait(rests_s)
    if fails:
        raise ValueError(number)
    return 2 * number


class Launching:
    """One client's life."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.path, self.name = facts["ledger"], facts["name"]
        self.ledger = Ledger(self.path)
        self.random = random.Random(facts["seed"])
        self.pause_s, self.rests_s = 1.0 / facts["rate"], facts["rests_s"]
        self.pending: list[str] = []
        self.uncertain: list[str] = []
        self.last_id = ""
        self.client = Client(
            self.name,
            url=facts["url"],
            request_queue=facts["request_queue"],
            id_generator=self.ids(),
            launch_timeout_s=3.0,
            task_lifetime=60.0,
            hard_task_lifetime=60.0,
            enable_overdue=True,
        )
        self.task = self.client.task(work)
        self.hard = self.client.task(hard=True)(work)

    def ids(self) -> Iterator[str]:
        """Give ids, and keep the last one: what was launched under it may end uncertain."""
        for message_id in self.ledger.attempts(self.name):
            self.last_id = message_id
            yield message_id

    def launch_one(self) -> None:
        kind = self.random.choices(["soft", "delayed", "hard", "fails"], [70, 15, 5, 10])[0]
        number = self.random.randrange(10**6)
        rests_s = self.random.choice(self.rests_s)
        delay_s = round(self.random.uniform(0.05, 3.0), 3) if kind == "delayed" else 0.0
        task: Task[..., int] = self.hard if kind == "hard" else self.task
        at = clock.now().timestamp()
        try:
            task.options(delay=delay_s or None).launch(self.path, number, rests_s, kind == "fails")
        except LaunchUncertain:
            self.ledger.launched(self.last_id, "uncertain")
            self.uncertain.append(self.last_id)
        except BrokerError as error:
            self.ledger.launched(self.last_id, "not sent", type(error).__name__)
        else:
            self.ledger.launched(self.last_id, "confirmed")
            self.pending.append(self.last_id)
        result = None if kind == "fails" else json.dumps(2 * number)
        self.ledger.write("plans", self.last_id, kind, delay_s, at, result)

    def launch_many(self) -> None:
        """Launch a batch; what did not fail is confirmed when the block ends."""
        sent: list[str] = []
        failed: dict[str, BrokerError] = {}
        try:
            with self.client.batch():
                for number in range(self.random.randint(2, 50)):
                    at = clock.now().timestamp()
                    sent.append(str(self.task.launch(self.path, number, 0.0, False)))
                    self.ledger.write("plans", sent[-1], "batch", 0.0, at, json.dumps(2 * number))
        except BatchFailed as error:
            failed = {str(message_id): one for message_id, one in error.errors.items()}
        except BrokerError:
            return
        for message_id in sent:
            error = failed.get(message_id)
            if error is None:
                self.ledger.launched(message_id, "confirmed")
                self.pending.append(message_id)
            elif isinstance(error, LaunchUncertain):
                self.ledger.launched(message_id, "uncertain")
                self.uncertain.append(message_id)
            else:
                self.ledger.launched(message_id, "not sent", type(error).__name__)

    def make_sure(self) -> None:
        """Send uncertain launches once more."""
        for message_id in self.uncertain[:5]:
            try:
                self.client.launch_again(message_id)
            except BrokerError:
                return
            self.ledger.launched(message_id, "confirmed", "again")
            self.uncertain.remove(message_id)
            self.pending.append(message_id)

    def listen(self) -> None:
        """Write down which answers have come."""
        still: list[str] = []
        for message_id in self.pending:
            try:
                outcome = self.client.outcome(message_id)
            except (BrokerError, UnknownMessageId):
                outcome = None
            if outcome is None:
                still.append(message_id)
            else:
                self.ledger.write("answers", message_id, outcome.code.value, outcome.report.result, "told")
        self.pending = still

    def run(self, ends: SimpleQueue[int]) -> None:
        while clock.wait_for(ends, self.random.uniform(0, 2 * self.pause_s)) is None:
            if self.random.random() < 0.02:
                self.launch_many()
            else:
                self.launch_one()
            if self.random.random() < 0.1:
                self.make_sure()
                self.listen()
        deadline = clock.monotonic() + UNCERTAIN_S
        while self.uncertain and clock.monotonic() < deadline:
            self.make_sure()
        self.listen()
        self.client.close()
        self.ledger.close()


def main() -> None:
    ends: SimpleQueue[int] = SimpleQueue()
    signal.signal(signal.SIGTERM, lambda number, _frame: ends.put(number))
    Launching(json.loads(sys.argv[1])).run(ends)


if __name__ == "__main__":
    main()
