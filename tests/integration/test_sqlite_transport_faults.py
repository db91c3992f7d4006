"""The SQLite transport when its file cannot be used, for a while or at all."""

import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from schedulergodx.clock import SystemClock
from schedulergodx.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnavailable,
    DatabaseNotWritable,
    DatabaseUnsupported,
    InvalidParameter,
)
from schedulergodx.transport.sqlite import SqliteTransport, queue_file, worker
from schedulergodx.transport.sqlite.queue_file import QueueFile
from schedulergodx.transport.sqlite.schema import APPLICATION_ID, MIGRATIONS
from schedulergodx.utils.abstractions import ConnectionState, Outgoing, QueueSpec
from schedulergodx_testing.contracts.recorder import Recorder, Sending, bodies, consume, publish

QUEUE = QueueSpec(name="work")
NOBODY = 65534

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


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch):
    """Nobody waits a second for a lock here, or between attempts."""
    monkeypatch.setattr(queue_file, "BUSY_WAIT_S", 0.01)
    monkeypatch.setattr(worker, "RETRY_MAX_S", 0.01)


def test_a_missing_folder_is_refused_until_it_is_there(open_transport: Open, path: Path):
    """Every publish tries once and is answered at once; with the folder made, the next one is kept."""
    path.parent.rmdir()
    transport = open_transport()
    recorder = Recorder(transport)
    transport.declare(QUEUE)
    for _ in range(2):
        error = Sending(transport, QUEUE.name, b"lost").error()
        assert isinstance(error, BrokerRefused)
        assert isinstance(error.__cause__, DatabaseNotWritable)
        assert str(path) in str(error)
    status = recorder.change(ConnectionState.REFUSED).status
    assert "No such file" in status.reason
    path.parent.mkdir()
    publish(transport, QUEUE.name, b"kept")
    recorder.change(ConnectionState.UP)
    assert consume(open_transport(), QUEUE).delivery().body == b"kept"


def test_consuming_where_nothing_can_be_is_refused(open_transport: Open, path: Path):
    """`ConsumeFailed` carries the refusal; consuming again tries once more."""
    path.mkdir()
    transport = open_transport()
    recorder = consume(transport, QUEUE)
    assert isinstance(recorder.failure().error, BrokerRefused)
    transport.consume(QUEUE, prefetch=1)
    assert isinstance(recorder.failure().error, BrokerRefused)
    path.rmdir()
    transport.consume(QUEUE, prefetch=1)
    recorder.change(ConnectionState.UP)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Be somebody whom file modes stop: root gives up its rights for a while, others are so already."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(None, 0o555), (0o666, 0o555), (0o444, 0o777)])
def test_what_may_not_be_written_is_refused(file_mode: int | None, folder_mode: int):
    """A read-only folder, with the file in it or not since a journal stands beside it, and a read-only file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "queues.db")
        if file_mode is not None:
            QueueFile(path, SystemClock()).close()
            path.chmod(file_mode)
        path.parent.chmod(folder_mode)
        try:
            with ordinary_user(), pytest.raises(DatabaseNotWritable, match=r"queues\.db.*(read-only|denied)"):
                QueueFile(path, SystemClock())
        finally:
            path.parent.chmod(0o700)


def _not_a_database(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 100)


def _database_of_another_program(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE diary (entry TEXT)")
    connection.close()


def _database_of_the_service(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {0x53474458}")
    connection.close()


def _file_of_a_newer_version(path: Path) -> None:
    QueueFile(path, SystemClock()).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()


@pytest.mark.parametrize(
    "make", [_not_a_database, _database_of_another_program, _database_of_the_service, _file_of_a_newer_version]
)
def test_a_foreign_file_is_refused_and_not_changed(open_transport: Open, path: Path, make: Callable[[Path], None]):
    """Whatever it is, it is as it was afterwards."""
    make(path)
    before = path.read_bytes()
    error = Sending(open_transport(), QUEUE.name, b"lost").error()
    assert isinstance(error, BrokerRefused)
    assert isinstance(error.__cause__, DatabaseUnsupported)
    assert path.read_bytes() == before


@pytest.mark.slow
def test_many_may_open_a_new_file_at_once(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever comes while another one makes the tables waits, and takes it for nothing foreign."""
    monkeypatch.setattr(queue_file, "BUSY_WAIT_S", 10.0)
    for _ in range(20):
        barrier = threading.Barrier(8)

        def use(barrier: threading.Barrier = barrier) -> None:
            barrier.wait(10)
            QueueFile(path, SystemClock()).close()

        with ThreadPoolExecutor(8) as pool:
            for opening in [pool.submit(use) for _ in range(8)]:
                opening.result()
        path.unlink()


def test_the_file_is_private_and_safe(path: Path):
    """Mode 0600, marked as ours, rollback journal, full syncs."""
    file = QueueFile(path, SystemClock())
    assert path.stat().st_mode & 0o777 == 0o600
    pragmas = {"journal_mode": "persist", "synchronous": 2, "application_id": APPLICATION_ID, "foreign_keys": 1}
    for name, value in pragmas.items():
        assert file._connection.execute(f"PRAGMA {name}").fetchone() == (value,)
    file.close()


def test_a_locked_file_blocks_and_nothing_is_lost(open_transport: Open, path: Path, caplog: pytest.LogCaptureFixture):
    """While another process writes, messages wait; they can be withdrawn unsent; the rest is kept in order."""
    transport = open_transport()
    recorder = Recorder(transport)
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    sendings = [Sending(transport, QUEUE.name, body) for body in (b"2", b"withdrawn", b"3")]
    status = recorder.change(ConnectionState.BLOCKED).status
    assert "locked" in status.reason
    assert status.attempts > 0
    assert transport.withdraw(sendings[1].outgoing)
    assert not sendings[1].outgoing.was_sent
    other.execute("ROLLBACK")
    other.close()
    recorder.change(ConnectionState.UP)
    assert [sendings[0].error(), sendings[2].error()] == [None, None]
    assert len([record for record in caplog.records if "blocked" in record.message]) == 1
    assert bodies(consume(open_transport(), QUEUE).deliveries(3)) == [b"1", b"2", b"3"]


def test_close_while_blocked_settles_and_ends(open_transport: Open, path: Path):
    """It waits as long as it was told, then what waits is settled as not sent, and the thread ends."""
    transport = open_transport()
    recorder = Recorder(transport)
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    sending = Sending(transport, QUEUE.name, b"2")
    recorder.change(ConnectionState.BLOCKED)
    transport.close(timeout_s=0.05)
    assert isinstance(sending.settlements.get_nowait()[1], BrokerUnavailable)
    recorder.change(ConnectionState.CLOSED)
    for thread in transport.threads().values():
        thread.join(10)
        assert not thread.is_alive()
    other.close()
    publish(open_transport(), QUEUE.name, b"3")
    assert bodies(consume(open_transport(), QUEUE).deliveries(2)) == [b"1", b"3"]


def test_a_full_disk_blocks_until_there_is_room(open_transport: Open, monkeypatch: pytest.MonkeyPatch):
    """SQLITE_FULL keeps everything; with room made, all of it is kept in order and delivered once."""
    pages = [10_000]
    begin = QueueFile.begin

    def begin_with_limit(file: QueueFile) -> None:
        file._connection.execute(f"PRAGMA max_page_count = {pages[0]}")
        begin(file)

    monkeypatch.setattr(QueueFile, "begin", begin_with_limit)
    transport = open_transport()
    recorder = consume(transport, QUEUE)
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"1")
    pages[0] = 1
    sendings = [Sending(transport, QUEUE.name, body) for body in (b"2" * 100_000, b"3")]
    assert "full" in recorder.change(ConnectionState.BLOCKED).status.reason
    pages[0] = 10_000
    assert [sending.error() for sending in sendings] == [None, None]
    recorder.change(ConnectionState.UP)
    assert bodies(recorder.deliveries(3)) == [b"1", b"2" * 100_000, b"3"]


def test_a_removed_file_is_made_again(open_transport: Open, path: Path):
    """Nothing is written into a file that nobody can find: queues are made anew and consuming goes on."""
    transport = open_transport()
    recorder = consume(transport, QUEUE)
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"gone with the file")
    stale = recorder.delivery()
    path.unlink()
    recorder.change(ConnectionState.RECOVERING)
    transport.ack([stale])
    publish(transport, QUEUE.name, b"in the new file")
    assert recorder.delivery().body == b"in the new file"
    transport.close()
    assert consume(open_transport(), QUEUE).delivery().body == b"in the new file"


def test_what_cannot_be_stored_does_not_keep_others(open_transport: Open):
    """A message that SQLite refuses is settled with an error without its content; those beside it are kept."""
    transport = open_transport()
    transport.declare(QUEUE)
    before = Sending(transport, QUEUE.name, b"1")
    errors: list[BrokerError | None] = []
    transport.publish(
        Outgoing(
            queue=QUEUE.name,
            body=b"secret",
            message_id="\ud800",
            on_settled=lambda _outgoing, error: errors.append(error),
        )
    )
    after = Sending(transport, QUEUE.name, b"2")
    assert (before.error(), after.error()) == (None, None)
    assert "UnicodeEncodeError" in str(errors[0])
    assert "secret" not in str(errors[0])


@pytest.mark.parametrize(
    "spec",
    [QueueSpec(name=""), QueueSpec(name="ñ" * 128), QueueSpec(name="\ud800"), QueueSpec(name="q", expires_after_s=0)],
)
def test_an_impossible_queue_is_refused_at_once(open_transport: Open, spec: QueueSpec):
    """By declare and consume alike."""
    transport = open_transport()
    with pytest.raises(InvalidParameter):
        transport.declare(spec)
    with pytest.raises(InvalidParameter):
        transport.consume(spec, prefetch=1)


class FailingFile(QueueFile):
    """Fails once, at the n-th use of it, as a disk would; after `after`, when the work of that use was done."""

    uses_left = 0
    fails_after = False

    def __getattribute__(self, name: str) -> object:
        value = super().__getattribute__(name)
        if name.startswith("_") or name in {"close", "path", "rollback", "is_replaced"}:
            return value

        def use(*arguments: object, **options: object) -> object:
            FailingFile.uses_left -= 1
            if FailingFile.uses_left == 0 and not FailingFile.fails_after:
                raise _disk_error()
            result = value(*arguments, **options)
            if FailingFile.uses_left == 0:
                raise _disk_error()
            return result

        return use


def _disk_error() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


@pytest.mark.slow
@pytest.mark.parametrize("fails_after", [False, True])
def test_one_disk_error_anywhere_loses_nothing(
    open_transport: Open, path: Path, monkeypatch: pytest.MonkeyPatch, *, fails_after: bool
):
    """Whichever use of the file fails, every message is confirmed and what was acked does not come back."""
    monkeypatch.setattr(worker, "QueueFile", FailingFile)
    monkeypatch.setattr(FailingFile, "fails_after", fails_after)
    for n in range(1, 1000):
        FailingFile.uses_left = n
        _deliver_three_and_ack_two(open_transport())
        has_failed = FailingFile.uses_left <= 0
        FailingFile.uses_left = 0
        transport = open_transport()
        recorder = consume(transport, QUEUE)
        transport.declare(QUEUE)
        publish(transport, QUEUE.name, b"end")
        left = recorder.bodies_until(b"end")
        transport.close()
        if fails_after:
            # When COMMIT was done but not answered, nobody can tell: what was sent then is sent again.
            assert set(left) in ({b"3"}, {b"1", b"2", b"3"}), f"failed at use {n}"
        else:
            assert left == [b"3"], f"failed at use {n}"
        path.unlink()
        if not has_failed:
            break
    assert n > 20


def _deliver_three_and_ack_two(transport: SqliteTransport) -> None:
    recorder = consume(transport, QUEUE, prefetch=1)
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"1", b"2", b"3")
    seen: set[bytes] = set()
    while seen != {b"1", b"2", b"3"}:
        delivery = recorder.delivery()
        seen.add(delivery.body)
        if delivery.body != b"3":
            transport.ack([delivery])
    transport.close()
