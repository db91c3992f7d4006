"""One open database: its settings, its schema, and its statements, with errors of this library."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager, suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from schedulergodx import forks
from schedulergodx.errors import DatabaseDamaged, DatabaseUnsupported, StorageError
from schedulergodx.utils.storage import schema
from schedulergodx.utils.storage.failures import explained
from schedulergodx.utils.storage.files import check_place, check_readable, new_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Row: TypeAlias = tuple[Any, ...]

BUSY_TIMEOUT_S = 5.0
"""How long to wait while another program has the database locked."""
SQLITE_LEAST = (3, 37, 0)
"""STRICT tables came with 3.37, in 2021."""
CHECKED_BYTES_MAX = 32 * 1024 * 1024
"""Up to this size the whole file is checked whenever it is opened; above it, that would delay the start."""

_ROWS_AT_ONCE = (32, 8, 1)
"""Few sizes, so that each statement is prepared once and kept."""

_WRITER_SETTINGS: tuple[tuple[str, str, object], ...] = (
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", 2),  # W14: NORMAL may forget, at a loss of power, what was acked
    ("foreign_keys", "ON", 1),
    ("trusted_schema", "OFF", 0),
    ("cell_size_check", "ON", 1),
    ("mmap_size", "0", 0),
)
"""Each is set and read back, since a build of SQLite, or a disk, may not have it."""


class Connection:
    """A connection to one database file. One thread at a time may use it.

    Statements return their rows at once: nothing stays open between two calls, so a reader never holds up the
    write-ahead log. A fork of this process waits until no thread is within SQLite.

    Every method raises the `StorageError` that `failures` gives for what SQLite says.
    """

    def __init__(self, path: Path, raw: sqlite3.Connection) -> None:
        self.path = path
        self._raw = raw
        self._failure: StorageError | None = None

    def rows(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Return all rows of a query."""
        return self._run(sql, parameters)[0]

    def row(self, sql: str, parameters: Sequence[object] = ()) -> Row | None:
        """Return the only row of a query, or None."""
        found = self.rows(sql, parameters)
        return found[0] if found else None

    def value(self, sql: str, parameters: Sequence[object] = ()) -> Any:
        """Return the only value of a query that has exactly one row."""
        return self.rows(sql, parameters)[0][0]

    def change(self, sql: str, parameters: Sequence[object] = ()) -> int:
        """Run a statement and return how many rows it changed."""
        return self._run(sql, parameters)[1].rowcount

    def change_each(self, sql: str, parameters: Sequence[Sequence[object]]) -> None:
        """Run a statement once for each set of parameters."""
        try:
            self._raw.executemany(sql, parameters)
        except sqlite3.Error as error:
            self._failure = explained(error, self.path)
            raise self._failure from error

    def change_many(self, sql: str, rows: Sequence[Row]) -> None:
        """Run a statement with `{rows}` in its text for all rows, many of them at a time."""
        done, all_of_them = 0, len(rows)
        for count in _ROWS_AT_ONCE:
            while done + count <= all_of_them:
                batch = rows[done : done + count]
                self._run(_for_rows(sql, len(batch[0]), count), list(chain.from_iterable(batch)))
                done += count

    def insert(self, sql: str, parameters: Sequence[object]) -> int:
        """Insert one row and return its number."""
        return self._run(sql, parameters)[1].lastrowid or 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all changes of the block, or none.

        A statement that fails spoils the whole block, even when its error was caught in there: SQLite itself may have
        rolled back, and half of a method's statements must not be kept. It takes the write lock at the beginning,
        since a reader that becomes a writer is refused without any wait.
        """
        self.expect_no_transaction()
        with forks.sqlite_gate:
            self._run_now("BEGIN IMMEDIATE", ())  # which need not pass the gate once more
            self._failure = None
            try:
                yield
                self.expect_transaction()
                self.change("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            finally:
                self._failure = None

    def changed_rows(self) -> int:
        """Return how many rows this connection has changed so far."""
        return self._raw.total_changes

    def expect_no_transaction(self) -> None:
        """Raise RuntimeError within a transaction; nothing is changed by that."""
        if self._raw.in_transaction:
            raise RuntimeError("a transaction is open already: one `with storage.transaction():` holds all changes")

    def expect_transaction(self) -> None:
        """Make sure that what comes now is kept or undone with the rest of a transaction.

        Raises:
            StorageError: the one that a statement of this transaction raised.
            RuntimeError: there is no transaction; a mistake of the caller.
        """
        if self._failure is not None:
            raise self._failure
        if not self._raw.in_transaction:
            raise RuntimeError(
                "a change of the storage belongs into `with storage.transaction():`; nothing was changed"
            )

    def take_all_of(self, source: Connection) -> None:
        """Make this, an empty database, a copy of another one."""
        try:
            with forks.sqlite_gate:
                source._raw.backup(self._raw)
        except sqlite3.Error as error:
            raise explained(error, self.path) from error

    def close(self) -> None:
        """Close the file. An open transaction is rolled back. Closing twice does nothing."""
        with forks.sqlite_gate:
            self._raw.close()

    def _run(self, sql: str, parameters: Sequence[object]) -> tuple[list[Row], sqlite3.Cursor]:
        if self._raw.in_transaction:  # which has passed the gate
            return self._run_now(sql, parameters)
        with forks.sqlite_gate:
            return self._run_now(sql, parameters)

    def _run_now(self, sql: str, parameters: Sequence[object]) -> tuple[list[Row], sqlite3.Cursor]:
        try:
            cursor = self._raw.execute(sql, parameters)
            return (cursor.fetchall() if cursor.description else []), cursor  # without columns, there are no rows
        except sqlite3.Error as error:
            self._failure = explained(error, self.path)
            raise self._failure from error

    def _roll_back(self) -> None:
        """Undo the open transaction, if SQLite has not done so by itself. What went wrong before matters more."""
        if self._raw.in_transaction:
            with suppress(StorageError):
                self.change("ROLLBACK")


@lru_cache(maxsize=64)
def _for_rows(sql: str, width: int, count: int) -> str:
    """Return the statement with places for so many rows of so many values."""
    row = f"({', '.join('?' * width)})"
    return sql.replace("{rows}", ", ".join([row] * count))


def open_writer(path: Path, check: Callable[[Connection, int], None] | None = None) -> Connection:
    """Open the database at `path` for writing; create it, or bring its schema up to date.

    `check` is called with the connection and the number of its schema before anything is changed, and may raise.

    Raises:
        DatabaseNotWritable, DatabaseUnsupported, DatabaseDamaged, DatabaseBusy, DatabaseFull: nothing was changed.
    """
    _check_sqlite(path)
    if not check_place(path):
        _create(path)
    connection = _connect(path, str(path), is_uri=False)
    try:
        version = _check_schema(connection)
        if check is not None:
            check(connection, version)
        _configure(connection)
        _check_content(connection)
        _migrate(connection, version)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> Connection:
    """Open the database at `path` for reading alone, beside whoever writes it.

    Raises:
        DatabaseNotWritable: there is no such file, or it cannot be read.
        DatabaseUnsupported, DatabaseDamaged, DatabaseBusy: as for a writer.
    """
    _check_sqlite(path)
    check_readable(path)
    uri = f"{path.as_uri()}?mode=ro"
    try:
        return _opened_reader(path, uri)
    except StorageError:
        if not _is_at_rest_and_read_only(path):
            raise
    # SQLite cannot make its index beside the file, and nobody can be writing: then the file alone is all there is.
    return _opened_reader(path, f"{uri}&immutable=1")


def open_copy(source: Connection, path: Path) -> Connection:
    """Copy a whole database, as it is at this moment, into the empty file at `path`, and open that for writing.

    Raises:
        DatabaseFull, DatabaseDamaged, DatabaseBusy, DatabaseNotWritable: the copy is of no use.
    """
    copy = _connect(path, str(path), is_uri=False)
    try:
        copy.take_all_of(source)
    except BaseException:
        copy.close()
        raise
    return copy


def _opened_reader(path: Path, uri: str) -> Connection:
    connection = _connect(path, uri, is_uri=True)
    try:
        connection.change("PRAGMA trusted_schema = OFF")
        _check_current(path, _check_schema(connection))
    except BaseException:
        connection.close()
        raise
    return connection


def _is_at_rest_and_read_only(path: Path) -> bool:
    """Return whether the folder cannot be written and no write-ahead log is left in it."""
    log = Path(f"{path}-wal")
    is_at_rest = not log.exists() or log.stat().st_size == 0
    return is_at_rest and not os.access(path.parent, os.W_OK)


def _connect(path: Path, name: str, *, is_uri: bool) -> Connection:
    try:
        with forks.sqlite_gate:
            raw = sqlite3.connect(
                name,
                uri=is_uri,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,  # transactions are begun here, never by the module
                check_same_thread=False,  # opened by one thread, used by the loop's: one at a time all the same
            )
    except sqlite3.Error as error:
        raise explained(error, path) from error
    return Connection(path, raw)


def _check_sqlite(path: Path) -> None:
    if sqlite3.sqlite_version_info < SQLITE_LEAST:
        least = ".".join(map(str, SQLITE_LEAST))
        raise DatabaseUnsupported(
            f"the database {path} needs SQLite {least} or newer, and this Python has {sqlite3.sqlite_version}: "
            "install a newer Python or SQLite",
            path=str(path),
        )


def _create(path: Path) -> None:
    """Make a database under another name and move it to its place when it is whole.

    A crash therefore leaves either nothing or a database, never the empty file that `check_place` refuses.
    """
    with new_file(path) as unfinished:
        connection = _connect(path, str(unfinished), is_uri=False)
        try:
            # No journal file: what is left of an earlier attempt could be taken for the journal of this one.
            connection.change("PRAGMA journal_mode = MEMORY")
            _migrate(connection, 0)
        finally:
            connection.close()


def _check_schema(connection: Connection) -> int:
    """Return the schema's number, having made sure that it is a database of ours and not a newer one."""
    path = connection.path
    application = connection.value("PRAGMA application_id")
    if application != schema.APPLICATION_ID:
        raise DatabaseUnsupported(
            f"the database {path} belongs to another program (application_id {application:#010x}, "
            f"expected {schema.APPLICATION_ID:#010x}): name another file; this one was not changed. "
            "A database of SchedulerGodX 1.0.0 cannot be used either: move it away",
            path=str(path),
        )
    version: int = connection.value("PRAGMA user_version")
    if version > len(schema.MIGRATIONS):
        raise DatabaseUnsupported(
            f"the database {path} has schema {version}, and this version knows {len(schema.MIGRATIONS)} at most: "
            "install a newer SchedulerGodX, or name another file; this one was not changed",
            path=str(path),
        )
    return version


def _check_current(path: Path, version: int) -> None:
    """Make sure that a reader, which cannot migrate, understands the schema."""
    if version < len(schema.MIGRATIONS):
        raise DatabaseUnsupported(
            f"the database {path} has schema {version}, and {len(schema.MIGRATIONS)} is needed to read it: "
            "start the service on it once, which brings it up to date",
            path=str(path),
        )


def _configure(connection: Connection) -> None:
    for name, wanted, expected in _WRITER_SETTINGS:
        connection.change(f"PRAGMA {name} = {wanted}")
        taken = connection.value(f"PRAGMA {name}")
        if taken != expected:
            raise DatabaseUnsupported(
                f"the database {connection.path} does not take the setting {name} = {wanted} (it stays {taken}): "
                "use a local disk and an SQLite without special build options",
                path=str(connection.path),
            )


def _check_content(connection: Connection) -> None:
    """Find overwritten pages before any task of theirs runs; a truncated file SQLite finds by itself."""
    if connection.path.stat().st_size > CHECKED_BYTES_MAX:
        return
    first_fault = connection.value("PRAGMA quick_check(1)")
    if first_fault != "ok":
        raise DatabaseDamaged(
            f"the database {connection.path} is damaged ({' '.join(first_fault.split())}): "
            "keep a copy, and restore a backup",
            path=str(connection.path),
        )


def _migrate(connection: Connection, version: int) -> None:
    """Bring the schema from `version` up to date, all steps or none."""
    if version == len(schema.MIGRATIONS):
        return
    with connection.transaction():
        for migration in schema.MIGRATIONS[version:]:
            for statement in migration:
                connection.change(statement)
        connection.change(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.change(f"PRAGMA user_version = {len(schema.MIGRATIONS)}")
