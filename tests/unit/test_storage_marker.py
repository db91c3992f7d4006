"""A database that is older than it was is found out at the next start, and is not touched."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import DatabaseOutdated
from schedulergodx.utils.storage import DB
from schedulergodx.utils.storage.backup import backup
from schedulergodx_testing.contracts.stored_tasks import NOON, add, ids, make_task
from tests.unit.stored import opened

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


def bytes_of(path: Path) -> dict[str, bytes]:
    """Return the database and what stands beside it."""
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def restore_a_backup(path: Path) -> None:
    """Put a copy back that was made by the command, after which a task was accepted."""
    copy = backup(path, path.with_name("copy.db"), now=NOON)
    with opened(path) as db:
        add(db, make_task("later"))
    copy.replace(path)


def restore_a_copied_file(path: Path) -> None:
    """The same with a copy that was made by other means, while nothing had it open."""
    copy = shutil.copy(path, path.with_name("copy.db"))
    with opened(path) as db:
        add(db, make_task("later"))
    Path(copy).replace(path)


def restore_a_file_of_the_same_start(path: Path) -> None:
    """The same with a copy that was made while the same service ran that accepted the task."""
    with opened(path) as db:
        copy = backup(path, path.with_name("copy.db"), now=NOON)
        with closing(sqlite3.connect(copy)) as connection, connection:
            connection.execute("DELETE FROM copies")  # as if made by other means
        add(db, make_task("later"))
    copy.replace(path)


def remove_the_log(path: Path) -> None:
    """What a killed service had committed last is in the log alone."""
    files = path.with_name("files")
    files.mkdir()
    with opened(path) as db:
        add(db, make_task("later"))
        for file in (path, Path(f"{path}.marker")):
            shutil.copy(file, files / file.name)
    for file in files.iterdir():
        file.replace(path.with_name(file.name))
    files.rmdir()


def remove_the_file(path: Path) -> None:
    """Where there was a database, none is made without a word."""
    path.unlink()


@pytest.mark.parametrize(
    "change",
    [
        restore_a_backup,
        restore_a_copied_file,
        restore_a_file_of_the_same_start,
        remove_the_log,
        remove_the_file,
    ],
)
def test_an_older_database_is_refused_and_not_touched(change: Callable[[Path], None], path: Path) -> None:
    """The error says what to do; told to accept it, a service goes on from there, and needs to be told only once."""
    with opened(path) as db:
        add(db, make_task("1"))
    change(path)
    before = bytes_of(path)
    with pytest.raises(DatabaseOutdated, match="--accept-older-database") as caught:
        DB(path).open(owner="tests", now=NOON)
    assert caught.value.path == str(path)
    assert bytes_of(path) == before
    with opened(path, accepts_older=True) as db:
        assert ids(db.tasks(limit=9)) == ([] if change is remove_the_file else ["1"])
        add(db, make_task("later"))
    with opened(path) as db:
        assert db.find("later") is not None


def test_a_backup_is_refused_also_where_no_database_was(path: Path, tmp_path: Path) -> None:
    """On a new machine there is no marker, but the copy says that it is one."""
    with opened(path) as db:
        add(db, make_task())
    moved = backup(path, tmp_path / "moved.db", now=NOON)
    with pytest.raises(DatabaseOutdated, match="is a backup"):
        DB(moved).open(owner="tests", now=NOON)
    with opened(moved, accepts_older=True):
        pass
    with opened(moved):
        pass


def test_a_database_that_was_moved_is_taken(path: Path, tmp_path: Path) -> None:
    """Without the marker nothing is known against it."""
    with opened(path) as db:
        add(db, make_task())
    moved = path.replace(tmp_path / "moved.db")
    with opened(moved) as db:
        assert ids(db.tasks(limit=9)) == ["1"]


def test_a_database_in_which_nothing_was_is_not_missed(path: Path) -> None:
    """A service that was started by mistake may be removed without ado."""
    with opened(path):
        pass
    path.unlink()
    with opened(path):
        pass


def test_what_a_killed_service_left_is_the_newest(path: Path, tmp_path: Path) -> None:
    """Database, log and marker together, as SIGKILL leaves them, are taken."""
    left = tmp_path / "left"
    left.mkdir()
    with opened(path) as db:
        add(db, make_task())
        for name in (path.name, f"{path.name}-wal", f"{path.name}.marker"):
            shutil.copy(path.with_name(name), left / name)
    with opened(left / path.name) as db:
        assert ids(db.tasks(limit=9)) == ["1"]


def test_a_marker_that_somebody_made_huge_is_not_read_whole(path: Path) -> None:
    """What stands at its beginning counts."""
    with opened(path) as db:
        add(db, make_task())
    marker = Path(f"{path}.marker")
    before = marker.read_bytes()
    os.truncate(marker, 2**40)
    path.unlink()
    with pytest.raises(DatabaseOutdated, match="is gone"):
        DB(path).open(owner="tests", now=NOON)
    os.truncate(marker, len(before))
    assert marker.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"what?"])
def test_a_marker_that_cannot_be_read_says_nothing(
    content: bytes, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After a loss of power it may be anything: a warning, and a new one."""
    with opened(path) as db:
        add(db, make_task())
    marker = Path(f"{path}.marker")
    marker.write_bytes(content)
    with caplog.at_level(logging.WARNING), opened(path) as db:
        assert ids(db.tasks(limit=9)) == ["1"]
    assert "whether the database is older is not known" in caplog.text
    assert len(marker.read_bytes().split()) == 3


def test_only_changes_count(path: Path) -> None:
    """A turn that changes nothing writes nothing: neither the database nor the marker."""
    with opened(path) as db:
        add(db, make_task())
        marked = Path(f"{path}.marker").read_bytes()
        with db.transaction():
            db.start("nobody", now=NOON)
        assert Path(f"{path}.marker").read_bytes() == marked
        with db.transaction():
            db.start("1", now=NOON)
        assert Path(f"{path}.marker").read_bytes() != marked
