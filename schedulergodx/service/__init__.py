"""The half that stores and runs: `Service`, and where its RabbitMQ is."""

from schedulergodx.service.core import Service
from schedulergodx.service.stopping import StopReport
from schedulergodx.utils.rmq_property import RmqConnect

__all__ = ["RmqConnect", "Service", "StopReport"]
