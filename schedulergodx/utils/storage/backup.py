"""A consistent copy of a database, also of one that a service writes meanwhile."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from schedulergodx.errors import DatabaseDamaged
from schedulergodx.utils.storage import rows
from schedulergodx.utils.storage.connection import open_copy, open_reader
from schedulergodx.utils.storage.failures import not_usable
from schedulergodx.utils.storage.files import check_folder, database_path, new_file, resolved

if TYPE_CHECKING:
    import os
    from datetime import datetime
    from pathlib import Path


def backup(path: str | os.PathLike[str], target: str | os.PathLike[str], *, now: datetime) -> Path:
    """Copy the database at `path` into a new file, as it is at one moment, checked. May be called from any thread.

    The copy is one file, readable for this user alone, without a write-ahead log, and marked as made at `now`: a
    service refuses it, unless it is told to accept an older database. A service that writes meanwhile is not held up.

    Returns:
        The copy.

    Raises:
        InvalidParameter: one of the two names no file.
        DatabaseNotWritable: there is no database, or the copy cannot be written; or there is something in its place,
            which was not touched.
        DatabaseUnsupported: the database has another schema.
        DatabaseDamaged, DatabaseBusy, DatabaseFull: it could not be copied; nothing is left of the copy.
    """
    copy = resolved(database_path(target))
    with closing(open_reader(resolved(database_path(path)))) as source:
        check_folder(copy)
        if copy.exists():
            raise not_usable(copy, "something is there, which was not touched")
        with new_file(copy) as unfinished:
            with closing(open_copy(source, unfinished)) as connection:
                # Not WAL: then the one file is all of it.
                connection.change("PRAGMA journal_mode = DELETE")
                with connection.transaction():
                    connection.change("INSERT INTO copies (made_at) VALUES (?)", (rows.to_microseconds(now),))
                first_fault = connection.value("PRAGMA integrity_check(1)")
            if first_fault != "ok":
                raise DatabaseDamaged(
                    f"the database {source.path} was copied and is damaged ({' '.join(first_fault.split())}): the copy "
                    "was thrown away; keep a copy of all its files, and use an earlier backup",
                    path=str(source.path),
                )
    return copy
