"""A real RabbitMQ for tests: one that is given, one in a container, or a private node.

`find_rabbitmq()` takes the first that can be had; the pytest fixtures of `schedulergodx_testing.plugin`
hand it out. Importing this package imports neither testcontainers nor pytest.
"""

from schedulergodx_testing.rabbitmq.broker import (
    NotControllable,
    RabbitMQ,
    RabbitMQCommandFailed,
    RabbitMQUnavailable,
)
from schedulergodx_testing.rabbitmq.choose import GivenRabbitMQ, RabbitMQPool, find_rabbitmq
from schedulergodx_testing.rabbitmq.container import SchedulerRabbitMQ
from schedulergodx_testing.rabbitmq.node import LocalRabbitMQ
from schedulergodx_testing.rabbitmq.tls import TLSFiles

__all__ = [
    "GivenRabbitMQ",
    "LocalRabbitMQ",
    "NotControllable",
    "RabbitMQ",
    "RabbitMQCommandFailed",
    "RabbitMQPool",
    "RabbitMQUnavailable",
    "SchedulerRabbitMQ",
    "TLSFiles",
    "find_rabbitmq",
]
