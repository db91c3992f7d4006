"""What goes wrong with an open database, provoked for real, and what is left of it: nothing half done."""

import os
import pickle
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from schedulergodx.errors import (
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseFull,
    DatabaseNotWritable,
    DatabaseUnsupported,
    StorageError,
)
from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.utils.storage import DB
from schedulergodx.utils.storage.failures import explained
from schedulergodx_testing.contracts.stored_tasks import DONE, NOON, SECOND, add, ids, make_task, run, start

LARGE = replace(make_task("large"), arguments=bytes(100_000))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def db(path: Path) -> Iterator[DB]:
    db = DB(path)
    db.open(owner="tests", now=NOON)
    with closing(db):
        add(db, make_task("before"))
        yield db


def setting(db: DB, pragma: str) -> None:
    """Change a setting of the database's only connection, behind its back."""
    db._opened().change(f"PRAGMA {pragma}")


def fill(db: DB) -> None:
    """Leave no space for another page."""
    setting(db, f"max_page_count = {db._opened().value('PRAGMA page_count')}")


def check_unharmed(db: DB) -> None:
    """Nothing of the failed transaction is there, and the database goes on."""
    assert ids(db.tasks(limit=9)) == ["before"]
    add(db, make_task("after"))
    assert ids(db.tasks(limit=9)) == ["after", "before"]


# Errors of SQLite


def test_a_full_disk_loses_nothing(db: DB) -> None:
    """Without space a transaction fails whole, again and again, and goes through once there is space."""
    fill(db)
    for _ in range(3):
        with pytest.raises(DatabaseFull, match="make space"):
            add(db, make_task("small"), LARGE)
    setting(db, "max_page_count = 1000000")
    check_unharmed(db)


def test_a_database_locked_by_another_program_is_busy(db: DB, path: Path) -> None:
    """While another program writes, a transaction does not begin; when it is through, it does."""
    setting(db, "busy_timeout = 0")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusy, match="another program"), db.transaction():
            pytest.fail("the block must not be entered")
        other.execute("ROLLBACK")
    check_unharmed(db)


def test_a_database_that_became_read_only_is_not_writable(db: DB) -> None:
    """A refusal to write is told as such, with the path."""
    setting(db, "query_only = ON")
    with pytest.raises(DatabaseNotWritable, match="may write") as caught, db.transaction():
        db.add(make_task("lost"), now=NOON)
    assert Path(caught.value.path).name == "tasks.db"
    setting(db, "query_only = OFF")
    check_unharmed(db)


def test_damage_is_found_while_running(db: DB, path: Path) -> None:
    """Pages that were overwritten under an open database are an error of their own, never a wrong answer."""
    add(db, *(make_task(f"{n}") for n in range(200)))
    db._opened().rows("PRAGMA wal_checkpoint(TRUNCATE)")
    setting(db, "shrink_memory")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(DatabaseDamaged, match="restore a backup"):
        db.tasks(limit=1000)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY_SNAPSHOT, DatabaseBusy),
        (sqlite3.SQLITE_IOERR_WRITE, DatabaseFull),
        (sqlite3.SQLITE_IOERR_FSYNC, DatabaseFull),
        (sqlite3.SQLITE_IOERR_SHORT_READ, DatabaseDamaged),
        (sqlite3.SQLITE_READONLY_DBMOVED, DatabaseDamaged),
        (sqlite3.SQLITE_CORRUPT_INDEX, DatabaseDamaged),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, DatabaseNotWritable),
        (sqlite3.SQLITE_NOTADB, DatabaseUnsupported),
        (sqlite3.SQLITE_NOMEM, StorageError),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, StorageError),
    ],
)
def test_every_error_of_sqlite_has_a_meaning(code: int, kind: type[StorageError]) -> None:
    """Errors that are hard to provoke are told by their code, the detailed one before the rough one."""
    error = sqlite3.OperationalError("the words of SQLite")
    error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_NAME"
    meant = explained(error, Path("/tasks.db"))
    assert type(meant) is kind
    assert "the database /tasks.db" in str(meant)
    assert "(the words of SQLite, SQLITE_NAME): " in str(meant)
    assert pickle.loads(pickle.dumps(meant)).path == "/tasks.db"


def test_an_error_of_the_module_itself_has_a_meaning() -> None:
    """An error that does not come from SQLite, and so has no code, is still one of ours."""
    meant = explained(sqlite3.ProgrammingError("words"), Path("/tasks.db"))
    assert type(meant) is StorageError
    assert "(words, ProgrammingError)" in str(meant)


# Transactions


def test_a_caught_error_still_spoils_its_transaction(db: DB) -> None:
    """When a change failed, the block raises its error at the end, though the caller went on."""

    def go_on_after_an_error() -> None:
        with db.transaction():
            db.add_reply("queue", "first", b"", now=NOON)
            with suppress(DatabaseFull):
                db.add(LARGE, now=NOON)

    fill(db)
    with pytest.raises(DatabaseFull):
        go_on_after_an_error()
    setting(db, "max_page_count = 1000000")
    assert db.replies(after=0, limit=9) == []
    check_unharmed(db)


def test_nothing_is_changed_after_an_error_in_a_transaction(db: DB) -> None:
    """SQLite may roll back by itself: what comes then must not be committed alone, outside of any transaction."""

    def change_after_an_error() -> None:
        with db.transaction():
            with suppress(DatabaseFull):
                db.add(LARGE, now=NOON)
                db.counts()  # a query: by now it is written
            setting(db, "max_page_count = 1000000")
            with suppress(DatabaseFull):
                db.add_reply("queue", "small", b"", now=NOON)

    fill(db)
    with pytest.raises(DatabaseFull):
        change_after_an_error()
    assert db.replies(after=0, limit=9) == []
    check_unharmed(db)


def test_an_error_outside_a_transaction_spoils_none(db: DB) -> None:
    """A read that failed before does not spoil the next transaction."""
    with pytest.raises(StorageError):
        db._opened().rows("SELECT nonsense")
    check_unharmed(db)


# Files that go away


def _removed(path: Path) -> None:
    path.unlink()


def _replaced(path: Path) -> None:
    path.rename(path.with_name("away.db"))
    path.write_bytes(path.with_name("away.db").read_bytes())


def _log_removed(path: Path) -> None:
    Path(f"{path}-wal").unlink()


@pytest.mark.parametrize("change", [_removed, _replaced, _log_removed])
def test_a_file_that_is_gone_is_noticed_before_the_commit(change: Callable[[Path], None], db: DB, path: Path) -> None:
    """SQLite would go on writing into a file that nobody can open again; here each transaction fails instead."""
    change(path)
    for _ in range(2):
        with pytest.raises(DatabaseDamaged, match="removed or replaced while it was open"), db.transaction():
            db.add(make_task("lost"), now=NOON)
    assert db.find("lost") is None


# What is in the file


def test_a_function_is_stored_once(db: DB) -> None:
    """However many tasks use a function, its bytes are there once, and are gone with the last of them."""

    def bodies() -> list[bytes]:
        return [body for (body,) in db._opened().rows("SELECT body FROM functions ORDER BY body")]

    run(db, make_task("1"), DONE)
    run(db, replace(make_task("2"), function=b"other"), DONE)
    assert bodies() == [b"function", b"other"]
    with db.transaction():
        db.prune(ended_before=NOON + SECOND, limit=9)
    assert bodies() == [b"function"]  # of the task that waits


def test_pruning_leaves_no_traces(db: DB) -> None:
    """Arguments, watchers and functions go with their tasks; the space is used again."""
    start(db, "before")
    with db.transaction():
        db.add_watcher("before", "queue", client="farm")
        db.finish("before", DONE, now=NOON)
        db.prune(ended_before=NOON + SECOND, limit=9)
    for table in ("tasks", "arguments", "watchers", "functions"):
        assert db._opened().value(f"SELECT count(*) FROM {table}") == 0, table


def test_a_row_tells_who_started_it(db: DB) -> None:
    """The owner and epoch of a start are in its row: another kind of storage may have several owners."""
    start(db, "before")
    assert db._opened().row("SELECT owner, epoch, starts FROM tasks") == ("tests", 1, 1)
    assert db._opened().row("SELECT epoch, owner FROM epochs") == (1, "tests")


def test_a_row_that_somebody_has_deleted_is_not_looked_for_for_ever(db: DB) -> None:
    """What is known of the next task is forgotten when it is not there: a service would turn without an end."""
    assert db.next_run_at() is not None
    with db.transaction():
        db._opened().change("DELETE FROM tasks")
    with db.transaction():
        assert db.due(NOON + SECOND, soft_limit=1, hard_limit=1) == []
    assert db.next_run_at() is None


def test_impossible_rows_are_refused_by_the_schema(db: DB) -> None:
    """An ended task has a code and a moment, whatever writes into the table."""
    with pytest.raises(StorageError, match="CHECK"):
        db._opened().change("UPDATE tasks SET status = 2")
    assert db.counts()[TaskStatus.WAITING] == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_fork_waits_until_no_thread_is_in_the_database(db: DB) -> None:
    """A child that was forked in the middle of a statement would share locks that nobody in it ever releases."""
    has_entered, may_leave, has_forked = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        with db.transaction():
            db.add(make_task(), now=NOON)
            has_entered.set()
            assert may_leave.wait(10)

    def fork() -> None:
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        has_forked.set()

    threads = [threading.Thread(target=target) for target in (work, fork)]
    threads[0].start()
    assert has_entered.wait(10)
    threads[1].start()
    assert not has_forked.wait(0.1)
    may_leave.set()
    assert has_forked.wait(10)
    for thread in threads:
        thread.join(10)
    assert db.find("1") is not None
