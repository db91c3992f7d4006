"""What a test asks for by `must_hold` is checked at its end, wherever it is asked for, and never forgotten."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from schedulergodx import Client, InvalidParameter
from schedulergodx_testing import Harness, HarnessError, SchedulerMachine, check_survives_crashes, replay

pytest_plugins = ["pytester"]

client = Client(name="shop", task_lifetime=None)
effects: list[str] = []


@client.task
def work(name: str) -> None:
    effects.append(name)


def test_it_is_checked_at_the_end_of_a_block() -> None:
    """As things are then: all that does not hold is told, with what the assertion said."""

    def is_one() -> None:
        assert len(effects) == 1, f"there are {len(effects)}"

    def test() -> None:
        with Harness() as scheduler:
            scheduler.must_hold(lambda: False, "all is sold")
            scheduler.must_hold(is_one, "there is one")
            scheduler.must_hold(lambda: None, "nothing is said about it")
            work.options(delay=60).launch("a")

    effects.clear()
    with pytest.raises(AssertionError, match=r"at the end of the test: all is sold; there is one: there are 0$"):
        test()
    with Harness():
        pass  # the other one has been closed


def test_what_holds_at_the_end_needs_not_hold_before() -> None:
    """It is asked once, after everything else of the test."""
    asked: list[int] = []
    effects.clear()
    with Harness() as scheduler:
        scheduler.must_hold(lambda: asked.append(1))
        scheduler.must_hold(lambda: effects == ["a"])
        work.launch("a")
        scheduler.run_all()
        assert asked == []
    assert asked == [1]


def test_a_test_that_has_failed_tells_its_own_failure() -> None:
    """What it did not come to is no news."""

    def test() -> None:
        with Harness() as scheduler:
            scheduler.must_hold(lambda: False)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        test()


def test_the_fixture_checks_it(pytester: pytest.Pytester) -> None:
    """At its end; a test that has failed is told once."""
    pytester.makepyfile(
        """
        def test_holds(scheduler):
            scheduler.must_hold(lambda: True)

        def test_does_not_hold(scheduler):
            scheduler.must_hold(lambda: False, "all is sold")

        def test_fails(scheduler):
            scheduler.must_hold(lambda: False, "never told")
            assert False
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*AssertionError: what must hold does not, at the end of the test: all is sold"])
    result.stdout.no_fnmatch_line("*never told*at the end*")


def test_replay_find_finds_it() -> None:
    """It is a failure of the test as others are."""
    assert replay.find(lambda scheduler: scheduler.must_hold(lambda: False), seeds=1) is not None
    assert replay.find(lambda scheduler: scheduler.must_hold(lambda: True), seeds=2) is None


def test_a_scenario_is_told_once() -> None:
    """By the report about its runs, as ever."""

    def scenario(scheduler: Harness) -> None:
        scheduler.must_hold(lambda: False, "all is sold")

    with pytest.raises(AssertionError, match=r"broken with nothing going wrong:\n  the scenario's own: all is sold\n"):
        check_survives_crashes(scenario)


def test_a_machine_checks_it_at_the_end_of_each_story() -> None:
    """With the timeline, and the line that replays the story."""

    class Selling(SchedulerMachine):
        def setup(self) -> None:
            self.scheduler.must_hold(lambda: not self.scheduler.launched, "nothing is launched")

    few = settings(max_examples=50, stateful_step_count=4, deadline=None, database=None, derandomize=True)
    quick = settings(few, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(Selling, settings=quick)
    text = str(caught.value)
    assert text.startswith("the machine's own: nothing is launched\n")
    assert re.search(r">> .* test +the machine's own: nothing is launched", text)
    assert f"Replay it: {replay.VARIABLE}=story1:" in text


async def never_awaited() -> bool:
    return False


@pytest.mark.parametrize(
    ("holds", "match"),
    [
        (True, r"^holds must be a function, got True \(bool\)"),
        (None, r"^holds must be a function, got None"),
        (never_awaited, r"^holds must be a plain function: .* never_awaited would never run; .*asyncio\.run"),
        (lambda effect: effect, r"^holds is called with no argument; .*lambda.* cannot be: missing .*'effect'"),
    ],
)
def test_what_cannot_be_asked_is_refused(holds: Any, match: str) -> None:
    """At the call: it would hold for ever."""
    with Harness() as scheduler, pytest.raises(InvalidParameter, match=match):
        scheduler.must_hold(holds)


def test_an_answer_that_somebody_would_have_to_await_is_refused() -> None:
    """Nobody does; and nobody is warned of a coroutine besides."""

    def test() -> None:
        with Harness() as scheduler:
            scheduler.must_hold(lambda: never_awaited())  # noqa: PLW0108 - a coroutine function would be seen as such

    with pytest.raises(HarnessError, match=r"must_hold was given has returned .* a coroutine, so it has not run"):
        test()


@pytest.mark.parametrize("state", ["new", "closed"])
def test_it_is_asked_for_while_the_harness_is_open(state: str) -> None:
    """Before and after, nobody would check it."""
    harness = Harness()
    if state == "closed":
        harness.open()
        harness.close()
    with pytest.raises(HarnessError, match=f"this harness is {state}"):
        harness.must_hold(lambda: True)
