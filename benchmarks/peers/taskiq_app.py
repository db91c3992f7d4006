"""Taskiq over RabbitMQ by taskiq-aio-pika: acked after the run; it has no results over RabbitMQ."""

from __future__ import annotations

import asyncio

import counted
from taskiq_aio_pika import AioPikaBroker

broker = AioPikaBroker(counted.URL, qos=1000)
WORKER = ["-m", "taskiq", "worker", "taskiq_app:broker", "--workers", "1", "--max-threadpool-threads", "8"]


@broker.task
def nothing() -> None:
    """Count."""
    counted.count()


def launch_many(tasks: int) -> None:
    """Queue many."""

    async def send() -> None:
        await broker.startup()
        for _ in range(tasks):
            await nothing.kiq()
        await broker.shutdown()

    asyncio.run(send())
