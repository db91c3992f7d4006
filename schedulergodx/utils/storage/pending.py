"""Changes of one transaction, collected and written together.

A statement for many rows costs SQLite a third less than one for each, and the loop gives up the interpreter's lock once
for all of them instead of once for each. But what makes it one for many, a table of values or a list in JSON, costs
more than the row of a task that comes alone: that one has statements of its own, which take less than half the time.

A new task that starts at once is written as started: nobody reads it before.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.utils.storage import rows

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from schedulergodx.rules.lifecycle import Report
    from schedulergodx.utils.abstractions import TaskSpec
    from schedulergodx.utils.storage.connection import Connection, Row
    from schedulergodx.utils.storage.known import Claim

INSERT_TASKS = f"INSERT INTO tasks (number, {rows.TASK_COLUMNS}) VALUES {{rows}}"  # noqa: S608 - constants
INSERT_STARTED = (
    f"INSERT INTO tasks (number, {rows.TASK_COLUMNS}, started_at, starts, epoch, owner) "  # noqa: S608 - constants
    "VALUES {rows}"
)
INSERT_ARGUMENTS = "INSERT INTO arguments (task, body, by_value) VALUES {rows}"
INSERT_REPLIES = "INSERT INTO outbox (number, queue, message_id, body, added_at) VALUES {rows}"
# `column1` and so on are SQLite's names for the columns of VALUES.
FINISH_ONE = (
    "UPDATE tasks SET status = ?2, ended_at = ?3, code = ?4, result = ?5, "
    "exception_type = ?6, message = ?7, traceback = ?8 WHERE number = ?1"
)
FINISH = (
    "UPDATE tasks SET status = column2, ended_at = column3, code = column4, result = column5, "
    "exception_type = column6, message = column7, traceback = column8 FROM (VALUES {rows}) WHERE number = column1"
)
_START = "UPDATE tasks SET status = 1, started_at = ?, starts = starts + 1, epoch = ?, owner = ? WHERE number "
START_ONE = f"{_START}= ?"
START = f"{_START}IN (SELECT value FROM json_each(?))"  # noqa: S608 - constants
_WORK = TaskStatus.WORK.value
REMOVE_REPLY = "DELETE FROM outbox WHERE number = ?"
REMOVE_REPLIES = "DELETE FROM outbox WHERE number IN (SELECT value FROM json_each(?))"


class Pending:
    """What has been changed and is not written yet. `write` must come before anything that would see it missing."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget what is not written."""
        self._new: dict[int, tuple[Claim, TaskSpec, Row]] = {}
        self._new_started: list[Row] = []
        self._arguments: list[Row] = []
        self._started: dict[int, list[int]] = {}
        self._finished: list[Row] = []
        self._replies: list[Row] = []
        self._removed: list[int] = []

    def add(self, claim: Claim, task: TaskSpec, row: Row) -> None:
        """Insert a task, of which `row` is the row without its number, and `claim` what its start will need."""
        self._new[claim.number] = claim, task, row
        self._arguments.append((claim.number, task.arguments, task.arguments_by_value))

    def due(
        self, moment: int, *, is_hard: bool, limit: int, without: Collection[str]
    ) -> list[tuple[Claim, TaskSpec]] | None:
        """Return the new tasks of one kind that are due at `moment`, as they were added, in the order of due tasks.

        None: there are more than `limit`. None of the clients `without` are looked at.
        """
        if not self._new:
            return []
        found = [
            (claim, task)
            for claim, task, _row in self._new.values()
            if claim.run_at <= moment and claim.is_hard is is_hard and claim.client not in without
        ]
        found.sort(key=lambda one: one[0].order)
        return found if len(found) <= limit else None

    def start(self, number: int, *, started_at: int) -> bool:
        """Make a task WORK that is WAITING for certain. Returns whether it is one that was not written yet."""
        if (new := self._new.pop(number, None)) is None:
            self._started.setdefault(started_at, []).append(number)
            return False
        self._new_started.append((number, _WORK, *new[2][1:], started_at, 1))
        return True

    def waiting(self) -> list[Claim]:
        """Return the new tasks that will be written as WAITING."""
        return [claim for claim, _task, _row in self._new.values()]

    def finish(self, number: int, report: Report, *, ended_at: int) -> None:
        """Record how a task ended that is WORK for certain."""
        self._finished.append((number, *rows.end_values(report, ended_at)))

    def add_reply(self, reply: Row) -> None:
        """Put an answer into the outbox."""
        self._replies.append(reply)

    def remove_replies(self, numbers: Iterable[int]) -> None:
        """Take answers out of the outbox."""
        self._removed += numbers

    @property
    def has_started(self) -> bool:
        """Whether a task that is written as WAITING has started."""
        return bool(self._started)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self._new or self._new_started or self._started or self._finished or self._replies or self._removed)

    def write(self, connection: Connection, *, epoch: int, owner: str) -> None:
        """Write all, in an order in which each finds what it needs."""
        if self._arguments:
            new = [(number, *row) for number, (_claim, _task, row) in self._new.items()]
            connection.change_many(INSERT_TASKS, new)
            connection.change_many(INSERT_STARTED, [(*row, epoch, owner) for row in self._new_started])
            connection.change_many(INSERT_ARGUMENTS, self._arguments)
        for started_at, numbers in self._started.items():
            if len(numbers) == 1:
                connection.change(START_ONE, (started_at, epoch, owner, numbers[0]))
            else:
                connection.change(START, (started_at, epoch, owner, json.dumps(numbers)))
        if len(self._finished) == 1:
            connection.change(FINISH_ONE, self._finished[0])
        elif self._finished:
            connection.change_many(FINISH, self._finished)
        if self._replies:
            connection.change_many(INSERT_REPLIES, self._replies)
        if len(self._removed) == 1:
            connection.change(REMOVE_REPLY, self._removed)
        elif self._removed:
            connection.change(REMOVE_REPLIES, (json.dumps(self._removed),))
        self.clear()
