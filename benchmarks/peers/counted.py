"""What the tasks of peers do: nothing, but the last one writes down how long all took since the first.

So a worker measures by itself where it answers nothing. The environment of all scripts is read here.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

TASKS = int(os.environ.get("PEER_TASKS", "0"))
REPORT = os.environ.get("PEER_REPORT", "")
URL = os.environ.get("PEER_URL", "")
REDIS = os.environ.get("PEER_REDIS", "")
"""The URL of a Redis for results, or "" for none."""

_numbers = itertools.count(1)
_begun: list[float] = []


def count() -> None:
    """Count a task; at the last, write down the seconds since the first."""
    number = next(_numbers)
    if number == 1:
        _begun.append(time.monotonic())
    if number == TASKS:
        unfinished = Path(f"{REPORT}.new")
        unfinished.write_text(str(time.monotonic() - _begun[0]), "ascii")
        unfinished.rename(REPORT)
