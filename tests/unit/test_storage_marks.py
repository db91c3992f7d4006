"""Which claimed tasks had begun when a service ended: told by marks beside its database, or taken as begun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from schedulergodx.utils.storage import DB, surroundings
from schedulergodx.utils.storage.marks import HEADER_BYTES, MARK_BYTES, Marks
from schedulergodx_testing.contracts.stored_tasks import DONE, NOON, add, make_task, start
from tests.unit.stored import opened

if TYPE_CHECKING:
    from collections.abc import Callable

BOOT = "0d3c4a5e-8f1b-4d6a-9a3e-7c2b1f0e9d8c"
MANY = [f"task {number}" for number in range(40)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture(autouse=True)
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tell every test the same boot, whatever the system knows; the file may be changed."""
    file = tmp_path / "boot_id"
    file.write_text(f"{BOOT}\n")
    monkeypatch.setattr(surroundings, "BOOT", file)
    return file


def mark(db: DB, message_id: str) -> None:
    """Do what the thread of a task does."""
    begins = db.beginning(message_id)
    assert begins is not None
    begins()


def leave_two_claims(path: Path) -> None:
    """Leave a database as a kill does, with one task that had begun and one that had not."""
    with opened(path) as db:
        add(db, make_task("begun"), make_task("claimed"), replace(make_task("hard"), is_hard=True))
        for name in ("begun", "claimed", "hard"):
            start(db, name)
        mark(db, "begun")
        db.beginning("claimed")


def begun(path: Path, **options: bool) -> list[str]:
    """Return which of the interrupted tasks count as begun."""
    with opened(path, **options) as db:
        return [name for name in db.interrupted() if db.has_begun(name)]


def test_only_what_had_begun_counts_as_begun(path: Path) -> None:
    """And a hard task, whose process tells nobody."""
    leave_two_claims(path)
    assert begun(path) == ["begun", "hard"]


def test_it_stays_known_until_the_next_claim(path: Path) -> None:
    """A start that was killed before it dealt with what was left changes nothing."""
    leave_two_claims(path)
    assert begun(path) == begun(path) == ["begun", "hard"]


def another_boot(path: Path) -> None:
    """The machine lost its power."""
    path.with_name("boot_id").write_text("1" * 36)


def an_unknown_boot(path: Path) -> None:
    """The system does not say which boot it is."""
    path.with_name("boot_id").unlink()


def no_marks(path: Path) -> None:
    """Somebody removed them."""
    Path(f"{path}.begun").unlink()


def no_marker(path: Path) -> None:
    """Nothing says that the database is not an older one, with which the marks do not agree."""
    Path(f"{path}.marker").unlink()


def a_torn_header(path: Path) -> None:
    """The file was being made."""
    os.truncate(f"{path}.begun", HEADER_BYTES - 1)


def an_empty_file(path: Path) -> None:
    """The file was just made."""
    os.truncate(f"{path}.begun", 0)


def not_ours(path: Path) -> None:
    """The file is something else."""
    Path(f"{path}.begun").write_bytes(bytes(range(256)) * 4)


def another_epoch(path: Path) -> None:
    """The file was left by an earlier start."""
    content = Path(f"{path}.begun").read_bytes()
    Path(f"{path}.begun").write_bytes(content.replace(b" 1 ", b" 7 ", 1))


def another_database(path: Path) -> None:
    """The file belongs to a database that was at the same place, and at the same epoch."""
    with opened(path.with_name("other.db")) as db:
        db._began_at += 1
        add(db, make_task("claimed"))
        start(db, "claimed")
    path.with_name("other.db.begun").replace(f"{path}.begun")


@pytest.mark.parametrize(
    "spoil",
    [
        another_boot,
        an_unknown_boot,
        no_marks,
        no_marker,
        a_torn_header,
        an_empty_file,
        not_ours,
        another_epoch,
        another_database,
    ],
)
def test_in_doubt_everything_had_begun(path: Path, spoil: Callable[[Path], None]) -> None:
    """Nothing runs twice because of a file that does not belong to what is in the database."""
    leave_two_claims(path)
    spoil(path)
    assert begun(path) == ["begun", "claimed", "hard"]


def test_of_an_older_database_nothing_is_known(path: Path) -> None:
    """One that is accepted although it may be a backup."""
    leave_two_claims(path)
    assert begun(path, accepts_older=True) == ["begun", "claimed", "hard"]


def test_half_a_mark_is_none(path: Path) -> None:
    """A kill in the midst of the write came before the function."""
    leave_two_claims(path)
    file = Path(f"{path}.begun")
    content = file.read_bytes()
    assert len(content) == HEADER_BYTES + MARK_BYTES
    file.write_bytes(content[:-5] + bytes(5))
    assert begun(path) == ["hard"]
    file.write_bytes(content[:-5])
    assert begun(path) == ["hard"]


def test_a_place_is_given_again_when_the_end_is_on_disk_and_not_before(path: Path) -> None:
    """However many tasks run one after the other, the file is as long as many ran at a time; no mark is lost."""
    with opened(path) as db:
        add(db, make_task("long"), *map(make_task, MANY))
        start(db, "long")
        mark(db, "long")
        for name in MANY:
            start(db, name)
            mark(db, name)
            with suppress(ZeroDivisionError), db.transaction():
                db.finish(name, DONE, now=NOON)
                raise ZeroDivisionError
            assert db._marks.read().has(name)  # type: ignore[union-attr]
            with db.transaction():
                assert db.finish(name, DONE, now=NOON) if name != MANY[0] else db.put_back(name, has_run=False)
        assert Path(f"{path}.begun").stat().st_size == HEADER_BYTES + 2 * MARK_BYTES
        start(db, MANY[0])
        db.beginning(MANY[0])
    assert begun(path) == ["long"]


def test_the_file_is_private(path: Path) -> None:
    """As every other one; nobody else can say what has begun."""
    leave_two_claims(path)
    assert Path(f"{path}.begun").stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/dev/full").exists(), reason="nothing here refuses a write")
def test_a_file_that_cannot_be_made_is_no_matter(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Tasks are claimed as where no marks are kept; that is said."""
    Path(f"{path}.begun").mkdir()
    with opened(path) as db:
        add(db, make_task("a"))
        start(db, "a")
        assert db.beginning("a") is None
    assert "no task is claimed ahead" in caplog.text
    assert begun(path) == ["a"]


def test_what_is_read_of_the_file_has_an_end(path: Path) -> None:
    """Somebody else may have put anything there."""
    leave_two_claims(path)
    Path(f"{path}.begun").unlink()
    Path(f"{path}.begun").symlink_to("/dev/zero")
    assert begun(path) == ["begun", "claimed", "hard"]


def test_a_mark_that_cannot_be_written_raises(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when only a part of it was written: then the task does not begin."""
    with opened(path) as db:
        add(db, make_task("a"))
        start(db, "a")
        begins = db.beginning("a")
        assert begins is not None
        monkeypatch.setattr(db._marks._file, "_pwrite", lambda _descriptor, data, _length, _place: len(data) - 1)
        with pytest.raises(OSError, match="No space left"):
            begins()


def test_a_late_mark_goes_into_no_other_file(path: Path) -> None:
    """A thread may still begin when its service has closed the database: the descriptor is still that of the marks."""
    with opened(path) as db:
        add(db, make_task("late"))
        start(db, "late")
        begins = db.beginning("late")
    other = os.open(path.with_name("other"), os.O_RDWR | os.O_CREAT)
    try:
        assert begins is not None
        begins()
        assert os.fstat(other).st_size == 0
    finally:
        os.close(other)
    assert begun(path) == ["late"]


def test_a_late_mark_covers_none_of_the_next_service(path: Path) -> None:
    """That service may have given the same place to another task, which would seem not to have begun."""
    with opened(path) as db:
        add(db, make_task("late"))
        start(db, "late")
        late = db.beginning("late")
    with opened(path) as db:
        add(db, make_task("next"))
        start(db, "next")
        mark(db, "next")
        assert late is not None
        late()
    assert "next" in begun(path)


def test_marks_of_many_threads(path: Path) -> None:
    """Each writes its own; none is lost."""
    marks = Marks(path, boot=BOOT)
    marks.begin(1, 2)
    begins = {name: marks.take(name) for name in MANY}
    threads = [threading.Thread(target=begins[name]) for name in MANY[::2]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = marks.read()
    assert left is not None
    assert [name for name in MANY if left.has(name)] == MANY[::2]
    marks.close()


KILLED = """
import os, signal, sys, threading
from pathlib import Path
from schedulergodx.utils.storage import DB, surroundings
from schedulergodx_testing.contracts.stored_tasks import NOON, add, make_task, start
surroundings.BOOT = Path(sys.argv[2])
db = DB(sys.argv[1])
db.open(owner="killed", now=NOON)
names = [f"task {number}" for number in range(40)]
add(db, *map(make_task, names))
for name in names:
    start(db, name)
begins = {name: db.beginning(name) for name in names}

def work(mine):
    for name in mine:
        begins[name]()
        os.write(1, f"{name}\\n".encode())
        if name == "task 20":
            os.kill(os.getpid(), signal.SIGKILL)

threads = [threading.Thread(target=work, args=(names[first::4],)) for first in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.slow
def test_marks_outlive_a_kill(path: Path, boot: Path) -> None:
    """Of a process that is killed while its threads work: what has had an effect had begun, for certain."""
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), str(boot)], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    had_effect = set(ended.stdout.splitlines())
    found = set(begun(path))
    assert "task 20" in had_effect <= found
    assert len(found - had_effect) <= 3  # a thread may have been between its mark and the effect
    assert len(found) < len(MANY)
