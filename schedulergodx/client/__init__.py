"""The half that launches: `Client`, and where its RabbitMQ is."""

from schedulergodx.client.core import Client
from schedulergodx.client.task import Task
from schedulergodx.utils.rmq_property import RmqConnect

__all__ = ["Client", "RmqConnect", "Task"]
