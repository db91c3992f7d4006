"""Dramatiq over RabbitMQ: durable, acked after the run; it has no results over RabbitMQ."""

from __future__ import annotations

import os

import counted
import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

broker = RabbitmqBroker(url=counted.URL, confirm_delivery=bool(os.environ.get("PEER_CONFIRMS")))
dramatiq.set_broker(broker)
WORKER = ["-m", "dramatiq", "dramatiq_app", "--processes", "1", "--threads", "8"]


@dramatiq.actor
def nothing() -> None:
    """Count."""
    counted.count()


def launch() -> None:
    """Queue one."""
    nothing.send()
