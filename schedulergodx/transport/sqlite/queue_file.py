"""`QueueFile`: the queues in one SQLite file. All SQL of the transport is here."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sqlite3
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from schedulergodx import forks
from schedulergodx.errors import DatabaseDamaged, DatabaseNotWritable, DatabaseUnsupported, StorageError
from schedulergodx.transport.sqlite.schema import APPLICATION_ID, MIGRATIONS
from schedulergodx.utils.abstractions import QueueSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from schedulergodx.utils.abstractions import Clock

BUSY_WAIT_S = 1.0
"""How long one statement waits, in seconds, while another process writes."""
BUSY_PAUSES_S = (0.001, 0.001, 0.001, 0.001, 0.001, 0.0005, 0.0005, 0.0005, 0.0005, 0.0002)
"""Pauses between its attempts; the last one is repeated."""
SQLITE_VERSION_MIN = (3, 37, 0)
"""The first with STRICT tables."""
SYNCHRONOUS_FULL = 2
JOURNAL_BYTES_MAX = 1024 * 1024
"""What stays of the journal beside the file; a transaction of large messages needs more for as long as it is open."""

_creating = threading.Lock()


class Taken(NamedTuple):
    """A message that was handed to an owner."""

    position: int
    body: bytes
    deliveries: int


class QueueFile:
    """An open queue file. One thread uses it.

    What changes it belongs between `begin` and `commit`. Every method may raise `sqlite3.Error`; then `rollback`.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the file at `path`, create it with mode 0600, or migrate it.

        Raises:
            DatabaseNotWritable, DatabaseUnsupported, DatabaseDamaged: it cannot be used; nothing was changed.
            sqlite3.Error: it cannot be used at the moment.
        """
        self.path = path
        self._clock = clock
        self._never: SimpleQueue[None] = SimpleQueue()
        _check_fork(path)
        _check_place(path)
        self._connection = sqlite3.connect(path, timeout=BUSY_WAIT_S, isolation_level=None)
        try:
            _check_origin(self._connection, path)
            _configure(self._connection, path)
            _migrate(self._connection, path)
            self._connection.execute("PRAGMA busy_timeout = 0")  # from here on `_execute` waits
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error) and (refusal := explain(error, path)):
                raise refusal from error
            raise
        self._file = path.stat()
        self._version_seen = -1
        forks.renew(self)

    def renew_in_fork(self) -> None:
        """Keep the inherited connection for ever: SQLite forbids the child to use it, and to close it."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))

    def close(self) -> None:
        """Close the file; an open transaction is undone."""
        self._connection.close()

    def is_replaced(self) -> bool:
        """Return whether the path leads to another file now, or to none: what is written here would be lost."""
        try:
            return not os.path.samestat(self._file, self.path.stat())
        except OSError:
            return True

    def has_changed(self) -> bool:
        """Return whether another connection committed something since this was asked last."""
        (version,) = self._execute("PRAGMA data_version").fetchone()
        has_changed, self._version_seen = bool(version != self._version_seen), version
        return has_changed

    def begin(self) -> None:
        """Begin a transaction; waits for other writers."""
        self._execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Return once everything since `begin` is on disk."""
        self._execute("COMMIT")

    def rollback(self) -> None:
        """Undo everything since `begin`, if there is an open transaction."""
        if self._connection.in_transaction:
            self._execute("ROLLBACK")

    # --- Queues

    def declare(self, queue: QueueSpec, *, now_s: float) -> QueueSpec | None:
        """Make sure that `queue` exists, where its dead letters go before it.

        Returns:
            Which of the two exists with other arguments than these; then the rest is not made. None: all is there.
        """
        for spec in _with_dead_letters(queue):
            self._add_queue(spec, now_s=now_s)
            if self._differs(spec):
                return spec
        return None

    def differing(self, queue: QueueSpec) -> QueueSpec | None:
        """Return what stands in the way of `declare`, and change nothing."""
        return next(filter(self._differs, _with_dead_letters(queue)), None)

    def _add_queue(self, queue: QueueSpec, *, now_s: float) -> None:
        self._execute(
            "INSERT INTO queue (name, expires_after_s, has_dead_letters, unused_since_s) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET unused_since_s = excluded.unused_since_s "
            "WHERE expires_after_s IS NOT NULL",
            (queue.name, queue.expires_after_s, queue.has_dead_letters, now_s),
        )

    def _differs(self, queue: QueueSpec) -> bool:
        rows = self._execute("SELECT expires_after_s, has_dead_letters FROM queue WHERE name = ?", (queue.name,))
        return rows.fetchone() not in (None, (queue.expires_after_s, queue.has_dead_letters))

    def delete_queue(self, name: str) -> None:
        """Delete a queue, its messages and its consumers."""
        self._execute("DELETE FROM queue WHERE name = ?", (name,))

    def expired_queues(self, *, now_s: float) -> list[str]:
        """Return the queues that were without a consumer for too long."""
        rows = self._execute(
            "SELECT name FROM queue WHERE expires_after_s IS NOT NULL AND unused_since_s + expires_after_s <= ? "
            "AND NOT EXISTS (SELECT 1 FROM consumer WHERE consumer.queue_id = queue.queue_id)",
            (now_s,),
        )
        return [name for (name,) in rows]

    # --- Messages

    def add(self, queue: str, message_id: str, body: bytes) -> bool:
        """Put a message at the end of a queue. Return False if there is no such queue."""
        cursor = self._execute(
            "INSERT INTO message (queue_id, message_id, body) SELECT queue_id, ?, ? FROM queue WHERE name = ?",
            (message_id, body, queue),
        )
        return cursor.rowcount > 0

    def has_ready(self, queue: str) -> bool:
        """Return whether a message waits in the queue."""
        return self._is_true(
            "SELECT EXISTS (SELECT 1 FROM message JOIN queue USING (queue_id) WHERE name = ? AND owner_id IS NULL)",
            queue,
        )

    def take(self, queue: str, owner_id: str, limit: int) -> list[Taken]:
        """Hand at most `limit` messages, the first in line, to an owner."""
        rows = self._execute(
            "UPDATE message SET owner_id = ?, deliveries = deliveries + 1 WHERE position IN ("
            "  SELECT position FROM message WHERE queue_id = (SELECT queue_id FROM queue WHERE name = ?)"
            "  AND owner_id IS NULL ORDER BY position LIMIT ?"
            ") RETURNING position, body, deliveries",
            (owner_id, queue, limit),
        ).fetchall()
        return sorted(map(Taken._make, rows), key=lambda taken: taken.position)

    def remove(self, positions: Iterable[int], owner_id: str) -> None:
        """Forget messages that `owner_id` has."""
        self._connection.executemany(
            "DELETE FROM message WHERE position = ? AND owner_id = ?",
            [(position, owner_id) for position in positions],
        )

    def give_back(self, positions: Iterable[int], owner_id: str) -> None:
        """Let messages that `owner_id` has wait again, each in its place."""
        self._connection.executemany(
            "UPDATE message SET owner_id = NULL WHERE position = ? AND owner_id = ?",
            [(position, owner_id) for position in positions],
        )

    def bury(self, position: int, owner_id: str, *, dead_queue: str, reason: str, now_s: float) -> None:
        """Move a message that `owner_id` has to the end of `dead_queue`, which is made if it is missing."""
        self._add_queue(QueueSpec(name=dead_queue), now_s=now_s)
        self._execute(
            "INSERT INTO message (queue_id, message_id, reason, body) "
            "SELECT (SELECT queue_id FROM queue WHERE name = ?), message_id, ?, body FROM message "
            "WHERE position = ? AND owner_id = ?",
            (dead_queue, reason, position, owner_id),
        )
        self.remove([position], owner_id)

    # --- Owners and consumers

    def add_owner(self, owner_id: str, description: str) -> None:
        """Make an owner known; `description` tells people who it is."""
        self._execute(
            "INSERT INTO owner (owner_id, description) VALUES (?, ?) ON CONFLICT DO NOTHING", (owner_id, description)
        )

    def owners(self) -> list[str]:
        """Return the ids of all owners."""
        return [owner_id for (owner_id,) in self._execute("SELECT owner_id FROM owner")]

    def remove_owner(self, owner_id: str, *, now_s: float) -> None:
        """Forget an owner: it consumes no more, and what it has waits again, each in its place."""
        self.remove_consumers(owner_id, now_s=now_s)
        self._execute("DELETE FROM owner WHERE owner_id = ?", (owner_id,))

    def consumer_in_the_way(self, queue: str, owner_id: str, *, is_exclusive: bool) -> str | None:
        """Return the description of another owner because of which `owner_id` cannot consume, or None."""
        row = self._execute(
            "SELECT description FROM consumer JOIN owner USING (owner_id) JOIN queue USING (queue_id) "
            "WHERE name = ? AND owner_id != ? AND (is_exclusive OR ?) LIMIT 1",
            (queue, owner_id, is_exclusive),
        ).fetchone()
        return None if row is None else str(row[0])

    def add_consumer(self, queue: str, owner_id: str, *, is_exclusive: bool) -> None:
        """Note that an owner consumes from a queue, so that it does not expire."""
        self._execute(
            "INSERT OR REPLACE INTO consumer (queue_id, owner_id, is_exclusive) "
            "SELECT queue_id, ?, ? FROM queue WHERE name = ?",
            (owner_id, is_exclusive, queue),
        )

    def is_consumer(self, queue: str, owner_id: str) -> bool:
        """Return whether the owner still counts as a consumer of the queue; not so once the queue was deleted."""
        return self._is_true(
            "SELECT EXISTS (SELECT 1 FROM consumer JOIN queue USING (queue_id) WHERE name = ? AND owner_id = ?)",
            queue,
            owner_id,
        )

    def remove_consumers(self, owner_id: str, *, now_s: float) -> None:
        """Note that an owner consumes no more; the time to expiry begins."""
        self._execute(
            "UPDATE queue SET unused_since_s = ? WHERE queue_id IN (SELECT queue_id FROM consumer WHERE owner_id = ?)",
            (now_s, owner_id),
        )
        self._execute("DELETE FROM consumer WHERE owner_id = ?", (owner_id,))

    def _execute(self, sql: str, parameters: Sequence[str | float | bytes | None] = ()) -> sqlite3.Cursor:
        """Execute, and wait while another process writes.

        SQLite would wait by itself, in pauses that grow to 100 ms. Here they shrink: who has waited longest tries
        most often, so that nobody starves between others that write without a break.
        """
        attempts, give_up_at_s = 0, self._clock.monotonic() + BUSY_WAIT_S
        while True:
            try:
                return self._connection.execute(sql, parameters)
            except sqlite3.OperationalError as error:
                if not is_busy(error) or self._clock.monotonic() >= give_up_at_s:
                    raise
            self._clock.wait_for(self._never, BUSY_PAUSES_S[min(attempts, len(BUSY_PAUSES_S) - 1)])
            attempts += 1

    def _is_true(self, sql: str, *parameters: str) -> bool:
        return bool(self._execute(sql, parameters).fetchone()[0])


def is_busy(error: BaseException) -> bool:
    """Return whether another process has the file at the moment: then nothing at all was done."""
    return bool(getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY)


def explain(error: sqlite3.Error, path: Path) -> StorageError | None:
    """Return `error` as one of ours when trying again cannot help, else None."""
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return DatabaseUnsupported(
                f"{path} is not an SQLite database; give the transport a file of its own", path=str(path)
            )
        case sqlite3.SQLITE_CORRUPT:
            return DatabaseDamaged(
                f"the queue file {path} is damaged ({error}); move it away and begin with a new one", path=str(path)
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return DatabaseNotWritable(
                f"the queue file {path} cannot be written ({error}); make it and its folder writable", path=str(path)
            )
    return None


def _check_fork(path: Path) -> None:
    """Refuse to enter SQLite where it would believe in locks that this process has not got."""
    if not forks.sqlite_gate.is_sound:
        raise DatabaseNotWritable(
            f"the queue file {path} cannot be used: this process was forked from one that was just writing a queue "
            "file. Start it by spawn instead of fork, or fork before the first launch",
            path=str(path),
        )


def _check_place(path: Path) -> None:
    """Create the file, or say in one way why that is impossible, where SQLite has four."""
    # By the effective user where the system can tell, since that is the one who will write.
    is_effective = os.access in os.supports_effective_ids
    try:
        _create(path)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=is_effective):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise DatabaseNotWritable(
            f"the queue file {path} cannot be opened for writing ({error.strerror}); its folder must exist and be "
            "writable",
            path=str(path),
        ) from error
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=is_effective):
        raise DatabaseNotWritable(
            f"the folder of the queue file {path} is read-only, and SQLite needs to write a journal beside it",
            path=str(path),
        )


def _create(path: Path) -> None:
    """Create the file, unless it is there; one that is there is never opened here. Raises OSError.

    Closing any descriptor of a file drops all locks that this process has on it, also those of other connections in
    the middle of a transaction; another process would then write at the same time, and commits would be lost. So only
    a file without any connection may be closed, and no other thread may connect to it before it is.
    """
    with _creating, contextlib.suppress(FileExistsError):
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _check_origin(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what another program or a newer version of this one made, before anything in it is changed."""
    if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
        raise DatabaseUnsupported(
            f"the sqlite:// transport needs SQLite 3.37, and this Python has {sqlite3.sqlite_version}", path=str(path)
        )
    # In one statement, so of one moment: another process may be making the tables.
    application_id, version, objects = connection.execute(
        "SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version), "
        "(SELECT count(*) FROM sqlite_schema)"
    ).fetchone()
    if application_id != APPLICATION_ID and (application_id, version, objects) != (0, 0, 0):
        raise DatabaseUnsupported(
            f"{path} is a database of something else (application_id {application_id:#010x}), not a queue file; "
            "give the transport a file of its own, not that of the service",
            path=str(path),
        )
    if version > len(MIGRATIONS):
        raise DatabaseUnsupported(
            f"the queue file {path} has version {version}, and this program knows up to {len(MIGRATIONS)}; "
            "update SchedulerGodX",
            path=str(path),
        )


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    """Make a commit mean "on disk", and see that it is so: a build of SQLite may have it otherwise."""
    (journal_mode,) = connection.execute("PRAGMA journal_mode = PERSIST").fetchone()
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    (synchronous,) = connection.execute("PRAGMA synchronous").fetchone()
    (foreign_keys,) = connection.execute("PRAGMA foreign_keys").fetchone()
    if (journal_mode, synchronous, foreign_keys) != ("persist", SYNCHRONOUS_FULL, 1):
        raise DatabaseUnsupported(
            f"SQLite does not keep the queue file {path} as it must: journal_mode is {journal_mode!r} (not "
            f"'persist'), synchronous {synchronous} (not {SYNCHRONOUS_FULL}), foreign_keys {foreign_keys} (not 1)",
            path=str(path),
        )


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest version, in one transaction; several processes may try at once."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    _check_origin(connection, path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")


def _with_dead_letters(queue: QueueSpec) -> list[QueueSpec]:
    """Return a queue, and before it the one where its dead letters go."""
    return [queue.dead_letters, queue] if queue.has_dead_letters else [queue]
