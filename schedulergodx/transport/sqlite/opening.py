"""What happens before a queue file is used: is it the right place, is it ours, how is it kept, are the tables there."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import sqlite3
from pathlib import Path

from schedulergodx import forks
from schedulergodx.errors import DatabaseDamaged, DatabaseNotWritable, DatabaseUnsupported, StorageError
from schedulergodx.transport.sqlite.schema import APPLICATION_ID, MIGRATIONS

SQLITE_VERSION_MIN = (3, 37, 0)
"""The first with STRICT tables."""
JOURNAL_BYTES_MAX = 4 * 1024 * 1024
"""What stays of the log, or journal, beside the file; large messages need more of it for a while."""
CHECKPOINT_PAGES = 500
"""Pages in the log from which on a commit brings them into the file; so it is the log that counts, whoever wrote it."""
SYNCHRONOUS_FULL, SYNCHRONOUS_NORMAL = 2, 1


def is_busy(error: BaseException) -> bool:
    """Return whether another process has the file at the moment: then nothing at all was done."""
    return bool(getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY)


def busy(words: str) -> sqlite3.OperationalError:
    """Return an error of which `is_busy` is true."""
    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error


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


def check_fork(path: Path, *, is_sound: bool) -> None:
    """Refuse to enter SQLite where it would believe in locks that this process has not got."""
    if not (is_sound and forks.sqlite_gate.is_sound):
        raise DatabaseNotWritable(
            f"the queue file {path} cannot be used: this process was forked from one that just had a queue file "
            "in use. Start it by spawn instead of fork, or fork before the first launch",
            path=str(path),
        )


def check_place(path: Path) -> bool:
    """Return whether a file is to be made; say in one way why one cannot be used there, where SQLite has four."""
    # By the effective user where the system can tell, since that is the one who will write.
    is_effective = os.access in os.supports_effective_ids
    try:
        is_new = _is_new(path)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        os.stat(path.parent)  # noqa: PTH116 - raises in words when there is none
        if path.exists() and not os.access(path, os.R_OK | os.W_OK, effective_ids=is_effective):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise DatabaseNotWritable(
            f"the queue file {path} cannot be opened for writing ({error.strerror}); its folder must exist and be "
            "writable",
            path=str(path),
        ) from error
    if not os.access(path.parent, os.W_OK | os.X_OK, effective_ids=is_effective):
        raise DatabaseNotWritable(
            f"the folder of the queue file {path} is read-only, and SQLite needs to write a log beside it",
            path=str(path),
        )
    return is_new


def make(path: Path) -> None:
    """Make the file, unless another one did. To be called with the lock. Raises OSError.

    What lies beside it then is of a file that was removed, perhaps under a program that has it open still; SQLite would
    take its index of the log for that of the new file.
    """
    if not _is_new(path):
        return
    for name in companions(path):
        name.unlink(missing_ok=True)
    # One that is there is never opened here. Closing any descriptor of a file drops all locks that this process has on
    # it, also those of other connections in the middle of a transaction; another process would then write at the same
    # time, and commits would be lost.
    with contextlib.suppress(FileExistsError):
        # Of a link, what it leads to: the link itself would be in the way.
        os.close(os.open(os.path.realpath(path), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _is_new(path: Path) -> bool:
    """Return whether nothing is in the file, or no file there. Raises OSError."""
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def companions(path: Path) -> tuple[Path, Path]:
    """Return the log of the file, and its index. SQLite names them after the file itself, whatever leads to it."""
    real = os.path.realpath(path)
    return Path(f"{real}-wal"), Path(f"{real}-shm")


def check_origin(connection: sqlite3.Connection, path: Path) -> None:
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


def configure(connection: sqlite3.Connection, path: Path, lock: Path) -> bool:
    """Have the file keep what is committed, and see that it is so: a build of SQLite may have it otherwise.

    Return whether it has a log; `lock` is a file beside it. Without one, a commit is on disk when it returns; with one,
    once the log is synced.
    """
    has_log = _begin_log(connection, lock)
    journal_mode, synchronous = ("wal", SYNCHRONOUS_NORMAL) if has_log else ("persist", SYNCHRONOUS_FULL)
    # PERSIST syncs a journal that is over, by zeros at its head: with DELETE, a power loss could bring it back and undo
    # a confirmed message.
    wanted = {"journal_mode": journal_mode, "synchronous": synchronous, "foreign_keys": 1}
    for name, value in wanted.items():
        connection.execute(f"PRAGMA {name} = {value}")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    connection.execute("PRAGMA trusted_schema = OFF")
    is_current(connection)  # the log is there once something was read by it
    found = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted}
    if found != wanted:
        raise DatabaseUnsupported(
            f"SQLite does not keep the queue file {path} as it must: {found} instead of {wanted}", path=str(path)
        )
    return has_log


def _begin_log(connection: sqlite3.Connection, lock: Path) -> bool:
    """Return whether the file has a write-ahead log; it gets one if nobody else has it open without."""
    if not _has_log(connection) and _can_share_memory(lock):
        with contextlib.suppress(sqlite3.OperationalError):  # another program has it open, of an earlier version
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
    return _has_log(connection)


def _can_share_memory(beside: Path) -> bool:
    """Return whether programs can share memory by a file there, as a log needs it; some file systems cannot.

    SQLite tries it only when it is too late to go back.
    """
    try:
        with beside.open("r+b") as file:
            file.truncate(mmap.PAGESIZE)
            mmap.mmap(file.fileno(), mmap.PAGESIZE).close()
    except OSError:
        return False
    return True


def _has_log(connection: sqlite3.Connection) -> bool:
    (journal_mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    return bool(journal_mode == "wal")


def is_ready(connection: sqlite3.Connection) -> bool:
    """Return whether the file has its log and its tables already."""
    return _has_log(connection) and is_current(connection)


def is_current(connection: sqlite3.Connection) -> bool:
    """Return whether the tables are those of this version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return bool(version == len(MIGRATIONS))


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to the newest version, in one transaction; several processes may try at once."""
    if is_current(connection):
        return
    connection.execute("BEGIN IMMEDIATE")
    check_origin(connection, path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")
