"""Wrong use that is told where it is written, without a broker: what happened, to what, and what to do next."""

from __future__ import annotations

import math
import os
import re
import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from schedulergodx import (
    Client,
    Closed,
    DatabaseDamaged,
    DatabaseInUse,
    DatabaseNotWritable,
    DatabaseUnsupported,
    DuplicateMessageId,
    HardNotSupported,
    InvalidParameter,
    Service,
    StorageError,
    TaskStatus,
    system,
)
from schedulergodx.config import ServiceLimits
from schedulergodx.rules.limits import TaskLimits
from schedulergodx.utils.rmq_property import RmqConnect, rmq_default_settings
from schedulergodx.utils.storage import DB
from schedulergodx_testing.specs import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.doubles import Bench

SECRET = "hush-hush"


def greet(name: str = "") -> str:
    """Stand for a task."""
    return name


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A queue file that does not exist yet."""
    return f"sqlite:///{tmp_path}/queues.db"


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A client whose queue file does not exist before its first launch."""
    with Client(name="shop", url=url) as client:
        yield client


# --- where the broker is


@pytest.mark.parametrize("kind", [Client, Service])
@pytest.mark.parametrize("scheme", ["redis", "http", "amqp+ssl", "AMQPX"])
def test_an_unknown_kind_of_url_is_refused_at_once(kind: type, scheme: str) -> None:
    """The known kinds are named, and the URL is not shown, since it may hold a password."""
    with pytest.raises(InvalidParameter, match=r"begins with amqp://, amqps://.*sqlite://") as caught:
        kind(url=f"{scheme}://user:{SECRET}@host/")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("kind", [Client, Service])
@pytest.mark.parametrize("url", ["", "no url at all", "sqlite://", "amqp://[::1/", 7, b"amqp://"])
def test_what_is_no_url_is_refused_at_once(kind: type, url: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is connected or created."""
    monkeypatch.delenv("SCHEDULERGODX_URL", raising=False)
    with pytest.raises(InvalidParameter, match=r"broker|queue file|URL"):
        kind(url=url)


@pytest.mark.parametrize("kind", [Client, Service])
def test_one_way_to_name_the_broker_is_enough(kind: type) -> None:
    """Two could contradict each other."""
    with pytest.raises(InvalidParameter, match="either url or rmq_connect, not both"):
        kind(url="amqp://localhost/", rmq_connect=RmqConnect(*rmq_default_settings))


# --- numbers

NO_TIMES = [-1, -0.001, math.nan, math.inf, -math.inf, 1e12, "5", True, [1], Decimal(5)]


@pytest.mark.parametrize("value", NO_TIMES, ids=repr)
def test_a_delay_that_is_no_time_is_refused_where_it_is_written(client: Client, value: object) -> None:
    """At the decorator, by `set_parameters` and by `options` alike; the task keeps what it had."""
    task = client.task(greet)
    message = r"^delay must be a number of seconds from 0 to 3\.1536e\+08, got "
    for refused in (
        lambda: client.task(greet, delay=value),
        lambda: task.set_parameters(delay=value),
        lambda: task.options(delay=value),
    ):
        with pytest.raises(InvalidParameter, match=message):
            refused()
    assert task.parameters.delay is None


@pytest.mark.parametrize("value", [None, 0, 0.0, -0.0])
def test_no_delay_is_no_delay(client: Client, value: float | None) -> None:
    """None and every zero mean at once."""
    assert client.task(greet, delay=value).parameters.delay is None


@pytest.mark.parametrize("name", ["task_lifetime", "hard_task_lifetime"])
@pytest.mark.parametrize("value", [0, 0.0, *NO_TIMES], ids=repr)
def test_a_lifetime_that_is_no_time_is_refused_where_it_is_written(client: Client, name: str, value: object) -> None:
    """Zero is not "no limit": that is None."""
    message = rf"^{name} must be a number of seconds above 0 to "
    for refused in (
        lambda: client.task(greet, **{name: value}),
        lambda: client.task(greet).set_parameters(**{name: value}),
        lambda: Client(url="amqp://localhost/", **{name: value}),
    ):
        with pytest.raises(InvalidParameter, match=message):
            refused()
    assert getattr(client.task(greet, **{name: None}).parameters, name) is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"on_crash": "again"}, "on_crash must be 'report' or 'retry', got 'again'"),
        ({"max_starts": 2}, "max_starts needs on_crash='retry': a task is started once otherwise"),
        ({"on_crash": "retry", "max_starts": 1}, "max_starts must be a whole number from 2 to 100, got 1"),
        ({"on_crash": "retry", "max_starts": True}, "max_starts must be a whole number"),
        ({"memory_bytes_max": 2**30}, "memory_bytes_max needs hard=True: a thread has no bounds of its own"),
        ({"hard": True, "memory_bytes_max": 2**20}, "memory_bytes_max must be a whole number from 67108864 to"),
        ({"hard": True, "cpu_s_max": 0.5}, "cpu_s_max must be a whole number from 1 to"),
        ({"hard": True, "open_files_max": 3}, "open_files_max must be a whole number from 16 to"),
        ({"hard": True, "processes_max": 0}, "processes_max must be a whole number from 1 to"),
        ({"hard": True, "file_bytes_max": -1}, "file_bytes_max must be a whole number from 0 to"),
    ],
)
def test_starts_and_bounds_that_cannot_work_are_refused(client: Client, parameters: dict, message: str) -> None:
    """At the decorator, by `set_parameters` and by `options` alike; the task keeps what it had."""
    task = client.task(greet)
    before = task.parameters
    for refused in (
        lambda: client.task(greet, **parameters),
        lambda: task.set_parameters(**parameters),
        lambda: task.options(**parameters),
    ):
        with pytest.raises(InvalidParameter, match=message):
            refused()
    assert task.parameters is before


def test_starts_and_bounds_of_a_task(client: Client) -> None:
    """A task is started once; with `on_crash="retry"` three times, or as often as it says. Only its bounds count."""
    assert client.task(greet).parameters.starts_that_count == 1
    assert client.task(greet, on_crash="retry").parameters.starts_that_count == 3
    parameters = client.task(greet, on_crash="retry", max_starts=5, hard=True, cpu_s_max=7).parameters
    assert parameters.starts_that_count == 5
    assert parameters.limits == TaskLimits(cpu_s_max=7)
    caps = TaskLimits(**ServiceLimits(task_cpu_s_max=5, task_open_files_max=64).of_tasks)
    assert parameters.limits.within(caps) == TaskLimits(cpu_s_max=5, open_files_max=64)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"task_memory_bytes_max": 5}, "task_memory_bytes_max must be a whole number from 67108864"),
        ({"threads": 0}, "threads must be a whole number from 1 to 65535, got 0"),
        ({"processes": 2.0}, "processes must be a whole number"),
        ({"prefetch": True}, "prefetch must be a whole number"),
        ({"stop_grace_s": -1}, "stop_grace_s must be a number of seconds from 0"),
        ({"overdue_grace_s": math.nan}, "overdue_grace_s must be a number of seconds from 0"),
        ({"keep_outcomes_s": 0}, "keep_outcomes_s must be a number of seconds from 1"),
        ({"message_bytes_max": 10}, "message_bytes_max must be a whole number from 1024"),
    ],
)
def test_a_limit_that_cannot_work_is_refused(limits: dict, message: str) -> None:
    """With its name and its range."""
    with pytest.raises(InvalidParameter, match=message):
        ServiceLimits(**limits)


def test_the_limits_of_a_service_are_checked_too() -> None:
    """Also where they are given by name."""
    with pytest.raises(InvalidParameter, match="threads must be a whole number"):
        Service(threads=0)


# --- names


@pytest.mark.parametrize("kind", [Client, Service])
@pytest.mark.parametrize(
    "name",
    ["", " ", " a", "x" * 101, "é" * 51, "a\nb", "a\x00", "a\x7f", "\ud800", "a\u2028b", None, 5, b"a"],
    ids=repr,
)
def test_a_name_that_cannot_be_one_is_refused(kind: type, name: object) -> None:
    """The rule is told; control characters are shown escaped, so that no line of a log is forged."""
    with pytest.raises(InvalidParameter, match=r"^name must be a text of 1 to 100 bytes of UTF-8") as caught:
        kind(name=name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name", ["a", "x" * 100, "é" * 50, "Jörg's shop", "../etc", "%s %d", "😀", "'; DROP TABLE tasks"]
)
def test_a_name_that_only_looks_odd_is_taken(url: str, name: str) -> None:
    """Nothing interprets it."""
    with Client(name=name, url=url) as client:
        assert client.rmq_consumer_que.startswith(f"service-client.{name}.")


@pytest.mark.parametrize("queue", ["", "amq.requests", "x" * 121, "a\nb"])
def test_a_name_of_a_queue_that_cannot_be_one_is_refused(queue: str) -> None:
    """`amq.` belongs to RabbitMQ."""
    with pytest.raises(InvalidParameter, match=r"^request_queue must"):
        Client(request_queue=queue)
    with pytest.raises(InvalidParameter, match=r"^reply_queue must"):
        Service(reply_queue=queue)


# --- closed


def test_a_function_cannot_be_made_a_task_of_a_closed_client(client: Client) -> None:
    """The error names the client, and says to make a new one."""
    client.close()
    with pytest.raises(Closed, match="client 'shop' is closed and makes no more tasks; make a new Client"):
        client.task(greet)


@pytest.mark.parametrize("is_used", [False, True])
def test_nothing_is_launched_after_close(client: Client, is_used: bool, url: str, tmp_path: Path) -> None:
    """Whether it was connected before or not; the error names client and task, and nothing is created or sent."""
    task = client.task(greet)
    if is_used:
        task.launch()
    client.close()
    client.close()
    with pytest.raises(Closed, match=r"client 'shop' is closed; task .*greet was not sent: make a new Client"):
        task.launch()
    with pytest.raises(Closed):
        client.push({"id": "a", "client": "shop", "type": 1, "arguments": {}})
    with pytest.raises(Closed):
        client.result("somebody", 1)
    assert (tmp_path / "queues.db").exists() is is_used


# --- ids


def test_an_id_generator_that_repeats_itself_is_noticed_before_anything_is_sent(url: str) -> None:
    """The error names the client and the id; the first launch is not touched."""
    with Client(name="shop", url=url, id_generator=iter(["a", "a", "b"])) as client:
        task = client.task(greet)
        assert task.launch() == "a"
        with pytest.raises(
            DuplicateMessageId, match="of client 'shop' repeats itself: 'a' belongs to an earlier"
        ) as no:
            task.launch()
        assert no.value.message_id == "a"
        assert "nothing was sent" in str(no.value)
        assert task.launch() == "b"


@pytest.mark.parametrize("ids", [[], [""], [7], [None], ["x" * 101], ["a\nb"]])
def test_an_id_generator_that_yields_no_ids_is_refused(url: str, ids: list, tmp_path: Path) -> None:
    """One that has ended yields none."""
    message = "the id generator of client 'shop' must yield printable texts"
    with Client(name="shop", url=url, id_generator=iter(ids)) as client, pytest.raises(InvalidParameter, match=message):
        client.task(greet).launch()
    assert not (tmp_path / "queues.db").exists()


# --- hard tasks


def test_a_hard_task_is_refused_at_launch_where_processes_cannot_be_killed(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On an embedded transport the service is on this machine, so the client knows; nothing was sent."""
    task = client.task(greet, hard=True)
    monkeypatch.setattr(system, "can_kill_processes", lambda: False)
    with pytest.raises(HardNotSupported, match=r"task .*greet is hard.*nothing was sent.*hard=False"):
        task.launch()
    assert not (tmp_path / "queues.db").exists()


# --- databases


def missing_folder(path: Path) -> Path:
    """Return a place in a folder that does not exist."""
    return path / "missing" / "tasks.db"


def file_as_folder(path: Path) -> Path:
    """Return a place in a folder that is a file."""
    (path / "file").touch()
    return path / "file" / "tasks.db"


def folder_as_file(path: Path) -> Path:
    """Return a place that is a folder."""
    (path / "tasks.db").mkdir()
    return path / "tasks.db"


def text_file(path: Path) -> Path:
    """Return a file that is no database."""
    (path / "tasks.db").write_text("Dear diary, " * 500)
    return path / "tasks.db"


def empty_file(path: Path) -> Path:
    """Return a database that somebody has emptied."""
    (path / "tasks.db").touch()
    return path / "tasks.db"


def other_application(path: Path) -> Path:
    """Return the SQLite database of another program."""
    with closing(sqlite3.connect(path / "tasks.db")) as raw:
        raw.execute("CREATE TABLE recipes (name TEXT)")
    return path / "tasks.db"


def newer_schema(path: Path) -> Path:
    """Return a database of a later version of this library."""
    with closing(DB(path / "tasks.db")) as db:
        db.open(owner="tests", now=EPOCH)
    with closing(sqlite3.connect(path / "tasks.db")) as raw:
        raw.execute("PRAGMA user_version = 99")
    return path / "tasks.db"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (missing_folder, DatabaseNotWritable, "the folder .*missing does not exist.*: name a file in a folder"),
        (file_as_folder, DatabaseNotWritable, "is not a folder"),
        (folder_as_file, DatabaseNotWritable, "it is a folder; name a file in it"),
        (text_file, DatabaseUnsupported, "is not an SQLite database.*name another file; this one was not changed"),
        (empty_file, DatabaseUnsupported, "is an empty file: restore a backup, or remove the file"),
        (other_application, DatabaseUnsupported, "tasks.db"),
        (newer_schema, DatabaseUnsupported, "99"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_service_does_not_start_on_a_database_that_it_cannot_use(
    make: Callable[[Path], Path], error: type[StorageError], message: str, url: str, tmp_path: Path
) -> None:
    """The error names the file and what to do; it is left as it was, and no broker was touched."""
    (tmp_path / "place").mkdir()
    path = make(tmp_path / "place")
    before = sorted(one for one in tmp_path.rglob("*"))
    with pytest.raises(error, match=message) as caught:
        Service(url=url, db=path).start()
    assert caught.value.path == str(path)
    assert str(path) in str(caught.value)
    assert sorted(one for one in tmp_path.rglob("*")) == before


def test_a_service_does_not_start_in_a_folder_that_it_may_not_write(url: str, tmp_path: Path, monkeypatch) -> None:
    """The error names the folder."""
    real = os.access
    # Not by the mode of the folder: root, who runs tests in containers, may write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and real(path, mode))
    with pytest.raises(DatabaseNotWritable, match="may not write into the folder") as caught:
        Service(url=url, db=tmp_path / "tasks.db").start()
    assert str(tmp_path) in str(caught.value)


def test_a_database_in_use_is_refused_with_its_holder(url: str, tmp_path: Path) -> None:
    """Process, host and moment are in the error, and in its text."""
    with closing(DB(tmp_path / "tasks.db")) as db:
        db.open(owner="first@here:1", now=EPOCH)
        with pytest.raises(DatabaseInUse, match=r"in use by the service 'first@here:1' \(process \d+ on ") as caught:
            Service(url=url, db=tmp_path / "tasks.db").start()
    assert caught.value.pid == os.getpid()
    assert caught.value.since == EPOCH


@pytest.mark.parametrize("db", ["postgres://user:hush-hush@host/db", ":memory:", "", "sqlite:///"])
def test_what_is_no_file_is_refused_where_it_is_written(db: str) -> None:
    """A URL is not shown: it may hold a password."""
    with pytest.raises(InvalidParameter, match="the database must be a") as caught:
        Service(db=db)
    assert SECRET not in str(caught.value)


def test_a_service_starts_once(url: str, tmp_path: Path) -> None:
    """Also when the first start has failed: the next one is a new service."""
    service = Service(name="billing", url=url, db=tmp_path / "missing" / "tasks.db")
    with pytest.raises(DatabaseNotWritable):
        service.start()
    with pytest.raises(Closed, match="service 'billing' was started before; a service starts once: make a new one"):
        service.start()


# --- a disk that is full


def page_limit(bench: Bench, pages: int) -> int:
    """Let the database have so many pages more than now, as a disk would; return how many it has."""
    connection = bench.storage.database._connection
    return connection.value(f"PRAGMA max_page_count = {connection.value('PRAGMA page_count') + pages}")


def test_a_full_disk_keeps_everything_and_goes_on_when_there_is_room(bench: Bench) -> None:
    """SQLite's own "database or disk is full": nothing acked, nothing lost, and within 30 s of room all is stored."""
    page_limit(bench, 3)
    tags = []
    for number in range(100):
        tags.append(bench.launch(f"{number:03}", delay_s=1000, client="c" * 100, reply_to="r" * 200))
        bench.turn()
        if bench.service._pause.is_on:
            break
    acked = [tag for fact in bench.facts("ack") for tag in fact]
    assert acked == tags[:-1]
    assert bench.status(f"{len(tags) - 1:03}") is None
    later = bench.launch("later")
    bench.wait(seconds=60)
    assert [tag for fact in bench.facts("ack") for tag in fact] == acked
    page_limit(bench, 1000)
    bench.wait(seconds=30)
    assert [tag for fact in bench.facts("ack") for tag in fact] == [*acked, tags[-1], later]
    assert bench.status("later") is TaskStatus.WORK


def test_damage_while_running_ends_the_service_without_an_ack(bench: Bench) -> None:
    """The file is replaced under the service: what it would write would be lost."""
    bench.launch("a")
    bench.turn()
    path = bench.path
    path.rename(path.with_suffix(".moved"))
    path.write_bytes(path.with_suffix(".moved").read_bytes())
    bench.launch("b")
    bench.turn()
    assert bench.is_done
    assert isinstance(bench.error, DatabaseDamaged)
    assert "was removed or replaced while it was open" in str(bench.error)
    assert bench.facts("start") == ["a"]
    assert len(bench.facts("ack")) == 1


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"db": 3}, "the database must be a path or a URL sqlite:///path, got int"),
        ({"db": b"tasks.db"}, "the database must be a path or a URL sqlite:///path, got bytes"),
        ({"id_generator": 5}, "id_generator must be an iterator, as a generator is, got int"),
        ({"id_generator": lambda: "x"}, "id_generator must be an iterator, as a generator is, got function"),
        ({"core_name": "a\nb"}, "core_name must be a text of 1 to 100 bytes of UTF-8 without control characters"),
        ({"core_name": 5}, "core_name must be a text of 1 to 100 bytes"),
    ],
)
def test_a_service_refuses_what_could_not_work_later(parameters: dict[str, Any], words: str) -> None:
    """By a sentence with the parameter's name, where it was written, and before anything happens."""
    with pytest.raises(InvalidParameter, match=re.escape(words)):
        Service(**parameters)
