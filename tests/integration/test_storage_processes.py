"""Several processes and one database: who gets it, and what a killed one leaves."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from schedulergodx.errors import DatabaseInUse
from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.utils.storage import DB
from schedulergodx.utils.storage.reader import reader
from schedulergodx_testing.contracts.stored_tasks import INTERRUPTED, NOON, SECOND, found, ids

pytestmark = pytest.mark.slow  # starts an interpreter

HOLD = """
db.open(owner="child", now=NOON)
print("held", flush=True)
sys.stdin.read()
db.close()
"""

WRITE_AND_HANG = """
db.open(owner="child", now=NOON)
add(db, make_task("committed"), make_task("working"))
start(db, "working")
with db.transaction():
    for number in range(5000):  # more than SQLite keeps in memory: some of it is on disk already
        db.add(replace(make_task(f"lost{number}"), arguments=bytes(4096)), now=NOON)
    db.start("committed", now=NOON)
    db.add_reply("queue", "lost1", b"lost", now=NOON)
    print("in a transaction", flush=True)
    sys.stdin.read()
"""

CREATE_FOR_EVER = """
print("begun", flush=True)
while True:
    db.open(owner="child", now=NOON)
    db.close()
    db.path.unlink()
"""

COMMIT_FOR_EVER = """
db.open(owner="child", now=NOON)
for number in range(1, 10**9):
    add(db, make_task(f"{number}"))
    print(number, flush=True)
"""


class Child:
    """Another process with `db`, a `DB` on a path; it says a line when it is where it is wanted."""

    def __init__(self, path: Path, program: str) -> None:
        header = (
            "import sys\n"
            "from dataclasses import replace\n"
            "from schedulergodx.utils.storage import DB\n"
            "from schedulergodx_testing.contracts.stored_tasks import NOON, add, make_task, start\n"
            "db = DB(sys.argv[1])\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", header + program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, "the child ended before it was where it is wanted"
        return line

    def kill(self) -> list[str]:
        """Kill it as the system would; return what it had still said."""
        self.process.kill()
        return self.process.communicate(timeout=20)[0].splitlines()

    def end(self) -> None:
        self.process.communicate(timeout=20)
        assert self.process.returncode == 0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def run_child(path: Path) -> Iterator[Callable[[str], Child]]:
    children: list[Child] = []

    def run(program: str) -> Child:
        children.append(Child(path, program))
        return children[-1]

    yield run
    for child in children:
        if child.process.poll() is None:
            child.kill()


def test_another_process_is_named(run_child: Callable[[str], Child], path: Path) -> None:
    """While another process has the database, the error names it; when it closes, the database is free."""
    child = run_child(HOLD)
    assert child.line() == "held"
    with pytest.raises(DatabaseInUse, match=f"'child' .process {child.process.pid} on ") as caught:
        DB(path).open(owner="tests", now=NOON)
    assert (caught.value.pid, caught.value.since) == (child.process.pid, NOON)
    child.end()
    with closing(DB(path)) as db:
        db.open(owner="tests", now=NOON)


def test_a_link_in_another_process_is_the_same_database(run_child: Callable[[str], Child], path: Path) -> None:
    """Through a symbolic link, a second process is refused like through the path itself."""
    child = run_child(HOLD)
    assert child.line() == "held"
    link = path.with_name("link.db")
    link.symlink_to(path)
    with pytest.raises(DatabaseInUse):
        DB(link).open(owner="tests", now=NOON)


def test_a_killed_writer_leaves_no_half_transaction(run_child: Callable[[str], Child], path: Path) -> None:
    """After SIGKILL in a large transaction the file is whole, what was committed is there, and nothing else is.

    The lock of the dead process is gone, and the task that it had started is interrupted.
    """
    child = run_child(WRITE_AND_HANG)
    assert child.line() == "in a transaction"
    child.kill()
    with closing(DB(path)) as db:
        db.open(owner="tests", now=NOON + SECOND)
        assert ids(db.tasks(limit=9)) == ["working", "committed"]
        assert found(db, "committed").status is TaskStatus.WAITING
        assert db.replies(after=0, limit=9) == []
        assert db.interrupted() == ["working"]
        with db.transaction():
            assert db.finish("working", INTERRUPTED, now=NOON + SECOND) is not None
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


def test_what_was_reported_stored_is_there_after_a_kill(run_child: Callable[[str], Child], path: Path) -> None:
    """Killed at any moment, a writer has kept each task of which it had said so, without a gap."""
    child = run_child(COMMIT_FOR_EVER)
    said = [child.line() for _ in range(50)]
    said += child.kill()
    with closing(DB(path)) as db:
        db.open(owner="tests", now=NOON)
        stored = ids(reversed(db.tasks(limit=1_000_000)))
    assert stored[: len(said)] == said
    assert len(stored) <= len(said) + 1  # the last one may have been committed and not said


def test_a_kill_while_creating_leaves_nothing_or_a_database(run_child: Callable[[str], Child], path: Path) -> None:
    """However early a first start dies, the next one begins: no empty file is in its way."""
    for _ in range(5):
        child = run_child(CREATE_FOR_EVER)
        assert child.line() == "begun"
        child.kill()
        with closing(DB(path)) as db:
            db.open(owner="tests", now=NOON)
        path.unlink()


def test_a_reader_in_another_process_disturbs_nothing(run_child: Callable[[str], Child], path: Path) -> None:
    """Readers come and go beside a process that writes without end, and each sees a whole state."""
    child = run_child(COMMIT_FOR_EVER)
    assert child.line() == "1"
    last = 0
    for _ in range(30):
        with reader(path) as view:
            seen = view.counts()[TaskStatus.WAITING]
            assert len(view.tasks(limit=1_000_000, statuses=[TaskStatus.WAITING])) >= seen >= last
        last = seen
    assert child.process.poll() is None
    child.kill()
