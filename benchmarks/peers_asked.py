"""Asks the peers of `peers/`, each in a fresh process of an environment of its own, and starts a Redis for results."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measuring

if TYPE_CHECKING:
    from collections.abc import Iterator

PEERS = Path(__file__).parent / "peers"
NO_REDIS = (
    "left out: Dramatiq and Taskiq with results, which they keep in a Redis, and no redis-server is installed. "
    "On Debian and Ubuntu: apt-get install redis-server"
)
_PACKAGES = ("celery", "dramatiq", "taskiq", "taskiq-aio-pika", "taskiq-redis", "huey", "apscheduler")
_STEP_S, _STEPS = 0.05, 200


class Peers:
    """Asks peers.

    Args:
        python: an interpreter with `peers/requirements.txt`.
        url: of the RabbitMQ.
        redis: URL of a Redis for results, or "".
        folder: for their files.
        tasks: how many tasks a question is about, where it does not say.
    """

    def __init__(self, python: str, url: str, redis: str, folder: Path, tasks: int) -> None:
        self.has_results = bool(redis)
        self._python = str(Path(python).absolute())  # not resolved: a link tells which environment it is of
        self._url = url
        self._redis = redis
        self._folder = folder
        self._tasks = tasks
        self._numbers = count()

    def ask(
        self, question: str, peer: str, *, is_confirmed: bool = False, is_file: bool = False, tasks: int | None = None
    ) -> Any:
        """Return what a peer says to a question."""
        place = self._folder / f"peer-{next(self._numbers)}"
        facts = {
            "PEER_URL": f"{place}.db" if is_file else self._url,
            "PEER_REDIS": self._redis if question in {"answered", "latency"} else "",
            "PEER_TASKS": str(tasks or self._tasks),
            "PEER_REPORT": str(place),
            "PEER_CONFIRMS": "1" if is_confirmed else "",
        }
        return self._run("ask.py", question, peer, **facts)

    def lateness_ms(self) -> list[float]:
        """Return by how many milliseconds APScheduler's jobs were late."""
        late: list[float] = self._run("apscheduler_lateness.py", str(self._folder / f"jobs-{next(self._numbers)}.db"))
        return late

    def versions(self) -> dict[str, str]:
        """Return what is compared with."""
        program = (
            "import json, sys; from importlib.metadata import version; "
            "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
        )
        found: dict[str, str] = self._run("-c", program, *_PACKAGES)
        return found

    def _run(self, *arguments: str, **environment: str) -> Any:
        ended = subprocess.run(  # noqa: S603 - scripts of this folder
            [self._python, *arguments],
            cwd=PEERS,
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            check=True,
            timeout=900,
        )
        return json.loads(ended.stdout.splitlines()[-1])


@contextmanager
def redis_url(folder: Path) -> Iterator[str]:
    """Yield the URL of a private Redis that keeps nothing on disk; "" where none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield ""
        return
    port = _free_port()
    options = {"--bind": "127.0.0.1", "--port": str(port), "--dir": str(folder), "--save": "", "--appendonly": "no"}
    command = [program, *(word for option in options.items() for word in option)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:  # noqa: S603 - the server that was found
        try:
            _wait_for(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _wait_for(port: int) -> None:
    for _ in range(_STEPS):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            measuring.pause(_STEP_S)
        else:
            return
    raise RuntimeError(f"the Redis at port {port} does not answer")
