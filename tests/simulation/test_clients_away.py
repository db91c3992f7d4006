"""Clients and services that are away for long: launches and answers wait for a stated time, and what comes after it."""

from __future__ import annotations

import pytest

from schedulergodx import Client, TaskRefused, TaskStatus
from schedulergodx_testing import invariants

client = Client(name="shop", reply_expires_s=3600.0)


@client.task
def work(text: str) -> str:
    return text


@pytest.mark.parametrize("leaves_by", ["crash", "close"])
def test_a_client_that_comes_back_after_a_day_asks_by_id(scheduler, leaves_by: str) -> None:
    """Its queue of answers is gone, the answers are not: another program of the name, or any other one, gets them."""
    soon, late = work.launch("soon"), work.options(delay=12 * 3600.0).launch("late")
    queue = client.rmq_consumer_que
    scheduler.advance(seconds=1)
    if leaves_by == "crash":
        scheduler.crash_client(client)
    else:
        client.close()
    scheduler.advance(days=1)
    assert queue not in scheduler.broker.queues
    for name in ("shop", "somebody else"):
        again = scheduler.new_client(name=name)
        assert again.result(soon) == "soon"
        assert again.result(late) == "late"
    assert scheduler.service.health().is_healthy


def test_a_client_that_is_cut_off_for_a_day_hears_all_by_itself(scheduler) -> None:
    """It lives on, its connection does not: when that is back, whoever waits has the answer, run once."""
    task = work.options(delay=3600.0)
    ids = [task.launch(str(number)) for number in range(3)]
    scheduler.advance(seconds=1)
    scheduler.broker.restart(down_s=86400.0)
    scheduler.advance(days=1, hours=1)
    assert [message_id.result() for message_id in ids] == ["0", "1", "2"]
    assert [(task.starts, task.status) for task in scheduler.tasks] == [(1, TaskStatus.COMPLETED)] * 3


@pytest.mark.parametrize(("days", "is_taken"), [(7, True), (29, True), (31, False)])
def test_a_launch_waits_for_a_service_that_is_away_for_weeks(scheduler, days: int, *, is_taken: bool) -> None:
    """In its queue, and no longer than `max_age_s`: then it could be a repetition, and its client hears STALE."""
    scheduler.stop_service()
    message_id = work.launch("waits")
    scheduler.advance(days=days)
    scheduler.start_service()
    if is_taken:
        assert message_id.result() == "waits"
        return
    with pytest.raises(TaskRefused, match=r"STALE: .* takes launches for 2592000 s"):
        message_id.result()
    [letter] = scheduler.broker.queues["client-service"].dead_letters
    assert letter.reason.startswith("STALE")


def test_a_launch_that_was_refused_stays_refused(scheduler) -> None:
    """Its client has heard STALE: after a crash before the dead letter it comes again, and the clock is right again."""
    message_id = work.launch("from an hour ahead")
    scheduler.jump_wall(hours=-1)
    scheduler.crash_at("transport.reject")
    scheduler.run_until_idle()
    scheduler.jump_wall(hours=1)
    scheduler.start_service()
    scheduler.run_until_idle()
    with pytest.raises(TaskRefused, match="STALE"):
        message_id.result()
    [task] = scheduler.tasks
    assert (task.starts, task.status) == (0, TaskStatus.ERROR)
    assert invariants.check(scheduler) == []
