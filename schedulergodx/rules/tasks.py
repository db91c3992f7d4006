"""A launch as the service knows it: what was accepted, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from schedulergodx.rules.limits import NO_LIMITS, TaskLimits

if TYPE_CHECKING:
    from datetime import datetime

    from schedulergodx.rules.lifecycle import Outcome, TaskStatus


@dataclass(kw_only=True, slots=True)
class TaskSpec:
    """One accepted launch, as it is stored and run. Nothing in it has been unpickled.

    Attributes:
        message_id: the launch.
        client: name of the client.
        reply_to: queue for the answer, or "" when nobody waits for one.
        name: the function's name, for people, e.g. `shop.tasks.remind`.
        digest: SHA-256 of everything that identifies the content: the same id with another digest is a conflict.
        function: the function by value (cloudpickle), or None when it travels by reference alone.
        reference: the function by reference, `module:qualname`, or "".
        code_digest: hash of the function's code, to compare with what the reference gives; "" means do not compare.
        arguments: cloudpickle of `(args, kwargs)`, or the same as JSON text by the rules of results.
        arguments_by_value: the same for a function that runs by value, where that differs; else None.
        python: version of the Python that pickled, e.g. `3.11.7`.
        is_hard: in a killable process of its own, instead of a thread.
        lifetime_s: seconds that it may run; None: without limit.
        issued_at: when the client launched it, aware UTC.
        run_at: when to start it, aware UTC.
        is_delayed: whether it was launched with a moment, and so can be overdue.
        is_overdue_enabled: run it even when overdue.
        max_starts: how often it may be started, should a crash end it; 1: once.
        limits: what it may use, where it is hard.
        starts: how often it was started before.
        seal: the signature of all this, made when it was stored; "" when the service has no keys.
    """

    message_id: str
    client: str
    reply_to: str
    name: str
    digest: bytes
    function: bytes | None = field(repr=False)
    reference: str
    code_digest: str
    arguments: bytes = field(repr=False)
    arguments_by_value: bytes | None = field(repr=False)
    python: str
    is_hard: bool
    lifetime_s: float | None
    issued_at: datetime
    run_at: datetime
    is_delayed: bool
    is_overdue_enabled: bool
    max_starts: int = 1
    limits: TaskLimits = NO_LIMITS
    starts: int = 0
    seal: str = ""

    @property
    def can_be_overdue(self) -> bool:
        """Whether it may be skipped when it is late: not when it has begun before."""
        return self.is_delayed and not self.starts


class Added(Enum):
    """What `Storage.add` did: stored it, or knew it already, or knows another task of this id.

    FORGOTTEN: it knew it, and the task has ended so long ago that its outcome was pruned.
    """

    NEW = "new"
    SAME = "same"
    CONFLICT = "conflict"
    FORGOTTEN = "forgotten"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskState:
    """Where one task is, without its function and arguments.

    Attributes:
        message_id, client, name, is_hard, run_at, issued_at: as in `TaskSpec`.
        status: where it is.
        outcome: how it ended, or None while it has not.
        started_at: when it started, or None.
        starts: how often it was started.
        max_starts: as in `TaskSpec`.
    """

    message_id: str
    client: str
    name: str
    is_hard: bool
    issued_at: datetime
    run_at: datetime
    status: TaskStatus
    started_at: datetime | None
    starts: int
    outcome: Outcome | None
    max_starts: int = 1

    @property
    def may_start_again(self) -> bool:
        """Whether it may be started once more when a crash has ended its run."""
        return self.starts < self.max_starts
