"""Celery over RabbitMQ: acked after the run, results as messages (`rpc://`) where they are asked for."""

from __future__ import annotations

import counted
from celery import Celery

app = Celery("peer", broker=counted.URL, backend="rpc://")
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=100,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
WORKER = ["-m", "celery", "-A", "celery_app", "worker", "-P", "threads", "-c", "8", "--loglevel=ERROR"]


@app.task(ignore_result=True)
def nothing() -> None:
    """Count."""
    counted.count()


@app.task
def answered() -> None:
    """Do nothing, and answer."""


def launch() -> None:
    """Queue one without a result."""
    nothing.delay()


def launch_answered() -> object:
    """Queue one, and return what can be asked for its result."""
    return answered.delay()


def wait_for(launched: object) -> None:
    """Wait for the result."""
    launched.get(timeout=120)  # type: ignore[attr-defined]  # an AsyncResult
