"""The queue file and `fork`: no process has what SQLite knew in another one, and nothing is lost by that."""

import ctypes
import os
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import pytest

from schedulergodx import forks
from schedulergodx.clock import SystemClock
from schedulergodx.errors import DatabaseNotWritable
from schedulergodx.transport.sqlite import SqliteTransport
from schedulergodx.transport.sqlite.queue_file import QueueFile
from schedulergodx.utils.abstractions import QueueSpec
from schedulergodx_testing.contracts.recorder import bodies, consume, publish

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning"),
]

QUEUE = QueueSpec(name="work")
WAIT_S = 30.0

Open = Callable[[], SqliteTransport]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


@pytest.fixture
def open_transport(path: Path) -> Iterator[Open]:
    opened: list[SqliteTransport] = []

    def open_transport() -> SqliteTransport:
        opened.append(SqliteTransport(path, name="test"))
        return opened[-1]

    yield open_transport
    for transport in opened:
        transport.close()


def fork(in_child: Callable[[], object], call: Callable[[], int] = os.fork) -> int:
    """Return how a child ends that does only this: 0 when it returns True, 1 when not, 2 after an exception."""
    child = call()
    if child == 0:
        code = 2
        try:
            code = int(not in_child())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def has_open(path: Path) -> bool:
    """Return whether this process has any file open whose name begins so."""
    names = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # it is the one by which this folder is read
            names.append(str(descriptor.readlink()))
    return any(name.startswith(str(path)) for name in names)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has open")
def test_a_child_inherits_nothing_of_the_file(open_transport: Open, path: Path):
    """Neither of one that sends, nor of one that takes and holds something, nor of one that was used in a thread."""
    sender, taker = open_transport(), open_transport()
    sender.declare(QUEUE)
    recorder = consume(taker, QUEUE)
    publish(sender, QUEUE.name, b"1")
    recorder.delivery()
    third = QueueFile(path, SystemClock())
    assert has_open(path)
    assert fork(lambda: not has_open(path)) == 0
    third.close()


def test_whoever_consumed_goes_on_after_a_fork(open_transport: Open, path: Path):
    """It is the same owner, has what it had, acks it, and gets what comes."""
    taker, sender = open_transport(), open_transport()
    recorder = consume(taker, QUEUE)
    sender.declare(QUEUE)
    publish(sender, QUEUE.name, b"1", b"2")
    held = recorder.deliveries(2)
    for number in range(5):
        assert fork(lambda: True) == 0
        publish(sender, QUEUE.name, b"after %d" % number)
        assert recorder.delivery().body == b"after %d" % number
    taker.ack(held)
    taker.close()
    assert sorted(bodies(consume(sender, QUEUE).deliveries(5))) == [b"after %d" % number for number in range(5)]
    sender.close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*) FROM message").fetchone() == (5,)


def test_a_child_has_its_own_connection(open_transport: Open, path: Path):
    """What parent and child send by turns is all there, also after the parent has closed its file."""
    parent = open_transport()
    parent.declare(QUEUE)
    publish(parent, QUEUE.name, b"parent 1")
    done, tell_done = os.pipe()
    go, tell_go = os.pipe()

    def send() -> bool:
        child = SqliteTransport(path, name="child")
        child.declare(QUEUE)
        for _ in range(3):
            os.read(go, 1)
            publish(child, QUEUE.name, b"child")
            os.write(tell_done, b"x")
        child.close()
        return True

    def let_it_send() -> None:
        os.write(tell_go, b"x")
        os.read(done, 1)

    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(fork(send)))
    thread.start()
    let_it_send()
    publish(parent, QUEUE.name, b"parent 2")
    let_it_send()
    parent.close()
    other = open_transport()
    other.declare(QUEUE)
    publish(other, QUEUE.name, b"other")
    other.close()
    let_it_send()
    thread.join(WAIT_S)
    assert ended == [0]
    assert bodies(consume(open_transport(), QUEUE).deliveries(6)) == [
        *(b"parent 1", b"child", b"parent 2", b"child", b"other", b"child")
    ]


def test_a_child_of_what_python_did_not_see_is_refused(open_transport: Open, path: Path):
    """As of a library that forks by itself: the file is open in the child, and using it would lose messages."""
    transport = open_transport()
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"1")

    def open_it() -> bool:
        with pytest.raises(DatabaseNotWritable, match="by spawn instead of fork"):
            QueueFile(path, SystemClock())
        return True

    assert fork(open_it, ctypes.PyDLL(None).fork) == 0
    publish(transport, QUEUE.name, b"2")


def test_a_child_of_a_thread_that_is_within_sqlite_is_refused(path: Path):
    """Nothing can be closed then; the parent goes on."""
    file = QueueFile(path, SystemClock())

    def open_it() -> bool:
        with pytest.raises(DatabaseNotWritable, match="by spawn instead of fork"):
            QueueFile(path, SystemClock())
        return True

    with forks.sqlite_gate:
        assert fork(open_it) == 0
    file.begin()
    file.declare(QUEUE, now_s=0)
    file.commit()
    file.close()


@pytest.mark.slow
def test_forks_in_several_threads_at_once(open_transport: Open, path: Path):
    """One closes the file for the other; and what is sent meanwhile by parent and children is all there, once."""
    transport = open_transport()
    transport.declare(QUEUE)
    is_over = threading.Event()
    sent: list[bytes] = []

    def go_on() -> None:
        while not is_over.is_set():
            publish(transport, QUEUE.name, body := b"parent %d" % len(sent))
            sent.append(body)

    def send(body: bytes) -> bool:
        child = SqliteTransport(path, name="child")
        child.declare(QUEUE)
        publish(child, QUEUE.name, body)
        return True  # without closing

    ended: list[int] = []

    def fork_often(name: int) -> None:
        for body in (b"child %d %d" % (name, number) for number in range(15)):
            ended.append(fork(partial(send, body)))  # noqa: PERF401 - what was there of them is told

    publish(transport, QUEUE.name, b"first")
    threads = [threading.Thread(target=fork_often, args=(name,)) for name in range(3)]
    sender = threading.Thread(target=go_on)
    sender.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * WAIT_S)
    is_over.set()
    sender.join(WAIT_S)
    assert ended == [0] * 45
    assert sent
    transport.close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = [body for (body,) in database.execute("SELECT body FROM message")]
    children = [b"child %d %d" % (name, number) for name in range(3) for number in range(15)]
    assert sorted(found) == sorted([b"first", *sent, *children])
