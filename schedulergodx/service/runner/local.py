"""`LocalRunner`: runs tasks on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx.clock import SystemClock
from schedulergodx.config import OUTPUT_BYTES_MAX
from schedulergodx.errors import Closed
from schedulergodx.rules.limits import NO_LIMITS, TaskLimits
from schedulergodx.service.runner.processes import ProcessPool, can_run_hard
from schedulergodx.service.runner.threads import ThreadPool
from schedulergodx.utils.abstractions import Capacity

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from schedulergodx.utils.abstractions import Finished
    from schedulergodx.utils.message.seals import Verified


LEAD_S = 0.005
"""A soft task is given to its thread so long before its moment: by then its claim is on disk, on a disk of our days."""


class LocalRunner:
    """The production `Runner`: soft tasks in threads, hard ones in processes. Making one starts nothing.

    A hard task runs in a process of its own, forked from a small server process and not from the service; it is
    killed with everything it started. What it prints goes to the streams of the service; its environment and folder are
    those that the service had at its first hard task, or at `warm_up`.

    Args:
        threads: soft runs at a time.
        processes: hard runs at a time.
        kill_grace_s: seconds that a hard task has between being asked to end (TERM) and being forced (KILL), and that
            what it leaves behind may live after it has returned.
        broker: the service's own way to the broker, a URL or an `RmqConnect`, for clients inside of tasks.
        result_bytes_max: a result whose text is larger is told as RESULT_TOO_LARGE.
        limits: caps of what each hard task may use, and what it may use where it does not say.
        output_bytes_max: what each hard task may print on standard output, and on standard error; the rest is dropped.
    """

    def __init__(  # noqa: PLR0913 - each is a bound or a fact of its own
        self,
        *,
        threads: int = 8,
        processes: int = 2,
        kill_grace_s: float = 2.0,
        broker: object | None = None,
        result_bytes_max: int = 8 * 1024 * 1024,
        limits: TaskLimits = NO_LIMITS,
        output_bytes_max: int = OUTPUT_BYTES_MAX,
    ) -> None:
        self._clock = SystemClock()
        self._on_finished: Callable[[Finished], None] | None = None
        self._is_closed = False
        self._soft = ThreadPool(threads, broker=broker, result_bytes_max=result_bytes_max, on_finished=self._tell)
        self._hard = ProcessPool(
            processes,
            kill_grace_s=kill_grace_s,
            broker=broker,
            result_bytes_max=result_bytes_max,
            limits=limits,
            output_bytes_max=output_bytes_max,
            on_finished=self._tell,
        )

    def listen(self, on_finished: Callable[[Finished], None]) -> None:
        """Hand every `Finished` to `on_finished`, from threads of the runner, or from `start` when it fails."""
        self._on_finished = on_finished

    def _tell(self, finished: Finished) -> None:
        if self._on_finished is not None:
            self._on_finished(finished)

    def can_run_hard(self) -> bool:
        """Return whether hard tasks can be run, and killed, on this system."""
        return can_run_hard()

    @property
    def lead_s(self) -> float:
        """How many seconds before its moment a soft run may be given to `start`."""
        return LEAD_S

    def warm_up(self) -> None:
        """Start the server process of hard tasks, without waiting for it, so that the first one starts sooner."""
        if can_run_hard() and not self._is_closed:
            self._hard.warm_up()

    def capacity(self, ahead: int = 0) -> Capacity:
        """Return how many more runs can start now; with `ahead`, so many more soft ones, which wait for a thread."""
        return Capacity(soft=self._soft.capacity(ahead), hard=self._hard.capacity())

    def start(
        self,
        task: Verified,
        *,
        start_number: int,
        on_begin: Callable[[], bool] = lambda: True,
        left_s: Callable[[], float] | None = None,
    ) -> None:
        """Start the run of `task`; its `Finished` tells how it ended, or why it could not start.

        A soft one waits in its thread until nothing is left of `left_s`, and then calls `on_begin`, just before its
        function is entered; see `Runner.start`.

        Raises:
            Closed: the runner was closed; nothing was started.
        """
        if self._is_closed:
            raise Closed("the runner is closed; it starts no more tasks")
        if task.is_hard:
            self._hard.start(task, start_number=start_number)
        else:
            self._soft.start(task, start_number=start_number, on_begin=on_begin, left_s=left_s)

    def take_back(self) -> list[str]:
        """Give up all soft runs that have not begun, and return their ids. They do not run; no `Finished` comes."""
        return self._soft.take_back()

    def abandon(self, message_id: str) -> None:
        """Stop caring about a run. A hard one is killed with its children; a soft one is asked to stop.

        Its `Finished` still comes, once: of a hard one when everything is gone, of a soft one when it returns.
        """
        self._soft.abandon(message_id)
        self._hard.abandon(message_id)

    def abandoned(self) -> int:
        """Return how many soft runs go on after `abandon`."""
        return self._soft.abandoned()

    def threads(self) -> Mapping[str, threading.Thread]:
        """Return the threads of this runner that live, by name."""
        return {thread.name: thread for thread in (*self._soft.threads(), *self._hard.threads())}

    def close(self, timeout_s: float = 5.0) -> None:
        """Kill hard runs, end idle threads, and wait at most `timeout_s` seconds for that. What waits does not begin.

        Hard runs get their grace within that time; what is not gone by then is killed without. Every hard run has had
        its `Finished` when this returns; that of a soft run comes when it returns, if it had begun. Closing twice does
        nothing.
        """
        if self._is_closed:
            return
        self._is_closed = True
        deadline = self._clock.monotonic() + timeout_s
        self._hard.close(timeout_s)
        self._soft.close(max(0.0, deadline - self._clock.monotonic()))
