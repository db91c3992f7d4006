"""The runs under way: starting what is due, ending what has finished, giving up on what is over time."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING

from schedulergodx.rules import due
from schedulergodx.rules.lifecycle import Code, Ending, Report
from schedulergodx.rules.pace import CLAIM_WAIT_S, Pace
from schedulergodx.service.start_pause import StartPause

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from datetime import datetime

    from schedulergodx.rules.tasks import TaskSpec
    from schedulergodx.service.admission import Admission
    from schedulergodx.service.ends import Ends
    from schedulergodx.service.outcomes import Outcomes
    from schedulergodx.service.turn import Turn
    from schedulergodx.utils.abstractions import Capacity, Clock, Finished, Runner, Storage
    from schedulergodx.utils.logger import CoreLogger
    from schedulergodx.utils.message.seals import Verified


@dataclass(slots=True)
class _Run:
    """A claimed task that the runner has; moments are on the monotonic clock.

    Attributes:
        given_at: when the runner got it.
        begun_at: when it began, set by its own thread; None: it waits for a thread, behind others.
    """

    client: str
    is_hard: bool
    lifetime_s: float | None
    starts: int
    max_starts: int
    given_at: float
    begun_at: float | None

    def is_over(self, moment: float) -> bool:
        """Whether it has had its lifetime at `moment`."""
        return self.lifetime_s is not None and self.begun_at is not None and self.begun_at + self.lifetime_s <= moment

    @property
    def late_at(self) -> float:
        """When it has waited for its thread for too long."""
        return self.given_at + CLAIM_WAIT_S

    def look_at(self, moment: float) -> float:
        """Return until when, from `moment` on, it needs no look: it neither overruns nor waits for too long."""
        if self.begun_at is not None:
            return inf if self.lifetime_s is None else self.begun_at + self.lifetime_s
        # It may begin now, and nobody would say so.
        return self.late_at if self.lifetime_s is None else min(self.late_at, moment + self.lifetime_s)

    @property
    def may_start_again(self) -> bool:
        """Whether a crash may be followed by one more start."""
        return self.starts < self.max_starts


class Runs:
    """Knows what runs, and until when it may. Only the loop's thread uses it."""

    def __init__(  # noqa: PLR0913, PLR0917 - the seams, and a number
        self,
        storage: Storage,
        runner: Runner,
        clock: Clock,
        outcomes: Outcomes,
        admission: Admission,
        logger: CoreLogger,
        ends: Ends,
        *,
        overdue_grace_s: float,
        abandoned_max: int,
    ) -> None:
        self._storage = storage
        self._runner = runner
        self._clock = clock
        self._outcomes = outcomes
        self._admission = admission
        self._logger = logger
        self._ends = ends  # such runs are over, though not on disk
        self._overdue_grace_s = overdue_grace_s
        self._pace = Pace()
        self._lead = timedelta(microseconds=int(runner.lead_s * 1e6))  # rounded down: never more than that
        self._is_marking = False  # whether it is on disk which runs have begun: else none is claimed before it can
        self._taken_back: list[str] = []
        self._pause = StartPause(clock, logger)
        self._abandoned_max = abandoned_max  # soft runs that go on after that: with so many, no other one starts
        self._is_out_of_threads = False
        self._running: dict[str, _Run] = {}
        self._killed: set[str] = set()  # over time, and abandoned before that could be recorded
        self.is_behind = False  # whether more may be due than there was room for
        self._look_at = inf  # before that, on the monotonic clock, no run needs a look

    @property
    def running(self) -> tuple[str, ...]:
        """The ids of the runs under way: without those that have not begun."""
        return tuple(message_id for message_id, run in list(self._running.items()) if run.begun_at is not None)

    def client_of(self, message_id: str) -> str:
        """Return who launched a run under way, or "" when its outcome is recorded."""
        run = self._running.get(message_id)
        return "" if run is None else run.client

    @property
    def are_over(self) -> bool:
        """Whether the runner has nothing more of this service."""
        return not self._running

    # Within a transaction:

    def start_due(self, turn: Turn, *, now: datetime) -> None:
        """Start, or skip, the tasks whose moment has come, as many as there is room for.

        Soft ones whose moment is about to come are given to free threads, which wait for it, but for the last one.
        """
        if self._pause.is_on or turn.lacking:
            return
        ended = [run for message_id in turn.ended if (run := self._running.get(message_id)) is not None]
        quick = [run for run in ended if not run.is_hard and run.begun_at is not None]
        self._pace.ended(len(quick), turn.moment)
        crowded = self._ends.crowded()
        if crowded is None:
            return
        capacity, free = self._room(turn.moment)
        until = now + self._lead if free > 1 else now
        found = self._storage.due(until, soft_limit=capacity.soft, hard_limit=capacity.hard, without=crowded)
        self.is_behind = len(found) >= capacity.soft
        for task in found:
            is_early = task.run_at > now
            if is_early and (task.is_hard or free <= 1):
                continue
            moment = task.run_at if is_early else now
            decision = self._decide(task, moment)
            if isinstance(decision, due.Skip):
                self._end(task, _skipped(decision, self._overdue_grace_s), turn, now)
            elif task.is_hard and not self._runner.can_run_hard():
                self._end(task, _NO_HARD, turn, now)
            elif isinstance(decision, due.Run):
                self._start(task, turn, moment)
                free -= not task.is_hard

    def _decide(self, task: TaskSpec, now: datetime) -> due.Wait | due.Run | due.Skip:
        return due.decide(
            task.run_at,
            now,
            is_delayed=task.can_be_overdue,
            is_overdue_enabled=task.is_overdue_enabled,
            overdue_grace_s=self._overdue_grace_s,
        )

    def _room(self, moment: float) -> tuple[Capacity, int]:
        """Return how many tasks may be claimed: more soft ones than there are threads, while they end quickly.

        And how many threads are free for what is early: none where nothing may be.
        """
        if not self._is_marking:
            return self._runner.capacity(), 0
        ahead = self._pace.ahead(moment)
        capacity = self._runner.capacity(ahead)
        return capacity, capacity.soft - ahead if self._lead else 0

    def _start(self, task: TaskSpec, turn: Turn, now: datetime) -> None:
        admitted = self._admission.admit(task)
        if isinstance(admitted, Report):
            self._end(task, admitted, turn, now)
        elif self._storage.start(task.message_id, now=now):  # before: W7
            turn.starts.append(admitted)

    def finish(self, finished: Finished, turn: Turn, *, now: datetime) -> None:
        """Record what a run brought; nothing, when its outcome was recorded at its deadline."""
        run = self._running.get(finished.message_id)
        if run is None:
            turn.say(logging.INFO, "a run ended after its outcome was told (message %s)", finished.message_id)
            return
        if finished.message_id in self._killed:
            return  # `give_up_overtime` says how it ended
        turn.ended.append(finished.message_id)
        if finished.ending is Ending.NOT_STARTED:
            self._storage.put_back(finished.message_id, has_run=False)
            turn.lacking = turn.lacking or finished.report.message
        elif finished.ending is Ending.NOT_BEGUN:
            self._storage.put_back(finished.message_id, has_run=False)
        elif finished.ending is Ending.CRASHED and run.may_start_again:
            self._start_again(finished.message_id, run.starts, run.max_starts, finished.report.message, turn)
        else:
            self._outcomes.end(finished.message_id, finished.report, turn, client=run.client, now=now)

    def _start_again(self, message_id: str, starts: int, max_starts: int, why: str, turn: Turn) -> None:
        self._storage.put_back(message_id, has_run=True)
        what = "start %d of %d ended in a crash, the task starts again: %s (message %s)"
        turn.say(logging.WARNING, what, starts, max_starts, why, message_id)

    def put_back(self, turn: Turn) -> None:
        """Let what was taken back from the runner wait again, as if it had not been claimed."""
        for message_id in self._taken_back:
            self._storage.put_back(message_id, has_run=False)
        turn.ended += self._taken_back

    def give_up_overtime(self, turn: Turn, *, now: datetime) -> None:
        """Record TASK_TIMEOUT for every run that is over its lifetime."""
        if turn.moment < self._look_at:
            return
        for message_id, run in self._running.items():
            if run.is_over(turn.moment) and message_id not in turn.ended and message_id not in self._ends:
                turn.abandoned.append(message_id)
                self._outcomes.end(message_id, _overtime(run), turn, client=run.client, now=now)

    def give_up_all(self, turn: Turn, *, now: datetime) -> None:
        """Record TASK_INTERRUPTED for everything that still runs: the service stops.

        What may start again after a crash waits for the next start of the service instead.
        """
        for message_id, run in self._running.items():
            if message_id in turn.ended or message_id in turn.abandoned:
                continue  # it has its own outcome
            turn.abandoned.append(message_id)
            turn.interrupted.append(message_id)
            if run.may_start_again:
                self._start_again(message_id, run.starts, run.max_starts, _STOPPED.message, turn)
            else:
                self._outcomes.end(message_id, _STOPPED, turn, client=run.client, now=now)

    def report_interrupted(self, turn: Turn, *, now: datetime) -> None:
        """Record TASK_INTERRUPTED for what ran when an earlier service on this database ended, or start it again."""
        for message_id in self._storage.interrupted():
            state = self._storage.find(message_id)
            if state is None:
                continue
            if not self._storage.has_begun(message_id):
                self._storage.put_back(message_id, has_run=False)
                what = "a task was to start when the service ended, and had not begun: it waits again (message %s)"
                turn.say(logging.INFO, what, message_id)
            elif state.may_start_again:
                self._start_again(message_id, state.starts, state.max_starts, _DIED.message, turn)
            else:
                self._outcomes.end(message_id, _DIED, turn, client=state.client, now=now)

    # After its commit:

    def after_commit(self, turn: Turn) -> None:
        """Do what the turn decided."""
        ended = [run for message_id in turn.ended if (run := self._running.pop(message_id, None)) is not None]
        self._taken_back.clear()
        begun = [run for run in ended if run.begun_at is not None]
        moment = self._clock.monotonic()
        self._pace.took(moment - turn.moment)
        if turn.lacking:
            self._pause.begin(turn.lacking)
        elif begun:
            self._pause.over()
        for message_id in turn.abandoned:
            run = self._running.pop(message_id)
            if message_id in self._killed:
                self._killed.remove(message_id)
                continue
            self._runner.abandon(message_id)
            if not run.is_hard and message_id not in turn.interrupted:
                self._say_that_it_goes_on(message_id)
        if turn.abandoned or self._is_out_of_threads:
            self._watch_threads()
        self._take_back_late(moment)
        for task in turn.starts:
            self._give(task, moment, is_early=task.run_at > turn.now)

    def _give(self, task: Verified, moment: float, *, is_early: bool) -> None:
        number = task.starts + 1
        begun_at = moment if task.is_hard else None
        run = _Run(task.client, task.is_hard, task.lifetime_s, number, task.max_starts, moment, begun_at)
        self._running[task.message_id] = run
        self._look_at = min(self._look_at, run.look_at(moment))
        self._logger.info("task %s started (message %s)", task.name, task.message_id)
        on_begin = self._beginning(task, run, is_watching=task.is_delayed or is_early)
        left_s = self._left(task) if is_early else None
        self._runner.start(task, start_number=number, on_begin=on_begin, left_s=left_s)  # before: W8

    def _left(self, task: Verified) -> Callable[[], float]:
        """Return what says how long a run has to wait that was given ahead of its moment; see `Runner.start`."""

        def left_s() -> float:
            left = task.run_at - self._clock.now()
            return left.total_seconds() if left <= self._lead else 0.0  # the clock was set back: `on_begin` sees it

        return left_s

    def _beginning(self, task: Verified, run: _Run, *, is_watching: bool) -> Callable[[], bool]:
        """Return what a soft run does in its thread just before its function is entered; see `Runner.start`.

        With `is_watching` it does not run before its moment, or when it is overdue by now.
        """
        mark = None if task.is_hard else self._storage.beginning(task.message_id)
        self._is_marking = mark is not None or (task.is_hard and self._is_marking)

        def on_begin() -> bool:
            if is_watching and not isinstance(self._decide(task, self._clock.now()), due.Run):
                return False  # it waits again, and the next turn decides
            if mark is not None:
                mark()
            run.begun_at = self._clock.monotonic()
            return True

        return on_begin

    def take_back(self) -> None:
        """Take all claims back from the runner that have not begun. The next turn puts them back."""
        self._taken_back += self._runner.take_back()

    def _take_back_late(self, moment: float) -> None:
        """Take claims back when one waits for too long: what is before it has become slow."""
        if moment < self._look_at:
            return
        waiting = [run for run in self._running.values() if run.begun_at is None]
        late = [run for run in waiting if run.late_at <= moment]
        for run in late:
            run.given_at = moment  # should one not be taken back, since it begins now: not again at once
        if late:
            self.take_back()

    def _say_that_it_goes_on(self, message_id: str) -> None:
        self._logger.warning(
            "a soft task overran its lifetime and was asked to stop: %d such runs may still go on; at %d no soft task "
            "starts any more (message %s)",
            self._runner.abandoned(),
            self._abandoned_max,
            message_id,
        )

    def _watch_threads(self) -> None:
        """Say once that abandoned runs have taken every thread, and once that it is over."""
        abandoned = self._runner.abandoned()
        was_out, self._is_out_of_threads = self._is_out_of_threads, abandoned >= self._abandoned_max
        if self._is_out_of_threads and not was_out:
            self._logger.error(
                "no soft task starts any more: %d runs that overran their lifetime hold every thread; hard tasks "
                "(hard=True) run and can be stopped; when none of these runs ends, restart the service",
                abandoned,
            )
        elif was_out and not self._is_out_of_threads:
            self._logger.warning("soft tasks start again: %d runs that overran their lifetime still go on", abandoned)

    def kill_overtime(self, *, ended: Container[str]) -> None:
        """Kill hard runs that are over time, though that cannot be recorded now; `ended` are not recorded either.

        A database that cannot be written is no reason to let them go on. Their outcome follows when it can be.
        """
        moment = self._clock.monotonic()
        for message_id, run in self._running.items():
            if not run.is_hard or not run.is_over(moment) or message_id in self._killed:
                continue
            if message_id not in ended and message_id not in self._ends:
                self._killed.add(message_id)
                self._runner.abandon(message_id)

    def wait_s(self, *, now: datetime, is_starting: bool) -> float | None:
        """Return the seconds until a run is over time, or (`is_starting`) a task is due that there is room for."""
        waits: list[float] = []
        moment = self._clock.monotonic()
        if is_starting and (pause_s := self._pause.wait_s()) is not None:
            waits.append(pause_s)
        elif is_starting:
            waits += self._waits_for_due(now, moment)
        if self._taken_back:
            return 0.0
        self._look_at = min([run.look_at(moment) for run in self._running.values()], default=inf)
        if self._look_at < inf:
            waits.append(max(0.0, self._look_at - moment))
        return min(waits, default=None)

    def _waits_for_due(self, now: datetime, moment: float) -> Iterator[float]:
        """Yield the seconds until a task may start, of those that there is room for."""
        capacity, free = self._room(moment)
        if free > 1:
            soft = self._storage.next_run_at(is_hard_wanted=False)
            hard = self._storage.next_run_at(is_soft_wanted=False) if capacity.hard else None
            # Not before now: a launch may name the first moment of the calendar, and nothing is before that.
            moments = [None if soft is None else max(soft, now) - self._lead, hard]
        else:
            wanted = {"is_soft_wanted": capacity.soft > 0, "is_hard_wanted": capacity.hard > 0}
            moments = [self._storage.next_run_at(**wanted)]
        for one in moments:
            if one is not None:
                yield max(0.0, (one - now).total_seconds())

    def _end(self, task: TaskSpec, report: Report, turn: Turn, now: datetime) -> None:
        self._outcomes.end(task.message_id, report, turn, client=task.client, now=now)


def _skipped(skip: due.Skip, grace_s: float) -> Report:
    return Report(
        code=Code.OVERDUE_SKIPPED,
        message=f"the task was {skip.late_s:.3f} s late, more than the grace of {grace_s:g} s, and its client skips "
        "overdue tasks (enable_overdue=False); it did not run",
    )


def _overtime(run: _Run) -> Report:
    what = (
        "its process and its children were killed"
        if run.is_hard
        else "it was asked to stop (TaskOverrun), and its thread may still run; what it returns is discarded"
    )
    return Report(code=Code.TASK_TIMEOUT, message=f"the task overran its lifetime of {run.lifetime_s:g} s: {what}")


_NO_HARD = Report(
    code=Code.HARD_NOT_SUPPORTED,
    message="the service runs on a system where it cannot kill processes by group, so it runs no hard tasks; "
    "it did not run",
)
_STOPPED = Report(
    code=Code.TASK_INTERRUPTED,
    message="the service was stopped while the task ran, and its grace was over; it may have done part of its work",
)
_DIED = Report(
    code=Code.TASK_INTERRUPTED,
    message="the service ended while the task ran; it may have done part of its work, or all of it",
)
