"""What a user without rights may do with a database: real refusals by the system, also when root runs the tests."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from schedulergodx.errors import DatabaseNotWritable
from schedulergodx.utils.storage import DB
from schedulergodx.utils.storage.reader import reader
from schedulergodx_testing.contracts.stored_tasks import NOON, add, make_task

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user can reach, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Be somebody whom file modes stop: root gives up its rights for a while, others are so already."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def database(folder: Path, *, mode: int) -> Path:
    """Return a database at rest with one task."""
    path = folder / "tasks.db"
    with closing(DB(path)) as db:
        db.open(owner="tests", now=NOON)
        add(db, make_task())
    path.chmod(mode)
    return path


def test_a_read_only_folder_is_refused(folder: Path) -> None:
    """A new database cannot be made where this user may not write."""
    folder.chmod(0o555)
    with ordinary_user(), pytest.raises(DatabaseNotWritable, match=rf"may not write into the folder {folder}"):
        DB(folder / "tasks.db").open(owner="tests", now=NOON)


def test_a_read_only_file_is_refused(folder: Path) -> None:
    """A file of somebody else is refused, before SQLite would quietly open it for reading alone."""
    path = database(folder, mode=0o444)
    folder.chmod(0o777)
    with ordinary_user(), pytest.raises(DatabaseNotWritable, match="may not read and write it"):
        DB(path).open(owner="tests", now=NOON)


def test_a_private_file_is_not_read(folder: Path) -> None:
    """Who may not read the file is told so."""
    path = database(folder, mode=0o000)
    with ordinary_user(), pytest.raises(DatabaseNotWritable, match="may not read it"):
        reader(path)


def test_a_database_at_rest_is_read_in_a_read_only_folder(folder: Path) -> None:
    """Where SQLite can put nothing beside the file, a database that was closed in order can still be looked at."""
    path = database(folder, mode=0o444)
    folder.chmod(0o555)
    with ordinary_user(), reader(path) as view:
        assert view.find("1") is not None


def test_a_log_in_a_read_only_folder_is_not_passed_over(folder: Path) -> None:
    """With a write-ahead log beside it, the file alone is not the truth: it is refused rather than half read."""
    with closing(DB(folder / "running.db")) as db:
        db.open(owner="tests", now=NOON)
        add(db, make_task())
        for ending in ("", "-wal"):
            shutil.copy(folder / f"running.db{ending}", folder / f"tasks.db{ending}")
            (folder / f"tasks.db{ending}").chmod(0o444)
    folder.chmod(0o555)
    with ordinary_user(), pytest.raises(DatabaseNotWritable, match="cannot be opened or written"):
        reader(folder / "tasks.db")
