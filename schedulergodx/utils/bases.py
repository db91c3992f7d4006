"""What client and service have in common, as 1.0.0 had it: a name, a logger, two queues."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger

    from pika.adapters.blocking_connection import BlockingChannel

    from schedulergodx.utils.logger import LoggerConstructor
    from schedulergodx.utils.rmq_property import RmqConnect


class AbstractionConnectClass(ABC):  # noqa: B024 - nothing was abstract in it in 1.0.0 either
    """One end of a queue, for programs of 1.0.0 that made their own. Nothing of this library uses `channel`.

    Args:
        name: stands in log lines.
        rmq_que: name of the queue.
        logger: where lines go.
        rmq_connect: where the RabbitMQ is. The connection is made when `channel` is first asked for.
    """

    def __init__(self, name: str, *, rmq_que: str, logger: Logger, rmq_connect: RmqConnect) -> None:
        self.name = name
        self.logger = logger
        self.queue = rmq_que
        self.rmq_connect = rmq_connect

    @cached_property
    def channel(self) -> BlockingChannel:
        """A pika channel with the queue declared. One thread at a time may use it."""
        return self.rmq_connect.get_channel(self.queue)

    def _logging(self, level: str, message: str) -> None:
        getattr(self.logger, level)(f"{self.name} - {message}")


class AbstractionCore(ABC):
    """What `Client` and `Service` have in common: a name, a logger, the two queues."""

    core_name: str

    @property
    @abstractmethod
    def rmq_publisher_que(self) -> str:
        """Name of the queue that this side publishes to."""

    @property
    @abstractmethod
    def rmq_consumer_que(self) -> str:
        """Name of the queue that this side consumes from."""

    @property
    @abstractmethod
    def logger(self) -> LoggerConstructor:
        """The logger of this side; see `LoggerConstructor`."""

    def _logging(self, level: str, message: str, *facts: object) -> None:
        """Log `message`, with its facts filled in as `logging` does, behind the core's name."""
        getattr(self.logger, level)(f"{self.core_name} - {message}", *facts)
