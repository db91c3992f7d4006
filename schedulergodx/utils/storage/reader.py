"""Looking at the tasks of a database: the queries that change nothing, and a `Reader` beside a running service."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.utils.storage import queries, rows
from schedulergodx.utils.storage.connection import open_reader
from schedulergodx.utils.storage.files import database_path, resolved

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from schedulergodx.utils.abstractions import TaskSpec, TaskState
    from schedulergodx.utils.storage.connection import Connection, Row
    from schedulergodx.utils.storage.functions import Functions
    from schedulergodx.utils.storage.known import Digest


_STATES = f"SELECT {rows.STATE_COLUMNS} FROM tasks"  # noqa: S608 - constants


class Reader:
    """A look at a database that changes nothing and holds up nobody. Made by `reader`; one thread at a time.

    Each call sees what was committed when it began. Keep it open for as long as one look takes, not for days.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, message_id: str) -> TaskState | None:
        """Return where the task is, or None when it is unknown."""
        return find(self._connection, message_id)

    def tasks(self, *, limit: int, statuses: Iterable[TaskStatus] = ()) -> list[TaskState]:
        """Return the newest tasks, the newest first, at most `limit`, of these statuses, or of all."""
        return tasks(self._connection, limit=limit, statuses=statuses)

    def counts(self) -> dict[TaskStatus, int]:
        """Return how many tasks are in each status, zeros included."""
        return counts(self._connection)

    def close(self) -> None:
        """Let go of the file. Closing twice does nothing."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def reader(path: str | os.PathLike[str]) -> Reader:
    """Open a database, a path or `sqlite:///path`, for looking at it, whether a service uses it or not.

    Raises:
        InvalidParameter: `path` names no file.
        DatabaseNotWritable: there is no such file, or it cannot be read.
        DatabaseUnsupported: it is not a database of this version of SchedulerGodX.
        DatabaseDamaged, DatabaseBusy: it cannot be read now.
    """
    return Reader(open_reader(resolved(database_path(path))))


def specs(connection: Connection, functions: Functions, found: list[Row]) -> list[TaskSpec]:
    """Return the tasks of rows of `SPEC_COLUMNS` with the bodies of their functions, each read once and shared."""
    numbers = [rows.function_number(row) for row in found]
    needed = dict.fromkeys([number for number in numbers if number is not None])
    bodies = {number: functions.body_of(connection, number) for number in needed}
    return [
        rows.spec(row, None if number is None else bodies[number]) for row, number in zip(found, numbers, strict=True)
    ]


def digests(connection: Connection, message_ids: list[str]) -> dict[str, Digest]:
    """Return the launches that these ids belong to, of those that are known."""
    if len(message_ids) == 1:
        found = connection.rows(queries.KNOWN_ONE, message_ids)
    else:
        found = connection.rows(queries.KNOWN_ALL, (json.dumps(message_ids),))
    return {message_id: (digest, bool(is_pruned)) for message_id, digest, is_pruned in found}


def find(connection: Connection, message_id: str) -> TaskState | None:
    """Return where the task is, or None when it is unknown."""
    row = connection.row(f"{_STATES} WHERE message_id = ?", (message_id,))
    return None if row is None else rows.state(row)


def tasks(connection: Connection, *, limit: int, statuses: Iterable[TaskStatus]) -> list[TaskState]:
    """Return the newest tasks, the newest first, at most `limit`, of these statuses, or of all."""
    wanted = set(statuses)
    if not wanted:
        newest = connection.rows(f"{_STATES} ORDER BY number DESC LIMIT ?", (limit,))
        return [rows.state(row) for row in newest]
    found = [
        row
        # One query for each status: its index gives the newest of one, and no index the newest of several.
        for status in wanted
        for row in connection.rows(
            f"{_STATES} WHERE status = ? ORDER BY number DESC LIMIT ?",
            (status.value, limit),
        )
    ]
    found.sort(key=rows.stored_order, reverse=True)
    return [rows.state(row) for row in found[:limit]]


def counts(connection: Connection) -> dict[TaskStatus, int]:
    """Return how many tasks are in each status, zeros included."""
    found: dict[int, int] = dict(connection.rows("SELECT status, count(*) FROM tasks GROUP BY status"))
    return {status: found.get(status.value, 0) for status in TaskStatus}
