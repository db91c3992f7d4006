"""When a service starts tasks, and when it gives up on them."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from schedulergodx.rules.lifecycle import Code, Ending, Report, TaskStatus
from schedulergodx.service import pruning
from schedulergodx_testing.contracts.stored_tasks import make_task
from schedulergodx_testing.specs import EPOCH
from tests.unit.doubles import launch_body

if TYPE_CHECKING:
    from tests.unit.doubles import Bench


def test_a_delayed_task_starts_at_its_moment_and_not_before(bench: Bench) -> None:
    """The service sleeps exactly until then."""
    bench.launch("a", delay_s=12.5)
    bench.turn()
    assert bench.service.wait_s() == 12.5
    bench.wait(seconds=12.25)
    assert bench.facts("start") == []
    bench.wait(seconds=0.25)
    assert bench.facts("start") == ["a"]


def test_the_earliest_of_many_wakes_the_service(bench: Bench) -> None:
    """A later launch with an earlier moment moves the alarm."""
    for name, delay_s in (("a", 30), ("b", 10), ("c", 20)):
        bench.launch(name, delay_s=delay_s)
    bench.turn()
    bench.wait(seconds=30)
    assert bench.facts("start") == ["b", "c", "a"]


def test_no_more_start_than_there_is_room_for(make_bench) -> None:
    """Soft and hard tasks have rooms of their own; a place that gets free is filled by the next, in order."""
    bench = make_bench(threads=2, processes=1).open()
    for name in ("s1", "s2", "s3"):
        bench.launch(name)
    for name in ("h1", "h2"):
        bench.launch(name, hard=True)
    bench.settle_down()
    assert sorted(bench.facts("start")) == ["h1", "s1", "s2"]
    bench.runner.finish("h1")
    bench.settle_down()
    bench.runner.finish("s2")
    bench.settle_down()
    assert bench.facts("start")[3:] == ["h2", "s3"]


def test_a_full_service_sleeps_instead_of_turning(make_bench) -> None:
    """Tasks that are due and have no room are no reason to wake up."""
    bench = make_bench(threads=1).open()
    bench.launch("a")
    bench.launch("b")
    bench.settle_down()
    assert bench.service.wait_s() is None


def test_hard_tasks_wait_without_holding_up_soft_ones(make_bench) -> None:
    """A full house of processes says nothing about threads."""
    bench = make_bench(processes=1).open()
    bench.launch("h1", hard=True)
    bench.launch("h2", hard=True)
    bench.launch("s1")
    bench.settle_down()
    assert set(bench.facts("start")) == {"h1", "s1"}


def test_an_outcome_is_committed_before_it_is_answered(bench: Bench) -> None:
    """Commit, then publish: an answer never tells what a crash can undo."""
    bench.launch("a")
    bench.turn()
    bench.runner.finish("a", Report(code=Code.OK, result="5"))
    assert bench.names(bench.turn()) == ["commit", "publish"]
    assert bench.answers("a")[0]["result"] == 5
    assert bench.status("a") is TaskStatus.COMPLETED


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.ERROR_IN_TASK, TaskStatus.ERROR),
        (Code.TASK_KILLED, TaskStatus.ERROR),
        (Code.TASK_EXITED, TaskStatus.ERROR),
        (Code.BAD_PAYLOAD, TaskStatus.ERROR),
        (Code.RESULT_UNSERIALIZABLE, TaskStatus.COMPLETED),
    ],
)
def test_every_end_of_a_run_is_answered(bench: Bench, code: Code, status: TaskStatus) -> None:
    """Type, message and traceback travel as text."""
    bench.launch("a")
    bench.turn()
    bench.runner.finish("a", Report(code=code, exception_type="ValueError", message="no", traceback="Trace"))
    bench.settle_down()
    [outcome] = bench.outcomes("a")
    assert (outcome.code, outcome.status, outcome.report.message) == (code, status, "no")
    if status is TaskStatus.ERROR:
        assert (outcome.report.exception_type, outcome.report.traceback) == ("ValueError", "Trace")


# --- lifetimes


def test_a_soft_overrun_is_answered_at_its_deadline_and_its_late_end_is_discarded(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """TASK_TIMEOUT comes at the deadline, says that the thread may go on, and stays the only outcome."""
    caplog.set_level(logging.INFO)
    bench.launch("a", lifetime_s=3)
    bench.turn()
    bench.wait(seconds=2.75)
    assert bench.codes("a") == []
    bench.wait(seconds=0.25)
    [answer] = bench.answers("a")
    assert answer["code"] == "TASK_TIMEOUT"
    assert "lifetime of 3 s" in answer["message"]
    assert "thread" in answer["message"]
    assert bench.facts("abandon") == ["a"]
    bench.runner.finish("a", Report(code=Code.OK, result="1"))
    bench.settle_down()
    assert bench.codes("a") == ["TASK_TIMEOUT"]
    assert bench.status("a") is TaskStatus.ERROR
    assert "ended after its outcome was told (message a)" in caplog.text


def test_a_hard_overrun_is_recorded_before_it_is_killed(bench: Bench) -> None:
    """Commit, then kill: whatever happens in between, the outcome is known."""
    bench.launch("a", hard=True, lifetime_s=3)
    bench.turn()
    bench.clock.advance(seconds=3)
    assert bench.names(bench.turn()) == ["commit", "abandon", "publish"]
    assert "its process and its children were killed" in bench.answers("a")[0]["message"]


def test_a_run_that_ends_in_the_turn_of_its_deadline_has_ended(bench: Bench) -> None:
    """What is in the inbox by then counts: the result is there, so it is told."""
    bench.launch("a", lifetime_s=3)
    bench.turn()
    bench.clock.advance(seconds=5)
    bench.runner.finish("a")
    bench.settle_down()
    assert bench.codes("a") == ["OK"]
    assert bench.facts("abandon") == []


def test_the_place_of_an_overrun_is_given_to_the_next(make_bench) -> None:
    """At the deadline, without waiting for the thread."""
    bench = make_bench(threads=1).open()
    bench.launch("a", lifetime_s=3)
    bench.launch("b")
    bench.settle_down()
    bench.wait(seconds=3)
    bench.settle_down()
    assert bench.facts("start") == ["a", "b"]


def _lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    texts = [record.getMessage().removeprefix("core - ") for record in caplog.records if record.levelno == level]
    return [text for text in texts if not text.startswith("task ended") and "no keys" not in text]


def test_every_abandoned_soft_run_is_said_and_counted(make_bench, caplog: pytest.LogCaptureFixture) -> None:
    """One warning for each, with how many there are and how many there may be; none for a hard one: it is killed."""
    bench = make_bench(threads=2).open()
    bench.launch("a", lifetime_s=1)
    bench.launch("b", lifetime_s=2)
    bench.launch("h", lifetime_s=2, hard=True)
    bench.settle_down()
    bench.wait(seconds=3)
    first, second = _lines(caplog, logging.WARNING)
    assert "1 such runs may still go on; at 10 no soft task starts any more (message a)" in first
    assert "2 such runs may still go on; at 10 no soft task starts any more (message b)" in second
    assert _lines(caplog, logging.ERROR) == []


def test_it_is_said_when_no_soft_task_starts_any_more_and_when_they_start_again(
    make_bench, caplog: pytest.LogCaptureFixture
) -> None:
    """An error when abandoned runs have taken every thread, a line when one has ended; each once."""
    bench = make_bench(threads=1).open()
    for name in "abcde":
        assert _lines(caplog, logging.ERROR) == []
        bench.launch(name, lifetime_s=1)
        bench.settle_down()
        bench.wait(seconds=1)
    bench.wait(seconds=100)
    [error] = _lines(caplog, logging.ERROR)
    assert error.startswith("no soft task starts any more: 5 runs ")
    bench.runner.finish("c")
    bench.runner.finish("d")
    bench.settle_down()
    [line] = [line for line in _lines(caplog, logging.WARNING) if "start again" in line]
    assert line == "soft tasks start again: 3 runs that overran their lifetime still go on"
    assert len(_lines(caplog, logging.ERROR)) == 1


def test_a_stop_gives_up_what_runs_without_a_word_about_threads(make_bench, caplog: pytest.LogCaptureFixture) -> None:
    """What is interrupted by the stop is in its report; nothing is to start after it."""
    bench = make_bench(threads=1).open()
    bench.launch("a")
    bench.settle_down()
    bench.stop(grace_s=0)
    bench.run()
    assert bench.facts("abandon") == ["a"]
    assert _lines(caplog, logging.WARNING) == []


def test_a_task_without_lifetime_is_never_given_up(bench: Bench) -> None:
    """None means without limit."""
    bench.launch("a")
    bench.turn()
    bench.wait(seconds=10**5)
    assert bench.facts("abandon") == []


# --- overdue


def test_a_task_that_is_late_by_more_than_the_grace_is_skipped_and_its_client_told(make_bench) -> None:
    """The service was down for longer than the grace; the answer says how late, and which grace."""
    bench = make_bench(overdue_grace_s=60).open()
    bench.launch("a", delay_s=10)
    bench.turn()
    bench.crash()
    bench.clock.advance(seconds=10 + 60.5)
    bench.open().settle_down()
    [answer] = bench.answers("a")
    assert answer["code"] == "OVERDUE_SKIPPED"
    assert "60.500 s late, more than the grace of 60 s" in answer["message"]
    assert bench.status("a") is TaskStatus.OVERDUE
    assert bench.facts("start") == []


def test_a_task_that_is_late_within_the_grace_runs(make_bench) -> None:
    """The grace itself still counts as in time."""
    bench = make_bench(overdue_grace_s=60).open()
    bench.launch("a", delay_s=10)
    bench.turn()
    bench.crash()
    bench.clock.advance(seconds=10 + 60)
    bench.open().settle_down()
    assert bench.facts("start") == ["a"]


def test_an_overdue_task_of_a_client_that_wants_it_runs_late(make_bench) -> None:
    """`enable_overdue=True`, however late."""
    bench = make_bench(overdue_grace_s=0).open()
    bench.launch("a", delay_s=10, enable_overdue=True)
    bench.turn()
    bench.crash()
    bench.clock.advance(seconds=10**6)
    bench.open().settle_down()
    assert bench.facts("start") == ["a"]


def test_a_task_that_was_to_run_at_once_is_never_overdue(make_bench) -> None:
    """Only who names a moment can miss it."""
    bench = make_bench(threads=1, overdue_grace_s=0).open()
    bench.launch("a")
    bench.launch("b")
    bench.settle_down()
    bench.clock.advance(seconds=10**5)
    bench.runner.finish("a")
    bench.settle_down()
    assert bench.facts("start") == ["a", "b"]


def test_many_overdue_tasks_are_all_answered(make_bench) -> None:
    """They are skipped in order of their moments, in bounded bites, without a pause in between."""
    bench = make_bench(threads=3).open()
    for number in range(20):
        bench.launch(f"{number:02}", delay_s=number)
    bench.turn()
    bench.crash()
    bench.clock.advance(seconds=10**5)
    bench.open().settle_down()
    skipped = [one.message_id for one in bench.transport.waiting]
    assert skipped == [f"{number:02}" for number in range(20)]


# --- what cannot be run, and what was left


def test_a_hard_task_where_processes_cannot_be_killed_is_refused(make_bench) -> None:
    """The outcome is HARD_NOT_SUPPORTED, and says that it did not run."""
    bench = make_bench()
    bench.runner.can_hard = False
    bench.open()
    bench.launch("a", hard=True)
    bench.settle_down()
    [answer] = bench.answers("a")
    assert answer["code"] == "HARD_NOT_SUPPORTED"
    assert "it did not run" in answer["message"]
    assert bench.facts("start") == []
    assert bench.status("a") is TaskStatus.ERROR


def test_what_ran_when_the_service_died_is_interrupted_at_the_next_boot(bench: Bench) -> None:
    """It is told to whoever waits, not run again; what waited goes on waiting and runs."""
    bench.launch("a")
    bench.launch("b", delay_s=30)
    bench.turn()
    bench.crash()
    bench.open().settle_down()
    [answer] = bench.answers("a")
    assert answer["code"] == "TASK_INTERRUPTED"
    assert "may have done part of its work" in answer["message"]
    bench.wait(seconds=30)
    assert bench.facts("start") == ["a", "b"]


def test_a_crash_of_the_recovery_itself_changes_nothing(bench: Bench) -> None:
    """The interrupted ones are told once, however often the boot is cut off after its commit."""
    bench.confirms = False
    bench.launch("a")
    bench.turn()
    for _ in range(3):
        bench.crash()
        bench.open()
    bench.settle_down()
    assert len(bench.outcomes("a")) == 1


# --- crashes that may be followed by another start


def test_a_task_that_may_is_started_again_after_a_crash_of_the_service(bench: Bench) -> None:
    """Each start is counted on disk; the last one that is allowed ends in TASK_INTERRUPTED."""
    bench.launch("a", max_starts=3, delay_s=5)
    bench.turn()
    bench.wait(seconds=5)
    for number in (1, 2, 3):
        assert bench.runner.start_numbers == [("a", number)]
        bench.crash()
        bench.clock.advance(seconds=10**5)  # it began in time, so it is not overdue now
        bench.open().settle_down()
    assert bench.codes("a") == ["TASK_INTERRUPTED"]
    assert bench.runner.start_numbers == []


def test_a_hard_task_whose_process_is_killed_starts_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """At once, as often as it may; a task that may not is told as killed."""
    bench.launch("once", hard=True)
    bench.launch("twice", hard=True, max_starts=2)
    bench.settle_down()
    for name in ("once", "twice"):
        bench.runner.crash(name)
        bench.settle_down()
    assert bench.runner.start_numbers == [("once", 1), ("twice", 1), ("twice", 2)]
    assert bench.codes("once") == ["TASK_KILLED"]
    assert bench.codes("twice") == []
    assert "start 1 of 2 ended in a crash, the task starts again: killed by SIGKILL (9) (message twice)" in caplog.text
    bench.runner.crash("twice")
    bench.settle_down()
    assert bench.codes("twice") == ["TASK_KILLED"]


@pytest.mark.parametrize("code", [Code.ERROR_IN_TASK, Code.TASK_EXITED, Code.OK])
def test_its_own_end_is_no_crash(bench: Bench, code: Code) -> None:
    """What a function raises, or how it leaves, is its outcome, however often it may start."""
    bench.launch("a", hard=True, max_starts=9)
    bench.turn()
    bench.runner.finish("a", Report(code=code, result="1" if code is Code.OK else None))
    bench.settle_down()
    assert bench.codes("a") == [code.value]


def test_an_overrun_is_no_crash(bench: Bench) -> None:
    """Each start has the whole lifetime; to overrun it is the end."""
    bench.launch("a", hard=True, max_starts=9, lifetime_s=3)
    bench.turn()
    bench.wait(seconds=2)
    bench.runner.crash("a")
    bench.settle_down()
    bench.wait(seconds=2.5)
    assert bench.codes("a") == []
    bench.wait(seconds=0.5)
    assert bench.codes("a") == ["TASK_TIMEOUT"]


def test_a_stop_puts_back_what_may_start_again(bench: Bench) -> None:
    """It is interrupted without an outcome, and runs after the next start of the service."""
    bench.launch("a", max_starts=2)
    bench.settle_down()
    bench.stop(grace_s=0)
    assert bench.run().interrupted == ("a",)
    assert bench.codes("a") == []
    bench.make()
    bench.open().settle_down()
    assert bench.runner.start_numbers == [("a", 2)]


def test_a_run_that_could_not_begin_waits_for_better_times(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Without a thread or process nothing is lost or counted; starting pauses, longer each time, and goes on."""
    bench.launch("a", hard=True)
    bench.launch("b", hard=True)
    bench.settle_down()
    waits = []
    for _ in range(8):
        for name in list(bench.runner.running):
            bench.runner.finish(name, Report(code=Code.TASK_KILLED, message="no process"), Ending.NOT_STARTED)
        bench.settle_down()
        bench.launch(f"more {len(waits)}")
        bench.settle_down()
        assert bench.runner.running == {}
        waits.append(bench.service.wait_s())
        bench.wait(seconds=waits[-1] or 0)
    assert waits == [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert {number for _, number in bench.runner.start_numbers} == {1}
    for name in list(bench.runner.running):
        bench.runner.finish(name)
    bench.settle_down()
    assert bench.codes("a") == bench.codes("b") == ["OK"]
    [error] = _lines(caplog, logging.ERROR)
    assert error.startswith("no task can be started (no process): ")
    assert [line for line in _lines(caplog, logging.WARNING) if "can be started again" in line] == [
        "tasks can be started again"
    ]


# --- time


def test_a_wall_clock_that_goes_back_makes_nothing_start_early(bench: Bench) -> None:
    """An hour back: the task waits for the wall time that it was given."""
    bench.launch("a", delay_s=10)
    bench.turn()
    bench.clock.jump_wall(seconds=-3600)
    bench.wait(seconds=3609)
    assert bench.facts("start") == []
    bench.wait(seconds=1)
    assert bench.facts("start") == ["a"]


def test_a_wall_clock_that_jumps_does_not_touch_lifetimes(bench: Bench) -> None:
    """Lifetimes are measured on the monotonic clock."""
    bench.launch("a", lifetime_s=3)
    bench.turn()
    bench.clock.jump_wall(seconds=10**6)
    bench.settle_down()
    assert bench.facts("abandon") == []
    bench.wait(seconds=3)
    assert bench.facts("abandon") == ["a"]


def test_outcomes_are_forgotten_after_their_time(make_bench) -> None:
    """Pruned at most once a minute, in a turn: the clock wakes an idle service often enough."""
    bench = make_bench(keep_outcomes_s=1000).open()
    bench.launch("a")
    bench.turn()
    bench.runner.finish("a")
    bench.settle_down()
    bench.wait(seconds=990)
    assert bench.status("a") is TaskStatus.COMPLETED
    bench.wait(seconds=90)
    bench.turn()
    assert bench.status("a") is None


def test_a_task_that_has_not_ended_is_never_pruned(make_bench) -> None:
    """However old."""
    bench = make_bench(keep_outcomes_s=10).open()
    bench.launch("a")
    bench.launch("b", delay_s=10**6)
    bench.turn()
    bench.wait(seconds=10**5)
    assert bench.status("a") is TaskStatus.WORK
    assert bench.status("b") is TaskStatus.WAITING


def test_pruning_goes_in_bites_turn_by_turn(make_bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A week's outcomes that become old together hold up no task, and do not wait a minute for each bite."""
    monkeypatch.setattr(pruning, "AT_ONCE_MAX", 2)
    bench = make_bench(keep_outcomes_s=1000).open()
    for name in "abcde":
        bench.launch(name)
    bench.turn()
    for name in "abcde":
        bench.runner.finish(name)
    bench.settle_down()
    bench.clock.advance(seconds=2000)
    left = []
    for _ in range(3):
        bench.turn()
        left.append(sum(bench.status(name) is not None for name in "abcde"))
        bench.doze()
    assert left == [3, 1, 0]
    assert bench.elapsed_s == pytest.approx(2000 + 2 * pruning.PAUSE_S, abs=1e-5)
    assert bench.service.wait_s() is None


def test_the_ids_of_forgotten_tasks_are_known_for_their_time(make_bench) -> None:
    """A late duplicate runs nothing and is told why: first by its id, and when that is forgotten by its age."""
    bench = make_bench(keep_outcomes_s=1000, keep_ids_s=5000, max_age_s=5000).open()
    bench.launch("a")
    bench.turn()
    bench.runner.finish("a")
    bench.settle_down()
    for after_s, codes in ((2000, ["OK", "OUTCOME_PRUNED"]), (5200, ["OK", "OUTCOME_PRUNED", "STALE"])):
        bench.clock.advance(seconds=after_s - bench.elapsed_s)
        bench.turn()  # prunes
        bench.deliver(launch_body("a", now=EPOCH))
        bench.settle_down()
        assert bench.codes("a") == codes
    assert bench.facts("start") == ["a"]


@pytest.mark.parametrize("step_s", [3600, -3600, 10 * 365 * 86400])
def test_a_wall_clock_that_is_set_is_told_once(bench: Bench, step_s: float, caplog: pytest.LogCaptureFixture) -> None:
    """An hour forward or back, ten years: one line with how far it went; ordinary corrections make none."""
    bench.launch("a", delay_s=60)
    bench.turn()
    bench.clock.jump_wall(seconds=step_s)
    bench.turn()
    bench.wait(seconds=10)
    bench.clock.jump_wall(seconds=1)
    bench.turn()
    lines = [record.getMessage() for record in caplog.records if "the wall clock went" in record.getMessage()]
    assert len(lines) == 1
    assert f"went {'forward' if step_s > 0 else 'back'} by {abs(step_s)} s" in lines[0]


@pytest.mark.slow
def test_ten_thousand_overdue_tasks_start_in_order_and_never_too_many(make_bench) -> None:
    """After a day without a service: run or skipped as each wishes, the earliest first, in so many threads."""
    bench = make_bench(threads=500)
    database = bench.storage.database
    database.open(owner="tests", now=EPOCH)
    with database.transaction():
        for number in range(10_000):
            moment = EPOCH + timedelta(seconds=number % 5000)
            spec = replace(make_task(f"{number}", run_at=moment), is_overdue_enabled=number % 2 == 0)
            database.add(spec, now=EPOCH)
    database.close()
    bench.clock.advance(seconds=86400)
    bench.open()
    busiest = 0
    while bench.service.has_events() or bench.runner.running or bench.service.wait_s() is not None:
        bench.turn()
        busiest = max(busiest, len(bench.runner.running))
        for message_id in list(bench.runner.running):
            bench.runner.finish(message_id)
    expected = sorted(range(10_000), key=lambda number: (number % 5000, number))
    assert bench.facts("start") == [f"{number}" for number in expected if number % 2 == 0]
    ended = [one.message_id for one in bench.transport.waiting]
    assert [one for one in ended if int(one) % 2] == [f"{number}" for number in expected if number % 2]
    assert len(ended) == 10_000
    assert 200 < busiest <= 500
