"""What SQLite's errors mean: the one place where they become errors of this library."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedulergodx.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseFull,
    DatabaseNotWritable,
    DatabaseUnsupported,
    StorageError,
)
from schedulergodx.utils.storage.surroundings import writer_of

if TYPE_CHECKING:
    from pathlib import Path

_PRIMARY_CODE = 0xFF
"""SQLite's extended result codes hold the primary code in their lowest byte."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    """An error of ours for one of SQLite's, what happened to the database, and what to do next."""

    kind: type[StorageError]
    happened: str
    advice: str


_BUSY = _Meaning(
    DatabaseBusy,
    "was kept locked by another program for longer than the wait",
    "nothing was changed; end that program, or try again",
)
_FULL = _Meaning(
    DatabaseFull,
    "could not be written",
    "nothing was changed; make space on its disk, or raise its quota, and try again",
)
_NOT_WRITABLE = _Meaning(
    DatabaseNotWritable,
    "cannot be opened or written",
    "check that its folder exists and that this user may write the file and the folder",
)
_DAMAGED = _Meaning(
    DatabaseDamaged,
    "is damaged",
    "stop every program that uses it, keep a copy, and restore a backup",
)
_MOVED = _Meaning(
    DatabaseDamaged,
    "was removed or replaced while it was open",
    "nothing more is written; put the file back, or start again with another one",
)
_FOREIGN = _Meaning(
    DatabaseUnsupported,
    "is not an SQLite database",
    "name another file; this one was not changed",
)
_OTHER = _Meaning(
    StorageError,
    "refused a statement",
    "nothing was changed; please report this with the text in parentheses",
)

_MEANINGS: dict[int, _Meaning] = {
    sqlite3.SQLITE_BUSY: _BUSY,
    sqlite3.SQLITE_LOCKED: _BUSY,
    sqlite3.SQLITE_PROTOCOL: _BUSY,  # the locks of the WAL could not be had in time
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _FULL,  # a quota, a device, a network disk: like a full disk it may pass
    sqlite3.SQLITE_IOERR_READ: _DAMAGED,
    sqlite3.SQLITE_IOERR_SHORT_READ: _DAMAGED,
    sqlite3.SQLITE_IOERR_CORRUPTFS: _DAMAGED,
    sqlite3.SQLITE_IOERR_NOMEM: _OTHER,
    sqlite3.SQLITE_READONLY: _NOT_WRITABLE,
    sqlite3.SQLITE_READONLY_DBMOVED: _MOVED,
    sqlite3.SQLITE_CANTOPEN: _NOT_WRITABLE,
    sqlite3.SQLITE_PERM: _NOT_WRITABLE,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _FOREIGN,
}
"""By extended code where that says more, else by primary code."""


def explained(error: sqlite3.Error, path: Path) -> StorageError:
    """Return the error of this library for one of SQLite, about the database at `path`.

    The text holds SQLite's own words, which name tables and columns but never a value.
    """
    # Errors of the sqlite3 module itself, as opposed to those of SQLite, have no code.
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    name: str = getattr(error, "sqlite_errorname", type(error).__name__)
    meaning = _MEANINGS.get(code) or _MEANINGS.get(code & _PRIMARY_CODE, _OTHER)
    happened = meaning.happened
    if meaning is _BUSY and (pid := writer_of(path)) is not None:
        happened = happened.replace("another program", f"process {pid}")
    return meaning.kind(f"the database {path} {happened} ({error}, {name}): {meaning.advice}", path=str(path))


def not_usable(path: Path, reason: str) -> DatabaseNotWritable:
    """Return the error for a place where there can be no database, before SQLite has looked at it."""
    return DatabaseNotWritable(
        f"the database {path} cannot be used ({reason}): name a file in a folder that this user may write",
        path=str(path),
    )


def moved(path: Path, what: str) -> DatabaseDamaged:
    """Return the error for a file of the database that is no longer the one that was opened."""
    return DatabaseDamaged(f"the database {path} {_MOVED.happened} ({what}): {_MOVED.advice}", path=str(path))
