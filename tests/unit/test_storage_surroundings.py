"""What the system tells about a database: who has it locked, and whether its disk is another machine's."""

from __future__ import annotations

import logging
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import DatabaseBusy
from schedulergodx.utils.storage import DB, surroundings
from schedulergodx_testing.contracts.stored_tasks import NOON, add, make_task

if TYPE_CHECKING:
    from collections.abc import Iterator

MOUNTS = r"""22 27 0:21 / / rw,relatime - ext4 /dev/root rw
23 22 0:22 / /srv rw - nfs4 files:/srv rw,vers=4.2
24 23 0:23 / /srv/local\040disk rw shared:1 - xfs /dev/sdb rw
25 22 0:24 / /home rw - fuse.sshfs me@far:/ rw
"""


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    monkeypatch.setattr(surroundings, "MOUNTS", path)
    return path


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/srv/tasks.db", "nfs4"),
        ("/srv/sub/tasks.db", "nfs4"),
        ("/srv/local disk/tasks.db", None),
        ("/home/me/tasks.db", "fuse.sshfs"),
        ("/srvice/tasks.db", None),
        ("/tasks.db", None),
    ],
)
def test_the_innermost_mount_counts(path: str, kind: str | None) -> None:
    """Whole names of folders, spaces included."""
    assert surroundings.network_kind(Path(path)) == kind


def test_a_network_disk_is_warned_of(mounts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Once, at the start, naming the file and the kind; it is used all the same."""
    mounts.write_text(f"1 0 0:1 / {tmp_path} rw - nfs server:/ rw\n")
    with caplog.at_level(logging.WARNING), closing(DB(tmp_path / "tasks.db")) as db:
        db.open(owner="tests", now=NOON)
        add(db, make_task())
    [record] = caplog.records
    assert f"{tmp_path}/tasks.db is on a network file system (nfs)" in record.getMessage()


def test_a_system_that_tells_nothing_is_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: no warning, no name."""
    monkeypatch.setattr(surroundings, "MOUNTS", tmp_path / "none")
    monkeypatch.setattr(surroundings, "LOCKS", tmp_path / "none")
    assert surroundings.network_kind(tmp_path / "tasks.db") is None
    assert surroundings.writer_of(tmp_path / "tasks.db") is None


@pytest.fixture
def locker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has locked `tasks.db` for writing."""
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('BEGIN IMMEDIATE')\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with closing(DB(tmp_path / "tasks.db")) as db:
        db.open(owner="tests", now=NOON)
    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "tasks.db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who holds a lock")
def test_whoever_keeps_the_database_locked_is_named(
    locker: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once it has ended, everything goes on."""
    monkeypatch.setattr("schedulergodx.utils.storage.connection.BUSY_TIMEOUT_S", 0.05)
    db = DB(tmp_path / "tasks.db")
    with closing(db):
        with pytest.raises(DatabaseBusy, match=rf"was kept locked by process {locker.pid} for longer than the wait"):
            db.open(owner="tests", now=NOON)
        locker.communicate()
        db.open(owner="tests", now=NOON)
        add(db, make_task())
