"""The broker restarts, is cut off, away, hung or frozen: nothing is lost, and close is bounded."""

from __future__ import annotations

import logging
import socket
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import (
    BrokerUnavailable,
    LaunchUncertain,
)
from schedulergodx.utils.abstractions import ConnectionState, QueueSpec
from schedulergodx_testing.contracts.recorder import WAIT_S, Sending, consume, publish
from schedulergodx_testing.rabbitmq.waiting import wait_until
from tests.integration.rabbitmq_transport.helpers import Connect, Load, received_until, sender_of

if TYPE_CHECKING:
    from schedulergodx_testing.rabbitmq import RabbitMQ

pytestmark = pytest.mark.rabbitmq


@pytest.mark.slow
@pytest.mark.parametrize("way", ["restart", "kill", "close_connections"])
def test_nothing_is_lost_when_the_broker_restarts_under_load(
    connect: Connect, broker: RabbitMQ, queue: QueueSpec, way: str
) -> None:
    """Messages published before, during and after are each confirmed once and delivered at least once."""
    sender, receiver = connect(), connect()
    sender_of(sender, queue)
    recorder = consume(receiver, queue, prefetch=100)
    received = received_until(receiver, recorder, b"first")
    if way == "kill":
        broker.flush()  # else RabbitMQ may forget the queue itself
    load = Load(sender, queue.name)
    load.start()
    assert load.has_started.wait(WAIT_S)
    getattr(broker, way)()
    broker.start()
    recorder.change(ConnectionState.RECOVERING)
    recorder.change(ConnectionState.UP)
    publish(sender, queue.name, b"it is back")
    load.is_enough.set()
    load.join(WAIT_S)
    publish(sender, queue.name, b"end")
    received = received_until(receiver, recorder, b"end")
    numbers = [b"%d" % number for number in range(load.count)]
    assert sorted(load.settlements) == sorted((number, None) for number in numbers)
    assert set(received) >= set(numbers)


@pytest.mark.slow
def test_connections_closed_by_the_broker_come_back(connect: Connect, broker: RabbitMQ, queue: QueueSpec) -> None:
    """Each change is told once, the consumer goes on, and an ack from before the loss harms nothing."""
    transport = connect()
    recorder = sender_of(transport, queue)
    transport.consume(queue, prefetch=10)
    stale = recorder.delivery()
    for _ in range(2):
        recorder.change(ConnectionState.UP)
    broker.close_connections()
    for _ in range(2):
        lost = recorder.change(ConnectionState.RECOVERING).status
        assert "CONNECTION_FORCED" in lost.reason
    again = recorder.delivery()
    assert (again.body, again.is_redelivered) == (b"first", True)
    transport.ack([stale])
    transport.give_back([stale])
    transport.reject(stale, "STALE")
    transport.ack([again])
    publish(transport, queue.name, b"second")
    assert recorder.delivery().body == b"second"
    assert recorder.changes_so_far().count(ConnectionState.RECOVERING) == 0


@pytest.mark.slow
def test_a_broker_that_is_away_is_waited_for(
    connect: Connect, broker: RabbitMQ, queue: QueueSpec, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits can be withdrawn as never sent; the rest is sent when the broker comes. Attempts are not logged."""
    broker.stop()
    caplog.set_level(logging.INFO)
    sender, receiver = connect(), connect()
    recorder = consume(receiver, queue)
    sender.declare(queue)
    withdrawn, kept = Sending(sender, queue.name, b"withdrawn"), Sending(sender, queue.name, b"kept")
    wait_until(lambda: sender.status().attempts >= 3, "three attempts", timeout_s=WAIT_S)
    status = sender.status()
    assert (status.state, status.reason) == (ConnectionState.CONNECTING, "Connection refused")
    assert sender.withdraw(withdrawn.outgoing)
    assert not withdrawn.outgoing.was_sent
    broker.start()
    assert kept.error() is None
    assert recorder.delivery().body == b"kept"
    assert withdrawn.settlements.empty()
    assert sender.status().attempts == 0
    lines = [record.message for record in caplog.records if "publishing" in record.message]
    assert len(lines) == 2, lines
    assert not [record for record in caplog.records if record.name.startswith("pika")]


def test_close_while_the_broker_is_away_is_bounded(connect: Connect, queue: QueueSpec) -> None:
    """What was never sent is settled with `BrokerUnavailable`, and the threads end."""
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        transport = connect(f"amqp://guest:guest@127.0.0.1:{nobody.getsockname()[1]}/")
        consume(transport, queue)
        sending = Sending(transport, queue.name, b"")
        transport.close(timeout_s=0.1)
        assert isinstance(sending.error(), BrokerUnavailable)


def test_close_while_a_handshake_hangs_is_bounded(connect: Connect, queue: QueueSpec) -> None:
    """A server that accepts and says nothing does not hold `close`, nor leave a socket open."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        transport = connect(f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/")
        sending = Sending(transport, queue.name, b"")
        accepted, _ = silent.accept()
        with closing(accepted):
            accepted.settimeout(WAIT_S)
            assert accepted.recv(8).startswith(b"AMQP")
            transport.close(timeout_s=0.1)
            assert accepted.recv(1) == b""
        assert isinstance(sending.error(), BrokerUnavailable)


def test_close_while_tcp_hangs_is_bounded(connect: Connect, queue: QueueSpec) -> None:
    """A host that does not even answer a connection attempt does not hold `close`."""
    with socket.socket() as deaf, ExitStack() as callers:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(2):  # what fills the backlog
            caller = callers.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        transport = connect(f"amqp://guest:guest@127.0.0.1:{deaf.getsockname()[1]}/")
        sending = Sending(transport, queue.name, b"")
        transport.close(timeout_s=0.1)
        assert isinstance(sending.error(), BrokerUnavailable)


@pytest.mark.slow
def test_close_while_the_broker_is_frozen_is_bounded(connect: Connect, broker: RabbitMQ, queue: QueueSpec) -> None:
    """What was sent and not confirmed is uncertain; the connection is cut."""
    transport = connect()
    sender_of(transport, queue)
    consume(transport, queue).delivery()
    broker.pause()
    sending = Sending(transport, queue.name, b"")
    transport.close(timeout_s=0.3)
    assert isinstance(sending.error(), LaunchUncertain)
    assert transport.status().state is ConnectionState.CLOSED
