"""What the tests of the transport over RabbitMQ do again and again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from schedulergodx.transport.rabbitmq import RabbitMQTransport
from schedulergodx.utils.abstractions import Outgoing, QueueSpec
from schedulergodx_testing.contracts.recorder import Recorder, publish

if TYPE_CHECKING:
    from schedulergodx.errors import BrokerError

Connect = Callable[..., RabbitMQTransport]
"""Opens a transport to the virtual host of the tests, or to another URL."""


def sender_of(transport: RabbitMQTransport, queue: QueueSpec) -> Recorder:
    """Declare `queue` and wait until its messages are confirmed."""
    recorder = Recorder(transport)
    transport.declare(queue)
    publish(transport, queue.name, b"first")
    return recorder


def received_until(transport: RabbitMQTransport, recorder: Recorder, last: bytes) -> list[bytes]:
    """Ack everything that comes, until `last` comes; return the bodies."""
    received: list[bytes] = []
    while not received or received[-1] != last:
        delivery = recorder.delivery()
        transport.ack([delivery])
        received.append(delivery.body)
    return received


RESTART_S = 80.0
"""For a broker to come back: on a busy machine that takes longer than anything else here."""


class Load(threading.Thread):
    """Publishes numbers, at most 200 of them unsettled at a time, until it is told to stop."""

    def __init__(self, transport: RabbitMQTransport, queue: str) -> None:
        super().__init__(daemon=True)
        self.transport, self.queue = transport, queue
        self.settlements: list[tuple[bytes, BrokerError | None]] = []
        self.has_started, self.is_enough = threading.Event(), threading.Event()
        self.count = 0
        self._room = threading.Semaphore(200)

    def run(self) -> None:
        while not self.is_enough.is_set():
            assert self._room.acquire(timeout=RESTART_S)
            body = b"%d" % self.count
            self.transport.publish(Outgoing(queue=self.queue, body=body, message_id="id", on_settled=self._on_settled))
            self.count += 1
        for _ in range(200):
            assert self._room.acquire(timeout=RESTART_S)

    def _on_settled(self, outgoing: Outgoing, error: BrokerError | None) -> None:
        self.settlements.append((outgoing.body, error))
        if len(self.settlements) == 500:
            self.has_started.set()
        self._room.release()
