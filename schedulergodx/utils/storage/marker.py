"""`Marker`: how far a database has come, written beside it, to notice at the next start that it is an older one.

SQLite cannot tell that a backup was restored, or that the write-ahead log was deleted: what is left is sound. But tasks
that were acked since then are nowhere any more, and tasks that ran since then would run again.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from schedulergodx.errors import DatabaseOutdated
from schedulergodx.utils.storage.failures import not_usable

if TYPE_CHECKING:
    from schedulergodx.utils.storage.connection import Connection

logger = logging.getLogger("schedulergodx.storage")

BYTES = 64
"""Of the file: one line of numbers, padded, so that it is always written as a whole."""
SCHEMA_WITH_CHANGES = 2
"""From this one on, a database counts its changes."""
_ADVICE = (
    "Tasks that were accepted since then are missing in it, and what has run since then would run again. Put the newer "
    "file back, with its -wal; or, if this one is all there is, say so once: "
    "`schedulergodx service --accept-older-database`, or `DB(path, accepts_older=True)`"
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a database has come.

    Attributes:
        epoch: the newest start of a service on it.
        began_at: when that was, in microseconds since 1970.
        changes: how many transactions had changed something, from the very first on.
    """

    epoch: int
    began_at: int
    changes: int


class Marker:
    """The file `<path>.marker`. It is never ahead of the database, since it is written after each commit.

    It is not synced: a loss of power may leave an older number, which proves less, but never a wrong one.
    """

    def __init__(self, path: Path) -> None:
        self._database = path
        self.path = Path(f"{path}.marker")
        self._descriptor: int | None = None

    def read(self) -> Progress | None:
        """Return what was written last, or None if there is no file, or it cannot be understood."""
        try:
            with self.path.open("rb") as file:
                epoch, began_at, changes = file.read(BYTES).split()
            return Progress(int(epoch), int(began_at), int(changes))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("%s cannot be read (%s): whether the database is older is not known", self.path, error)
            return None

    def open(self) -> None:
        """Open it for writing, readable for this user alone. Raises DatabaseNotWritable."""
        try:
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise not_usable(self._database, f"its {self.path.name}: {error.strerror}") from error

    def write(self, progress: Progress) -> None:
        """Write it down; a disk that is full or failing is no matter, since what is committed is committed."""
        line = f"{progress.epoch} {progress.began_at} {progress.changes}".ljust(BYTES - 1) + "\n"
        try:
            if self._descriptor is not None:
                os.pwrite(self._descriptor, line.encode(), 0)
        except OSError as error:
            logger.debug("%s was not written: %s", self.path, error)

    def close(self) -> None:
        """Close the file. Closing twice does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def check_there(path: Path, marker: Progress | None) -> None:
    """Make sure that no database is missing at `path`, where one may be made. Raises DatabaseOutdated."""
    if marker is not None and marker.changes:
        raise DatabaseOutdated(
            f"the database {path} is gone: by the file {path.name}.marker there was one. {_ADVICE}", path=str(path)
        )


def check_newest(connection: Connection, version: int, marker: Progress | None) -> None:
    """Make sure that a database with schema `version` is not behind its marker, and no backup.

    Raises:
        DatabaseOutdated: it is.
    """
    path = connection.path
    has_changes = version >= SCHEMA_WITH_CHANGES
    if has_changes and connection.value("SELECT count(*) FROM copies"):
        raise DatabaseOutdated(
            f"the database {path} is a backup that was made by `schedulergodx backup`. {_ADVICE}", path=str(path)
        )
    if marker is None or not marker.changes:
        return
    row = connection.row("SELECT began_at FROM epochs WHERE epoch = ?", (marker.epoch,))
    changes = changes_of(connection) if has_changes else 0
    if row != (marker.began_at,) or changes < marker.changes:  # W15
        raise DatabaseOutdated(
            f"the database {path} is an older one than was here: it has seen {changes} changes, and by the file "
            f"{path.name}.marker there were {marker.changes}: a backup was restored, or its -wal was removed. "
            f"{_ADVICE}",
            path=str(path),
        )


def changes_of(connection: Connection) -> int:
    """Return how many transactions have changed something in a database so far."""
    changes: int = connection.value("SELECT coalesce(max(changes), 0) FROM epochs")
    return changes
