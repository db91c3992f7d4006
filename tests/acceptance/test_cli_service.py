"""`schedulergodx service` as a process of its own: what runs, what can be seen meanwhile, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

from schedulergodx import Client, TaskInterrupted, cli
from schedulergodx.cli import exits
from schedulergodx.clock import SystemClock
from schedulergodx.rules.lifecycle import Code, TaskStatus
from schedulergodx.utils.storage.reader import reader
from schedulergodx_testing.rabbitmq.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

ANSWER_S = 20.0
SOON_S = 3.0
"""What has to happen "at once" takes far less; this leaves room for a busy machine."""
UNREACHABLE = "amqp://guest:sekret@127.0.0.1:1/"


class Service:
    """A service process, and what it writes to stderr."""

    def __init__(self, *options: str, **variables: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SCHEDULERGODX_")}
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "schedulergodx", "service", *options],
            env=environment | variables,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self._stderr: IO[str] = self.process.stderr

    def wait_for_line(self, words: str) -> str:
        """Return the next line with `words`; fail when there is none any more."""
        for line in self._stderr:
            self.lines.append(line)
            if words in line:
                return line
        pytest.fail(f"the service ended without {words!r}: {''.join(self.lines)}")

    def wait_until_it_takes_tasks(self) -> None:
        """Wait until the handlers of signals are there, and the database is open."""
        self.wait_for_line(" takes tasks from queue client-service\n")

    def end(self) -> tuple[int, str]:
        """Wait for its end by itself; return the exit code and all that it wrote to stderr."""
        self.lines += self._stderr.readlines()
        return self.process.wait(ANSWER_S), "".join(self.lines)

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal."""
        self.process.send_signal(number)


@contextmanager
def service(*options: str, **variables: str) -> Iterator[Service]:
    """Give a running service; kill it if the test has not ended it."""
    running = Service(*options, **variables)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        running._stderr.close()


@pytest.fixture
def db(tmp_path: Path) -> str:
    return str(tmp_path / "tasks.db")


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client("tester", url=url) as client:
        yield client


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    """A place where a task tells that it runs: opening it waits until both ends are there."""
    path = str(tmp_path / "the-secret-argument")
    os.mkfifo(path)
    return path


def wait_for_ever(fifo: str) -> None:
    import threading

    with open(fifo, "w"):  # noqa: PTH123 - it has to travel without an import of its module
        pass
    threading.Event().wait(60)


def launch_and_wait_until_it_runs(client: Client, fifo: str, *, hard: bool = False) -> str:
    """Launch a task that does not end by itself."""
    task = client.task(wait_for_ever).options(hard=hard, task_lifetime=None, hard_task_lifetime=None)
    message_id = task.launch(fifo)
    with open(fifo) as end:  # noqa: PTH123 - as the other end
        end.read()
    return message_id


def test_it_runs_tasks_and_stops_when_asked(url: str, db: str, client: Client) -> None:
    """SIGTERM to an idle service: exit code 0, within a moment; on stderr are banner, warning and facts."""
    with service("--url", url, "--db", db, "--name", "shop") as running:
        assert client.task(sorted).launch([2, 1]).result(ANSWER_S) == [1, 2]
        running.signal()
        began = SystemClock().monotonic()
        code, said = running.end()
        assert SystemClock().monotonic() - began < SOON_S
    assert code == exits.EXIT_OK
    banner, warning, *lines = said.splitlines()
    assert banner.startswith("schedulergodx: ")
    assert f"process {running.process.pid}: service 'shop' takes tasks from queue 'client-service' of {url}" in banner
    assert " - WARNING - schedulergodx.service.shop:core - " in warning
    assert "it has no keys" in warning
    assert all(" - INFO - schedulergodx." in line for line in lines), said


def test_health_is_told_while_it_runs(url: str, db: str, capsys: pytest.CaptureFixture[str]) -> None:
    """0 and one line about a service that works; 1 before it runs, and after it has stopped."""
    assert cli.main(["health", "--db", db]) == exits.EXIT_UNHEALTHY
    with service("--url", url, "--db", db, "--name", "shop") as running:
        running.wait_until_it_takes_tasks()
        wait_until(lambda: cli.main(["health", "--db", db]) == exits.EXIT_OK, "it to be well", timeout_s=ANSWER_S)
        assert cli.main(["health", "--alive", "--db", db]) == exits.EXIT_OK
        assert "alive: service shop takes tasks; 0 run, 0 wait\n" in capsys.readouterr().out
        running.signal()
        assert running.end()[0] == exits.EXIT_OK
    assert cli.main(["health", "--db", db]) == exits.EXIT_UNHEALTHY
    assert "no service runs with the database" in capsys.readouterr().out


def test_options_can_come_from_the_environment(url: str, db: str, client: Client) -> None:
    """A service that is given everything by its environment works the same, and Ctrl-C stops it like SIGTERM."""
    variables = {"SCHEDULERGODX_URL": url, "SCHEDULERGODX_DB": db, "SCHEDULERGODX_LOG_LEVEL": "error"}
    with service(**variables) as running:
        assert client.task(sum).launch([2, 1]).result(ANSWER_S) == 3
        running.signal(signal.SIGINT)
        code, said = running.end()
    assert code == exits.EXIT_OK
    assert len(said.splitlines()) == 1, said


def test_tasks_and_show_look_into_a_running_service(
    url: str, db: str, client: Client, fifo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What runs is shown as it is, never with its arguments, and the service goes on."""
    with service("--url", url, "--db", db) as running:
        message_id = launch_and_wait_until_it_runs(client, fifo)
        for argv in (["tasks"], ["show", message_id]):
            assert cli.main([*argv, "--db", db, "--json"]) == exits.EXIT_OK
            told = json.loads(capsys.readouterr().out)
            task = told[0] if argv == ["tasks"] else told
            assert (task["id"], task["status"], task["code"]) == (message_id, "WORK", None)
            assert task["name"].endswith("wait_for_ever")
            assert cli.main([*argv, "--db", db]) == exits.EXIT_OK
            text = capsys.readouterr().out
            assert "WORK" in text
            assert "secret-argument" not in text + str(told)
        assert client.task(sum).launch([1]).result(ANSWER_S) == 1
        assert running.process.poll() is None


def test_what_does_not_end_within_the_grace_is_interrupted(url: str, db: str, client: Client, fifo: str) -> None:
    """SIGTERM with a task that goes on: exit code 5, its id on stderr, TASK_INTERRUPTED for its client."""
    with service("--url", url, "--db", db, "--stop-grace", "0.2") as running:
        message_id = launch_and_wait_until_it_runs(client, fifo)
        running.signal()
        with pytest.raises(TaskInterrupted):
            client.result(message_id, ANSWER_S)
        code, said = running.end()
    assert code == exits.EXIT_UNFINISHED
    assert f"1 tasks were interrupted: {message_id}" in said


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGKILL])
def test_signals_that_ask_nothing_lose_nothing(url: str, db: str, client: Client, fifo: str, number: int) -> None:
    """It is gone at once; what ran is told as interrupted, what waited runs, what it had not taken is taken later."""
    with service("--url", url, "--db", db, "--threads", "1") as running:
        message_id = launch_and_wait_until_it_runs(client, fifo)  # and takes the only thread
        waiting = client.task(sorted).options(delay=1, enable_overdue=True).launch([2, 1])
        running.wait_for_line(f"stored (message {waiting})")
        running.signal(number)
        assert running.end()[0] == -number
    later = client.task(sorted).launch([4, 3])
    with service("--url", url, "--db", db):
        assert later.result(ANSWER_S) == [3, 4]
        assert waiting.result(ANSWER_S) == [1, 2]
        with pytest.raises(TaskInterrupted):
            client.result(message_id, ANSWER_S)


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of another process are set by Linux alone")
def test_a_service_without_descriptors_goes_on_when_there_are_some(
    url: str, db: str, client: Client, fifo: str
) -> None:
    """A hard task that could not begin waits, and is said so; with descriptors again it runs, and is started once."""
    import resource

    with service("--url", url, "--db", db) as running:
        running.wait_until_it_takes_tasks()
        launch_and_wait_until_it_runs(client, fifo, hard=True)  # and does not end: its process is nobody else's
        pid = running.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        message_id = client.task(sorted).options(hard=True, delay=2, enable_overdue=True).launch([4, 3])
        running.wait_for_line(f"stored (message {message_id})")
        used = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
        lowest_free = min(set(range(len(used) + 1)) - used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, before[1]))
        running.wait_for_line("no task can be started (No process could be started for the task: ")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert message_id.result(ANSWER_S) == [3, 4]
    with reader(db) as view:
        state = view.find(message_id)
    assert state is not None
    assert state.starts == 1


def test_a_second_signal_ends_it_at_once(url: str, db: str, client: Client, fifo: str) -> None:
    """Exit code 1, with a sentence; the database still says that the task runs, and the next start reports it."""
    with service("--url", url, "--db", db) as running:
        message_id = launch_and_wait_until_it_runs(client, fifo)
        running.signal()
        running.wait_for_line("stops: takes no more; 1 tasks run")
        running.signal()
        code, said = running.end()
    assert code == exits.EXIT_KILLED
    assert "second signal" in said
    with reader(db) as look:
        state = look.find(message_id)
        assert state is not None
        assert state.status is TaskStatus.WORK
    with service("--url", url, "--db", db) as running:
        with pytest.raises(TaskInterrupted) as interrupted:
            client.result(message_id, ANSWER_S)
        assert interrupted.value.code == Code.TASK_INTERRUPTED.value
        running.signal()
        assert running.end()[0] == exits.EXIT_OK


def leave_a_thread_behind() -> None:
    import threading

    threading.Thread(target=threading.Event().wait, args=(60,), daemon=False).start()


def leave_a_process_behind() -> None:
    import multiprocessing
    import time

    multiprocessing.get_context("fork").Process(target=time.sleep, args=(25,)).start()


@pytest.mark.parametrize("leave", [leave_a_thread_behind, leave_a_process_behind])
def test_what_a_soft_task_leaves_behind_does_not_keep_it(url: str, db: str, client: Client, leave: Any) -> None:
    """Python waits for threads and processes at its end; after a stop that went well, this has a bound."""
    with service("--url", url, "--db", db) as running:
        client.task(leave).launch().result(ANSWER_S)
        running.signal()
        running.wait_for_line("ended without waiting longer for threads or processes that a task has started")
        assert running.process.wait(ANSWER_S) == exits.EXIT_OK


def test_without_a_broker_it_waits_and_still_stops(db: str) -> None:
    """It says once that the broker is not there, shows no password, and SIGTERM ends it within a moment."""
    with service("--db", db, SCHEDULERGODX_URL=UNREACHABLE) as running:
        running.wait_for_line("not reached")
        running.signal()
        began = SystemClock().monotonic()
        code, said = running.end()
        assert SystemClock().monotonic() - began < SOON_S
    assert code == exits.EXIT_OK
    assert said.count("not reached") == 1
    assert "sekret" not in said


def test_two_services_cannot_share_a_database(url: str, db: str) -> None:
    """The second one ends with 4 and names the process of the first, which goes on."""
    with service("--url", url, "--db", db) as first:
        first.wait_until_it_takes_tasks()
        with service("--url", url, "--db", db, "--request-queue", "another") as second:
            code, said = second.end()
        assert code == exits.EXIT_STORAGE
        assert f"process {first.process.pid} on " in said
        assert first.process.poll() is None


def test_two_services_cannot_share_a_queue(url: str, db: str, tmp_path: Path) -> None:
    """The second one, with a database of its own, ends with 3 and one last line that says why."""
    with service("--url", url, "--db", db) as first:
        first.wait_until_it_takes_tasks()
        with service("--url", url, "--db", str(tmp_path / "second.db")) as second:
            code, said = second.end()
        assert code == exits.EXIT_BROKER
        assert "'client-service'" in said.splitlines()[-1]
        assert "Traceback" not in said


@pytest.mark.parametrize("kind", ["missing folder", "not a database"])
def test_a_database_that_cannot_be_used(kind: str, url: str, tmp_path: Path) -> None:
    """Exit code 4 and one line without a traceback."""
    path = tmp_path / "missing" / "tasks.db" if kind == "missing folder" else tmp_path / "letter.txt"
    if kind == "not a database":
        path.write_text("Dear Sir or Madam, " * 1000)
    with service("--url", url, "--db", str(path)) as running:
        code, said = running.end()
    assert code == exits.EXIT_STORAGE
    assert said.splitlines()[-1].startswith(f"schedulergodx: the database {path}")
    assert "Traceback" not in said


@pytest.mark.rabbitmq
def test_a_wrong_password_ends_it(rabbitmq_vhost_url: str, db: str) -> None:
    """RabbitMQ refuses: exit code 3, one line of the log and the last one say why, and none shows the password."""
    start, at, place = rabbitmq_vhost_url.rpartition("@")
    wrong = f"{start.rpartition(':')[0]}:sekret{at}{place}"
    with service("--db", db, SCHEDULERGODX_URL=wrong) as running:
        code, said = running.end()
    assert code == exits.EXIT_BROKER
    assert said.splitlines()[-1].startswith("schedulergodx: refused")
    assert said.count("ACCESS_REFUSED") == 2, said
    assert "sekret" not in said
