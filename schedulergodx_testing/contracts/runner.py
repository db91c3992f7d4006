"""`RunnerContract`: everything that the service relies on in a `Runner`.

That something does not come is shown by what comes instead: the next event is that of another task.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from schedulergodx.rules.lifecycle import Code, Ending, Report
from schedulergodx.utils.abstractions import Capacity, Finished
from schedulergodx_testing.contracts.watched_runs import (
    WAIT_S,
    Watched,
    WatchedRuns,
    add,
    describe_run,
    fail,
    leave,
    noting,
    pass_gate,
    until,
    wait_in_bits,
    wait_long,
)
from schedulergodx_testing.specs import changed, make_task

if TYPE_CHECKING:
    from schedulergodx_testing.contracts.watched_runs import MakeGate, Open

RUNS = 6
"""How many runs there are where it must be many."""
LEAD_MAX_S = 0.05
"""Longest time for which a thread may be held before the moment of its run."""


class RunnerContract(WatchedRuns):
    """Subclass it, override the fixture `make_runner`, and every test runs against your runner.

    Attributes:
        runs_in_caller: `start` returns only when the task has ended, so nothing can be abandoned; such tests skip.
    """

    # --- Soft and hard

    @pytest.mark.parametrize("is_hard", [False, True], ids=["soft", "hard"])
    def test_a_result_is_told(self, open_runner: Open, is_hard: bool) -> None:
        """What the function returns comes in the `Finished` of its launch."""
        watched = open_runner()
        if is_hard:
            self._needs_hard(watched)
        message_id = watched.start(add, 1, 2, is_hard=is_hard)
        assert watched.finished() == Finished(message_id=message_id, report=Report(code=Code.OK, result="3"))

    @pytest.mark.parametrize("is_hard", [False, True], ids=["soft", "hard"])
    def test_an_exception_is_told(self, open_runner: Open, is_hard: bool) -> None:
        """What the function raises comes in its `Finished`, with type, text and traceback."""
        watched = open_runner()
        if is_hard:
            self._needs_hard(watched)
        watched.start(fail, "nothing there", is_hard=is_hard)
        report = watched.report()
        assert (report.code, report.exception_type, report.message) == (
            Code.ERROR_IN_TASK,
            "LookupError",
            "nothing there",
        )
        assert "in fail" in report.traceback

    @pytest.mark.parametrize("is_hard", [False, True], ids=["soft", "hard"])
    def test_a_task_knows_its_run(self, open_runner: Open, is_hard: bool) -> None:
        """Inside the function `current_task()` tells its id, which start it is, and its client."""
        watched = open_runner()
        if is_hard:
            self._needs_hard(watched)
        message_id = watched.start(describe_run, is_hard=is_hard, number=3)
        assert watched.result() == [message_id, 3, "tester"]

    def test_leaving_is_an_outcome(self, open_runner: Open) -> None:
        """`sys.exit` ends neither the runner nor its thread: the next task runs."""
        watched = open_runner(soft=1)
        watched.start(leave)
        assert watched.report().exception_type == "SystemExit"
        watched.start(add, 1, 1)
        assert watched.result() == 2

    def test_what_cannot_be_loaded_is_told(self, open_runner: Open) -> None:
        """A task that cannot be loaded is an outcome, not an error of `start`."""
        watched = open_runner()
        task = make_task(add, 1, 2, by="reference")
        watched.runner.start(changed(task, arguments=task.arguments[:-2]), start_number=1)
        assert watched.report().code is Code.BAD_PAYLOAD

    @pytest.mark.parametrize("is_hard", [False, True], ids=["soft", "hard"])
    def test_each_run_is_told_once(self, open_runner: Open, is_hard: bool) -> None:
        """Many runs, more than there is room for at a time, give one event each."""
        watched = open_runner()
        if is_hard:
            self._needs_hard(watched)
        started: list[str] = []
        told: list[str] = []
        while len(told) < RUNS:
            while len(started) < RUNS and self._room(watched, is_hard=is_hard):
                started.append(watched.start(add, 1, 2, is_hard=is_hard))
            told.append(watched.finished().message_id)
        assert sorted(told) == sorted(started)
        last = watched.start(add, 1, 2)
        assert watched.finished().message_id == last

    @staticmethod
    def _room(watched: Watched, *, is_hard: bool) -> int:
        capacity = watched.runner.capacity()
        return capacity.hard if is_hard else capacity.soft

    # --- Capacity

    def test_capacity_is_what_was_asked_for(self, open_runner: Open) -> None:
        """A new runner has room for everything, has no threads, and has abandoned nothing."""
        watched = open_runner(soft=3, hard=2)
        assert watched.runner.capacity() == Capacity(soft=3, hard=2)
        assert watched.runner.abandoned() == 0
        assert not watched.runner.threads()

    def test_soft_tasks_run_at_the_same_time(self, open_runner: Open, make_gate: MakeGate) -> None:
        """Room for two means that two run at once; a run takes room away, and gives it back at its end."""
        self._needs_concurrency()
        watched = open_runner(soft=2)
        gates = {name: make_gate(name) for name in ("a", "b")}
        for name, gate in gates.items():
            watched.start(pass_gate, name)
            gate.wait_until_reached()
        assert watched.runner.capacity().soft == 0
        gates["b"].open()
        assert watched.result() == "b"
        assert watched.runner.capacity().soft == 1
        gates["a"].open()
        assert watched.result() == "a"

    def test_whoever_is_told_finds_the_place_free(self, open_runner: Open) -> None:
        """When `Finished` comes, the capacity counts the ended run no more: nobody tells again later."""
        watched = open_runner(soft=1, hard=1)
        watched.start(add, 1, 2)
        watched.finished()
        assert watched.capacities == [Capacity(soft=1, hard=1)]
        if watched.runner.can_run_hard():
            watched.start(add, 1, 2, is_hard=True)
            watched.finished()
            assert watched.capacities == [Capacity(soft=1, hard=1)] * 2

    # --- Waiting for a thread

    def test_more_soft_runs_than_threads_wait_in_order(self, open_runner: Open, make_gate: MakeGate) -> None:
        """Asked for room ahead, a runner takes more soft runs, and begins each when there is a thread for it."""
        self._needs_concurrency()
        watched = open_runner(soft=1)
        gate = make_gate("first")
        begun: list[str] = []
        first = watched.start(pass_gate, "first", on_begin=noting(begun, "first"))
        gate.wait_until_reached()
        assert watched.runner.capacity(ahead=2) == Capacity(soft=2, hard=2)
        for name in "ab":
            watched.start(add, 1, 2, on_begin=noting(begun, name))
        assert (watched.runner.capacity(ahead=2).soft, watched.runner.capacity().soft) == (0, 0)
        assert begun == ["first"]
        gate.open()
        assert watched.finished().message_id == first
        assert [watched.result(), watched.result()] == [3, 3]
        assert begun == ["first", "a", "b"]

    def test_what_has_not_begun_can_be_taken_back(self, open_runner: Open, make_gate: MakeGate) -> None:
        """It does not run, nobody is told, and its place is free; what has begun goes on."""
        self._needs_concurrency()
        watched = open_runner(soft=1)
        gate = make_gate("first")
        first = watched.start(pass_gate, "first")
        gate.wait_until_reached()
        waiting = [watched.start(add, 1, 2) for _ in range(3)]
        assert watched.runner.take_back() == waiting
        assert watched.runner.take_back() == []
        assert watched.runner.capacity(ahead=1).soft == 1
        last = watched.start(add, 2, 2)
        gate.open()
        assert [watched.finished().message_id for _ in "12"] == [first, last]

    def test_an_abandoned_run_holds_up_nobody(self, open_runner: Open, make_gate: MakeGate) -> None:
        """What waits behind it begins in its place."""
        self._needs_concurrency()
        watched = open_runner(soft=1)
        gate = make_gate("late")
        late = watched.start(pass_gate, "late")
        gate.wait_until_reached()
        watched.start(add, 1, 2)
        watched.runner.abandon(late)
        assert watched.result() == 3
        gate.open()
        assert watched.finished().message_id == late

    def test_what_waits_when_the_runner_is_closed_does_not_begin(self, open_runner: Open, make_gate: MakeGate) -> None:
        """Also when a thread becomes free for it later."""
        self._needs_concurrency()
        watched = open_runner(soft=1)
        gate = make_gate("first")
        first = watched.start(pass_gate, "first")
        gate.wait_until_reached()
        begun: list[str] = []
        watched.start(add, 1, 2, on_begin=noting(begun, "late"))
        watched.runner.close(0.1)
        gate.open()
        assert watched.finished().message_id == first
        for thread in watched.runner.threads().values():
            thread.join(WAIT_S)
        assert begun == []

    def test_a_run_may_refuse_to_begin(self, open_runner: Open) -> None:
        """When its turn comes and it is too late, or that it begins cannot be noted. The next one runs."""

        def fail_to_note() -> bool:
            raise OSError(28, "No space left on device")

        watched = open_runner(soft=1)
        watched.start(add, 1, 2, on_begin=lambda: False)
        assert watched.finished().ending is Ending.NOT_BEGUN
        watched.start(add, 1, 2, on_begin=fail_to_note)
        finished = watched.finished()
        assert finished.ending is Ending.NOT_STARTED
        assert "No space left on device" in finished.report.message
        watched.start(add, 1, 2)
        assert watched.result() == 3

    # --- Waiting for its moment

    def test_a_lead_is_none_or_short(self, open_runner: Open) -> None:
        """A thread is held for so long, which others might use."""
        assert 0 <= open_runner().runner.lead_s <= LEAD_MAX_S

    def test_a_run_that_is_given_ahead_waits_for_its_moment(self, open_runner: Open) -> None:
        """It holds its place meanwhile, and others run; it begins when nothing is left, and not before."""
        watched = open_runner(soft=2)
        self._needs_lead(watched)
        moment = threading.Event()
        begun: list[str] = []
        early = watched.start(add, 1, 2, on_begin=noting(begun, "early"), left_s=until(moment))
        others = [watched.start(add, 2, 2, on_begin=noting(begun, "other")), watched.finished().message_id]
        assert others[0] == others[1]
        assert (watched.runner.capacity().soft, begun) == (1, ["other"])
        moment.set()
        assert watched.finished().message_id == early
        assert begun == ["other", "early"]

    def test_what_waits_for_its_moment_can_be_taken_back(self, open_runner: Open) -> None:
        """It does not run, its place is free, and its thread is there for others, whether its moment comes or not."""
        watched = open_runner(soft=1)
        self._needs_lead(watched)
        begun: list[str] = []
        early = watched.start(add, 1, 2, on_begin=noting(begun, "early"), left_s=until(threading.Event()))
        assert watched.runner.take_back() == [early]
        assert watched.runner.capacity().soft == 1
        last = watched.start(add, 2, 2)
        assert watched.finished().message_id == last
        assert begun == []

    def test_a_run_whose_moment_is_there_does_not_wait(self, open_runner: Open) -> None:
        """Nothing is left, or less than nothing."""
        watched = open_runner(soft=1)
        self._needs_lead(watched)
        for left_s in (0.0, -1.0):
            watched.start(add, 1, 2, left_s=lambda left_s=left_s: left_s)  # type: ignore[misc]
            assert watched.result() == 3

    # --- Abandoning

    def test_an_abandoned_soft_run_is_replaced(self, open_runner: Open, make_gate: MakeGate) -> None:
        """Its thread goes on and is counted; another task runs meanwhile; its late end is told once."""
        self._needs_concurrency()
        watched = open_runner(soft=1)
        gate = make_gate("late")
        late = watched.start(pass_gate, "late")
        gate.wait_until_reached()
        watched.runner.abandon(late)
        assert watched.runner.abandoned() == 1
        assert watched.runner.capacity().soft == 1
        watched.start(add, 1, 2)
        assert watched.result() == 3
        gate.open()
        assert watched.finished().message_id == late
        assert watched.runner.abandoned() == 0
        watched.start(add, 2, 2)
        assert watched.result() == 4

    @pytest.mark.parametrize("how", ["leave", "return"])
    def test_an_abandoned_soft_run_is_asked_to_stop(self, open_runner: Open, make_gate: MakeGate, how: str) -> None:
        """Once, by `TaskOverrun` in its function, which may clear up and return. The next run is untouched."""
        self._needs_concurrency()
        watched = open_runner(soft=1)
        gate = make_gate("asked")
        late = watched.start(wait_in_bits, "asked", how)
        gate.wait_until_reached()
        gate.open()
        watched.runner.abandon(late)
        finished = watched.finished()
        assert finished.message_id == late
        assert (finished.report.exception_type.rpartition(".")[2], finished.report.result) == (
            ("TaskOverrun", None) if how == "leave" else ("", '"late"')
        )
        assert watched.runner.abandoned() == 0
        watched.start(add, 1, 2)
        assert watched.result() == 3

    def test_abandoning_what_does_not_run_does_nothing(self, open_runner: Open) -> None:
        """An unknown id, and one that has ended, are left alone."""
        watched = open_runner(soft=1)
        ended = watched.start(add, 1, 2)
        watched.finished()
        for message_id in ("unknown", ended):
            watched.runner.abandon(message_id)
        assert watched.runner.abandoned() == 0
        watched.start(add, 1, 2)
        assert watched.result() == 3

    def test_an_abandoned_hard_run_is_killed(self, open_runner: Open) -> None:
        """It ends, is told once, and gives its place free; it is not counted as abandoned."""
        self._needs_concurrency()
        watched = open_runner(soft=1, hard=1)
        self._needs_hard(watched)
        killed = watched.start(wait_long, is_hard=True)
        assert watched.runner.capacity() == Capacity(soft=1, hard=0)
        watched.runner.abandon(killed)
        watched.runner.abandon(killed)
        finished = watched.finished()
        assert (finished.message_id, finished.report.code) == (killed, Code.TASK_KILLED)
        assert watched.runner.abandoned() == 0
        watched.start(add, 1, 2, is_hard=True)
        assert watched.result() == 3

    # --- The end

    def test_close_ends_the_threads(self, open_runner: Open) -> None:
        """After `close` no thread is left; closing twice does nothing."""
        watched = open_runner()
        watched.start(add, 1, 2)
        watched.finished()
        watched.runner.close()
        watched.runner.close()
        assert not watched.runner.threads()

    def test_close_kills_hard_runs(self, open_runner: Open) -> None:
        """A hard run that is under way is killed by `close`, and told."""
        self._needs_concurrency()
        watched = open_runner()
        self._needs_hard(watched)
        killed = watched.start(wait_long, is_hard=True)
        watched.runner.close()
        finished = watched.finished()
        assert (finished.message_id, finished.report.code) == (killed, Code.TASK_KILLED)

    def test_close_does_not_wait_for_soft_runs(self, open_runner: Open, make_gate: MakeGate) -> None:
        """A soft run goes on after `close`; its end is still told."""
        self._needs_concurrency()
        watched = open_runner()
        gate = make_gate("after")
        late = watched.start(pass_gate, "after")
        gate.wait_until_reached()
        watched.runner.close()
        gate.open()
        assert watched.finished().message_id == late

    def test_hard_without_support_is_told(self, open_runner: Open) -> None:
        """Where processes cannot be killed, a hard task ends in an outcome that says so."""
        watched = open_runner()
        if watched.runner.can_run_hard():
            pytest.skip("this runner runs hard tasks here")
        watched.start(add, 1, 2, is_hard=True)
        assert watched.report().code is Code.HARD_NOT_SUPPORTED
