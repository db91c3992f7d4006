"""Fixtures of the tests of the transport over a real RabbitMQ."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

import pika
import pytest

from schedulergodx.transport.rabbitmq import RabbitMQTransport
from schedulergodx.transport.rabbitmq.parameters import connection_parameters
from schedulergodx.utils.abstractions import QueueSpec
from schedulergodx.utils.rmq_property import RmqConnect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from schedulergodx_testing.rabbitmq import RabbitMQ
    from tests.integration.rabbitmq_transport.helpers import Connect


@pytest.fixture(scope="module")
def vhost_url(rabbitmq: RabbitMQ) -> Iterator[str]:
    """Give one virtual host for the tests of this file: each names its queues for itself."""
    with rabbitmq.private_vhost() as url:
        yield url


@pytest.fixture
def broker(rabbitmq: RabbitMQ) -> Iterator[RabbitMQ]:
    """A broker that may be stopped, cut and configured, and that runs again after the test."""
    if not rabbitmq.is_controllable:
        pytest.skip("this broker belongs to somebody else")
    rabbitmq.heal()
    yield rabbitmq
    rabbitmq.heal()


@pytest.fixture
def connect(vhost_url: str) -> Iterator[Connect]:
    """Return a function that opens a transport, to the virtual host or another URL; all are closed after the test."""
    opened: list[RabbitMQTransport] = []

    def connect(url: str = vhost_url) -> RabbitMQTransport:
        transport = RabbitMQTransport(RmqConnect.from_url(url), name="test")
        opened.append(transport)
        return transport

    yield connect
    for transport in opened:
        transport.close()
        assert not any(thread.is_alive() for thread in transport.threads().values())


@pytest.fixture
def queue() -> QueueSpec:
    """Describe a queue of this test alone."""
    return QueueSpec(name=f"test.{uuid.uuid4().hex}", has_dead_letters=True)


@pytest.fixture
def channel(vhost_url: str) -> Iterator[BlockingChannel]:
    """A plain pika channel, to see what the broker has, apart from the transport."""
    connection = pika.BlockingConnection(connection_parameters(RmqConnect.from_url(vhost_url), "spy"))
    yield connection.channel()
    with suppress(pika.exceptions.AMQPError):
        connection.close()
