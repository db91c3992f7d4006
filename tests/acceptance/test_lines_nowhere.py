"""Where lines go is full, closed or not writable: tasks go on, and the exit code is what it would be."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schedulergodx import Client
from schedulergodx.cli import exits

pytestmark = pytest.mark.slow

RUN = [sys.executable, "-m", "schedulergodx", "service", "--log-level", "debug"]
WAIT_S = 20.0


@pytest.mark.parametrize("streams", ["2>/dev/full", ">/dev/full 2>/dev/full", "2>&-", "<&- >&- 2>&-"])
def test_a_service_whose_standard_streams_are_broken(streams: str, tmp_path: Path) -> None:
    """It runs tasks, stops when asked, and ends with 0; no socket or file of its own gets the lines."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    url = f"sqlite:///{tmp_path}/queues.db"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCHEDULERGODX_")}
    command = ["sh", "-c", f'exec "$@" {streams}', "sh", *RUN, "--url", url, "--db", str(tmp_path / "tasks.db")]
    process = subprocess.Popen(command, env=environment)
    try:
        with Client(url=url) as client:
            assert client.task(sorted).launch([2, 1]).result(WAIT_S) == [1, 2]
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == exits.EXIT_OK
    finally:
        process.kill()
        process.wait()


def test_a_log_file_on_a_full_disk(tmp_path: Path) -> None:
    """Each line that cannot be written is lost; the task is not."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    program = f"""
import schedulergodx
from schedulergodx.utils import LoggerConstructor
LoggerConstructor("schedulergodx", log_file="/dev/full", log_level=10)
schedulergodx.Service(db={str(tmp_path / "tasks.db")!r}, url="sqlite:///{tmp_path}/queues.db").start()
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    try:
        with Client(url=f"sqlite:///{tmp_path}/queues.db") as client:
            assert client.task(sorted).launch([2, 1]).result(WAIT_S) == [1, 2]
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.wait()
