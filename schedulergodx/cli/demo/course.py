"""How the launches of the demo go: what the service's database says, what the client hears, and what to make of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schedulergodx.cli.demo.steps import A_LAUNCH, raised_text, value_text
from schedulergodx.errors import ResultUnserializable, SchedulerError, TaskFailed, TaskRaised

if TYPE_CHECKING:
    from datetime import datetime

    from schedulergodx.cli.demo.steps import Step
    from schedulergodx.client.core import Client
    from schedulergodx.rules.lifecycle import TaskStatus
    from schedulergodx.rules.tasks import TaskState
    from schedulergodx.utils.abstractions import Clock

NO_ANSWER = "no answer"


@dataclass(kw_only=True)
class Course:
    """One launch on its way.

    Attributes:
        step: what was launched, and what is expected.
        message_id: its id, or "" before it was launched.
        state: where it is, as the service's database says, or None before the service has stored it.
        ended: how it ended, as the client heard it, in words; "" before that.
        answered_at: when it heard that.
        new_id: the id that came back, where a task launches another one.
    """

    step: Step
    message_id: str = ""
    state: TaskState | None = None
    ended: str = ""
    answered_at: datetime | None = None
    new_id: str = field(default="", repr=False)

    async def follow(self, client: Client, clock: Clock) -> None:
        """Wait for the answer, and note how it ended."""
        try:
            value = await client.async_result(self.message_id)
        except TaskRaised as error:
            self.ended = raised_text(error.exception_type)
        except (TaskFailed, ResultUnserializable) as error:
            self.ended = error.code
        except SchedulerError as error:
            self.ended = type(error).__name__
        else:
            if self.step.expected == A_LAUNCH and isinstance(value, str) and value:
                self.ended, self.new_id = A_LAUNCH, value
            else:
                self.ended = value_text(value)
        self.answered_at = clock.now()

    @property
    def status(self) -> TaskStatus | None:
        """Where it is, or None before the service has stored it."""
        return None if self.state is None else self.state.status

    @property
    def waited_s(self) -> float | None:
        """Seconds from the launch to the start, or None."""
        return None if self.state is None else _between(self.state.issued_at, self.state.started_at)

    @property
    def ran_s(self) -> float | None:
        """Seconds from the start to the recorded outcome, or None."""
        outcome = None if self.state is None else self.state.outcome
        return None if outcome is None or self.state is None else _between(self.state.started_at, outcome.ended_at)

    @property
    def total_s(self) -> float | None:
        """Seconds from the launch to the answer, or None."""
        return None if self.state is None else _between(self.state.issued_at, self.answered_at)

    def faults(self) -> list[str]:
        """Return what is not as it has to be, each in words."""
        found: list[str] = []
        if self.ended != self.step.expected:
            found.append(f"expected {self.step.expected}, got {self.ended or NO_ANSWER}")
        if self.waited_s is not None and self.waited_s < self.step.delay_s:
            found.append(f"started {self.step.delay_s - self.waited_s:.6f} s too early")
        if self.ended and (self.status is None or not self.status.is_ended):
            found.append("the service's database does not know that it ended")
        return found


def _between(first: datetime | None, last: datetime | None) -> float | None:
    return None if first is None or last is None else (last - first).total_seconds()
