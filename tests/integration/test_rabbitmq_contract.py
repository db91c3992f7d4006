"""The transport over RabbitMQ is held against the contract of transports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schedulergodx.transport.rabbitmq import RabbitMQTransport
from schedulergodx.utils.rmq_property import RmqConnect
from schedulergodx_testing.contracts.transport import TransportContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schedulergodx.utils.abstractions import Transport
    from schedulergodx_testing.rabbitmq import RabbitMQ


@pytest.fixture(scope="module")
def vhost_url(rabbitmq: RabbitMQ) -> Iterator[str]:
    """Give one virtual host for all tests of the contract: each names its queues for itself."""
    with rabbitmq.private_vhost() as url:
        yield url


@pytest.mark.rabbitmq
class TestRabbitMQTransport(TransportContract):
    @pytest.fixture
    def open_transport(self, vhost_url: str) -> Callable[[], Transport]:
        """Return a function that opens a transport to the virtual host."""
        return lambda: RabbitMQTransport(RmqConnect.from_url(vhost_url), name="contract")
