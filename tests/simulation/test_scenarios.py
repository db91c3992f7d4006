"""What a scenario must be: a plain function of a harness. What would never run is refused, and not taken for right."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from schedulergodx import Client, InvalidParameter
from schedulergodx_testing import (
    Harness,
    HarnessError,
    check_survives_crashes,
    check_survives_storage_faults,
    replay,
    survives_crashes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

client = Client(name="shop", task_lifetime=None)


@client.task
def work(name: str) -> str:
    return name


async def coroutine_function(scheduler: Harness) -> None:
    raise AssertionError("never seen, since it never runs")


def generator_function(scheduler: Harness) -> Iterator[None]:
    yield


class CoroutineObject:
    """An object that is called as a coroutine function is."""

    async def __call__(self, scheduler: Harness) -> None:
        """Never run."""


TAKES_A_SCENARIO: list[Callable[[Any], object]] = [
    check_survives_crashes,
    check_survives_storage_faults,
    lambda scenario: replay.find(scenario, seeds=1),
]
takes_a_scenario = pytest.mark.parametrize("check", TAKES_A_SCENARIO, ids=["crashes", "storage_faults", "find"])


@takes_a_scenario
@pytest.mark.parametrize("scenario", [coroutine_function, generator_function, CoroutineObject()])
def test_what_would_never_run_is_refused(check: Callable[[Any], object], scenario: object) -> None:
    """Before anything is done; the message says what to write."""
    with pytest.raises(InvalidParameter, match=r"must be a plain function: .* would never run; .* asyncio\.run\(…\)"):
        check(scenario)


@takes_a_scenario
@pytest.mark.parametrize(
    ("scenario", "match"),
    [
        ("x", r"must be a function, got 'x' \(str\)"),
        (None, r"must be a function, got None \(NoneType\)"),
        (lambda: None, r"is called with one argument, the harness; .*lambda.* cannot be: too many positional"),
        (lambda scheduler, apples: None, r"one argument, the harness; .* cannot be: missing .*'apples'"),
    ],
)
def test_what_takes_no_harness_is_refused(check: Callable[[Any], object], scenario: object, match: str) -> None:
    """That it cannot be called is no failure of its own, which an order of things has brought about."""
    with pytest.raises(InvalidParameter, match=match):
        check(scenario)


@takes_a_scenario
def test_a_scenario_that_returns_what_is_still_to_run_is_refused(check: Callable[[Any], object]) -> None:
    """It has done nothing so far. Nobody is warned of a coroutine besides."""
    with pytest.raises(HarnessError, match=r"has returned something that nothing awaits here, a coroutine"):
        check(lambda scheduler: coroutine_function(scheduler))  # noqa: PLW0108 - it would be seen as it is
    with pytest.raises(HarnessError, match=r"has returned something that nothing awaits here, a generator"):
        check(lambda scheduler: (number for number in range(3)))


def test_what_a_scenario_returns_else_is_nobodys_business() -> None:
    """Also the id of a launch, which could be awaited, and runs without that."""
    assert replay.find(lambda scheduler: work.launch("a"), seeds=2) is None

    def asynchronous(scheduler: Harness) -> str:
        async def program() -> str:
            return await work.launch("a")

        return asyncio.run(program())

    assert check_survives_crashes(asynchronous, only="before runner.start 1")


def test_a_test_that_is_a_coroutine_function_is_refused_where_it_is_decorated() -> None:
    """It would pass without having run."""
    for decorate in (survives_crashes, survives_crashes(broker=False)):
        with pytest.raises(InvalidParameter, match=r"scenario of survives_crashes must be a plain function: .*would"):
            decorate(coroutine_function)
        with pytest.raises(InvalidParameter, match=r"scenario of survives_crashes must be a function, got 'W9'"):
            decorate("W9")  # type: ignore[arg-type]  # what is refused

    @survives_crashes
    def returns_one(scheduler: Harness) -> object:
        return coroutine_function(scheduler)

    with pytest.raises(HarnessError, match="nothing awaits here"):
        returns_one()


def test_the_decorator_needs_no_parentheses(tmp_path) -> None:
    """Without options it may be written either way."""
    runs: list[str] = []

    def scenario(scheduler: Harness, name: str) -> None:
        runs.append(name)

    test = survives_crashes(scenario)
    assert list(inspect.signature(test).parameters) == ["name"]
    test(name="a")
    without, runs = runs, []
    survives_crashes()(scenario)(name="a")
    assert without == runs
    assert len(runs) > 2
    with pytest.raises(HarnessError, match="takes no harness"):
        survives_crashes(lambda: None)
