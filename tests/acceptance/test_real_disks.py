"""A service on disks of its own: one of a few megabytes that is full, one that is mounted read-only, one that rots."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from schedulergodx import Client, ResultTimeout
from schedulergodx.cli import exits
from schedulergodx.clock import SystemClock
from schedulergodx.utils.storage import DB
from schedulergodx_testing.rabbitmq.waiting import wait_until
from tests.acceptance.helpers.functions import add, long_for
from tests.acceptance.helpers.programs import Program

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

WAIT_S = 30.0
RUN_LIMITED = Path(__file__).parent / "helpers" / "run_limited_service.py"
READY = "takes tasks from queue"
EXECUTE = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
OWN_MOUNTS = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)), "sh", "-c")
"""What a program mounts is seen by that program alone, and goes with it."""
SMALL = 'mount -t tmpfs -o size=8m small "$0" && head -c 6000000 /dev/zero >"$0/ballast" && exec "$@"'
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client("tester", url=url, task_lifetime=None) as client:
        yield client


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder at which programs can mount disks of their own; else the test is skipped."""
    folder = tmp_path / "disk"
    folder.mkdir()
    tried = shutil.which("unshare") and subprocess.run([*OWN_MOUNTS, SMALL, folder, "true"], check=False)
    if not tried or tried.returncode != 0:
        pytest.skip("this system lets the user of the tests mount nothing, not even for one program alone")
    return folder


def on(disk: Path, mount: str, *arguments: str | Path) -> Program:
    """Start a Python program for which something is mounted at `disk`."""
    return Program("-c", EXECUTE, *OWN_MOUNTS, mount, disk, sys.executable, *arguments, cwd=disk.parent)


def test_a_disk_of_a_few_megabytes_that_is_full(disk: Path, url: str, client: Client) -> None:
    """What finds no room stays with the broker and is not acked; with room all of it runs, by itself."""
    parameters = json.dumps({"url": url, "db": str(disk / "tasks.db")})
    with on(disk, SMALL, RUN_LIMITED, parameters, "{}") as service:
        service.wait_for_line(READY)
        launched = []
        while not (said := service.matching("nothing is stored or acked for now, the broker keeps it")):
            launched.append(client.task(long_for).launch("x" * 300_000))
            service.wait_for_line("task .* stored|nothing is stored", count=len(launched))
            assert len(launched) < 20
        assert "make space on its disk" in said[0]
        late = client.task(add).launch(1, 2)
        with pytest.raises(ResultTimeout):
            late.result(0.2)
        seen_by_it = Path("/proc", str(service.pid), "root") / disk.relative_to("/")
        (seen_by_it / "ballast").unlink()
        assert late.result(WAIT_S) == 3
        assert [one.result(WAIT_S) for one in launched] == [300_000] * len(launched)
        assert service.stop() == 0
        assert len(service.matching("task .* started")) == len(launched) + 1


def test_a_database_on_a_disk_that_is_mounted_read_only(disk: Path, url: str) -> None:
    """One error at the start, with the path; a write-ahead log cannot be there."""
    with closing(DB(disk / "tasks.db")) as database:
        database.open(owner="tests", now=SystemClock().now())
    with on(disk, READ_ONLY, "-m", "schedulergodx", "service", "--url", url, "--db", disk / "tasks.db") as service:
        assert service.wait() == exits.EXIT_STORAGE
        assert f"the database {disk / 'tasks.db'} cannot be used" in service.lines[-1]
        assert f"the disk is mounted read-only that holds the folder {disk}" in service.lines[-1]


def test_pages_that_rot_under_a_running_service_end_it_without_an_ack(url: str, client: Client, tmp_path: Path) -> None:
    """It says what to do and leaves; what it did not ack runs when its database is back."""
    parameters = json.dumps({"url": url, "db": "tasks.db"})
    path = tmp_path / "tasks.db"
    with Program(RUN_LIMITED, parameters, "{}", cwd=tmp_path) as service:
        service.wait_for_line(READY)
        assert client.task(add).launch(1, 2).result(WAIT_S) == 3
        with closing(sqlite3.connect(path)) as other:
            sent = "SELECT NOT EXISTS (SELECT 1 FROM outbox)"
            wait_until(lambda: other.execute(sent).fetchone() == (1,), "the answer to be forgotten", timeout_s=WAIT_S)
            other.execute("UPDATE tasks SET name = name")  # so that the service reads the pages again
            other.commit()
            folded = "PRAGMA wal_checkpoint(TRUNCATE)"
            wait_until(lambda: other.execute(folded).fetchone()[0] == 0, "the log to be empty", timeout_s=WAIT_S)
            whole = path.read_bytes()
            with path.open("r+b") as file:
                file.seek(4096)
                file.write(b"\xff" * (len(whole) - 4096))
            launched = client.task(add).launch(3, 4)
            assert service.wait() != 0
        [line] = service.matching("^schedulergodx.errors.DatabaseDamaged")
        assert "restore a backup" in line
    for ending in ("-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)
    path.write_bytes(whole)
    with Program(RUN_LIMITED, parameters, "{}", cwd=tmp_path) as service:
        assert launched.result(WAIT_S) == 7
        assert service.stop() == 0
