"""Services that are stopped, killed and started again, over each transport: nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import threading
import uuid
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import schedulergodx
from schedulergodx import LaunchUncertain, ResultTimeout, TaskInterrupted, TaskKilled, TaskOverdue, TaskTimedOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from helpers.programs import Program

    from schedulergodx import Client

pytestmark = pytest.mark.slow

WAIT_S = 30.0
RUN_LIMITED = Path(__file__).parent / "helpers" / "run_limited_service.py"
READY = "takes tasks from queue"


@pytest.fixture
def request_queue() -> str:
    """The name of a queue that no other test uses."""
    return f"requests-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def start(new_service, broker_url: str, request_queue: str) -> Callable[..., Program]:
    """Starts services of this test's queue; each call uses the same database unless it names another."""
    return lambda **parameters: new_service(url=broker_url, request_queue=request_queue, **parameters)


@pytest.fixture
def client(new_client) -> Client:
    """A client that gives tasks all the time they want."""
    return new_client(name="shop", task_lifetime=None, hard_task_lifetime=None, launch_timeout_s=60)


@pytest.fixture
def start_limited(tmp_path: Path, broker_url: str, request_queue: str) -> Iterator[Callable[..., Program]]:
    """Starts services with `ServiceLimits`, and kills those that still run at the end."""
    from helpers.programs import Program

    with ExitStack() as stack:

        def begin(**limits: object) -> Program:
            parameters = {"url": broker_url, "request_queue": request_queue, "db": str(tmp_path / "tasks.db")}
            program = Program(RUN_LIMITED, json.dumps(parameters), json.dumps(limits), cwd=tmp_path)
            stack.enter_context(program)
            program.wait_for_line(READY)
            return program

        yield begin


# --- functions that travel


def add(a, b):
    return a + b


def say_and_wait_for(path, word="I run"):
    """Print, and return when there is a file at `path`."""
    import time
    from pathlib import Path

    print(word, flush=True)  # noqa: T201 - the test waits for this line of the service
    while not Path(path).exists():
        time.sleep(0.005)
    return word


def note_id(path):
    """Append the id of this launch to a file, and return it."""
    import os

    from schedulergodx import current_task

    message_id = current_task().message_id
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{message_id}\n".encode())
    os.close(descriptor)
    return message_id


def hang_with_family(fifo):
    """Hold a FIFO open in this process, a child, and a grandchild that has left the session; ignore TERM in all."""
    import signal
    import subprocess
    import sys
    from pathlib import Path

    body = (
        "import os, signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "f = os.open(sys.argv[1], os.O_WRONLY); os.write(f, b'x')\n"
        "if len(sys.argv) > 2: subprocess.Popen([sys.executable, '-c', sys.argv[2], sys.argv[1]], "
        "start_new_session=True)\n"
        "while True: signal.pause()\n"
    )
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Path(fifo).open("wb", buffering=0) as held:
        held.write(b"x")
        subprocess.Popen([sys.executable, "-c", body, fifo, body])
        while True:
            signal.pause()


# --- starting and stopping


def test_a_service_that_starts_again_goes_on_with_what_waits(start, client: Client) -> None:
    """A delayed task is stored at once, and runs under the next service on the same database."""
    first = start()
    launched = client.task(add).options(delay=1.5, enable_overdue=True).launch(1, 2)
    first.wait_for_line(f"stored .message {launched}")
    assert first.stop() == 0
    start()
    assert launched.result(WAIT_S) == 3


def test_a_client_without_a_service_and_a_service_without_clients_wait_for_each_other(start, client: Client) -> None:
    """The launch returns, the wait for its result ends as asked, and a service that comes later answers."""
    launched = client.task(add).launch(1, 2)
    with pytest.raises(ResultTimeout, match="or for a service on queue"):
        launched.result(0.1)
    service = start()
    assert launched.result(WAIT_S) == 3
    assert service.stop() == 0
    assert service.matching("report StopReport.interrupted=.., unsent_replies=0.")


def test_a_term_lets_running_tasks_end_and_hands_over_their_answers(start, client: Client, tmp_path: Path) -> None:
    """What is launched meanwhile waits in the queue and runs under the next service."""
    service = start()
    running = client.task(say_and_wait_for).launch(str(tmp_path / "go"))
    service.wait_for_line("^I run")
    os.kill(service.pid, signal.SIGTERM)
    service.wait_for_line("takes no more; 1 tasks run")
    later = client.task(add).launch(1, 2)
    (tmp_path / "go").touch()
    assert service.wait() == 0
    assert running.result(WAIT_S) == "I run"
    assert service.matching("report StopReport.interrupted=.., unsent_replies=0.")
    start()
    assert later.result(WAIT_S) == 3


def test_what_runs_beyond_the_grace_is_reported_before_the_service_ends(
    start_limited, client: Client, tmp_path: Path
) -> None:
    """The client hears TASK_INTERRUPTED from the service that stops, not from the next one."""
    service = start_limited(stop_grace_s=0.2)
    soft = client.task(say_and_wait_for).launch(str(tmp_path / "never"), "soft runs")
    hard = client.task(say_and_wait_for).options(hard=True).launch(str(tmp_path / "never"), "hard runs")
    service.wait_for_line("soft runs")
    service.wait_for_line("hard runs")
    assert service.stop() == 0
    for launched in (soft, hard):
        with pytest.raises(TaskInterrupted, match="grace was over"):
            launched.result(WAIT_S)
    assert service.matching(f"report .*{soft}")


def test_a_second_signal_ends_the_service_at_once(start, client: Client, tmp_path: Path) -> None:
    """Exit code 1, a line that says so, and what ran is reported by the next service."""
    service = start()
    launched = client.task(say_and_wait_for).launch(str(tmp_path / "never"))
    service.wait_for_line("^I run")
    os.kill(service.pid, signal.SIGTERM)
    service.wait_for_line("takes no more; 1 tasks run")
    assert service.stop(signal.SIGINT) == 1
    assert service.matching("second signal, ended at once")
    start()
    with pytest.raises(TaskInterrupted):
        launched.result(WAIT_S)


def fork_and_end_it(number: int, *, is_begun: bool) -> int | None:
    """Return the exit code of a child that gets one signal, at once or when it sleeps; None: it goes on."""
    import multiprocessing
    import time

    fork = multiprocessing.get_context("fork")
    begun = fork.Event()

    def rest() -> None:
        begun.set()
        for _ in range(6000):  # Python does not see a signal that comes just before a sleep begins until it ends
            time.sleep(0.01)

    child = fork.Process(target=rest, daemon=True)
    child.start()
    try:
        if is_begun:
            begun.wait(10)
        os.kill(child.pid or 0, number)
        child.join(10)
        return child.exitcode
    finally:
        child.kill()
        child.join()


@pytest.mark.parametrize(
    ("number", "is_begun", "code"),
    [(signal.SIGTERM, True, -signal.SIGTERM), (signal.SIGTERM, False, -signal.SIGTERM), (signal.SIGINT, True, 1)],
)
def test_a_process_that_a_soft_task_forks_obeys_signals(
    start, client: Client, number: int, is_begun: bool, code: int
) -> None:
    """The handler of the service means the service: in a child, SIGTERM ends it, and SIGINT is KeyboardInterrupt."""
    service = start()
    task = client.task(fork_and_end_it).options(task_lifetime=20)
    assert task.launch(int(number), is_begun=is_begun).result(WAIT_S) == code
    assert service.stop() == 0


# --- killing


def test_a_task_that_ran_when_its_service_was_killed_is_told_as_interrupted(
    start, client: Client, tmp_path: Path
) -> None:
    """Its client waits all the time, and hears it from the next service; nothing runs twice."""
    service = start()
    launched = client.task(say_and_wait_for).launch(str(tmp_path / "never"))
    service.wait_for_line("^I run")
    service.kill()
    again = start()
    with pytest.raises(TaskInterrupted, match="may have done part of its work"):
        launched.result(WAIT_S)
    assert not again.matching("^I run")
    assert client.task(add).launch(1, 2).result(WAIT_S) == 3


def count_and_wait_for(path, go):
    """Append the number of this start to a file, and return it once there is a file at `go`."""
    import sys
    import time
    from pathlib import Path

    from schedulergodx import current_task

    number = current_task().start_number
    with Path(path).open("a") as file:
        file.write(f"{number}\n")
    sys.stdout.write(f"start {number}\n")  # the test waits for this line; others write theirs at the same time
    sys.stdout.flush()
    while not Path(go).exists():
        time.sleep(0.005)
    return number


@pytest.mark.parametrize("is_hard", [False, True], ids=["soft", "hard"])
def test_a_task_that_may_start_again_does_so_after_each_kill(
    start, client: Client, tmp_path: Path, is_hard: bool
) -> None:
    """Starts are counted through SIGKILL of the service, and known to the function; one with no start left is told."""
    starts, go = tmp_path / "starts", tmp_path / "go"
    task = client.task(count_and_wait_for).options(hard=is_hard, on_crash="retry")
    lucky, unlucky = task.launch(str(starts), str(go)), task.options(max_starts=2).launch(os.devnull, str(go))
    for number in (1, 2):
        with start() as service:
            service.wait_for_line(f"^start {number}", count=2)
            service.kill()
    service = start()
    with pytest.raises(TaskInterrupted, match="may have done part of its work"):
        unlucky.result(WAIT_S)
    service.wait_for_line("^start 3")
    go.touch()
    assert lucky.result(WAIT_S) == 3
    assert starts.read_text().split() == ["1", "2", "3"]


def kill_own_process():
    """Be killed from outside in the first start, and return the number of this one."""
    import os
    import signal

    from schedulergodx import current_task

    number = current_task().start_number
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_hard_task_whose_process_is_killed_starts_again_where_it_may(start, client: Client) -> None:
    """By `on_crash="retry"`; else it is told as killed, with the signal."""
    start()
    task = client.task(kill_own_process).options(hard=True)
    assert task.options(on_crash="retry").launch().result(WAIT_S) == 2
    with pytest.raises(TaskKilled, match=r"killed by SIGKILL \(9\)"):
        task.launch().result(WAIT_S)


def test_a_storm_of_kills_loses_nothing_and_runs_nothing_twice(start, client: Client, tmp_path: Path) -> None:
    """Services are killed every 60 tasks, while 500 and more are launched: each has one outcome, none ran twice."""
    path = tmp_path / "ids"
    launched: list[schedulergodx.MessageId] = []
    is_over = threading.Event()

    def launch() -> None:
        task = client.task(note_id)
        while len(launched) < 500 or not is_over.is_set():  # so that each of the services has some to run
            launched.append(task.launch(str(path)))

    launching = threading.Thread(target=launch)
    launching.start()
    for _ in range(6):
        with start() as service:
            service.wait_for_line("task ended", count=60)
            service.kill()
    start()
    is_over.set()
    launching.join(WAIT_S)
    assert not launching.is_alive()
    interrupted = set()
    for one in launched:
        try:
            assert one.result(WAIT_S) == str(one)
        except TaskInterrupted:
            interrupted.add(str(one))
    ran = Counter(path.read_text().split())
    assert [one for one, count in ran.items() if count > 1] == []
    assert {str(one) for one in launched} - interrupted <= set(ran)
    assert set(ran) <= {str(one) for one in launched}
    # What can have been in hand at each kill: eight runs, and ends that were not recorded yet, at most of all claims.
    assert len(interrupted) <= 6 * (8 + 8 + 256)


# --- time


def test_a_task_that_was_missed_while_the_service_was_down_is_skipped_and_its_client_told(
    start_limited, client: Client
) -> None:
    """Of two tasks of one moment, the one with `enable_overdue` runs."""
    first = start_limited(overdue_grace_s=0.1)
    task = client.task(add)
    missed = task.options(delay=0.8).launch(1, 2)
    kept = task.options(delay=0.8, enable_overdue=True).launch(1, 2)
    first.wait_for_line(f"stored .message {kept}")
    first.kill()
    with pytest.raises(ResultTimeout):
        missed.result(1.2)  # this wait is the downtime
    start_limited(overdue_grace_s=0.1)
    assert kept.result(WAIT_S) == 3
    with pytest.raises(TaskOverdue, match=r"s late, more than the grace of 0.1 s"):
        missed.result(WAIT_S)


# --- two of them


def test_two_services_cannot_share_a_database(start, broker_url: str, tmp_path: Path) -> None:
    """The second ends with an error that says who holds it, since when, and what to do; the first goes on."""
    from helpers.programs import Program

    first = start(name="first")
    parameters = {"url": broker_url, "request_queue": "other", "db": str(tmp_path / "tasks.db")}
    with Program(RUN_LIMITED, json.dumps(parameters), "{}", cwd=tmp_path) as second:
        assert second.wait() != 0
        [line] = second.matching("DatabaseInUse")
    assert str(tmp_path / "tasks.db") in line
    assert f"(process {first.pid} on " in line
    assert "'first@" in line
    assert "stop that service, or give this one a database of its own" in line
    assert first.stop() == 0


def test_two_services_cannot_share_a_queue(start, client: Client, broker_url: str, request_queue, tmp_path) -> None:
    """The second ends with an error that names the queue and who takes from it; the first goes on."""
    from helpers.programs import Program

    first = start(name="first")
    assert client.task(add).launch(0, 1).result(WAIT_S) == 1  # it has the queue
    parameters = {"url": broker_url, "request_queue": request_queue, "db": str(tmp_path / "other.db")}
    with Program(RUN_LIMITED, json.dumps(parameters), "{}", cwd=tmp_path) as second:
        assert second.wait() != 0
        [line] = second.matching("^schedulergodx.errors.QueueInUse")
    assert request_queue in line
    assert re.search(rf"is taken by first \(p\w+ {first.pid} on ", line)
    assert client.task(add).launch(1, 2).result(WAIT_S) == 3


def test_a_standby_takes_over_when_the_first_service_dies(start, client: Client, tmp_path: Path) -> None:
    """It waits as long as it takes; then it takes from the queue, with a database of its own."""
    first = start()
    assert client.task(add).launch(0, 1).result(WAIT_S) == 1  # it has the queue
    standby = start(standby=True, db=str(tmp_path / "standby.db"))
    assert client.task(add).launch(1, 2).result(WAIT_S) == 3
    assert not standby.matching("task .* stored")
    first.kill()
    assert client.task(add).launch(3, 4).result(10) == 7  # within seconds: it looks once a second
    assert standby.stop() == 0
    assert standby.matching("task .* stored")


def test_a_standby_of_the_same_database_takes_it_over_with_the_queue(start, client: Client, tmp_path: Path) -> None:
    """After SIGKILL: what ran is told as interrupted, what waited runs, what is launched runs, within seconds."""
    first = start(name="first")
    running = client.task(say_and_wait_for).launch(str(tmp_path / "never"))
    waiting = client.task(add).options(delay=5, enable_overdue=True).launch(1, 2)
    first.wait_for_line("^I run")
    first.wait_for_line("task .* stored", count=2)
    standby = start(name="second", standby=True, ready="stands by: the database .* is in use by the service 'first@")
    first.kill()
    standby.wait_for_line(READY, timeout_s=10)
    with pytest.raises(TaskInterrupted):
        running.result(WAIT_S)
    assert waiting.result(WAIT_S) == 3
    assert client.task(add).launch(3, 4).result(WAIT_S) == 7
    assert standby.stop() == 0


def test_a_standby_of_the_same_database_can_be_stopped_while_it_waits(start) -> None:
    """It ends in order, and the first goes on."""
    first = start()
    standby = start(standby=True, ready="stands by")
    assert standby.stop(timeout_s=10) == 0
    assert first.stop() == 0


def test_a_standby_can_be_stopped_while_it_waits(start, tmp_path: Path) -> None:
    """It ends in order, and the first goes on."""
    first = start()
    standby = start(standby=True, db=str(tmp_path / "standby.db"))
    assert standby.stop(timeout_s=10) == 0
    assert first.stop() == 0


# --- overruns


def test_a_hard_task_that_overruns_is_killed_with_its_family(start, client: Client, tmp_path: Path) -> None:
    """It, its child, and a grandchild in a session of its own, all deaf to TERM: none is left."""
    start()
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    with closing(os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)) as held:
        launched = client.task(hang_with_family).options(hard=True, hard_task_lifetime=5).launch(str(fifo))
        alive = 0
        while alive < 3:
            assert select.select([held], [], [], WAIT_S)[0], f"only {alive} processes came up"
            alive += len(held.read(3) or b"")
        with pytest.raises(TaskTimedOut, match="its process and its children were killed"):
            launched.result(WAIT_S)
        assert select.select([held], [], [], WAIT_S)[0], "somebody still holds the FIFO open"
        assert held.read(1) == b""
    assert client.task(add).launch(1, 2).result(WAIT_S) == 3


def test_a_soft_task_that_overruns_is_answered_at_its_deadline(start, client: Client, tmp_path: Path) -> None:
    """It is asked to stop, and does; the service runs others, and the late end changes nothing."""
    service = start(threads=1)
    launched = client.task(say_and_wait_for).options(task_lifetime=0.5).launch(str(tmp_path / "never"))
    with pytest.raises(TaskTimedOut, match=r"asked to stop \(TaskOverrun\), and its thread may still run"):
        launched.result(WAIT_S)
    assert client.task(add).launch(1, 2).result(WAIT_S) == 3
    service.wait_for_line(f"ended after its outcome was told .message {launched}")
    with pytest.raises(TaskTimedOut):
        client.result(launched, WAIT_S)


# --- the broker


@pytest.mark.rabbitmq
def test_a_restart_of_the_broker_under_both_loses_nothing(rabbitmq, tmp_path: Path, new_service) -> None:
    """200 launches around a restart of RabbitMQ: both sides come back by themselves, each launch runs once."""
    if not rabbitmq.is_controllable:
        pytest.skip("this RabbitMQ was only given by its URL, and cannot be restarted")
    path = tmp_path / "ids"
    with rabbitmq.private_vhost() as url:
        new_service(url=url)
        with schedulergodx.Client(name="shop", url=url, launch_timeout_s=60) as client:
            task = client.task(note_id)
            launched: list[schedulergodx.MessageId] = []
            half, done = threading.Event(), threading.Event()

            def launch() -> None:
                for number in range(200):
                    try:
                        launched.append(task.launch(str(path)))
                    except LaunchUncertain as error:
                        launched.append(client.launch_again(error.message_id))
                    if number == 60:
                        half.set()
                done.set()

            thread = threading.Thread(target=launch)
            thread.start()
            assert half.wait(WAIT_S)
            rabbitmq.restart()
            assert done.wait(2 * WAIT_S)
            thread.join()
            assert [one.result(WAIT_S) for one in launched] == [str(one) for one in launched]
        assert Counter(path.read_text().split()) == Counter(str(one) for one in launched)
        assert len(launched) == 200
