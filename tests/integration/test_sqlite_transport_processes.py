"""Several processes on one queue file, some of them killed: nothing confirmed is lost, nothing unacked is forgotten."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schedulergodx.clock import SystemClock
from schedulergodx.errors import QueueInUse
from schedulergodx.transport.sqlite import SqliteTransport
from schedulergodx.transport.sqlite.queue_file import QueueFile
from schedulergodx.utils.abstractions import ConnectionState, QueueSpec
from schedulergodx_testing.contracts.recorder import consume, publish

pytestmark = pytest.mark.slow

QUEUE = QueueSpec(name="work", has_dead_letters=True)

PUBLISHER = """
import sys, queue
from schedulergodx.transport.sqlite import SqliteTransport
from schedulergodx.utils.abstractions import Outgoing, QueueSpec
path, name, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
transport = SqliteTransport(path, name=name)
transport.declare(QueueSpec(name="work", has_dead_letters=True))
settled = queue.SimpleQueue()
for index in range(number):
    body = f"{name} {index}".encode()
    transport.publish(Outgoing(queue="work", body=body, message_id=str(index), on_settled=lambda *a: settled.put(a)))
for _ in range(number):
    outgoing, error = settled.get()
    assert error is None, error
    print(outgoing.body.decode(), flush=True)
transport.close()
"""

CONSUMER = """
import sys, queue
from schedulergodx.transport.sqlite import SqliteTransport
from schedulergodx.utils.abstractions import Delivery, QueueSpec
path, acked, is_exclusive = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "exclusive"
transport = SqliteTransport(path, name="victim")
deliveries = queue.SimpleQueue()
transport.listen(lambda event: deliveries.put(event) if isinstance(event, Delivery) else None)
transport.consume(QueueSpec(name="work", has_dead_letters=True), prefetch=10, is_exclusive=is_exclusive)
for index in range(acked + 10):
    delivery = deliveries.get()
    if index < acked:
        transport.ack([delivery])
    print(delivery.body.decode(), flush=True)
sys.stdin.read()
"""

WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
else:
    print("writes, too")
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Starts a program on the queue file; what still runs at the end is killed."""
    started = []

    def start(program: str, *arguments: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", program, str(path), *map(str, arguments)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def transport(path: Path) -> Iterator[SqliteTransport]:
    transport = SqliteTransport(path, name="test")
    yield transport
    transport.close()


def assert_sound(path: Path) -> None:
    """Fail if the file is damaged or if an owner is left in it or beside it."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT count(*) FROM owner").fetchone() == (0,)
    connection.close()
    assert not path.with_name(f"{path.name}-owners").exists()


def test_two_processes_publish_at_once(start: Start, transport: SqliteTransport, path: Path):
    """Everything that both have confirmed arrives once, in the order of each."""
    recorder = consume(transport, QUEUE, prefetch=1000)
    publishers = [start(PUBLISHER, name, 300) for name in ("a", "b")]
    received = [delivery.body.decode() for delivery in recorder.deliveries(600)]
    for publisher, name in zip(publishers, ("a", "b"), strict=True):
        assert [line for line in received if line[0] == name] == [f"{name} {index}" for index in range(300)]
        assert publisher.wait(timeout=20) == 0
    transport.close()
    assert_sound(path)


def test_what_a_killed_consumer_had_comes_back(start: Start, transport: SqliteTransport, path: Path):
    """After SIGKILL another consumer gets exactly what was not acked, marked, and before what is newer."""
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, *(b"%d" % index for index in range(30)))
    victim = start(CONSUMER, 15, "shared")
    assert [victim.stdout.readline() for _ in range(25)] == [f"{index}\n" for index in range(25)]
    recorder = consume(transport, QUEUE, prefetch=30)
    assert [delivery.body for delivery in recorder.deliveries(5)] == [b"%d" % index for index in range(25, 30)]
    victim.send_signal(signal.SIGKILL)
    returned = recorder.deliveries(10)
    assert [delivery.body for delivery in returned] == [b"%d" % index for index in range(15, 25)]
    assert all(delivery.is_redelivered for delivery in returned)
    transport.close()
    assert_sound(path)


def test_a_standby_takes_over_from_a_killed_consumer(start: Start, transport: SqliteTransport, path: Path):
    """Refused, one is told which process consumes; standing by, one takes over when that is killed."""
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, *(b"%d" % index for index in range(10)))
    victim = start(CONSUMER, 0, "exclusive")
    assert [victim.stdout.readline() for _ in range(10)] == [f"{index}\n" for index in range(10)]
    refused = SqliteTransport(path, name="refused")
    failure = consume(refused, QUEUE, is_exclusive=True).failure()
    refused.close()
    assert isinstance(failure.error, QueueInUse)
    assert f"victim (pid {victim.pid} on " in str(failure.error)
    standby = consume(transport, QUEUE, is_exclusive=True, is_standby=True)
    standby.change(ConnectionState.UP)
    victim.kill()
    assert [delivery.body for delivery in standby.deliveries(10)] == [b"%d" % index for index in range(10)]
    transport.close()
    assert_sound(path)


def test_what_a_killed_publisher_had_confirmed_is_kept(start: Start, transport: SqliteTransport, path: Path):
    """Every message whose confirm was seen before SIGKILL is delivered, and those are the first ones in order."""
    publisher = start(PUBLISHER, "a", 20_000)
    confirmed = [publisher.stdout.readline() for _ in range(1500)]
    publisher.send_signal(signal.SIGKILL)
    # The last line may be cut off by the kill.
    confirmed += [line for line in publisher.stdout.readlines() if line.endswith("\n")]
    recorder = consume(transport, QUEUE, prefetch=20_000)
    received = [delivery.body.decode() for delivery in recorder.deliveries(len(confirmed))]
    assert [f"{line}\n" for line in received] == confirmed
    transport.close()
    assert_sound(path)


def test_a_stopped_process_keeps_what_it_has(start: Start, transport: SqliteTransport):
    """A consumer that is only suspended lives: its messages go to nobody else, those behind them do."""
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, *(b"%d" % index for index in range(10)))
    suspended = start(CONSUMER, 0, "shared")
    assert [suspended.stdout.readline() for _ in range(10)] == [f"{index}\n" for index in range(10)]
    os.kill(suspended.pid, signal.SIGSTOP)
    recorder = consume(transport, QUEUE, prefetch=10)
    # Long enough for two sweeps for dead owners.
    assert recorder.delivery_within(1.2) is None
    publish(transport, QUEUE.name, b"behind")
    assert recorder.delivery().body == b"behind"


def test_another_transport_of_the_same_process_leaves_the_locks_of_the_first_alone(tmp_path: Path) -> None:
    """POSIX drops all locks of a process on a file as soon as it closes any descriptor of it.

    So opening the queue file once more, as a task that launches does within its service, must never close one: another
    process would write at the same time, and what was confirmed would be lost.
    """
    path = tmp_path / "queues.db"
    first = QueueFile(path, SystemClock())
    first.begin()
    second = QueueFile(path, SystemClock())
    command = [sys.executable, "-c", WRITER, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
    second.close()
    first.rollback()
    first.close()
    assert said == "database is locked\n"
