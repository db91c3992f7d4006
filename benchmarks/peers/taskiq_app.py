"""Taskiq over RabbitMQ by taskiq-aio-pika: acked after the run; results in a Redis, where there is one."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import counted
from taskiq_aio_pika import AioPikaBroker
from taskiq_redis import RedisAsyncResultBackend

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")
broker = AioPikaBroker(counted.URL, qos=1000)
if counted.REDIS:
    broker = broker.with_result_backend(RedisAsyncResultBackend(redis_url=counted.REDIS))
WORKER = ["-m", "taskiq", "worker", "taskiq_app:broker", "--workers", "1", "--max-threadpool-threads", "8"]


@broker.task
def nothing() -> None:
    """Count."""
    counted.count()


@broker.task
def answered() -> int:
    """Do as little as a task with a result can."""
    return 1


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the client's loop, with the broker connected."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(broker.startup())
    return loop


def _run(work: Coroutine[Any, Any, T]) -> T:
    return _loop().run_until_complete(work)


def close() -> None:
    """Disconnect the client."""
    _run(broker.shutdown())


def launch_many(tasks: int) -> None:
    """Queue many."""

    async def send() -> None:
        for _ in range(tasks):
            await nothing.kiq()

    _run(send())


def launch() -> None:
    """Queue one without a result."""
    _run(nothing.kiq())


def launch_answered() -> object:
    """Queue one, and return what can be asked for its result."""
    return _run(answered.kiq())


def wait_for(launched: Any) -> None:
    """Wait for the result. It asks again and again; every millisecond is the least that does not stall it."""
    _run(launched.wait_result(check_interval=0.001, timeout=120))
