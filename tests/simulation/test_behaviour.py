"""What a user sees, over whatever broker is under the fixture: delays, lifetimes, late tasks, answers, restarts.

CI runs this over the broker in memory, over one file and over RabbitMQ (`--scheduler-transport`), and compares.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from schedulergodx import (
    Client,
    ResultUnserializable,
    TaskInterrupted,
    TaskKilled,
    TaskOverdue,
    TaskRaised,
    TaskTimedOut,
    UnknownMessageId,
    current_task,
)

client = Client(name="behaviour", task_lifetime=None, hard_task_lifetime=None)
calls: list[object] = []


@client.task
def note(what: object) -> object:
    calls.append(what)
    return what


@client.task
def fail(text: str) -> None:
    raise LookupError(text)


@client.task
def work(seconds: float) -> float:
    began = time.monotonic()
    time.sleep(seconds)
    return time.monotonic() - began


@client.task
async def wait_async(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "waited"


@client.task
def launch_more(count: int) -> list[str]:
    return [str(note.launch(number)) for number in range(count)]


@client.task
def chain(left: int) -> int:
    return chain.options(delay=60).launch(left - 1).result() + 1 if left else 0


@client.task
def who() -> tuple[str, int]:
    running = current_task()
    assert running is not None
    return running.client, running.start_number


@client.task
def leave(status: int) -> None:
    import os

    os._exit(status)


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


def test_a_task_runs_and_is_answered(scheduler) -> None:
    """Its value comes back, whatever kind of data it is."""
    for value in (None, 1, "text", [1, {"a": 2}], (1, b"x"), {1, 2}, datetime(2026, 1, 1, tzinfo=UTC)):
        assert note.launch(value).result() == value
    assert len(calls) == 7


def test_tasks_start_in_the_order_of_their_moments(scheduler) -> None:
    """Not in that of their launches."""
    for delay in (300, 100, 200):
        note.options(delay=delay).launch(delay)
    scheduler.advance(seconds=99)
    assert calls == []
    scheduler.advance(seconds=201)
    assert calls == [100, 200, 300]


def test_a_moment_is_met_to_the_microsecond(scheduler) -> None:
    """`launch_at` and `delay` start at their moment: not a microsecond before, and not after."""
    moment = scheduler.clock.now() + timedelta(days=30, microseconds=1)
    message_id = note.launch_at(moment, "then")
    message_id.result()
    outcome = scheduler.outcome(message_id)
    assert outcome.started_at == outcome.run_at == moment


def test_a_moment_that_is_over_is_now(scheduler) -> None:
    """Within the grace it simply runs."""
    assert note.launch_at(scheduler.clock.now() - timedelta(seconds=5), "now").result() == "now"


@pytest.mark.parametrize("hard", [False, True])
def test_lifetimes_end_tasks(scheduler, hard: bool) -> None:
    """One that stays within its lifetime completes, one that does not is answered at the deadline."""
    task = work.options(hard=hard, task_lifetime=100, hard_task_lifetime=100)
    assert task.launch(99).result() == 99
    before = scheduler.clock.monotonic()
    with pytest.raises(TaskTimedOut):
        task.launch(101).result()
    assert scheduler.clock.monotonic() - before == 100


def test_a_soft_task_that_overran_makes_room_for_others(scheduler) -> None:
    """Its thread goes on, and is replaced."""
    stuck = [work.options(task_lifetime=1).launch(1000) for _ in range(10)]
    assert note.launch("next").result() == "next"
    for message_id in stuck:
        scheduler.run_until(message_id)
        scheduler.assert_failed(message_id, error=TaskTimedOut)


@pytest.mark.scheduler(service={"threads": 2})
def test_no_more_run_at_a_time_than_there_are_threads(scheduler) -> None:
    """Four tasks of an hour, two at a time, take two hours."""
    before = scheduler.clock.monotonic()
    ids = [work.launch(3600) for _ in range(4)]
    assert [message_id.result() for message_id in ids] == [3600] * 4
    assert scheduler.clock.monotonic() - before == 7200


def test_what_a_task_raises_is_told(scheduler) -> None:
    """Type, text and traceback."""
    with pytest.raises(TaskRaised) as caught:
        fail.launch("lost").result()
    assert (caught.value.exception_type, caught.value.message) == ("LookupError", "lost")
    assert "raise LookupError(text)" in caught.value.traceback


def test_a_result_that_is_no_data(scheduler) -> None:
    """The task completed, once, and its result stays where it is."""
    task = client.task(lambda: calls.append(1) or object())
    with pytest.raises(ResultUnserializable):
        task.launch().result()
    assert calls == [1]


def test_a_process_that_leaves_without_a_report(scheduler) -> None:
    """Exit 0 is no success."""
    for status in (0, 3):
        with pytest.raises(TaskKilled):
            leave.options(hard=True).launch(status).result()
    assert note.launch("next").result() == "next"


def test_a_coroutine_function_runs_to_its_end(scheduler) -> None:
    """In virtual time."""
    before = scheduler.clock.monotonic()
    assert wait_async.launch(3600).result() == "waited"
    assert scheduler.clock.monotonic() - before == 3600


def test_an_asyncio_program_launches_and_waits(scheduler) -> None:
    """`launch_async`, `await`, and its own sleeps, side by side."""

    async def program() -> list[object]:
        ids = [await note.options(delay=delay).launch_async(delay) for delay in (20, 10)]
        await asyncio.sleep(15)
        assert calls == [10]
        return [await message_id for message_id in ids]

    assert asyncio.run(program()) == [20, 10]


def test_a_task_launches_tasks(scheduler) -> None:
    """From inside the service, and may wait for them."""
    ids = launch_more.launch(3).result()
    assert [client.result(message_id) for message_id in ids] == [0, 1, 2]
    before = scheduler.clock.monotonic()
    assert chain.launch(3).result() == 3
    assert scheduler.clock.monotonic() - before == 180


def test_a_task_can_ask_about_itself(scheduler) -> None:
    """Who launched it, and which start this is."""
    assert who.launch().result() == ("behaviour", 1)


def test_a_batch_is_confirmed_together(scheduler) -> None:
    """And each launch is answered."""
    with client.batch():
        ids = [note.launch(number) for number in range(200)]
    assert [message_id.result() for message_id in ids] == list(range(200))
    assert sorted(calls) == list(range(200))


def test_another_client_asks_by_id(scheduler) -> None:
    """For what has ended, and for what has not."""
    other = scheduler.new_client(name="other")
    ended = note.launch("done")
    ended.result()
    assert other.result(str(ended)) == "done"
    waiting = note.options(delay=1000).launch("later")
    assert other.result(str(waiting)) == "later"
    with pytest.raises(UnknownMessageId):
        other.result("nobody launched this")


@pytest.mark.parametrize("is_crash", [False, True])
def test_what_waits_survives_a_restart(scheduler, is_crash: bool) -> None:
    """A stop, or a kill; the service goes on where it was."""
    ids = [note.options(delay=delay).launch(delay) for delay in (10, 1000, 2000)]
    scheduler.advance(seconds=100)
    scheduler.crash_service() if is_crash else scheduler.stop_service()
    scheduler.start_service()
    assert [message_id.result() for message_id in ids] == [10, 1000, 2000]
    assert calls == [10, 1000, 2000]


def test_what_is_launched_while_the_service_is_down_waits_in_the_broker(scheduler) -> None:
    """And runs once it is up."""
    scheduler.stop_service()
    ids = [note.launch(number) for number in range(5)]
    scheduler.advance(hours=1)
    assert calls == []
    scheduler.start_service()
    assert [message_id.result() for message_id in ids] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("hard", [False, True])
def test_what_runs_when_the_service_is_killed_is_told(scheduler, hard: bool) -> None:
    """As interrupted, once, and it is not started again."""
    message_id = work.options(hard=hard).launch(100)
    scheduler.advance(seconds=50)
    scheduler.crash_service()
    scheduler.start_service()
    with pytest.raises(TaskInterrupted):
        message_id.result()
    assert [state.starts for state in scheduler.tasks] == [1]


def test_a_stop_lets_running_tasks_end(scheduler) -> None:
    """Within the grace; what needs longer is told as interrupted."""
    short, long = work.launch(20), work.launch(1000)
    scheduler.advance(seconds=1)
    scheduler.stop_service()
    assert short.result() == 20
    with pytest.raises(TaskInterrupted):
        long.result()


@pytest.mark.parametrize(("late_s", "runs"), [(59, True), (61, False)])
def test_late_tasks_follow_the_grace(scheduler, late_s: int, runs: bool) -> None:
    """A minute late is late; without `enable_overdue` it is then skipped, and the client told."""
    message_id = note.options(delay=100).launch("late")
    scheduler.run_until_idle()
    scheduler.stop_service()
    scheduler.advance(seconds=100 + late_s)
    scheduler.start_service()
    if runs:
        assert message_id.result() == "late"
    else:
        with pytest.raises(TaskOverdue):
            message_id.result()
    assert calls == (["late"] if runs else [])


def test_late_tasks_run_where_their_client_wants_it(scheduler) -> None:
    """However late, each once; and one that was to run at once is never late."""
    for number in (3, 1, 2):
        note.options(delay=number, enable_overdue=True).launch(number)
    scheduler.run_until_idle()
    scheduler.stop_service()
    note.launch("at once")
    scheduler.advance(days=7)
    scheduler.start_service()
    scheduler.run_all()
    assert sorted(calls, key=str) == [1, 2, 3, "at once"]


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_wall_clock_that_is_set_loses_and_doubles_nothing(scheduler, hours: int) -> None:
    """Set back, tasks wait for their moment; set forward, they are late; each ends once."""
    ids = [note.options(delay=delay, enable_overdue=True).launch(delay) for delay in (60, 3600, 7200)]
    scheduler.run_until_idle()
    scheduler.jump_wall(hours=hours)
    assert [message_id.result() for message_id in ids] == [60, 3600, 7200]
    assert sorted(calls) == [60, 3600, 7200]


@pytest.mark.scheduler(time_zone="Europe/Berlin", start=datetime(2026, 3, 28, 12, tzinfo=UTC))
def test_a_day_with_a_change_of_clocks_has_no_effect(scheduler) -> None:
    """24 hours are 24 hours, also when the local clock skips one."""
    before = scheduler.clock.now()
    note.options(delay=24 * 3600).launch("next day").result()
    assert scheduler.clock.now() - before == timedelta(hours=24)


def test_a_month_of_daily_tasks(scheduler) -> None:
    """Each on its day, and none twice."""
    for day in range(1, 31):
        note.options(delay=day * 86400).launch(day)
    scheduler.advance(days=30)
    assert calls == list(range(1, 31))
