"""Asks one peer one question, in a process of its own, and prints the answer as JSON.

`ask.py end-to-end celery_app`, with the environment of `counted`. The questions are those of `bench_peers.py`.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEP_S, LATENCIES, LAUNCHES = 0.002, 300, 500


def end_to_end(peer: Any) -> float:
    """Queue all, start a worker, and return how many it ran in a second, from the first to the last."""
    if hasattr(peer, "launch_many"):
        peer.launch_many(counted.TASKS)
    else:
        for _ in range(counted.TASKS):
            peer.launch()
    with _worker(peer):
        while not Path(counted.REPORT).exists():
            time.sleep(STEP_S)
    return (counted.TASKS - 1) / float(Path(counted.REPORT).read_text("ascii"))


def answered(peer: Any) -> float:
    """Queue all, start a worker, and return how many results came in a second, from the first to the last."""
    launched = [peer.launch_answered() for _ in range(counted.TASKS)]
    with _worker(peer):
        peer.wait_for(launched[0])
        begun = time.monotonic()
        for one in launched[1:]:
            peer.wait_for(one)
        return (counted.TASKS - 1) / (time.monotonic() - begun)


def latency(peer: Any) -> list[float]:
    """Return the milliseconds from one launch to its result, one at a time."""
    with _worker(peer):
        peer.wait_for(peer.launch_answered())
        taken = []
        for _ in range(LATENCIES):
            begun = time.monotonic()
            peer.wait_for(peer.launch_answered())
            taken.append((time.monotonic() - begun) * 1000)
        return taken


def launching(peer: Any) -> float:
    """Return how many launches one thread sends in a second."""
    peer.launch()
    begun = time.monotonic()
    for _ in range(LAUNCHES):
        peer.launch()
    return LAUNCHES / (time.monotonic() - begun)


def starting(peer: Any) -> float:
    """Queue one, start a worker, and return the milliseconds until it has run."""
    peer.launch()
    begun = time.monotonic()
    with _worker(peer):
        while not Path(counted.REPORT).exists():
            time.sleep(STEP_S)
        return (time.monotonic() - begun) * 1000


@contextmanager
def _worker(peer: Any) -> Iterator[None]:
    with subprocess.Popen(  # noqa: S603 - a worker of this folder
        [sys.executable, *peer.WORKER], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # all is measured, and some take long to stop


QUESTIONS: dict[str, Callable[[Any], object]] = {
    "end-to-end": end_to_end,
    "answered": answered,
    "latency": latency,
    "launching": launching,
    "starting": starting,
}

if __name__ == "__main__":
    asked = importlib.import_module(sys.argv[2])
    print(json.dumps(QUESTIONS[sys.argv[1]](asked)))
    getattr(asked, "close", lambda: None)()
