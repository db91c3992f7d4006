"""Tasks that a harness claims ahead of their moment, as production does: they wait for it in a thread of the world."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schedulergodx import Client, TaskStatus
from schedulergodx_testing import Harness

if TYPE_CHECKING:
    from collections.abc import Iterator

client = Client(name="shop")
ran: list[str] = []


@client.task
def work(name: str) -> None:
    ran.append(name)


@pytest.fixture
def early() -> Iterator[Harness]:
    """A harness with a task, `a`, that waits in a thread: it is due in a quarter of a second."""
    ran.clear()
    with Harness(lead_s=0.5) as scheduler:
        work.launch("first").result()
        work.options(delay=60, enable_overdue=True).launch("a")
        scheduler.advance(seconds=59.75)
        assert (scheduler.tasks[-1].status, ran) == (TaskStatus.WORK, ["first"])
        yield scheduler


def test_it_begins_at_its_moment(early: Harness) -> None:
    """And is recorded to have begun then, not when it was claimed."""
    early.advance(seconds=0.25)
    assert ran == ["first", "a"]
    state = early.tasks[-1]
    assert state.outcome is not None
    assert state.outcome.started_at == state.run_at


def test_it_waits_again_when_the_clock_is_set_back(early: Harness) -> None:
    """Its claim is put back, and it runs when its moment comes by the wall clock."""
    early.jump_wall(seconds=-10)
    early.advance(seconds=1)
    assert (early.tasks[-1].status, ran) == (TaskStatus.WAITING, ["first"])
    early.advance(seconds=9.125)
    assert ran == ["first"]
    early.advance(seconds=0.125)
    assert ran == ["first", "a"]


def test_it_dies_with_its_service(early: Harness) -> None:
    """It had not begun: the next service runs it at its moment, once."""
    early.crash_service()
    early.advance(seconds=1)
    assert ran == ["first"]
    early.start_service()
    early.run_until_idle()
    assert ran == ["first", "a"]


def test_a_stop_takes_it_back(early: Harness) -> None:
    """It had not begun: it is for the next start of the service."""
    early.stop_service()
    early.start_service()
    assert early.tasks[-1].status is TaskStatus.WAITING
    early.advance(seconds=0.25)
    assert ran == ["first", "a"]
