"""The write-ahead log of the queue file: it is kept short and synced, comes and goes, and nothing is lost with it."""

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from schedulergodx.clock import SystemClock
from schedulergodx.file_lock import WriterLock
from schedulergodx.transport.sqlite import SqliteTransport, connection, opening, worker
from schedulergodx.transport.sqlite.opening import is_busy
from schedulergodx.transport.sqlite.queue_file import QueueFile
from schedulergodx.transport.sqlite.schema import APPLICATION_ID, MIGRATIONS
from schedulergodx.utils.abstractions import ConnectionState, QueueSpec
from schedulergodx_testing.contracts.recorder import Recorder, Sending, bodies, consume, publish

QUEUE = QueueSpec(name="work")
PAGE_BYTES = 4096

Open = Callable[[], SqliteTransport]
Opened = Callable[..., QueueFile]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


@pytest.fixture
def log(path: Path) -> Path:
    return path.with_name("queues.db-wal")


@pytest.fixture
def open_transport(path: Path) -> Iterator[Open]:
    opened: list[SqliteTransport] = []

    def open_transport() -> SqliteTransport:
        opened.append(SqliteTransport(path, name="test"))
        return opened[-1]

    yield open_transport
    for transport in opened:
        transport.close()


@pytest.fixture
def opened(path: Path) -> Iterator[Opened]:
    """Opens the queue file, with its queue in it."""
    files: list[QueueFile] = []

    def opened(at: Path = path) -> QueueFile:
        files.append(QueueFile(at, SystemClock()))
        change(files[-1], lambda: files[-1].declare(QUEUE, now_s=0))
        return files[-1]

    yield opened
    for file in files:
        file.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch):
    """Nobody waits a second for a lock here, or between attempts."""
    monkeypatch.setattr(connection, "BUSY_WAIT_S", 0.01)
    monkeypatch.setattr(worker, "RETRY_MAX_S", 0.01)


def change(file: QueueFile, action: Callable[[], object]) -> None:
    """Do something in a transaction of its own."""
    file.begin()
    action()
    file.commit()


def add(file: QueueFile, number: int, body: bytes = b"x" * 1000) -> None:
    """Put a message into the queue."""
    change(file, lambda: file.add(QUEUE.name, str(number), body))


def ids(path: Path) -> list[str]:
    """Return the messages of a file that is whole, as any program finds them."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [message_id for (message_id,) in database.execute("SELECT message_id FROM message ORDER BY position")]


# --- The lock


def test_nobody_writes_while_another_has_the_lock(path: Path, opened: Opened):
    """Under whatever name of the file: so the log is brought into it while nobody begins the log anew."""
    link = path.with_name("link.db")
    link.symlink_to(path)
    first, second = opened(), opened(link)
    lock = WriterLock(path.with_name("queues.db-lock"))
    assert lock.acquire()
    for file in (first, second):
        with pytest.raises(sqlite3.OperationalError, match="another process writes") as refused:
            file.begin()
        assert is_busy(refused.value)
    lock.close()
    first.begin()
    with pytest.raises(sqlite3.OperationalError, match="another process writes"):
        second.begin()
    first.rollback()
    add(second, 1)
    assert not path.with_name("link.db-lock").exists()


def test_the_lock_is_let_go_of_when_the_log_is_in_the_file(path: Path, opened: Opened):
    """SQLite brings it there at the end of a commit, when others could write already."""
    file = opened()
    sizes: list[int] = []

    class Watched(WriterLock):
        def release(self) -> None:
            sizes.append(path.stat().st_size)
            super().release()

    file.begin()
    file.add(QUEUE.name, "1", b"x" * PAGE_BYTES * 2 * opening.CHECKPOINT_PAGES)
    assert file._lock is not None
    file._lock.__class__ = Watched
    assert path.stat().st_size < PAGE_BYTES * opening.CHECKPOINT_PAGES
    file.commit()
    assert sizes[0] > PAGE_BYTES * 2 * opening.CHECKPOINT_PAGES


# --- Its length


def test_the_log_stays_short_whoever_writes_it(path: Path, log: Path, opened: Opened):
    """Many messages or large ones, each of another program: and all of it is in the file once that is closed."""
    reader = opened()
    for number in range(400):
        add(writer := QueueFile(path, SystemClock()), number, b"x" * (3000 if number % 50 else 500_000))
        writer.close()
        assert reader.has_changed()
    assert log.stat().st_size < 2 * opening.JOURNAL_BYTES_MAX
    reader.close()
    assert not log.exists()
    assert len(ids(path)) == 400


def test_who_reads_without_end_stops_the_log_from_growing_without_end(
    open_transport: Open, path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
):
    """What is sent waits then, and it is said why; nothing of it is lost."""
    monkeypatch.setattr(connection, "LOG_BYTES_MAX", 2_500_000)
    transport = open_transport()
    recorder = Recorder(transport)
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"before")
    recorder.change(ConnectionState.UP)
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM message").fetchone()
        for _ in range(3):
            publish(transport, QUEUE.name, b"x" * 1_000_000)
        sendings = [Sending(transport, QUEUE.name, b"x" * 1_000_000) for _ in range(3)]
        assert "reads without end" in recorder.change(ConnectionState.BLOCKED).status.reason
        assert log.stat().st_size < 4_000_000
        reader.execute("COMMIT")
        recorder.change(ConnectionState.UP)
    assert [sending.error() for sending in sendings] == [None] * 3
    publish(transport, QUEUE.name, b"after")
    assert log.stat().st_size < 5_000_000
    transport.close()
    assert len(ids(path)) == 8


def test_a_log_that_finds_no_room_blocks_until_there_is_some(open_transport: Open, path: Path, log: Path):
    """What is sent waits, and others can go on; then all of it is there, once."""
    resource = pytest.importorskip("resource", reason="only POSIX bounds the size of files")
    transport = open_transport()
    recorder = Recorder(transport)
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"1")
    recorder.change(ConnectionState.UP)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size + 100_000, before[1]))
    try:
        sending = Sending(transport, QUEUE.name, b"2" * 200_000)
        assert "disk" in recorder.change(ConnectionState.BLOCKED).status.reason
        small = open_transport()
        publish(small, QUEUE.name, b"3")
        small.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sending.error() is None
    recorder.change(ConnectionState.UP)
    transport.close()
    assert len(ids(path)) == 3


# --- Its syncs


def test_what_is_sent_is_on_disk_before_it_is_confirmed(open_transport: Open, monkeypatch: pytest.MonkeyPatch):
    """A loss of power may bring a message again; it never takes one that was confirmed."""
    happened: list[str] = []

    def noted(name: str) -> Callable[[QueueFile], None]:
        real = getattr(QueueFile, name)
        return lambda file: (real(file), happened.append(name))[1]

    sender, taker = open_transport(), open_transport()
    sender.declare(QUEUE)
    recorder = consume(taker, QUEUE)
    publish(sender, QUEUE.name, b"both have the file open")
    taker.ack([recorder.delivery()])
    synced: list[int] = []
    monkeypatch.setattr(connection, "_sync", synced.append)
    for name in ("sync", "commit"):
        monkeypatch.setattr(QueueFile, name, noted(name))
    sending = Sending(sender, QUEUE.name, b"1")
    assert sending.error() is None
    assert happened.index("sync") > happened.index("commit")
    assert synced == [sender._worker._file._log]
    recorder.delivery()
    taker.close()  # what it took it gives back
    assert happened.count("commit") > happened.count("sync") == 1


def test_a_sync_that_fails_is_no_confirm(open_transport: Open, path: Path, monkeypatch: pytest.MonkeyPatch):
    """The system may have forgotten what it could not write: so the log gets into the file, and all is sent again."""
    failures = [OSError(errno.EIO, "Input/output error")]
    lengths: list[int] = []
    real = connection._sync

    def sync(descriptor: int) -> None:
        lengths.append(os.fstat(descriptor).st_size)
        if failures:
            raise failures.pop()
        real(descriptor)

    transport = open_transport()
    recorder = Recorder(transport)
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"0" * 20_000)
    monkeypatch.setattr(connection, "_sync", sync)
    sending = Sending(transport, QUEUE.name, b"1")
    assert "Input/output error" in recorder.change(ConnectionState.BLOCKED).status.reason
    assert sending.error() is None
    assert lengths[1] < lengths[0]
    transport.close()
    assert len(ids(path)) in {2, 3}


# --- Files that have none


def make_as_before(path: Path) -> None:
    """Make a queue file of an earlier version, with a journal, and a message in it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = PERSIST")
        for statement in MIGRATIONS[0]:
            old.execute(statement)
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute("PRAGMA user_version = 1")
        old.execute("INSERT INTO queue VALUES (1, ?, NULL, 0, 0)", (QUEUE.name,))
        old.execute("INSERT INTO message (queue_id, message_id, body) VALUES (1, 'old', x'00')")


def test_a_file_of_before_gets_a_log(path: Path, log: Path, opened: Opened):
    """With what is in it."""
    make_as_before(path)
    file = opened()
    assert log.exists()
    add(file, 1)
    file.close()
    assert ids(path) == ["old", "1"]


def test_a_file_of_before_that_is_in_use_works_as_it_is(path: Path, log: Path, opened: Opened):
    """Each commit is synced by SQLite then; and it gets its log as soon as nobody is in the way."""
    make_as_before(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM message").fetchone()
        file = QueueFile(path, SystemClock())
        assert file._connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert not log.exists()
        other.execute("COMMIT")
    add(file, 1)
    file.sync()
    second = opened()
    assert log.exists()
    add(file, 2)
    add(second, 3)
    file.close()
    second.close()
    assert ids(path) == ["old", "1", "2", "3"]


def test_without_shared_memory_there_is_a_journal(
    open_transport: Open, path: Path, log: Path, monkeypatch: pytest.MonkeyPatch
):
    """As on file systems that are not local; and each commit is synced by SQLite."""

    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(opening.mmap, "mmap", fail)
    sender, taker = open_transport(), open_transport()
    sender.declare(QUEUE)
    recorder = consume(taker, QUEUE)
    publish(sender, QUEUE.name, b"1")
    taker.ack([recorder.delivery()])
    publish(sender, QUEUE.name, b"2")
    assert recorder.delivery().body == b"2"
    assert not log.exists()
    assert sender._worker._file._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    sender.close()
    taker.close()
    assert len(ids(path)) == 1


# --- Files that are removed


def test_what_lies_beside_a_removed_file_is_not_taken_for_its_successor_s(path: Path, log: Path, opened: Opened):
    """Also while a program has the removed file, its log and the index of that open still."""
    old = opened()
    for number in range(20):
        add(old, number)
    path.unlink()
    new = opened()
    add(new, 100)
    add(old, 21)  # into what nobody can find: whoever writes looks at `is_replaced` before
    add(new, 101)
    assert old.is_replaced()
    assert not new.is_replaced()
    old.close()  # leaves the log of the other alone
    add(new, 102)
    assert log.exists()
    new.close()
    assert ids(path) == ["100", "101", "102"]


def test_a_file_that_is_moved_takes_its_log_along(open_transport: Open, path: Path, log: Path, opened: Opened):
    """So nothing of it is lost, and the file that takes its place is as it was made: as when a backup is restored."""
    backup, away = path.with_name("backup.db"), path.with_name("away.db")
    other = opened(backup)
    add(other, 1000)
    other.close()
    transport = open_transport()
    recorder = consume(transport, QueueSpec(name="answers"))
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, *(b"%d" % number for number in range(20)))
    recorder.change(ConnectionState.UP)
    path.rename(away)
    backup.rename(path)
    recorder.change(ConnectionState.RECOVERING)
    recorder.change(ConnectionState.UP)
    publish(transport, QUEUE.name, b"new")
    assert bodies(consume(open_transport(), QUEUE).deliveries(2)) == [b"x" * 1000, b"new"]
    transport.close()
    assert len(ids(away)) == 20


def test_a_link_that_leads_elsewhere_now_leaves_the_log_alone(path: Path, log: Path, opened: Opened):
    """It says nothing about the file, which others use by its own name."""
    link = path.with_name("link.db")
    link.symlink_to(path)
    first, by_link = opened(), opened(link)
    add(first, 1)
    link.unlink()
    link.symlink_to(path.with_name("other.db"))
    add(opened(link), 2)
    assert path.with_name("other.db").stat().st_mode & 0o777 == 0o600
    assert by_link.is_replaced()
    assert not first.is_replaced()
    by_link.close()
    assert log.exists()
    add(first, 3)
    assert not first.is_replaced()
    first.close()
    assert ids(path) == ["1", "3"]


def test_a_file_that_was_replaced_during_a_fork_keeps_its_log(path: Path, log: Path, opened: Opened):
    """Whoever opens it again finds another one, which others have open."""
    file = opened()
    file.rest_at_fork()
    path.rename(path.with_name("away.db"))
    new = opened()
    add(new, 1)
    assert not file.reopen()
    file.close()
    assert log.exists()
    add(new, 2)
    new.close()
    assert ids(path) == ["1", "2"]


@pytest.mark.parametrize("name", ["queues.db-wal", "queues.db-shm", "queues.db-lock"])
def test_a_removed_part_is_noticed_and_nothing_is_lost(open_transport: Open, path: Path, name: str):
    """Who has a log open that has lost its name brings it into the file before another one begins a new one."""
    transport = open_transport()
    recorder = Recorder(transport)
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"1", b"2")
    path.with_name(name).unlink()
    publish(transport, QUEUE.name, b"3")
    recorder.change(ConnectionState.RECOVERING)
    recorder.change(ConnectionState.UP)
    assert bodies(consume(open_transport(), QUEUE).deliveries(3)) == [b"1", b"2", b"3"]


def test_a_file_that_goes_while_it_is_opened_is_tried_again(
    open_transport: Open, path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It is no wrong place, which would be refused."""
    check, removed = opening.check_origin, []

    def remove_once(*arguments: object) -> None:
        check(*arguments)
        if not removed:
            removed.append(path)
            path.unlink()

    monkeypatch.setattr(opening, "check_origin", remove_once)
    transport = open_transport()
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"kept")
    assert removed
    assert consume(open_transport(), QUEUE).delivery().body == b"kept"


def test_a_file_that_was_opened_again_is_the_same_one(path: Path, opened: Opened):
    """Else it is not to be used: what was known of it is not so of another."""
    file = opened()
    add(file, 1)
    file.rest_at_fork()
    assert file.reopen()
    add(file, 2)
    file.rest_at_fork()
    other = QueueFile(path.with_name("other.db"), SystemClock())
    other.close()
    path.with_name("other.db").replace(path)
    assert file.is_replaced()
    assert not file.reopen()
    assert not file.reopen()


# --- Many programs

SHORT_LIVED = """
import sys, queue
from schedulergodx.transport.sqlite import SqliteTransport
from schedulergodx.utils.abstractions import Outgoing, QueueSpec
for number in range(int(sys.argv[3])):
    transport = SqliteTransport(sys.argv[1], name="short")
    transport.declare(QueueSpec(name="work"))
    settled = queue.SimpleQueue()
    name = f"{sys.argv[2]} {number}"
    transport.publish(Outgoing(queue="work", body=b"x", message_id=name, on_settled=lambda *one: settled.put(one)))
    assert settled.get(timeout=60)[1] is None
    print(name, flush=True)
    if sys.argv[4:] and number % 2:
        continue  # as one does that is killed: nothing is closed
    transport.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("leaves", [(), ("open",)])
def test_many_that_open_and_close_at_once_lose_nothing(path: Path, leaves: tuple[str, ...]):
    """Whoever is the last to close brings the log into the file and removes it, while others come."""
    command = [sys.executable, "-c", SHORT_LIVED, str(path)]
    programs = [subprocess.Popen([*command, name, "30", *leaves], stdout=subprocess.PIPE, text=True) for name in "abcd"]
    confirmed = [line for program in programs for line in program.communicate(timeout=200)[0].splitlines()]
    assert [program.returncode for program in programs] == [0] * 4
    assert len(confirmed) == 120
    assert sorted(ids(path)) == sorted(confirmed)


@pytest.mark.slow
def test_what_was_confirmed_outlives_a_kill_with_its_log(path: Path, log: Path):
    """All of it is there while the file, its log and its index lie together, and the next program finds it."""
    program = subprocess.Popen(
        [sys.executable, "-c", SHORT_LIVED + "\nsys.stdin.read()", str(path), "a", "20", "open"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        confirmed = [program.stdout.readline().strip() for _ in range(20)]
        program.kill()
    assert log.stat().st_size > 0
    assert ids(path) == confirmed
