"""The files of `DB`: where they may be, which are refused, who may have them, and how they come up to date."""

import os
import platform
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from schedulergodx.errors import (
    Closed,
    DatabaseDamaged,
    DatabaseInUse,
    DatabaseNotWritable,
    DatabaseUnsupported,
    InvalidParameter,
    StorageError,
)
from schedulergodx.utils.storage import DB, connection, schema
from schedulergodx_testing.contracts.stored_tasks import NOON, add, ids, make_task


def opened(path: str | Path) -> closing[DB]:
    db = DB(path)
    db.open(owner="tests", now=NOON)
    return closing(db)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def old_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


# Names


def test_making_one_touches_nothing(tmp_path: Path) -> None:
    """`DB(…)` makes no file, also where none could be made."""
    DB(tmp_path / "tasks.db")
    DB(tmp_path / "missing" / "tasks.db")
    assert list(tmp_path.iterdir()) == []


def test_the_parameters_of_1_0_0_are_taken() -> None:
    """Without anything, and with `service_db`, it is the file that 1.0.0 used."""
    assert DB().path == Path("SchedulerGodX.db")
    assert DB("sqlite:///SchedulerGodX.db", True).path == DB(service_db=True).path
    assert repr(DB()) == "DB('SchedulerGodX.db')"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sqlite:///tasks.db", "tasks.db"),
        ("sqlite:////var/tasks.db", "/var/tasks.db"),
        ("/var/my tasks?#%41.db", "/var/my tasks?#%41.db"),
        (Path("a") / "b", "a/b"),
    ],
)
def test_a_path_may_be_a_url(name: str | Path, expected: str) -> None:
    """Three slashes begin a relative path, four an absolute one; a plain path is taken as it stands."""
    assert DB(name).path == Path(expected)


@pytest.mark.parametrize(
    "name", ["", "sqlite://", "sqlite:///", ":memory:", "sqlite:///:memory:", "sqlite://host/x", "a\0b", b"tasks.db"]
)
def test_what_is_no_file_is_refused(name: str) -> None:
    """A name without a file, a database in memory and a host are refused when the `DB` is made."""
    with pytest.raises(InvalidParameter, match="database must be"):
        DB(name)


def test_a_foreign_url_is_refused_without_showing_it() -> None:
    """A URL of another database is refused by its scheme alone: it may hold a password."""
    with pytest.raises(InvalidParameter, match="postgresql") as caught:
        DB("postgresql://me:secret@host/tasks")
    assert "secret" not in str(caught.value)


def test_odd_names_are_files_like_others(tmp_path: Path) -> None:
    """Characters that mean something in URLs mean nothing in a path."""
    odd = tmp_path / "my tasks?mode=ro#%41 é.db"
    with opened(odd) as db:
        add(db, make_task())
    assert odd.exists()


# Creating and closing


@pytest.mark.usefixtures("old_umask")
def test_files_are_private(path: Path) -> None:
    """Every file is for this user alone, whatever the umask."""
    with opened(path) as db:
        add(db, make_task())
        assert {file.name: oct(file.stat().st_mode & 0o777) for file in path.parent.iterdir()} == dict.fromkeys(
            ("tasks.db", "tasks.db-wal", "tasks.db-shm", "tasks.db.lock", "tasks.db.marker"), "0o600"
        )


def test_closing_leaves_one_file_and_its_marker(path: Path) -> None:
    """After closing, everything is in the database itself: it can be copied."""
    with opened(path) as db:
        add(db, make_task())
    assert sorted(path.parent.iterdir()) == [path, Path(f"{path}.marker")]


def test_an_unfinished_creation_does_not_matter(path: Path) -> None:
    """What a crash left of a database that was being made is thrown away."""
    Path(f"{path}.new").write_bytes(b"half a database")
    with opened(path) as db:
        add(db, make_task())
    assert sorted(path.parent.iterdir()) == [path, Path(f"{path}.marker")]


def test_the_settings_are_taken(path: Path) -> None:
    """The database works with a write-ahead log, syncs at each commit, and trusts nothing in the file."""
    with opened(path) as db:
        for name, expected in [
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("foreign_keys", 1),
            ("trusted_schema", 0),
            ("busy_timeout", 5000),
            ("application_id", schema.APPLICATION_ID),
            ("user_version", len(schema.MIGRATIONS)),
        ]:
            assert db._opened().value(f"PRAGMA {name}") == expected, name


def test_a_setting_that_is_not_taken_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of SQLite that ignores a setting is not worked with."""
    monkeypatch.setattr(connection, "_WRITER_SETTINGS", (("synchronous", "FULL", 3),))
    with pytest.raises(DatabaseUnsupported, match=r"synchronous = FULL \(it stays 2\)"):
        DB(path).open(owner="tests", now=NOON)


def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SQLite without STRICT tables is refused with both versions, before anything is made."""
    monkeypatch.setattr(connection, "SQLITE_LEAST", (99, 1, 2))
    with pytest.raises(DatabaseUnsupported, match=rf"99\.1\.2 or newer.*{sqlite3.sqlite_version}"):
        DB(path).open(owner="tests", now=NOON)
    assert list(path.parent.iterdir()) == []


def test_nothing_works_before_opening_and_after_closing(path: Path) -> None:
    """A `DB` that is not open says so, and one that is open is not opened again."""
    db = DB(path)
    with pytest.raises(Closed, match="is not open"):
        db.counts()
    db.close()
    db.open(owner="tests", now=NOON)
    with pytest.raises(RuntimeError, match="open already"):
        db.open(owner="tests", now=NOON)
    db.close()
    with pytest.raises(Closed, match="is not open"):
        db.find("1")
    with pytest.raises(Closed, match="is not open"), db.transaction():
        pytest.fail("a closed database must not begin a transaction")


def test_a_db_may_be_opened_again(path: Path) -> None:
    """Closing gives everything back: the same `DB` can be opened once more."""
    with opened(path) as db:
        add(db, make_task())
        db.close()
        db.open(owner="tests", now=NOON)
        assert ids(db.tasks(limit=9)) == ["1"]


# Places where no database can be


def _missing_folder(folder: Path) -> tuple[Path, str]:
    return folder / "missing" / "tasks.db", "missing does not exist"


def _folder_is_a_file(folder: Path) -> tuple[Path, str]:
    (folder / "file").write_text("x")
    return folder / "file" / "tasks.db", "file is not a folder"


def _is_a_folder(folder: Path) -> tuple[Path, str]:
    (folder / "tasks.db").mkdir()
    return folder / "tasks.db", "it is a folder"


def _is_a_pipe(folder: Path) -> tuple[Path, str]:
    os.mkfifo(folder / "tasks.db")
    return folder / "tasks.db", "not a regular file"


def _circle_of_links(folder: Path) -> tuple[Path, str]:
    (folder / "tasks.db").symlink_to(folder / "tasks.db")
    return folder / "tasks.db", "tasks.db"


def _name_too_long(folder: Path) -> tuple[Path, str]:
    return folder / ("x" * 300), "too long"


@pytest.mark.parametrize(
    "place",
    [
        _missing_folder,
        _folder_is_a_file,
        _is_a_folder,
        _is_a_pipe,
        _circle_of_links,
        _name_too_long,
    ],
)
def test_a_place_that_cannot_be_written_is_refused(place: Callable[[Path], tuple[Path, str]], tmp_path: Path) -> None:
    """All such places give one error, with the path, the reason and what to do, and nothing is left behind."""
    path, reason = place(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatabaseNotWritable) as caught:
        DB(path).open(owner="tests", now=NOON)
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert "name a file in a folder that this user may write" in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


# Files that are not ours


def _text(path: Path) -> str:
    path.write_text("Dear diary, today I was not a database.\n" * 100)
    return "is not an SQLite database"


def _empty(path: Path) -> str:
    path.touch()
    return "is an empty file"


def _of_another_program(path: Path) -> str:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE notes (text)")
    return "belongs to another program (application_id 0x00000000"


def _newer(path: Path) -> str:
    with opened(path):
        pass
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 4711")
    return f"has schema 4711, and this version knows {len(schema.MIGRATIONS)}"


def _with_two_names(path: Path) -> str:
    with opened(path):
        pass
    path.with_name("second.db").hardlink_to(path)
    return "has 2 names"


@pytest.mark.parametrize("make", [_text, _empty, _of_another_program, _newer, _with_two_names])
def test_a_file_that_is_not_ours_is_refused(make: Callable[[Path], str], path: Path) -> None:
    """A file that cannot be worked with is refused with the reason, and not one byte of it is changed."""
    reason = make(path)
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(DatabaseUnsupported) as caught:
        DB(path).open(owner="tests", now=NOON)
    assert caught.value.path == str(path)
    assert reason in str(caught.value)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _overwrite(path: Path) -> None:
    page_bytes = 4096
    with path.open("r+b") as file:
        file.seek(-page_bytes, os.SEEK_END)  # arguments of tasks: opening needs nothing of it
        file.write(b"\xff" * page_bytes)


@pytest.mark.parametrize("damage", [_truncate, _overwrite])
def test_a_damaged_file_is_refused(damage: Callable[[Path], None], path: Path) -> None:
    """A file that lost its end, or pages of it, is found at the start, before a task of it runs."""
    with opened(path) as db:
        add(db, *(make_task(f"{n}") for n in range(100)))
    damage(path)
    with pytest.raises(DatabaseDamaged, match=r"is damaged \(.*\): .*restore a backup"):
        DB(path).open(owner="tests", now=NOON)


def test_a_refused_file_is_not_held(path: Path) -> None:
    """After a refusal the same `DB` can be opened, once the reason is gone."""
    path.touch()
    db = DB(path)
    with pytest.raises(StorageError):
        db.open(owner="tests", now=NOON)
    path.unlink()
    with closing(db):
        db.open(owner="tests", now=NOON)


# One service for each database


def test_a_second_service_is_told_who_has_it(path: Path) -> None:
    """The second one gets the first one's process, host, name and moment, in words and as attributes."""
    with opened(path), pytest.raises(DatabaseInUse, match=r"'tests' \(process \d+ on .*, since 2030-06-01") as caught:
        DB(path).open(owner="second", now=NOON)
    error = caught.value
    assert (error.pid, error.host, error.since, error.path) == (os.getpid(), platform.node(), NOON, str(path))


def test_two_ways_to_one_file_are_one(path: Path) -> None:
    """A symbolic link, to the file or to its folder, does not get around the lock."""
    (path.parent / "link.db").symlink_to(path)
    (path.parent / "folder").symlink_to(path.parent)
    with opened(path):
        for way in (path.parent / "link.db", path.parent / "folder" / "tasks.db"):
            with pytest.raises(DatabaseInUse):
                DB(way).open(owner="second", now=NOON)


def test_an_unreadable_holder_is_still_a_holder(path: Path) -> None:
    """When the text of the lock cannot be read, the error says only that somebody has it."""
    with opened(path):
        Path(f"{path}.lock").write_text("{")
        with pytest.raises(DatabaseInUse, match="in use by another service") as caught:
            DB(path).open(owner="second", now=NOON)
    assert (caught.value.pid, caught.value.host, caught.value.since) == (0, "", None)


def test_the_first_service_goes_on_when_the_second_is_refused(path: Path) -> None:
    """A refused second service takes nothing away from the first, nor its lock."""
    with opened(path) as db:
        for _ in range(2):
            with pytest.raises(DatabaseInUse):
                DB(path).open(owner="second", now=NOON)
        add(db, make_task())


# Migrations

_NEXT = ("CREATE TABLE extra (text TEXT) STRICT", "INSERT INTO extra SELECT message_id FROM tasks")


def test_an_older_schema_is_brought_up_to_date(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of an older version is migrated when it is opened, with all that is in it."""
    with opened(path) as db:
        add(db, make_task())
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, _NEXT))
    for _ in range(2):
        with opened(path) as db:
            assert db._opened().rows("SELECT text FROM extra") == [("1",)]
            assert db._opened().value("PRAGMA user_version") == len(schema.MIGRATIONS)


def test_a_migration_is_done_whole_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails half way changes nothing: the older version can still open the database."""
    with opened(path) as db:
        add(db, make_task())
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, _NEXT, ("CREATE TABLE nonsense (",)))
        with pytest.raises(StorageError, match="refused a statement"):
            DB(path).open(owner="tests", now=NOON)
    with opened(path) as db:
        assert ids(db.tasks(limit=9)) == ["1"]
        assert db._opened().rows("SELECT name FROM sqlite_schema WHERE name = 'extra'") == []


def test_a_fresh_database_gets_every_migration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new database and a migrated one have the same tables."""
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, _NEXT))
    with opened(path) as db:
        assert db._opened().rows("SELECT text FROM extra") == []
