"""What to do with a stored task at a given moment: wait, run, or skip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

OVERDUE_GRACE_S = 60.0
"""By how many seconds a delayed task may be late before it counts as overdue, unless the service says otherwise."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet: `seconds` are left."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """Start it now; it is `late_s` seconds late."""

    late_s: float


@dataclass(frozen=True, slots=True)
class Skip:
    """Do not start it: it is overdue by its client's wish, `late_s` seconds late."""

    late_s: float


def decide(
    run_at: datetime,
    now: datetime,
    *,
    is_delayed: bool,
    is_overdue_enabled: bool,
    overdue_grace_s: float = OVERDUE_GRACE_S,
) -> Wait | Run | Skip:
    """Return what to do at `now` with a task whose moment is `run_at`.

    Only a delayed task can be overdue: one that was launched to run at once runs whenever the service gets to it.
    `is_overdue_enabled` runs overdue tasks late instead of skipping them (`enable_overdue` of the client).
    """
    late_s = (now - run_at).total_seconds()
    if late_s < 0:
        return Wait(seconds=-late_s)
    if is_delayed and not is_overdue_enabled and late_s > overdue_grace_s:
        return Skip(late_s)
    return Run(late_s)
