"""`FileConnection`: a queue file that is open, its lock and its log. What is in it is `queue_file`'s."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from schedulergodx import forks
from schedulergodx.file_lock import WriterLock
from schedulergodx.transport.sqlite import opening
from schedulergodx.transport.sqlite.opening import is_busy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from schedulergodx.utils.abstractions import Clock

BUSY_WAIT_S = 1.0
"""How long one statement waits, in seconds, while another process writes."""
BUSY_PAUSES_S = (0.001, 0.001, 0.001, 0.001, 0.001, 0.0005, 0.0005, 0.0005, 0.0005, 0.0002)
"""Pauses between its attempts; the last one is repeated."""
LOG_BYTES_MAX = 256 * 1024 * 1024
"""The log may grow so far while somebody reads the file without end; then nothing is written any more."""

_opened_by: dict[int, int] = {}
"""The process that opened it, for each connection that is open, by its identity."""
_sync = getattr(os, "fdatasync", os.fsync)


class FileConnection:
    """An open queue file. One thread uses it, within `forks.sqlite_gate`.

    It is closed while the process forks, and has to be opened again with `reopen` before its next use: SQLite knows of
    an open log what a child must not inherit, since the child has none of the locks that go with it.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Open the file at `path`, create it with mode 0600, or migrate it.

        Raises:
            DatabaseNotWritable, DatabaseUnsupported, DatabaseDamaged: it cannot be used; nothing was changed.
            sqlite3.Error, OSError: it cannot be used at the moment.
        """
        self.path = path
        self._clock = clock
        self._never: SimpleQueue[None] = SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._lock: WriterLock | None = None
        self._log: int | None = None
        self._version_seen = -1
        self._files: list[tuple[str, os.stat_result]] = []
        self._file: os.stat_result | None = None
        self._real = ""
        self._open()
        self._file = self._files[0][1]
        forks.renew(self)
        forks.rest_at_fork(self)

    # --- Opening and closing

    def reopen(self) -> bool:
        """Open the file again if a fork had it closed; return False when another one is at its path now."""
        if self._connection is None:
            self._open()
            if self._file is None or not _is_at(str(self.path), self._file):
                self._let_go()  # its log is that of others
                return False
        return True

    def close(self) -> None:
        """Close the file; an open transaction is undone. Closing twice does nothing."""
        # By its own name, since a link that leads elsewhere now says nothing about the file.
        if self._log is not None and self._file is not None and not _is_at(self._real, self._file):
            self._take_log_along()
        self._let_go()

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        log, self._log = self._log, None
        lock, self._lock = self._lock, None
        try:
            if connection is not None:
                connection.close()
                _opened_by.pop(id(connection), None)
        finally:
            if log is not None:
                os.close(log)
            if lock is not None:
                lock.close()

    def _take_log_along(self) -> None:
        """Bring the log into the file, which was moved or removed, so that it is not taken for that of a successor."""
        with contextlib.suppress(sqlite3.Error, OSError):
            self.rollback()
            self._wait_for_lock()
            self._empty_log()
            for name, known in self._files[2:]:
                if os.path.samestat(known, Path(name).stat()):
                    Path(name).unlink()

    def rest_at_fork(self) -> None:
        """Close the file before the process forks, in whatever thread."""
        self.close()

    def renew_in_fork(self) -> None:
        """Keep a connection that was inherited for ever: SQLite forbids the child to use it, and to close it."""
        if self._connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))

    def is_replaced(self) -> bool:
        """Return whether a path leads to another file now, or to none: what is written here would be lost."""
        # While it is closed for a fork, others may take the log away.
        files = self._files if self._connection is not None else [(str(self.path), self._file)]
        return not all(known is not None and _is_at(path, known) for path, known in files)

    def _open(self) -> None:
        # What forks without telling Python has not called `rest_at_fork`.
        self._real = os.path.realpath(self.path)
        opening.check_fork(self.path, is_sound=set(_opened_by.values()) <= {os.getpid()})
        is_new = opening.check_place(self.path)
        try:
            if is_new:
                self._wait_for_lock()
                opening.make(self.path)
            # By a URI, since a name alone would make a file that was removed just now, and for everybody to read.
            self._connection = sqlite3.connect(
                f"{self.path.as_uri()}?mode=rw",
                uri=True,
                timeout=BUSY_WAIT_S,
                isolation_level=None,
                check_same_thread=False,  # whoever forks closes it
            )
            _opened_by[id(self._connection)] = os.getpid()
            self._set_up(self._connection)
        except FileNotFoundError as error:  # not as of a folder that is missing: that was looked for before
            self.close()
            raise opening.busy(f"the queue file was just removed, or a part of it ({error.filename})") from error
        except BaseException as error:
            self.close()
            if isinstance(error, sqlite3.Error) and (refusal := opening.explain(error, self.path)):
                raise refusal from error
            raise

    def _set_up(self, connection: sqlite3.Connection) -> None:
        opening.check_origin(connection, self.path)
        if not opening.is_ready(connection):  # which nobody can change any more
            self._wait_for_lock()
        opening.migrate(connection, self.path)
        has_log = opening.configure(connection, self.path, self._writer_lock().path)
        self._writer_lock().release()
        connection.execute("PRAGMA busy_timeout = 0")  # from here on `_execute` waits
        if has_log:
            self._log = os.open(opening.companions(self.path)[0], os.O_RDWR | os.O_CLOEXEC)
        self._version_seen = -1
        paths = [self.path, self._writer_lock().path, *(opening.companions(self.path) if has_log else ())]
        self._files = [(str(path), path.stat()) for path in paths]

    # --- Transactions

    def begin(self) -> None:
        """Begin a transaction; waits for other writers."""
        self._wait_for_lock()
        try:
            if self._log is not None and os.fstat(self._log).st_size > LOG_BYTES_MAX:
                self._empty_log()
            self._execute("BEGIN IMMEDIATE")
        except BaseException:
            self._writer_lock().release()
            raise

    def commit(self) -> None:
        """Have everything since `begin` last, and be seen by others. After a loss of power that is so after `sync`."""
        # If the log has become long, this also brings it into the file. With the lock, so that nobody else writes: two
        # that write and bring in the log at once are what SQLite before 3.51.3 may lose commits of.
        self._execute("COMMIT")
        self._writer_lock().release()

    def sync(self) -> None:
        """Return once all that was committed, by whomever, is on disk. Raises OSError."""
        if self._log is None:
            return
        try:
            _sync(self._log)
        except OSError:
            # The system has perhaps given up what it could not write, and the next sync would not tell. As long as it
            # can still be read, it may get into the file itself; then others lose nothing of what they append to it.
            with contextlib.suppress(sqlite3.Error):
                self._wait_for_lock()
                try:
                    self._empty_log()
                finally:
                    self._writer_lock().release()
            raise

    def _empty_log(self) -> None:
        """Bring all of the log into the file, and cut it off. To be called with the lock. Raises sqlite3.Error."""
        (is_read, _pages, _done) = self._execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_read:
            raise opening.busy(
                "the log of the queue file has become too long: another program has the file open and reads without end"
            )

    def rollback(self) -> None:
        """Undo everything since `begin`, if there is an open transaction."""
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._execute("ROLLBACK")
        finally:
            if self._lock is not None:
                self._lock.release()

    def has_changed(self) -> bool:
        """Return whether another connection committed something since this was asked last."""
        (version,) = self._execute("PRAGMA data_version").fetchone()
        has_changed, self._version_seen = bool(version != self._version_seen), version
        return has_changed

    # --- Statements

    @property
    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the queue file is closed")
        return self._connection

    def _writer_lock(self) -> WriterLock:
        if self._lock is None:
            self._lock = WriterLock(Path(f"{self._real}-lock"))  # one file has one lock, whatever leads to it
        return self._lock

    def _wait_for_lock(self) -> None:
        """Take the lock of all that write. Raises sqlite3.OperationalError, as SQLite does of a file that is in use."""
        lock = self._writer_lock()
        for _ in self._pauses():
            if lock.acquire():
                return
        raise opening.busy("the queue file is locked: another process writes")

    def _execute(self, sql: str, parameters: Sequence[str | float | bytes | None] = ()) -> sqlite3.Cursor:
        """Execute, and wait while another program has the file."""
        connection = self._opened
        for _ in self._pauses():
            try:
                return connection.execute(sql, parameters)
            except sqlite3.OperationalError as error:
                if not is_busy(error):
                    raise
        return connection.execute(sql, parameters)

    def _pauses(self) -> Iterator[None]:
        """Yield again and again, with pauses, while it is worth waiting.

        SQLite would wait by itself, in pauses that grow to 100 ms. Here they shrink: who has waited longest tries
        most often, so that nobody starves between others that write without a break.
        """
        attempts, give_up_at_s = 0, self._clock.monotonic() + BUSY_WAIT_S
        while True:
            yield
            if self._clock.monotonic() >= give_up_at_s:
                return
            self._clock.wait_for(self._never, BUSY_PAUSES_S[min(attempts, len(BUSY_PAUSES_S) - 1)])
            attempts += 1


def _is_at(path: str, known: os.stat_result) -> bool:
    try:
        return os.path.samestat(known, os.stat(path))  # noqa: PTH116 - of each poll
    except OSError:
        return False
