"""Dramatiq over RabbitMQ: durable, acked after the run; results in a Redis, where there is one."""

from __future__ import annotations

import os
from typing import Any

import counted
import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

broker = RabbitmqBroker(url=counted.URL, confirm_delivery=bool(os.environ.get("PEER_CONFIRMS")))
if counted.REDIS:
    broker.add_middleware(Results(backend=RedisBackend(url=counted.REDIS)))
dramatiq.set_broker(broker)
WORKER = ["-m", "dramatiq", "dramatiq_app", "--processes", "1", "--threads", "8"]
_KEPT = {"store_results": True} if counted.REDIS else {}


@dramatiq.actor
def nothing() -> None:
    """Count."""
    counted.count()


@dramatiq.actor(**_KEPT)
def answered() -> int:
    """Do as little as a task with a result can."""
    return 1


def launch() -> None:
    """Queue one without a result."""
    nothing.send()


def launch_answered() -> object:
    """Queue one, and return what can be asked for its result."""
    return answered.send()


def wait_for(launched: Any) -> None:
    """Wait for the result."""
    launched.get_result(block=True, timeout=120_000)
