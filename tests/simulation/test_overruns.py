"""Soft tasks that overrun, in virtual time as in production: answered at once, asked to stop, counted, and replaced."""

from __future__ import annotations

import time

import pytest

from schedulergodx import Client, TaskOverrun, TaskTimedOut
from schedulergodx_testing import invariants

client = Client(name="shop", task_lifetime=3)
told: list[tuple[str, float]] = []


@client.task
def poll(pause_s: float, *, is_stubborn: bool = False) -> str:
    began = time.monotonic()
    while True:
        try:
            time.sleep(pause_s)
        except TaskOverrun:
            told.append(("asked", time.monotonic() - began))
            if not is_stubborn:
                raise


@client.task
def add(left: int, right: int) -> int:
    return left + right


@pytest.fixture(autouse=True)
def nothing_told() -> None:
    told.clear()


@pytest.mark.parametrize(("pause_s", "asked_s"), [(0.8, 3.2), (60, 60)], ids=["short waits", "one long wait"])
def test_it_is_answered_at_its_deadline_and_asked_when_its_wait_is_over(
    scheduler, pause_s: float, asked_s: int
) -> None:
    """A `time.sleep` is waited out, as it is in C; the answer does not wait for that."""
    message_id = poll.launch(pause_s)
    with pytest.raises(TaskTimedOut, match=r"lifetime of 3 s: it was asked to stop \(TaskOverrun\)"):
        message_id.result()
    [state] = scheduler.tasks
    assert (state.outcome.ended_at - state.started_at).total_seconds() == 3
    assert scheduler.service.health().abandoned == 1
    scheduler.advance(minutes=2)
    assert told == [("asked", pytest.approx(asked_s))]
    assert scheduler.service.health().abandoned == 0
    invariants.require(scheduler, is_over=True)


def test_one_that_does_not_stop_is_counted_and_replaced(scheduler) -> None:
    """It is asked once; others run in its place."""
    poll.launch(1, is_stubborn=True)
    scheduler.advance(minutes=1)
    assert [what for what, _moment in told] == ["asked"]
    assert scheduler.service.health().abandoned == 1
    assert add.launch(1, 2).result() == 3
