"""Copies of a database: whole, private, checked, and never over something else."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import DatabaseDamaged, DatabaseNotWritable, DatabaseUnsupported, InvalidParameter
from schedulergodx.utils.storage import DB
from schedulergodx.utils.storage.backup import backup
from schedulergodx.utils.storage.reader import reader
from schedulergodx_testing.contracts.stored_tasks import NOON, add, ids, make_task, start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def db(path: Path) -> Iterator[DB]:
    db = DB(path)
    db.open(owner="tests", now=NOON)
    with closing(db):
        yield db


def test_a_copy_beside_a_running_service_holds_what_was_committed(db: DB, path: Path, tmp_path: Path) -> None:
    """In the middle of a transaction, it is the state before; the service goes on; the copy is one private file."""
    add(db, make_task("1"), make_task("2"))
    with db.transaction():
        db.start("1", now=NOON)
        copy = backup(f"sqlite:///{path}", tmp_path / "copy.db", now=NOON)
    start(db, "2")
    with reader(copy) as view:
        assert [(state.message_id, state.status.name) for state in view.tasks(limit=9)] == [
            ("2", "WAITING"),
            ("1", "WAITING"),
        ]
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [file for file in tmp_path.iterdir() if file.name.startswith("copy")] == [copy]


def test_nothing_is_overwritten(db: DB, path: Path, tmp_path: Path) -> None:
    """A file, a folder, and the database itself stay as they are."""
    add(db, make_task())
    taken = tmp_path / "taken"
    taken.write_text("mine")
    for target in (taken, tmp_path, path):
        with pytest.raises(DatabaseNotWritable, match="which was not touched"):
            backup(path, target, now=NOON)
    assert taken.read_text() == "mine"
    assert ids(db.tasks(limit=9)) == ["1"]


def test_what_cannot_be_copied_leaves_nothing(db: DB, path: Path, tmp_path: Path) -> None:
    """No database, no folder, another program's file, and no name."""
    add(db, make_task())
    before = sorted(tmp_path.iterdir())
    other = tmp_path / "other"
    other.mkdir()
    with closing(sqlite3.connect(other / "foreign.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(DatabaseNotWritable, match="No such file"):
        backup(tmp_path / "nothing.db", tmp_path / "copy.db", now=NOON)
    with pytest.raises(DatabaseNotWritable, match="does not exist"):
        backup(path, tmp_path / "nowhere" / "copy.db", now=NOON)
    with pytest.raises(DatabaseUnsupported, match="another program"):
        backup(other / "foreign.db", tmp_path / "copy.db", now=NOON)
    with pytest.raises(InvalidParameter):
        backup(path, "postgresql://db/", now=NOON)
    assert sorted(one for one in tmp_path.iterdir() if one != other) == before


def test_a_damaged_database_makes_no_backup(db: DB, path: Path, tmp_path: Path) -> None:
    """A copy that nobody could restore is worse than none."""
    for n in range(200):
        add(db, make_task(f"{n}"))
    db.close()
    content = bytearray(path.read_bytes())
    for page in range(4, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xa5" * 200
    path.write_bytes(content)
    with pytest.raises(DatabaseDamaged):
        backup(path, tmp_path / "copy.db", now=NOON)
    assert not (tmp_path / "copy.db").exists()
