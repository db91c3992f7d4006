"""A service whose disk is full, whose database is replaced, or which is stopped in time: nothing is lost."""

import json
import os
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from schedulergodx import Client, ResultTimeout, TaskInterrupted, TaskOverdue, TaskTimedOut
from tests.acceptance.helpers.functions import add, long_for, nap, nap_aloud
from tests.acceptance.helpers.programs import Program

pytestmark = pytest.mark.slow

WAIT_S = 30.0
RUN_LIMITED = Path(__file__).parent / "helpers" / "run_limited_service.py"
READY = "takes tasks from queue"
Start = Callable[..., Program]

INTERRUPT_THE_RECOVERY = """
import sys
import threading
from schedulergodx import Service
from schedulergodx.service.outcomes import Outcomes

really = Outcomes.end

def end(*arguments, **facts):
    really(*arguments, **facts)
    print("recovering", flush=True)
    threading.Event().wait()

Outcomes.end = end
Service(url=sys.argv[1], db="tasks.db").start()
"""


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client("tester", url=url, task_lifetime=None) as client:
        yield client


@pytest.fixture
def start(url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts services with `tasks.db`, one after the other; the last one is killed at the end."""
    programs: list[Program] = []

    def start(**limits: float) -> Program:
        parameters = json.dumps({"url": url, "db": "tasks.db"})
        programs.append(Program(RUN_LIMITED, parameters, json.dumps(limits), cwd=tmp_path))
        programs[-1].wait_for_line(READY)
        return programs[-1]

    yield start
    for program in programs:
        program.__exit__(None, None, None)


def health_of(folder: Path) -> Iterator[str]:
    """Ask for the health of a service that is not well, some times: it is written down every two seconds."""
    for _ in range(20):
        with Program("-m", "schedulergodx", "health", "--db", "tasks.db", cwd=folder) as health:
            assert health.wait() != 0
            yield health.text


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux changes the limits of another process")
def test_a_disk_that_is_full_loses_nothing_and_the_service_goes_on_by_itself(
    start: Start, client: Client, tmp_path: Path
) -> None:
    """What cannot be stored stays with the broker, health says why, and within 30 s of room everything is stored.

    The disk is full for this service alone: no file of it may grow beyond a limit, until that is raised.
    """
    service = start()
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (1_500_000, resource.RLIM_INFINITY))
    launch = client.task(long_for).options(delay=3600).launch
    ids = []
    while not (said := service.matching("nothing is stored or acked for now, the broker keeps it")):
        ids.append(launch("x" * 300_000 + str(len(ids))))
        # One after the other: the file of the queues is to stay below the limit.
        service.wait_for_line("task .* stored|nothing is stored", count=len(ids))
        assert len(ids) < 20
    assert "make space on its disk" in said[0]
    assert any("nothing can be stored: the database" in said for said in health_of(tmp_path))
    late = client.task(add).launch(1, 2)
    with pytest.raises(ResultTimeout):
        late.result(0.2)
    resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert late.result(WAIT_S) == 3
    assert service.stop() == 0
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as connection:
        stored = {message_id for (message_id,) in connection.execute("SELECT message_id FROM tasks")}
    assert stored == {*ids, late}


def test_a_database_that_is_replaced_ends_the_service_without_an_ack(
    start: Start, client: Client, tmp_path: Path
) -> None:
    """It says what happened and leaves; what was launched meanwhile runs once the files are back."""
    service = start()
    assert client.task(add).launch(1, 2).result(WAIT_S) == 3
    away = tmp_path / "away"
    away.mkdir()
    for name in ("tasks.db", "tasks.db-wal"):
        (tmp_path / name).rename(away / name)
    (tmp_path / "tasks.db").write_bytes((away / "tasks.db").read_bytes())
    launched = client.task(add).launch(3, 4)
    assert service.wait() != 0
    [line] = service.matching("^schedulergodx.errors.DatabaseDamaged")
    assert "was removed or replaced while it was open" in line
    for name in ("tasks.db", "tasks.db-wal"):
        (away / name).replace(tmp_path / name)
    start()
    assert launched.result(WAIT_S) == 7


def test_a_kill_in_the_recovery_of_the_interrupted_changes_nothing(
    start: Start, client: Client, url: str, tmp_path: Path
) -> None:
    """By SIGKILL before its commit: the next start ends in the same state, and each client is told once."""
    service = start()
    running = [client.task(nap_aloud).launch(60) for _ in range(2)]
    service.wait_for_line("^napping$", count=2)  # "started" says that a thread is to run it
    service.kill()
    with Program("-c", INTERRUPT_THE_RECOVERY, url, cwd=tmp_path) as recovering:
        recovering.wait_for_line("recovering")
        recovering.kill()
    again = start()
    for message_id in running:
        with pytest.raises(TaskInterrupted):
            message_id.result(WAIT_S)
    assert len(again.matching("task ended: ERROR, TASK_INTERRUPTED")) == 2
    with closing(sqlite3.connect(tmp_path / "tasks.db")) as connection:
        assert connection.execute("SELECT status, starts FROM tasks").fetchall() == [(3, 1), (3, 1)]


def test_a_service_that_is_stopped_and_continued_goes_on(start: Start, client: Client) -> None:
    """By SIGSTOP and SIGCONT: what was due meanwhile is skipped or run late as its client wishes, once.

    A lifetime goes on meanwhile: it is counted by a clock that does not stop with the process.
    """
    service = start(overdue_grace_s=0.5)
    task = client.task(add)
    skipped = task.options(delay=2.0).launch(1, 2)  # a busy machine may take a second until it is stopped
    late = task.options(delay=2.0, enable_overdue=True).launch(3, 4)
    overrun = client.task(nap).options(task_lifetime=1.5).launch(60)
    service.wait_for_line("task .* stored", count=3)
    service.wait_for_line("task .* started")
    os.kill(service.pid, signal.SIGSTOP)
    with pytest.raises(ResultTimeout):
        skipped.result(3.5)
    os.kill(service.pid, signal.SIGCONT)
    assert late.result(WAIT_S) == 7
    with pytest.raises(TaskOverdue):
        skipped.result(WAIT_S)
    with pytest.raises(TaskTimedOut):
        overrun.result(WAIT_S)
    assert task.launch(5, 6).result(WAIT_S) == 11
    assert service.stop() == 0
    assert len(service.matching("task .* started")) == 3
