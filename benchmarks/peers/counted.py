"""What the tasks of peers do: nothing, but the last one writes down how long all took since the first.

Their results would need a Redis; so where a peer answers nothing, its own worker measures.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

TASKS = int(os.environ.get("PEER_TASKS", "0"))
REPORT = os.environ.get("PEER_REPORT", "")
URL = os.environ.get("PEER_URL", "")

_numbers = itertools.count(1)
_begun: list[float] = []


def count() -> None:
    """Count a task; at the last, write down the seconds since the first."""
    number = next(_numbers)
    if number == 1:
        _begun.append(time.monotonic())
    elif number == TASKS:
        unfinished = Path(f"{REPORT}.new")
        unfinished.write_text(str(time.monotonic() - _begun[0]), "ascii")
        unfinished.rename(REPORT)
