"""`schedulergodx demo` as a stranger runs it: in a pipe, on a terminal, without a broker, and stopped half-way."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from schedulergodx.cli import exits
from schedulergodx.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from schedulergodx_testing.rabbitmq import RabbitMQ

pytestmark = pytest.mark.slow

DEMO_S = 20.0
TASKS = 12
COMMAND = [sys.executable, "-m", "schedulergodx", "demo"]
UNREACHABLE = "amqp://guest:sekret@127.0.0.1:1/"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nobody's settings, some that must not matter, and a folder for temporary files that can be looked into."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SCHEDULERGODX_")}
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        kept.pop(name, None)
    return kept | {"TMPDIR": str(tmp_path), "SCHEDULERGODX_THREADS": "1", "SCHEDULERGODX_DB": "/nowhere/tasks.db"}


@contextmanager
def demo(environment: dict[str, str], *options: str) -> Iterator[subprocess.Popen[str]]:
    """Give a running demo in a pipe."""
    with subprocess.Popen(
        [*COMMAND, *options], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_to_the_greeting(process: subprocess.Popen[str]) -> int:
    """Read until the service has answered a first task, and return its process id."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"process (\d+), answered a first task", line):
            return int(found[1])
    pytest.fail("the service did not answer")


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def check(output: str) -> None:
    """Check the lines of a demo in which everything went well."""
    assert "\x1b" not in output
    lines = output.splitlines()
    assert re.search(r"process \d+, answered a first task after \d", lines[1])
    assert [line for line in lines if re.search(r" s  delayed by 2 s +WAITING", line)]
    assert [line for line in lines if re.search(r" s  delayed by 2 s +COMPLETED +'late'", line)]
    start = next(number for number, line in enumerate(lines) if line.split()[:3] == ["task", "expected", "outcome"])
    rows = lines[start + 1 : start + 1 + TASKS]
    assert all(re.match(r"ok  .*( +\d+\.\d{3}){3}$", row) for row in rows), output
    assert max(map(len, lines[1:])) < 80, output  # the first names a file, wherever that is
    assert lines[-1].startswith(f"{TASKS} of {TASKS} tasks ended as expected, in "), output


def test_in_a_pipe_over_one_file(environment: dict[str, str], tmp_path: Path) -> None:
    """Every task ends as expected, within the time, in plain lines; nothing is left behind."""
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=DEMO_S, check=False)
    assert done.returncode == exits.EXIT_OK, done.stdout + done.stderr
    check(done.stdout)
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.rabbitmq
def test_over_rabbitmq(
    environment: dict[str, str], tmp_path: Path, rabbitmq: RabbitMQ, rabbitmq_vhost_url: str
) -> None:
    """The same over a RabbitMQ, where it deletes its queues."""
    done = subprocess.run(
        [*COMMAND, "--url", rabbitmq_vhost_url],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        check=False,
    )
    assert done.returncode == exits.EXIT_OK, done.stdout + done.stderr
    check(done.stdout)
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
    if rabbitmq.is_controllable:
        left = rabbitmq.queues(unquote(urlsplit(rabbitmq_vhost_url).path[1:]))
        assert [name for name in left if "-probe-" not in name] == []  # those expire by themselves


def run_on_a_terminal(environment: dict[str, str], *, lines: int = 24) -> tuple[int, str]:
    """Run the demo on a terminal of 80 columns and return its exit code and all that it wrote."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 80, 0, 0))
    with subprocess.Popen(COMMAND, env=environment, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        written = bytearray()
        with suppress(OSError):  # how Linux says that the other end is closed
            while piece := os.read(ours, 65536):
                written += piece
        os.close(ours)
        return process.wait(DEMO_S), written.decode()


def test_on_a_terminal(environment: dict[str, str]) -> None:
    """A table redrawn in place, in colours, with the cursor hidden meanwhile and then restored."""
    code, written = run_on_a_terminal(environment | {"TERM": "xterm-256color"})
    assert code == exits.EXIT_OK, written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1
    assert written.endswith("\x1b[?25h")
    assert written.count("\x1b[14A") > 10  # the table has so many lines, and goes up by them to redraw
    assert "\x1b[32mCOMPLETED" in written
    assert f"{TASKS} of {TASKS} tasks ended as expected" in written


def test_no_color_is_respected(environment: dict[str, str]) -> None:
    """With NO_COLOR the table is redrawn in place without any colour."""
    code, written = run_on_a_terminal(environment | {"TERM": "xterm-256color", "NO_COLOR": "1"})
    assert code == exits.EXIT_OK, written
    assert "\x1b[14A" in written
    assert not re.search(r"\x1b\[\d*m", written)


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"TERM": "xterm", "LINES": "10"}], ids=["dumb", "small"])
def test_a_terminal_that_cannot_hold_the_table_gets_lines(
    environment: dict[str, str], variables: dict[str, str]
) -> None:
    """Where lines cannot be redrawn, or the table has no room, changes are told line by line, as in a pipe."""
    code, written = run_on_a_terminal(environment | variables)
    assert code == exits.EXIT_OK, written
    assert "\x1b[14A" not in written
    assert re.search(r" s  delayed by 2 s +WAITING", written)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything(number: signal.Signals, environment: dict[str, str], tmp_path: Path) -> None:
    """In the middle of it the service goes, too, and no file is left; the exit code is that of Ctrl-C."""
    with demo(environment) as process:
        pid = read_to_the_greeting(process)
        assert is_running(pid)
        process.send_signal(number)
        out, error = process.communicate(timeout=DEMO_S)
    assert process.returncode == exits.EXIT_INTERRUPTED
    assert out.splitlines()[-1] == "Stopped, and the service with it."
    assert error == ""
    assert not is_running(pid)
    assert list(tmp_path.iterdir()) == []


def test_it_says_when_the_service_dies(environment: dict[str, str], tmp_path: Path) -> None:
    """An exit code of its own, with the end of the service's log."""
    with demo(environment) as process:
        os.kill(read_to_the_greeting(process), signal.SIGKILL)
        out, error = process.communicate(timeout=DEMO_S)
    assert process.returncode == exits.EXIT_FAILED
    assert "The service ended by itself, with exit code -9; its log ends with:" in out
    assert "schedulergodx.service.demo" in out
    assert error == ""
    assert list(tmp_path.iterdir()) == []


def test_a_broker_that_is_not_there(environment: dict[str, str], tmp_path: Path) -> None:
    """One sentence within ten seconds, exit code 3, no password, nothing left."""
    began = SystemClock().monotonic()
    done = subprocess.run(
        [*COMMAND, "--url", UNREACHABLE], env=environment, capture_output=True, text=True, timeout=DEMO_S, check=False
    )
    assert SystemClock().monotonic() - began < 10
    assert done.returncode == exits.EXIT_BROKER
    assert "amqp://guest@127.0.0.1:1/ was not reached" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "sekret" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []
