"""The files of a database: where they are, whether they can be used, and whether they are still the same."""

from __future__ import annotations

import errno
import json
import os
import platform
import stat
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from schedulergodx.errors import DatabaseInUse, DatabaseUnsupported, InvalidParameter
from schedulergodx.file_lock import FileLock
from schedulergodx.utils.storage.failures import moved, not_usable

if TYPE_CHECKING:
    from collections.abc import Iterator

URL_PREFIX = "sqlite:///"


def database_path(path: str | os.PathLike[str]) -> Path:
    """Return the path in `sqlite:///relative.db`, `sqlite:////absolute.db` or a plain path. Looks at no file.

    Raises:
        InvalidParameter: another URL, or no name of a file. A URL is not shown: it may hold a password.
    """
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise InvalidParameter(f"the database must be a path or a URL sqlite:///path, got {type(path).__name__}")
    name = text.removeprefix(URL_PREFIX)
    if "://" in name or name.startswith("sqlite:"):
        scheme = text.partition(":")[0]
        raise InvalidParameter(f"the database must be a path or a URL sqlite:///path, not a URL {scheme!r}")
    if not name or name == ":memory:" or "\0" in name:
        raise InvalidParameter(f"the database must be a file, so that tasks outlive the program; got {name!r}")
    return Path(name)


def resolved(path: Path) -> Path:
    """Return the absolute path without symbolic links, so that two ways to one file are seen as one."""
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # a circle of links
        raise not_usable(path, str(error)) from error


def check_folder(path: Path) -> None:
    """Make sure that files can be written beside `path`. Raises DatabaseNotWritable."""
    folder = path.parent
    if not folder.is_dir():
        reason = "is not a folder" if folder.exists() else "does not exist"
        raise not_usable(path, f"the folder {folder} {reason}")
    if not os.access(folder, os.W_OK | os.X_OK):
        is_read_only = hasattr(os, "statvfs") and os.statvfs(folder).f_flag & os.ST_RDONLY
        is_on = "the disk is mounted read-only that holds" if is_read_only else "this user may not write into"
        raise not_usable(path, f"{is_on} the folder {folder}")


def check_place(path: Path) -> bool:
    """Return whether there is a file at `path`, having made sure that it can be written if there is one.

    Raises:
        DatabaseNotWritable: it is something else than a writable file.
        DatabaseUnsupported: the file is empty, or has a second name.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise not_usable(path, _reason(error)) from error
    _check_file(path, found)
    if not os.access(path, os.R_OK | os.W_OK):
        raise not_usable(path, "this user may not read and write it")
    return True


def check_readable(path: Path) -> None:
    """Make sure that there is a database file at `path` that can be read.

    Raises:
        DatabaseNotWritable, DatabaseUnsupported: as `check_place`, or there is no file.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise not_usable(path, _reason(error)) from error
    _check_file(path, found)
    if not os.access(path, os.R_OK):
        raise not_usable(path, "this user may not read it")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give an empty file, readable for this user alone, that becomes `path` when the block ends without an error.

    Tasks and results are nobody else's business. Whatever is at `path` already is not touched.

    Raises:
        DatabaseNotWritable: it cannot be created or moved to its place.
    """
    unfinished = Path(f"{path}.new")
    try:
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        yield unfinished
        _sync(unfinished)
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        unfinished.rename(path)
        _sync(path.parent)
    except OSError as error:
        raise not_usable(path, _reason(error)) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the disk keep a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def take(path: Path, *, owner: str, now: datetime) -> FileLock:
    """Lock `<path>.lock` for this process until it releases it or dies.

    Raises:
        DatabaseInUse: another service has it.
        DatabaseNotWritable: the lock file cannot be written.
    """
    lock = FileLock(Path(f"{path}.lock"))
    content = {"pid": os.getpid(), "host": platform.node(), "owner": owner, "since": now.isoformat()}
    try:
        if lock.acquire(json.dumps(content)):
            return lock
        holder = lock.holder()
    except OSError as error:
        raise not_usable(path, f"its lock file {lock.path.name}: {_reason(error)}") from error
    raise _in_use(path, holder)


def let_go(lock: FileLock) -> None:
    """Release what `take` gave. A lock file that cannot be removed is left: without its holder it locks nothing."""
    with suppress(OSError):
        lock.release(removes_file=True)


class Identity:
    """Which files were opened, to notice before each commit that they are gone from their path or replaced.

    SQLite writes happily into a file that nobody can open any more; what is committed there is lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # The write-ahead log holds what was committed last, so it matters as much as the database.
        self._files = [str(path), f"{path}-wal"]
        self._known = [_inode(file) for file in self._files]

    def check(self) -> None:
        """Raise DatabaseDamaged if a file is not the one that was opened. Costs a few microseconds."""
        for file, known in zip(self._files, self._known, strict=True):
            if _inode(file) != known:
                raise moved(self._path, f"{Path(file).name} is not the file that was opened")


def _inode(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - before every commit; a Path takes twice the time
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_file(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise not_usable(path, "it is a folder; name a file in it")
    if not stat.S_ISREG(found.st_mode):
        raise not_usable(path, "it is not a regular file")
    if found.st_size == 0:
        # SQLite would take it for a new database. Ours are never empty, so something emptied it, and tasks are gone.
        raise DatabaseUnsupported(
            f"the database {path} is an empty file: restore a backup, or remove the file if nothing was ever in it",
            path=str(path),
        )
    if found.st_nlink > 1:
        # The lock and the write-ahead log go by name: through two names, two services would ruin one database.
        raise DatabaseUnsupported(
            f"the database {path} has {found.st_nlink} names (hard links): remove the others, or copy it to a new file",
            path=str(path),
        )


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _in_use(path: Path, holder: str) -> DatabaseInUse:
    """Return the error that names the holder, as far as the text of its lock can be read."""
    pid, host, owner, since = 0, "", "", None
    try:
        content = json.loads(holder)
        pid, host, owner = int(content["pid"]), str(content["host"]), str(content["owner"])
        since = datetime.fromisoformat(content["since"])
    except (ValueError, KeyError, TypeError):
        who = "another service"
    else:
        who = f"the service {owner!r} (process {pid} on {host}, since {since.isoformat(timespec='seconds')})"
    return DatabaseInUse(
        f"the database {path} is in use by {who}: stop that service, or give this one a database of its own",
        path=str(path),
        pid=pid,
        host=host,
        since=since,
    )
