"""`Health`: what a service knows about itself, and what of it is a reason to worry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedulergodx.utils.abstractions import ConnectionState

if TYPE_CHECKING:
    from datetime import datetime

    from schedulergodx.utils.abstractions import ConnectionStatus, ConsumingStatus

STUCK_S = 30.0
"""A loop that has not turned for so long is stuck: it turns every second, and a turn takes milliseconds."""
UNANSWERED_S = 45.0
"""A broker that has not answered for so long on what consumes is gone: it is asked every ten seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """A service at one moment.

    Attributes:
        service: its name.
        at: the moment.
        phase: "new" before it is open, "standby" while another service holds its database, "running", "draining" and
            "flushing" while it stops, "done" at the end.
        turned_s_ago: seconds since the loop's last turn; None: it has not turned yet.
        consuming: the way in, with the time of the broker's last answer on it; None before it is open.
        publishing: the connection for answers, which begins with the first one; None before it is open.
        storage_error: why nothing can be stored at the moment; "": the database works.
        running: tasks that run.
        waiting: tasks that wait in the database for their moment, or for room, when they were last counted, at most
            about a minute before; None: not counted yet.
        abandoned: soft runs that are over their time and go on.
        abandoned_max: with so many of them, and with all threads in use, no other soft task starts.
    """

    service: str
    at: datetime
    phase: str
    turned_s_ago: float | None = None
    consuming: ConsumingStatus | None = None
    publishing: ConnectionStatus | None = None
    storage_error: str = ""
    running: int = 0
    waiting: int | None = None
    abandoned: int = 0
    abandoned_max: int = 0

    @property
    def is_alive(self) -> bool:
        """Whether the loop turns. If it does not, nothing but a new process helps."""
        return not self._of_the_loop()

    @property
    def is_healthy(self) -> bool:
        """Whether it takes tasks, stores them and starts them, or waits as a standby."""
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps it from its work, one sentence each; most of it passes by itself."""
        return (*self._of_the_loop(), *self._of_the_rest())

    def _of_the_loop(self) -> list[str]:
        if self.phase == "done":
            return ["the service has stopped"]
        if self.turned_s_ago is not None and self.turned_s_ago > STUCK_S:
            return [f"the loop is stuck: its last turn was {self.turned_s_ago:.0f} s ago"]
        return []

    def _of_the_rest(self) -> list[str]:
        problems: list[str] = []
        if self.phase not in {"running", "standby"}:
            problems.append("it is not open yet" if self.phase == "new" else f"it is being stopped ({self.phase})")
        if self.storage_error:
            problems.append(f"nothing can be stored: {self.storage_error}")
        if self.consuming is not None and self.phase == "running":
            problems += _of_the_way_in(self.consuming)
        if self.publishing is not None and _is_troubled(self.publishing):
            problems.append(f"answers wait: {_connection(self.publishing)}")
        if self.abandoned_max and self.abandoned >= self.abandoned_max:
            problems.append(f"{self.abandoned} soft tasks went on after their time and take the place of others")
        return problems

    def summary(self) -> str:
        """Return the whole in one line."""
        if self.problems:
            return "; ".join(self.problems)
        is_standby = self.phase == "standby" or (self.consuming is not None and self.consuming.is_waiting)
        way = "waits as a standby" if is_standby else "takes tasks"
        waiting = "" if self.waiting is None else f", {self.waiting} wait"
        abandoned = f", {self.abandoned} went on after their time" if self.abandoned else ""
        return f"service {self.service} {way}; {self.running} run{waiting}{abandoned}"


def _of_the_way_in(status: ConsumingStatus) -> list[str]:
    if status.connection.state is not ConnectionState.UP and status.connection.state is not ConnectionState.BLOCKED:
        return [f"no tasks come in: {_connection(status.connection)}"]
    if not status.is_consuming and not status.is_waiting:
        return [f"no tasks come in: {status.connection.broker} is connected, and delivers nothing"]
    if status.answered_s_ago is None or status.answered_s_ago > UNANSWERED_S:
        since = "yet" if status.answered_s_ago is None else f"for {status.answered_s_ago:.0f} s"
        return [f"no tasks come in: {status.connection.broker} has not answered {since} on the channel that consumes"]
    return []


def _is_troubled(status: ConnectionStatus) -> bool:
    """Whether it has been used and does not work; before the first answer it is not even begun."""
    is_begun = status.state is not ConnectionState.CONNECTING or bool(status.attempts)
    return is_begun and status.state is not ConnectionState.UP


def _connection(status: ConnectionStatus) -> str:
    reason = f" ({status.reason})" if status.reason else ""
    attempts = f" after {status.attempts} attempts" if status.attempts else ""
    return f"the connection to {status.broker} is {status.state.value}{attempts}{reason}"
