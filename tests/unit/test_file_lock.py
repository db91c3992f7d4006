"""`FileLock`: one holder at a time, and a dead one holds nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schedulergodx.file_lock import FileLock

HOLDER = """
import sys
from pathlib import Path
from schedulergodx.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.acquire("the child"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.lock"


def test_a_second_lock_is_refused_until_the_first_is_released(path: Path):
    """One holder at a time, within one process too."""
    first, second = FileLock(path), FileLock(path)
    assert first.acquire("first")
    assert not second.acquire("second")
    first.release()
    assert second.acquire("second")
    second.release()


def test_the_holder_is_named(path: Path):
    """Whoever is refused can read who holds the lock; released, nobody does."""
    first, second = FileLock(path), FileLock(path)
    assert second.holder() == ""
    first.acquire("process 17, “näme”")
    second.acquire("second")
    assert second.holder() == "process 17, “näme”"
    first.acquire("new")
    assert second.holder() == "new"
    first.release()
    assert second.holder() == ""


def test_a_file_that_somebody_made_huge_is_not_read_whole(path: Path):
    """A terabyte behind the text, which a sparse file has for nothing, is left where it is."""
    first = FileLock(path)
    first.acquire("process 17")
    os.truncate(path, 2**40)
    assert FileLock(path).holder().rstrip("\0") == "process 17"
    first.release()


def test_taking_and_releasing_twice_is_harmless(path: Path):
    """Acquire of what is held is True; release of what is not held does nothing to the real holder."""
    first, second = FileLock(path), FileLock(path)
    assert first.acquire("a")
    assert first.acquire("a")
    second.release()
    first.release()
    assert second.acquire("b")
    first.release(removes_file=True)
    assert second.holder() == "b"
    second.release()


def test_the_file_is_private_and_can_be_removed(path: Path):
    """Nobody else may read it, and `removes_file` leaves nothing behind."""
    lock = FileLock(path)
    lock.acquire("me")
    assert path.stat().st_mode & 0o777 == 0o600
    lock.release(removes_file=True)
    assert not path.exists()


def test_a_lock_on_a_removed_file_is_taken_anew(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Who locks a file while its holder removes it must not believe to hold what others can lock again."""
    first, second = FileLock(path), FileLock(path)
    first.acquire("first")
    real_open = os.open

    def open_then_lose(*args, **kwargs):
        descriptor = real_open(*args, **kwargs)
        first.release(removes_file=True)
        return descriptor

    monkeypatch.setattr(os, "open", open_then_lose)
    assert second.acquire("second")
    assert path.read_text() == "second"
    assert not FileLock(path).acquire("third")
    second.release()


def test_a_missing_folder_is_an_os_error(path: Path):
    """Folders are not made, and the error is the system's."""
    with pytest.raises(FileNotFoundError):
        FileLock(path / "below").acquire("me")


def test_a_killed_holder_holds_nothing(path: Path):
    """The system releases the lock of a process killed by SIGKILL, and its stale file is locked again."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout.readline() == "True\n"
        lock = FileLock(path)
        assert not lock.acquire("me")
        assert lock.holder() == "the child"
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=10)
    assert lock.acquire("me")
    lock.release()


def test_programs_started_by_the_holder_do_not_inherit_the_lock(path: Path):
    """A child that outlives the release keeps nothing locked."""
    lock = FileLock(path)
    lock.acquire("me")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False):
        lock.release()
        assert lock.acquire("me again")
        lock.release()


def test_a_fork_of_the_holder_neither_holds_nor_breaks_the_lock(path: Path):
    """A forked child knows nothing of the lock: its life does not prolong it and its release does not end it."""
    lock = FileLock(path)
    lock.acquire("me")
    to_parent, from_child = os.pipe()
    to_child, from_parent = os.pipe()
    child = os.fork()
    if child == 0:  # nothing of pytest may run here
        lock.release(removes_file=True)
        os.write(from_child, b"0" if FileLock(path).acquire("child") else b"1")
        os.read(to_child, 1)
        os._exit(0)
    assert os.read(to_parent, 1) == b"1"
    assert path.exists()
    lock.release()
    assert lock.acquire("me again, while the child lives")
    os.write(from_parent, b"x")
    os.waitpid(child, 0)
    lock.release()
    for descriptor in (to_parent, from_child, to_child, from_parent):
        os.close(descriptor)


def test_without_fcntl_the_error_says_what_is_needed(path: Path, monkeypatch: pytest.MonkeyPatch):
    """On Windows importing works, and locking is refused in words."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with pytest.raises(OSError, match="POSIX"):
        FileLock(path).acquire("me")
