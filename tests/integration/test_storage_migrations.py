"""From the first schema to the newest: killed anywhere on the way, and old code before a new database."""

import hashlib
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from schedulergodx.errors import DatabaseUnsupported
from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.utils.storage import DB, schema
from schedulergodx.utils.storage.reader import reader
from schedulergodx_testing.contracts.stored_tasks import NOON, SECOND, add, found, ids, make_task

FIRST_SCHEMA = "6b1cbed056bb1cfb"
"""The beginning of the SHA-256 of the statements of schema 1, as they were released."""

OPEN_AND_HANG = """
import sys
from schedulergodx.utils.storage import DB
from schedulergodx.utils.storage.connection import Connection
from schedulergodx_testing.contracts.stored_tasks import NOON

wanted, is_after, really = sys.argv[2], sys.argv[3] == "after", Connection.change

def change(self, sql, parameters=()):
    if sql.strip().startswith(wanted) and not is_after:
        hang()
    changed = really(self, sql, parameters)
    if sql.strip().startswith(wanted):
        hang()
    return changed

def hang():
    print("here", flush=True)
    sys.stdin.read()

Connection.change = change
DB(sys.argv[1]).open(owner="child", now=NOON)
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database of the first schema: a task that waits, one that was at work, one that ended, and an answer."""
    path = tmp_path / "tasks.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in schema.MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute("INSERT INTO epochs VALUES (1, 'old', 1000000)")
        for number, status, ended_at, code in ((1, 0, None, None), (2, 1, None, None), (3, 2, 2000000, "OK")):
            connection.execute(
                "INSERT INTO tasks (number, message_id, status, is_hard, run_at, is_delayed, is_overdue_enabled, "
                "issued_at, stored_at, ended_at, epoch, client, reply_to, name, digest, reference, code_digest, "
                "python, code) VALUES (?, ?, ?, 0, 0, 0, 0, 0, 0, ?, 1, 'shop', 'answers', 'work', ?, '', '', '', ?)",
                (number, f"{number}", status, ended_at, b"digest", code),
            )
            connection.execute("INSERT INTO arguments VALUES (?, x'00', NULL)", (number,))
        connection.execute("INSERT INTO outbox VALUES (7, 'answers', '3', x'01')")
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    return path


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def check_content(path: Path) -> None:
    """Open it as a service does, and find everything that was in it."""
    with closing(DB(path)) as db:
        db.open(owner="tests", now=NOON)
        assert sorted(ids(db.tasks(limit=9))) == ["1", "2", "3"]
        assert found(db, "1").status is TaskStatus.WAITING
        assert db.interrupted() == ["2"]
        assert [(reply.number, reply.message_id, reply.body) for reply in db.replies(after=0, limit=9)] == [
            (7, "3", b"\x01")
        ]
        with db.transaction():
            assert db.add_reply("answers", "1", b"", now=NOON).number == 8
            assert db.prune(ended_before=NOON, limit=9) == 1
        add(db, make_task("new"))
        assert db.is_forgotten("3")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_the_first_schema_is_as_it_was_released() -> None:
    """A migration that was released is never changed: databases that were made by it are out there."""
    statements = "\n".join(" ".join(statement.split()) for statement in schema.MIGRATIONS[0])
    assert hashlib.sha256(statements.encode()).hexdigest()[:16] == FIRST_SCHEMA


def test_everything_is_there_after_the_way_from_the_first_schema(old: Path) -> None:
    """Tasks, outcomes and answers, with their numbers."""
    check_content(old)
    assert version_of(old) == len(schema.MIGRATIONS)


def test_an_answer_of_the_first_schema_is_not_older_than_what_is_known(old: Path) -> None:
    """Nobody wrote down when it was added: it is not dropped as one of 1970, but offered for its time."""
    with closing(DB(old)) as db:
        db.open(owner="tests", now=NOON)
        assert db.connection.value("SELECT added_at FROM outbox") == 2000000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statement", "when", "is_done"),
    [
        (schema.MIGRATIONS[1][0].strip(), "after", False),
        ("UPDATE outbox", "after", False),
        ("PRAGMA user_version", "after", False),
        ("COMMIT", "before", False),
        ("COMMIT", "after", True),
    ],
)
def test_a_kill_in_the_middle_leaves_the_old_or_the_new_schema(
    statement: str, when: str, is_done: bool, old: Path
) -> None:
    """By SIGKILL, at a statement of it: never anything between, and the next start completes it."""
    child = subprocess.Popen(
        [sys.executable, "-c", OPEN_AND_HANG, old, statement, when], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"here\n"
        child.kill()
    assert version_of(old) == (len(schema.MIGRATIONS) if is_done else 1)
    check_content(old)


def test_old_code_refuses_a_new_database_before_it_touches_it(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files stay as they are, to the byte, and the new code goes on with them."""
    with closing(DB(old)) as db:
        db.open(owner="new", now=NOON)
    files = list(old.parent.iterdir())
    before = [file.read_bytes() for file in files]
    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        with pytest.raises(DatabaseUnsupported, match=r"has schema \d+, and this version knows 1 at most"):
            DB(old).open(owner="old", now=NOON + SECOND)
        with pytest.raises(DatabaseUnsupported, match="install a newer SchedulerGodX"):
            reader(old)
    assert [file.read_bytes() for file in files] == before
    check_content(old)
