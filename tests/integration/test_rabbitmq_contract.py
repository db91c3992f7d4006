"""The transport over RabbitMQ is held against the contract of transports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schedulergodx.transport.rabbitmq import RabbitMQTransport
from schedulergodx.utils.rmq_property import RmqConnect
from schedulergodx_testing.contracts.recorder import consume, publish
from schedulergodx_testing.contracts.transport import TransportContract
from tests.integration.rabbitmq_contract_fixtures import RabbitMQCapabilities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schedulergodx.utils.abstractions import QueueSpec, Transport
    from schedulergodx_testing.contracts.transport import Connect
    from schedulergodx_testing.rabbitmq import RabbitMQ


@pytest.fixture(scope="module")
def vhost_url(rabbitmq: RabbitMQ) -> Iterator[str]:
    """Give one virtual host for all tests of the contract: each names its queues for itself."""
    with rabbitmq.private_vhost() as url:
        yield url


@pytest.mark.rabbitmq
class TestRabbitMQTransport(RabbitMQCapabilities, TransportContract):
    @pytest.fixture
    def open_transport(self, vhost_url: str) -> Callable[[], Transport]:
        """Return a function that opens a transport to the virtual host."""
        return lambda: RabbitMQTransport(RmqConnect.from_url(vhost_url), name="contract")


@pytest.mark.rabbitmq
class TestRabbitMQTransportOnQuorumQueues(TestRabbitMQTransport):
    is_quorum = True

    def test_give_back_returns_to_the_same_place(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """What is given back is delivered again, marked; before 4.3 the messages behind it may come first."""
        publish(sender, queue.name, b"1", b"2")
        transport = connect()
        recorder = consume(transport, queue, prefetch=1)
        transport.give_back([recorder.delivery()])
        received = {}
        for _ in range(2):
            delivery = recorder.delivery()
            received[delivery.body] = delivery.is_redelivered
            transport.ack([delivery])
        assert received == {b"1": True, b"2": False}
