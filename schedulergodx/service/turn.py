"""What one turn of the service's loop decided, to be done once its transaction is on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from schedulergodx.utils.abstractions import Delivery, Reply
    from schedulergodx.utils.message.seals import Verified


@dataclass(kw_only=True, slots=True)
class Turn:
    """Collects what is to be done after the commit. If the commit fails, it is thrown away, and nothing was done.

    Attributes:
        now: the wall time of the turn.
        moment: the same on the monotonic clock.
        lines: what to log; a turn that was thrown away has not happened.
        log_level: what is below it is not logged.
        is_grace_over: whether the service stops, and running tasks have had their time.
        acks: deliveries that are stored or answered.
        rejects: deliveries that break the protocol, each with its reason.
        replies: answers that are in the outbox now.
        sent: numbers of replies that left the outbox.
        starts: tasks to start.
        ended: runs that have ended by themselves.
        abandoned: runs that are over time, or that the service cannot wait for.
        interrupted: those of them that the service cannot wait for.
        lacking: why a run could not be started: what the system had no more of; "": nothing of that kind.
    """

    now: datetime
    moment: float
    is_grace_over: bool = False
    acks: list[Delivery] = field(default_factory=list)
    rejects: list[tuple[Delivery, str]] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    starts: list[Verified] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    abandoned: list[str] = field(default_factory=list)
    interrupted: list[str] = field(default_factory=list)
    lacking: str = ""
    lines: list[tuple[int, str, tuple[object, ...]]] = field(default_factory=list)
    log_level: int = 0

    def say(self, level: int, message: str, *facts: object) -> None:
        """Log this after the commit, as `logging` does."""
        if level >= self.log_level:
            self.lines.append((level, message, facts))
