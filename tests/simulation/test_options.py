"""Every option of a harness, given to `Harness(...)` and by `@pytest.mark.scheduler(...)`."""

from __future__ import annotations

import inspect
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from schedulergodx import Client, TaskStatus
from schedulergodx_testing import Harness, HarnessError, LeftBehind, ThreadStuck

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

client = Client(name="optional", task_lifetime=None)


@client.task
def spin(ended: list[bool]) -> None:
    while not ended:
        pass


def starts_then(scheduler: Harness) -> None:
    assert scheduler.clock.now() == datetime.now(UTC) == datetime(2030, 1, 1, tzinfo=UTC)


def has_the_zone(_: Harness) -> None:
    assert datetime.now().hour == 5  # noqa: DTZ005 - local time is the subject
    assert time.localtime().tm_hour == 5


def has_the_seed(scheduler: Harness) -> None:
    assert scheduler.seed == scheduler.choices.seed == 7


def has_the_client(scheduler: Harness) -> None:
    assert scheduler.client.name == "mine"


def has_the_service(scheduler: Harness) -> None:
    assert scheduler.service.limits.threads == 3


def runs_a_copy(scheduler: Harness) -> None:
    seen: list[int] = []

    @client.task
    def note(number: int) -> int:
        seen.append(number)
        return len(seen)

    assert note.launch(1).result() == 1
    scheduler.run_all()
    assert seen == []


def runs_nothing(scheduler: Harness) -> None:
    spin.launch([])
    scheduler.advance(days=1)
    scheduler.assert_launched(spin)
    with pytest.raises(HarnessError, match="only captures"):
        _ = scheduler.service


def is_strict(scheduler: Harness) -> None:
    assert scheduler._is_strict  # what it asks for at the end, it asks for here
    spin.options(delay=60).launch([True])
    with pytest.raises(LeftBehind, match="1 launches have no outcome"):
        scheduler.check()
    scheduler.run_all()


def has_patience(scheduler: Harness) -> None:
    ended: list[bool] = []  # seen by the function itself: arguments are copies

    @client.task
    def spin_here() -> None:
        while not ended:
            pass

    spin_here.launch()
    with pytest.raises(ThreadStuck, match=r"ran for 0\.125 real seconds"):
        scheduler.run_until_idle()
    ended.append(True)


def starts_again(scheduler: Harness) -> None:
    scheduler.crash_service()
    scheduler.advance(seconds=4)
    assert not scheduler.services[0].is_up
    scheduler.advance(seconds=1)
    assert scheduler.services[0].is_up


def claims_ahead(scheduler: Harness) -> None:
    """Once a task has run: the service knows then that begins are noted."""
    assert spin.launch([True]).result() is None
    message_id = spin.options(delay=60).launch([True])
    scheduler.advance(seconds=59.25)
    assert scheduler.tasks[-1].status is TaskStatus.WAITING
    scheduler.advance(seconds=0.5)
    assert scheduler.tasks[-1].status is TaskStatus.WORK
    assert scheduler.outcome(message_id) is None
    scheduler.advance(seconds=0.25)
    assert scheduler.outcome(message_id) is not None


def replays(scheduler: Harness) -> None:
    assert scheduler.choices.one_of(5) == 3
    assert scheduler.choices.one_of(5) == 1


def is_one_file(scheduler: Harness) -> None:
    assert scheduler.transport.startswith("sqlite:///")
    assert spin.options(delay=60).launch([True]).result() is None


OPTIONS: dict[str, tuple[Any, Callable[[Harness], None]]] = {
    "start": (datetime(2030, 1, 1, tzinfo=UTC), starts_then),
    "time_zone": ("Asia/Karachi", has_the_zone),
    "seed": (7, has_the_seed),
    "client": ({"name": "mine"}, has_the_client),
    "service": ({"threads": 3}, has_the_service),
    "copies": (True, runs_a_copy),
    "is_capturing": (True, runs_nothing),
    "is_strict": (True, is_strict),
    "patience_s": (0.125, has_patience),
    "restart_after_s": (5.0, starts_again),
    "lead_s": (0.5, claims_ahead),
    "replay": ([3, 1], replays),
    "transport": ("sqlite:///", is_one_file),
}


@pytest.fixture(params=OPTIONS)
def option(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, Any], Callable[[Harness], None]]:
    """One option with its value, and what shows that it holds."""
    value, shows = OPTIONS[request.param]
    value = f"{value}{tmp_path / 'broker.db'}" if request.param == "transport" else value
    return {request.param: value}, shows


def test_every_option_is_here() -> None:
    """A new one comes with what shows that it holds."""
    assert list(OPTIONS) == list(inspect.signature(Harness).parameters)


def test_an_option_of_a_harness(option: tuple[dict[str, Any], Callable[[Harness], None]]) -> None:
    """Given where a test opens one by itself."""
    options, shows = option
    with Harness(**options) as scheduler:
        shows(scheduler)


def test_an_option_of_the_marker(
    request: pytest.FixtureRequest, option: tuple[dict[str, Any], Callable[[Harness], None]]
) -> None:
    """Given to the fixture, it means the same."""
    options, shows = option
    request.node.add_marker(pytest.mark.scheduler(**options))
    shows(request.getfixturevalue("scheduler"))
