"""What pika says of its own is not heard: this library tells each change once."""

from __future__ import annotations

import logging
import queue
import threading
from typing import TYPE_CHECKING

import pytest

from schedulergodx import transport as transports
from schedulergodx.utils.abstractions import Outgoing, QueueSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 20.0
NOWHERE = "amqp://guest:sekret@localhost.invalid:1/"
"""A name that can have no address, by RFC 6761."""


class Lines(logging.Handler):
    """Keeps every record, and gives those of this library to whoever waits for them."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.of_pika: list[str] = []
        self.ours: queue.SimpleQueue[str] = queue.SimpleQueue()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("pika"):
            self.of_pika.append(f"{record.threadName}: {record.name}: {record.getMessage()}")
        elif record.name.startswith("schedulergodx"):
            self.ours.put(record.getMessage())


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Every line of this process, from the level DEBUG on."""
    root, handler = logging.getLogger(), Lines()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.mark.slow
def test_an_unknown_host_is_told_once(lines: Lines) -> None:
    """However often it is tried, and though pika looks it up in threads of its own: one line, and none of pika's."""
    transport = transports.connect(transports.resolve(NOWHERE), name="quiet")
    transport.listen(lambda _event: None)
    transport.consume(QueueSpec(name="q"), prefetch=1)
    first = lines.ours.get(timeout=WAIT_S)
    assert "not reached" in first
    assert "localhost.invalid" in first
    transport.publish(Outgoing(queue="q", body=b"", message_id="m", on_settled=lambda *_: None))
    nothing = threading.Event()  # there is no event of an attempt: that nothing is told is the point
    for _ in range(1000):
        if transport.status().attempts >= 3 or nothing.wait(0.02):
            break
    assert transport.status().attempts >= 3
    transport.close(0.5)
    assert lines.of_pika == []


def test_others_who_use_pika_lose_nothing(lines: Lines) -> None:
    """Neither in a thread of theirs, nor in one in which pika looks up a host for them."""
    told = logging.getLogger("pika.adapters.utils.selector_ioloop_adapter")

    class Resolver:
        _loop = object()

        def resolve(self) -> None:
            told.error("of others")

    told.error("of others")
    timer = threading.Timer(0, Resolver().resolve)
    timer.start()
    timer.join(WAIT_S)
    assert [line.rpartition(": ")[2] for line in lines.of_pika] == ["of others"] * 2
