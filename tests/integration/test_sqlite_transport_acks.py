"""Acks of the SQLite transport are written together with what comes next."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from schedulergodx.transport.sqlite import SqliteTransport, worker
from schedulergodx.utils.abstractions import QueueSpec
from schedulergodx_testing.contracts.recorder import Recorder, consume, publish

QUEUE = QueueSpec(name="work")
OTHER = QueueSpec(name="other")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acks wait for something else as long as a test takes."""
    monkeypatch.setattr(worker, "ACKS_WAIT_S", 3600.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "queues.db"


@pytest.fixture
def transport(path: Path) -> Iterator[SqliteTransport]:
    transport = SqliteTransport(path, name="test")
    yield transport
    transport.close()


def messages(path: Path, queue: QueueSpec) -> int:
    """Return how many messages a queue has, held ones too."""
    with closing(sqlite3.connect(path)) as connection:
        sql = "SELECT count(*) FROM message JOIN queue USING (queue_id) WHERE name = ?"
        (count,) = connection.execute(sql, (queue.name,)).fetchone()
    return int(count)


def consumed(transport: SqliteTransport, *bodies: bytes, prefetch: int) -> Recorder:
    """Consume from a queue that has these messages."""
    transport.declare(OTHER)
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, *bodies)
    return consume(transport, QUEUE, prefetch=prefetch)


def test_an_ack_is_written_with_what_is_published_next(transport: SqliteTransport, path: Path) -> None:
    """In its transaction: as soon as that is confirmed, what was acked is gone."""
    recorder = consumed(transport, b"1", prefetch=10)
    transport.ack([recorder.delivery()])
    assert messages(path, QUEUE) == 1
    publish(transport, OTHER.name, b"answer")
    assert (messages(path, QUEUE), messages(path, OTHER)) == (0, 1)


def test_an_ack_that_makes_room_does_not_wait(transport: SqliteTransport) -> None:
    """A consumer that holds all it may gets the next message."""
    recorder = consumed(transport, b"1", b"2", b"3", prefetch=1)
    for body in (b"1", b"2", b"3"):
        delivery = recorder.delivery()
        assert delivery.body == body
        transport.ack([delivery])


def test_an_ack_is_written_at_the_end(transport: SqliteTransport, path: Path) -> None:
    """A transport that is closed leaves nothing to be delivered again."""
    recorder = consumed(transport, b"1", b"2", prefetch=10)
    transport.ack(recorder.deliveries(2))
    transport.close()
    assert messages(path, QUEUE) == 0


def test_an_ack_waits_only_so_long(transport: SqliteTransport, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing else comes it is written by itself; another connection sees the file change."""
    monkeypatch.setattr(worker, "ACKS_WAIT_S", 0.001)
    recorder = consumed(transport, b"1", prefetch=10)
    transport.ack([recorder.delivery()])
    for _ in range(100_000):
        if messages(path, QUEUE) == 0:
            return
    pytest.fail("the ack was never written")
