"""Tasks that are given to a thread a moment before they are due, and wait for it there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx_testing.specs import EPOCH
from tests.unit.test_service_ahead import boot, statuses

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.doubles import Bench

__all__ = ["boot"]  # a fixture that every test here has, too

FIRST = datetime.min.replace(tzinfo=UTC)
LEAD_S = 0.01
DELAY_S = 60.0
WAITING, WORK = (TaskStatus.WAITING, 0), (TaskStatus.WORK, 1)


@pytest.fixture
def make_early(make_bench: Callable[..., Bench]) -> Callable[..., Bench]:
    """Make a service that is open, has run a task, and whose runner may be given tasks ahead of their moment."""

    def make_early(**limits: object) -> Bench:
        bench = make_bench(**{"threads": 3} | limits)
        bench.takes_ahead, bench.lead_s = True, LEAD_S
        bench.make()
        bench.open().launch("first")
        bench.turn()
        bench.runner.finish("first")
        bench.settle_down()
        return bench

    return make_early


@pytest.fixture
def early(make_early: Callable[..., Bench]) -> Bench:
    """A service with three threads and one task, `a`, that was given to one of them ahead of its moment."""
    bench = make_early()
    bench.launch("a", delay_s=DELAY_S)
    bench.settle_down()
    bench.clock.advance(seconds=DELAY_S - LEAD_S)
    bench.settle_down()
    return bench


def test_a_task_is_claimed_shortly_before_its_moment(make_early: Callable[..., Bench]) -> None:
    """And not a microsecond earlier; the service sleeps until then."""
    bench = make_early()
    bench.launch("a", delay_s=DELAY_S)
    bench.settle_down()
    assert bench.service.wait_s() == pytest.approx(DELAY_S - LEAD_S)
    bench.clock.advance(seconds=DELAY_S - LEAD_S - 1e-6)
    bench.turn()
    assert not bench.runner.waiting
    bench.clock.advance(seconds=1e-6)
    bench.settle_down()
    assert (list(bench.runner.waiting), statuses(bench)["a"]) == (["a"], WORK)


def test_it_is_said_to_have_started_at_its_moment(early: Bench) -> None:
    """Not at that of the claim: nothing starts before its moment."""
    early.clock.advance(seconds=LEAD_S)
    assert early.runner.begin("a")
    early.runner.finish("a")
    early.turn()
    (outcome,) = early.outcomes("a")
    due = EPOCH + timedelta(seconds=DELAY_S)
    assert (outcome.run_at, outcome.started_at, outcome.ended_at) == (due, due, due)


def test_its_thread_is_told_how_long_to_wait(early: Bench) -> None:
    """By the clock of the service."""
    left_s = early.runner.left["a"]
    assert left_s() == pytest.approx(LEAD_S)
    early.clock.advance(seconds=LEAD_S / 2)
    assert left_s() == pytest.approx(LEAD_S / 2)
    early.clock.advance(seconds=LEAD_S)
    assert left_s() <= 0


@pytest.mark.parametrize("lead_s", [0.0016666666, 2 / 300])
def test_a_lead_is_counted_in_microseconds_everywhere(make_bench: Callable[..., Bench], lead_s: float) -> None:
    """One that has more digits once made a task be claimed, refused by its thread, and claimed again without an end."""
    bench = make_bench(threads=3)
    bench.takes_ahead, bench.lead_s = True, lead_s
    bench.make()
    bench.open().launch("first")
    bench.turn()
    bench.runner.finish("first")
    bench.launch("a", delay_s=DELAY_S)
    bench.settle_down()
    bench.doze()
    bench.settle_down()
    assert bench.runner.left["a"]() == pytest.approx(lead_s, abs=1e-6)


@pytest.mark.parametrize("delay_s", [DELAY_S, None], ids=["delayed", "by a client whose clock is ahead"])
def test_when_the_clock_is_set_back_meanwhile_it_waits_again(make_early: Callable[..., Bench], delay_s: float) -> None:
    """Its thread does not wait for so long, and it does not begin before its moment."""
    bench = make_early()
    if delay_s is None:
        bench.clock.jump_wall(seconds=LEAD_S / 2)
        bench.launch("a")
        bench.clock.jump_wall(seconds=-LEAD_S / 2)
    else:
        bench.launch("a", delay_s=DELAY_S)
        bench.settle_down()
        bench.clock.advance(seconds=DELAY_S - LEAD_S)
    bench.settle_down()
    assert list(bench.runner.waiting) == ["a"]
    bench.clock.jump_wall(seconds=-3600)
    assert bench.runner.left["a"]() == 0
    assert not bench.runner.begin("a")
    bench.settle_down()
    assert statuses(bench)["a"] == WAITING
    assert bench.service.wait_s() > 3500


def test_the_last_free_thread_is_for_what_is_due(make_early: Callable[..., Bench]) -> None:
    """Other tasks are claimed at their moment, as many as there is room for, and nobody looks again and again."""
    bench = make_early(threads=3)
    for name in "abcd":
        bench.launch(name, delay_s=DELAY_S)
    bench.settle_down()
    bench.clock.advance(seconds=DELAY_S - LEAD_S)
    bench.settle_down()
    assert list(bench.runner.waiting) == ["a", "b"]
    assert bench.service.wait_s() == pytest.approx(LEAD_S)
    bench.launch("now")
    bench.turn()
    assert bench.facts("start")[-1] == "now"
    bench.runner.finish("now")
    bench.clock.advance(seconds=LEAD_S)
    bench.settle_down()
    assert bench.facts("start")[:5] == ["first", "a", "b", "now", "c"]


def test_a_moment_at_the_beginning_of_the_calendar_is_long_past(make_early: Callable[..., Bench]) -> None:
    """A launch may name it; nothing is before it. It waits while two threads become free."""
    bench = make_early(threads=2)
    bench.clock.advance(seconds=5)  # so that nothing is claimed ahead of a thread
    for name in ("x", "y"):
        bench.launch(name)
    bench.turn()
    bench.launch("a", delay_s=(FIRST - bench.clock.now()).total_seconds(), enable_overdue=True)
    bench.turn()
    for name in ("x", "y"):
        bench.runner.finish(name)
    assert statuses(bench)["a"] == WAITING
    assert bench.service.wait_s() == 0
    bench.settle_down()
    assert statuses(bench)["a"] == WORK


def test_one_thread_is_given_nothing_ahead(make_early: Callable[..., Bench]) -> None:
    """It is the last one."""
    bench = make_early(threads=1)
    bench.launch("a", delay_s=DELAY_S)
    bench.settle_down()
    assert bench.service.wait_s() == pytest.approx(DELAY_S)


def test_hard_tasks_are_not_given_ahead(make_early: Callable[..., Bench]) -> None:
    """Also beside soft ones that are: their process would begin too early."""
    bench = make_early()
    bench.launch("soft", delay_s=DELAY_S)
    bench.launch("hard", delay_s=DELAY_S, hard=True)
    bench.settle_down()
    bench.clock.advance(seconds=DELAY_S - LEAD_S)
    bench.settle_down()
    assert (list(bench.runner.waiting), statuses(bench)["hard"]) == (["soft"], WAITING)
    assert bench.service.wait_s() == pytest.approx(LEAD_S)
    bench.clock.advance(seconds=LEAD_S)
    bench.settle_down()
    assert statuses(bench)["hard"] == WORK


def test_without_marks_nothing_is_given_ahead(boot: Path, make_early: Callable[..., Bench]) -> None:
    """A kill would count it as begun."""
    boot.unlink()
    bench = make_early()
    bench.launch("a", delay_s=DELAY_S)
    bench.settle_down()
    assert bench.service.wait_s() == pytest.approx(DELAY_S)


def test_after_a_kill_it_waits_again(early: Bench) -> None:
    """As if it had not been claimed; the next service runs it at its moment."""
    early.crash()
    early.open()
    assert statuses(early)["a"] == WAITING
    early.wait(seconds=1)
    assert early.runner.start_numbers == [("a", 1)]


def test_a_stop_takes_it_back(early: Bench) -> None:
    """It had not begun: it is for the next start of the service."""
    early.stop()
    early.turn()
    assert statuses(early)["a"] == WAITING
    assert early.run().interrupted == ()
