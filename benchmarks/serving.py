"""A service in a process of its own, as benchmarks of the production library need it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import measuring
import pika

from schedulergodx_testing.rabbitmq import LocalRabbitMQ

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

STOP_S = 60.0
_SERVICE = """
import json, sys
from schedulergodx import Service
from schedulergodx.config import ServiceLimits
Service(url=sys.argv[1], db=sys.argv[2], limits=ServiceLimits(**json.loads(sys.argv[3]))).start()
"""
_TICKS = os.sysconf("SC_CLK_TCK")


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
        _note_version(given)
        yield given
        return
    with LocalRabbitMQ() as broker:
        _note_version(broker.url)
        yield broker.url


def _note_version(url: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        said: Any = connection._impl.server_properties  # noqa: SLF001 - pika has no public name for it
        measuring.note(rabbitmq=said["version"].decode() if isinstance(said["version"], bytes) else said["version"])


@contextmanager
def service(url: str, database: Path, **limits: float) -> Iterator[subprocess.Popen[bytes]]:
    """Run a service until the end of the block, with eight threads and what else `ServiceLimits` says.

    It can load this folder's tasks by reference, and has the keys of this process.
    """
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", _SERVICE, url, str(database), json.dumps(limits)]
    process = subprocess.Popen(command, env=environment)  # noqa: S603 - the program above
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)


def resident_mb(pid: int, *, is_peak: bool = False) -> float:
    """Return the memory that a process holds, or the most that it has held, in MB of 10^6 bytes."""
    field = "VmHWM:" if is_peak else "VmRSS:"
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """Return the seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
