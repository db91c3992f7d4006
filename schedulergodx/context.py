"""The task that is running: what a function can ask about itself, and how its clients reach the service's broker."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(slots=True)
class RunningTask:
    """One run of a task, as seen from inside it.

    Attributes:
        message_id: the launch that is running; the same in every start of it, so effects can be made idempotent by it.
        start_number: 1 for the first start, 2 when it was started again after a crash, and so on.
        client: name of the client that launched it.
        broker: the service's own way to the broker, a URL or an `RmqConnect`, or None when it has none to give away.
            A client that travelled to the service launches through it. Not shown: it may hold a password.
        keys: the service's own keys, a `KeyRing`, or None; a client that travelled signs with them. Not shown either.
    """

    message_id: str
    start_number: int
    client: str
    broker: object | None = field(default=None, repr=False)
    keys: object | None = field(default=None, repr=False)


class TaskOverrun(BaseException):
    """Raised once inside a soft task that is over its lifetime: its outcome is told already, and it should end.

    It is no `Exception`, so that a function which handles its errors does not swallow it; `finally` and `with` do their
    work. A thread that waits in C, as `time.sleep` does, gets it when the wait is over.
    """


current: ContextVar[RunningTask | None] = ContextVar("schedulergodx_current_task", default=None)
"""The run of this thread, or coroutine; None outside of a task. Set by the service, around each run."""


def current_task() -> RunningTask | None:
    """Return the run that calls this, or None outside of a task.

    It is that of the calling thread or coroutine: threads and processes that a task starts by itself see None, unless
    they are started in a copy of its context (`contextvars.copy_context`).
    """
    return current.get()
