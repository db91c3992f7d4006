"""Other clients beside the one that is measured, each in a process of its own, so that none shares its interpreter.

`beside("flood", url, 20_000)` starts one, which says on its standard output how far it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import nothing, size_of, text_of

from schedulergodx import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BIG_BYTES = 6_000_000
"""Argument of a launch whose message, with its base64, is nearly as large as the 8 MiB that are allowed."""
RESULT_BYTES = 1_000_000
BEGUN, LAUNCHED, ANSWERED = "begun", "launched", "answered"
_FIRST = 500


def flood(client: Client, count: int) -> None:
    """Launch as fast as it goes, and wait for all results."""
    task = client.task(nothing)
    with client.batch():
        ids = [task.launch() for _ in range(min(_FIRST, count))]
        _say(BEGUN)
        ids += [task.launch() for _ in range(count - len(ids))]
    _say(LAUNCHED)
    for message_id in ids:
        message_id.result()
    _say(ANSWERED)


def big(client: Client, _count: int) -> None:
    """Launch tasks whose messages are as large as they may be, one after the other, until the process is killed."""
    task = client.task(size_of)
    data = os.urandom(BIG_BYTES)
    while True:
        task.launch(data).result()
        _say(BEGUN)


def slow(client: Client, count: int) -> None:
    """Launch tasks with large results; whoever started this stops the process, so that it takes none of them."""
    task = client.task(text_of)
    with client.batch():
        ids = [task.launch(RESULT_BYTES) for _ in range(count)]
    _say(BEGUN)
    for message_id in ids:
        message_id.result()


@contextmanager
def beside(kind: str, url: str, count: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Run a neighbour until the end of the block."""
    command = [sys.executable, str(Path(__file__)), kind, url, str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this file
    with process:
        try:
            wait_for(process, BEGUN)
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[str], word: str) -> None:
    """Wait until a neighbour has said so."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    raise RuntimeError(f"a neighbour has ended before it was {word}")


def _say(word: str) -> None:
    print(word, flush=True)


_KINDS: dict[str, Callable[[Client, int], None]] = {"flood": flood, "big": big, "slow": slow}

if __name__ == "__main__":
    with Client(name="neighbour", url=sys.argv[2]) as neighbour:
        _KINDS[sys.argv[1]](neighbour, int(sys.argv[3]))
