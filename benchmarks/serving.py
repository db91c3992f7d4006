"""A service in a process of its own, as benchmarks of the production library need it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from schedulergodx_testing.rabbitmq import LocalRabbitMQ

if TYPE_CHECKING:
    from collections.abc import Iterator

STOP_S = 60.0
_SERVICE = "import sys; from schedulergodx import Service; Service(url=sys.argv[1], db=sys.argv[2]).start()"


@contextmanager
def folder() -> Iterator[Path]:
    """Yield a folder on a real disk, gone at the end: a database in memory would make durability free."""
    with tempfile.TemporaryDirectory(prefix="schedulergodx-bench-", dir=os.environ.get("BENCH_FOLDER")) as made:
        yield Path(made)


@contextmanager
def rabbitmq_url() -> Iterator[str]:
    """Yield the URL of a private node, or the one that `SCHEDULERGODX_BENCH_URL` gives."""
    given = os.environ.get("SCHEDULERGODX_BENCH_URL")
    if given:
        yield given
        return
    with LocalRabbitMQ() as broker:
        yield broker.url


@contextmanager
def service(url: str, database: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a service with eight threads until the end of the block. It can load this folder's tasks by reference."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    process = subprocess.Popen([sys.executable, "-c", _SERVICE, url, str(database)], env=environment)  # noqa: S603
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)
