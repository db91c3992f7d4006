"""`reader`: looking at a database without disturbing the service that uses it, or without any service."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from schedulergodx.errors import DatabaseNotWritable, DatabaseUnsupported, InvalidParameter
from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.utils.storage import DB, schema
from schedulergodx.utils.storage.reader import reader
from schedulergodx_testing.contracts.stored_tasks import DONE, NOON, add, ids, make_task, run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my tasks?#%41.db"


@pytest.fixture
def db(path: Path) -> Iterator[DB]:
    db = DB(path)
    db.open(owner="tests", now=NOON)
    with closing(db):
        yield db


def test_it_sees_what_the_service_sees(db: DB, path: Path) -> None:
    """Beside a running service, one task, the list and the numbers are the same as the service's own."""
    add(db, make_task("waiting"))
    run(db, make_task("done"), DONE)
    with reader(path) as view:
        assert view.find("done") == db.find("done")
        assert view.find("nobody") is None
        assert view.tasks(limit=9) == db.tasks(limit=9)
        assert view.tasks(limit=1, statuses=[TaskStatus.WAITING]) == [db.find("waiting")]
        assert view.counts() == db.counts()


def test_it_sees_only_what_is_committed(db: DB, path: Path) -> None:
    """Each look sees the last commit, also one that came after opening, and nothing of an open transaction."""
    with reader(path) as view:
        add(db, make_task("1"))
        with db.transaction():
            db.add(make_task("2"), now=NOON)
            assert ids(view.tasks(limit=9)) == ["1"]
        assert ids(view.tasks(limit=9)) == ["2", "1"]


def test_it_holds_up_nobody(db: DB, path: Path) -> None:
    """An open reader neither stops the service from writing nor keeps the write-ahead log from being emptied."""
    add(db, make_task("1"))
    with reader(path) as view:
        view.tasks(limit=9)
        add(db, make_task("2"))
        is_busy, *_pages = db._opened().rows("PRAGMA wal_checkpoint(TRUNCATE)")[0]
        assert not is_busy
        assert Path(f"{path}-wal").stat().st_size == 0


def test_it_reads_while_another_program_writes(db: DB, path: Path) -> None:
    """Opening a reader does not wait for the write lock."""
    add(db, make_task("1"))
    with db.transaction(), reader(path) as view:
        assert ids(view.tasks(limit=9)) == ["1"]


def test_it_cannot_change_anything(db: DB, path: Path) -> None:
    """A statement that changes something is refused by SQLite itself."""
    add(db, make_task())
    with reader(path) as view, pytest.raises(DatabaseNotWritable):
        view._connection.change("DELETE FROM tasks")


def test_it_needs_no_service(db: DB, path: Path) -> None:
    """After the service has gone, by whatever name, the database can be looked at, and be used by a service again."""
    add(db, make_task())
    db.close()
    for name in (path, str(path), f"sqlite:///{path}"):
        with reader(name) as view:
            assert ids(view.tasks(limit=9)) == ["1"]
    db.open(owner="tests", now=NOON)
    db.close()
    assert sorted(path.parent.iterdir()) == [path, Path(f"{path}.marker")]


def test_a_service_may_come_and_go_meanwhile(db: DB, path: Path) -> None:
    """A reader that was there first sees what a service did since, also after it closed."""
    add(db, make_task("1"))
    db.close()
    with reader(path) as view:
        assert ids(view.tasks(limit=9)) == ["1"]
        db.open(owner="tests", now=NOON)
        add(db, make_task("2"))
        db.close()
        assert ids(view.tasks(limit=9)) == ["2", "1"]


def test_it_reads_what_a_killed_service_left(db: DB, path: Path, tmp_path: Path) -> None:
    """What is only in the write-ahead log of a service that died is seen all the same."""
    add(db, make_task())
    left = tmp_path / "left.db"
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", f"{left}{ending}")
    with reader(left) as view:
        assert ids(view.tasks(limit=9)) == ["1"]


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    """Looking at a database that is not there is refused, and makes none."""
    with pytest.raises(DatabaseNotWritable, match="No such file"):
        reader(tmp_path / "tasks.db")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_a_database(tmp_path: Path) -> None:
    """A folder, and a name that is no file's, are refused as by a service."""
    with pytest.raises(DatabaseNotWritable, match="is a folder"):
        reader(tmp_path)
    with pytest.raises(InvalidParameter):
        reader(":memory:")


def test_files_that_are_not_ours_are_refused(path: Path) -> None:
    """Text, nothing, and another program's database are told apart from ours."""
    path.write_text("no database " * 100)
    with pytest.raises(DatabaseUnsupported, match="is not an SQLite database"):
        reader(path)
    path.write_text("")
    with pytest.raises(DatabaseUnsupported, match="is an empty file"):
        reader(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE notes (text)")
    with pytest.raises(DatabaseUnsupported, match="another program"):
        reader(path)


def test_another_schema_is_refused(db: DB, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older schema has to be migrated by a service first, a newer one needs a newer version."""
    db.close()
    version = len(schema.MIGRATIONS)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ()))
    with pytest.raises(DatabaseUnsupported, match=rf"has schema {version}, and {version + 1} is needed"):
        reader(path)
    monkeypatch.setattr(schema, "MIGRATIONS", ())
    with pytest.raises(DatabaseUnsupported, match="install a newer SchedulerGodX"):
        reader(path)


def test_closing_twice_does_nothing(db: DB, path: Path) -> None:
    """A reader may be closed again by its `with`."""
    add(db, make_task())
    with reader(path) as view:
        view.close()


def test_a_backup_beside_a_running_service_is_whole(db: DB, path: Path, tmp_path: Path) -> None:
    """The way of `docs/storage.md` to copy a database in use gives one that a service can be started on."""
    add(db, make_task())
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source, closing(sqlite3.connect(copy)) as to:
        source.backup(to)
    with closing(DB(copy)) as restored:
        restored.open(owner="tests", now=NOON)
        assert restored.due(NOON, soft_limit=9, hard_limit=9) == [make_task()]
    add(db, make_task("2"))
