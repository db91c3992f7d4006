"""What the contract of transports has done to a RabbitMQ, and looks at in it, by other means than a transport."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pika
import pytest

from schedulergodx.transport.rabbitmq.transport import REASON_HEADER
from schedulergodx_testing.contracts.transport import CAPABILITIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.utils.abstractions import QueueSpec
    from schedulergodx_testing.rabbitmq import RabbitMQ


class RabbitMQCapabilities:
    """Mix it in before `TransportContract`; needs the fixtures `rabbitmq` and `vhost_url`."""

    capabilities = frozenset(CAPABILITIES)

    @pytest.fixture(autouse=True)
    def _is_controllable(self, request: pytest.FixtureRequest, rabbitmq: RabbitMQ) -> None:
        """A broker that belongs to somebody else is not restarted, cut or blocked."""
        if getattr(request.function, "needs", None) and not rabbitmq.is_controllable:
            pytest.skip("this RabbitMQ can only be used, not controlled")

    @pytest.fixture
    def restart_broker(self, rabbitmq: RabbitMQ) -> Callable[[], None]:
        return rabbitmq.restart

    @pytest.fixture
    def cut_connections(self, rabbitmq: RabbitMQ) -> Callable[[], None]:
        return rabbitmq.close_connections

    @pytest.fixture
    def block(self, rabbitmq: RabbitMQ) -> Callable[[bool], None]:
        return rabbitmq.memory_alarm

    @pytest.fixture
    def fill(self, rabbitmq: RabbitMQ, vhost_url: str) -> Callable[[QueueSpec, int], None]:
        """Return a function that makes a policy for the one queue."""
        vhost = unquote(urlsplit(vhost_url).path[1:])

        def fill(queue: QueueSpec, count: int) -> None:
            policy = json.dumps({"max-length": count, "overflow": "reject-publish"})
            rabbitmq.ctl("--vhost", vhost, "set_policy", queue.name, f"^{queue.name}$", policy)

        return fill

    @pytest.fixture
    def dead_letters(self, vhost_url: str) -> Callable[[QueueSpec], list[tuple[bytes, str, str]]]:
        """Return a function that takes the dead letters off, one by one."""

        def read(queue: QueueSpec) -> list[tuple[bytes, str, str]]:
            letters = []
            connection = pika.BlockingConnection(pika.URLParameters(vhost_url))
            try:
                channel = connection.channel()
                while (got := channel.basic_get(queue.dead_letter_name, auto_ack=True))[0] is not None:
                    _, properties, body = got
                    letters.append((body, properties.message_id, properties.headers[REASON_HEADER]))
            finally:
                connection.close()
            return letters

        return read
