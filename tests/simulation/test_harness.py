"""The harness as a user meets it: launches, time, outcomes, crashes."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from schedulergodx import Client, InvalidParameter, ResultTimeout, TaskInterrupted, TaskRaised, TaskTimedOut
from schedulergodx_testing import ANY, Harness, HarnessError, NothingLeftToHappen

if TYPE_CHECKING:
    from pathlib import Path

client = Client(name="shop")
outbox: list[str] = []


@client.task
def remind(user: str) -> None:
    outbox.append(user)


@client.task
def divide(a: float, b: float) -> float:
    return a / b


@client.task(task_lifetime=3600)
def oversleep() -> None:
    time.sleep(7200)


left_behind = threading.local()


@client.task
def leave_behind() -> bool:
    """Return whether an earlier run in this thread has left something."""
    was_there = hasattr(left_behind, "it")
    left_behind.it = True
    return was_there


@pytest.fixture(autouse=True)
def empty_outbox() -> None:
    outbox.clear()


def sign_up(user: str) -> None:
    remind.options(delay=24 * 3600).launch(user)


def test_reminder_goes_out_a_day_later(scheduler) -> None:
    """The example of the documentation, word by word."""
    sign_up("ada")
    scheduler.assert_launched(remind, args=("ada",), delay=24 * 3600)
    scheduler.advance(hours=23)
    assert outbox == []
    scheduler.advance(hours=1)
    assert outbox == ["ada"]


attempts: list[float] = []
nightly: list[float] = []


@client.task
def call_back_off(left: int) -> None:
    """Fail, and be tried again five times, each time twice as late."""
    attempts.append(time.monotonic())
    if left:
        call_back_off.options(delay=60 * 2 ** (5 - left)).launch(left - 1)
    raise ConnectionError


@client.task
def clean_up_nightly() -> None:
    """Be due again each day, as by cron."""
    nightly.append(time.monotonic())
    clean_up_nightly.options(delay=24 * 3600).launch()


@pytest.mark.slow
def test_a_year_of_cron_and_retries_with_back_off(scheduler: Harness) -> None:
    """Each at its moment, after 30 days for the first one; it takes about a second."""
    attempts.clear()
    nightly.clear()
    began = time.monotonic()
    call_back_off.options(delay=30 * 24 * 3600).launch(5)
    clean_up_nightly.launch()
    scheduler.advance(days=365)
    waits = [after - before for before, after in itertools.pairwise(attempts)]
    assert attempts[0] - began == 30 * 24 * 3600
    assert waits == [60, 120, 240, 480, 960]
    assert [moment - began for moment in nightly] == [day * 24 * 3600 for day in range(366)]


def test_nothing_happens_by_itself(scheduler) -> None:
    """A launch runs when the test lets things happen, not before."""
    remind.launch("ada")
    assert outbox == []
    scheduler.run_until_idle()
    assert outbox == ["ada"]


def test_waiting_lets_virtual_time_pass(scheduler) -> None:
    """`result()` needs no `advance`, and takes as long as the task does, virtually."""
    before = scheduler.clock.now()
    assert divide.options(delay=90).launch(1, 4).result() == 0.25
    assert (scheduler.clock.now() - before).total_seconds() == 90


def test_a_timeout_is_counted_in_virtual_seconds(scheduler) -> None:
    """`result(timeout_s=…)` ends at the virtual second, and touches nothing."""
    before = scheduler.clock.monotonic()
    message_id = divide.options(delay=90).launch(1, 4)
    with pytest.raises(ResultTimeout):
        message_id.result(timeout_s=60)
    assert scheduler.clock.monotonic() - before == 60
    assert message_id.result(timeout_s=60) == 0.25


@pytest.mark.parametrize("hard", [False, True])
def test_a_task_that_oversleeps_is_answered_at_its_deadline(scheduler, hard: bool) -> None:
    """At exactly the virtual second, soft and hard."""
    before = scheduler.clock.monotonic()
    with pytest.raises(TaskTimedOut):
        oversleep.options(hard=hard, hard_task_lifetime=3600).launch().result()
    assert scheduler.clock.monotonic() - before == 3600


def test_a_wait_that_can_never_end_says_so(scheduler) -> None:
    """With the service down for good, and nothing due, there is nothing to wait for."""
    scheduler.stop_service()
    message_id = remind.launch("ada")
    with pytest.raises(NothingLeftToHappen):
        message_id.result()


def test_a_crash_while_a_task_runs_is_told(scheduler) -> None:
    """After the restart the client hears that the task was interrupted; the next one runs."""
    message_id = oversleep.launch()
    scheduler.advance(seconds=10)
    scheduler.crash_service()
    scheduler.start_service()
    with pytest.raises(TaskInterrupted):
        message_id.result()
    assert divide.launch(1, 2).result() == 0.5


def test_a_delayed_task_survives_a_crash(scheduler) -> None:
    """It waits in the database, and runs in time."""
    sign_up("ada")
    scheduler.run_until_idle()
    scheduler.crash_service()
    scheduler.start_service()
    scheduler.advance(days=1)
    assert outbox == ["ada"]


def test_a_late_task_is_skipped_or_run_as_its_client_wishes(scheduler) -> None:
    """A service that was down over the moment follows `enable_overdue`."""
    skipped = remind.options(delay=60).launch("late")
    run = remind.options(delay=60, enable_overdue=True).launch("late but wanted")
    scheduler.run_until_idle()
    scheduler.stop_service()
    scheduler.advance(hours=1)
    scheduler.start_service()
    scheduler.run_until_idle()
    assert outbox == ["late but wanted"]
    scheduler.assert_failed(skipped, error="OVERDUE_SKIPPED")
    scheduler.assert_completed(run)


def test_failures_can_be_asserted(scheduler) -> None:
    """By our error, by the exception's type, by its name."""
    message_id = divide.launch(1, 0)
    scheduler.run_until_idle()
    for error in (TaskRaised, ZeroDivisionError, "ZeroDivisionError", "ERROR_IN_TASK"):
        scheduler.assert_failed(message_id, error=error)
    with pytest.raises(AssertionError, match="did not fail with ValueError: ERROR_IN_TASK, ZeroDivisionError"):
        scheduler.assert_failed(divide, error=ValueError)
    with pytest.raises(AssertionError, match="did not complete"):
        scheduler.assert_completed(divide)


def test_a_missing_launch_shows_near_misses(scheduler) -> None:
    """What was launched instead, and what is different about it."""
    sign_up("ada")
    with pytest.raises(AssertionError, match=r"args is \('ada',\), not \('bob',\)"):
        scheduler.assert_launched(remind, args=("bob",))
    with pytest.raises(AssertionError, match=r"delay is 86400\.0, not 60"):
        scheduler.assert_launched(remind, delay=60)
    scheduler.assert_not_launched(divide)
    with pytest.raises(AssertionError, match="was launched 1 times"):
        scheduler.assert_not_launched(remind)


def test_a_launch_is_compared_with_what_only_equals(scheduler) -> None:
    """Such as `pytest.approx`, which cannot be hashed; at once is also no delay."""
    sign_up("ada")
    scheduler.assert_launched(remind, args=(ANY,), delay=pytest.approx(86400))
    remind.launch("grace")
    for at_once in (0, None, pytest.approx(0)):
        scheduler.assert_launched(remind, args=("grace",), delay=at_once)


def test_travelling_lets_everything_happen_on_the_way(scheduler) -> None:
    """Until the wall shows the moment; one that is over is refused."""
    sign_up("ada")
    scheduler.travel_to(datetime(2026, 1, 2, tzinfo=UTC))
    assert outbox == ["ada"]
    with pytest.raises(InvalidParameter, match="is over"):
        scheduler.travel_to(datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidParameter, match="needs a datetime with a time zone"):
        scheduler.travel_to(datetime(2026, 1, 3))  # noqa: DTZ001 - the subject of this test


def test_run_all_goes_from_timer_to_timer(scheduler) -> None:
    """Until nothing waits."""
    for days in (1, 5, 30):
        remind.options(delay=days * 86400).launch(f"{days} days")
    scheduler.run_all()
    assert outbox == ["1 days", "5 days", "30 days"]
    assert scheduler.clock.now() == datetime(2026, 1, 31, tzinfo=UTC)


def test_a_module_level_client_is_as_before_afterwards() -> None:
    """It is redirected while a harness is open, and by nothing else."""
    before = client.rmq_consumer_que
    with Harness() as scheduler:
        assert client.rmq_consumer_que != before
        divide.launch(1, 2)
        assert len(scheduler.launched) == 1
    assert client.rmq_consumer_que == before


def test_a_connected_client_is_redirected_too(tmp_path: Path) -> None:
    """What it launches while a harness is open stays there; before and after, it goes where it always does."""

    def sent() -> int:
        with closing(sqlite3.connect(tmp_path / "broker.db")) as database:
            return int(database.execute("SELECT count(*) FROM message").fetchone()[0])

    with Client(name="connected", url=f"sqlite:///{tmp_path / 'broker.db'}") as mine:
        add = mine.task(lambda a, b: a + b)
        add.launch(1, 2)
        before = sent()
        with Harness() as scheduler:
            assert add.launch(3, 4).result() == 7
            assert [launch.args for launch in scheduler.launched] == [(3, 4)]
        assert sent() == before == 1
        add.launch(5, 6)
        assert sent() == 2


def test_no_thread_is_left_behind() -> None:
    """Also when tasks were asleep at the end."""
    before = set(threading.enumerate())
    with Harness() as scheduler:
        oversleep.launch()
        scheduler.advance(seconds=1)
    assert set(threading.enumerate()) == before


def test_the_same_seed_tells_the_same_story() -> None:
    """Byte by byte."""

    def story() -> str:
        with Harness(seed=7, service={"threads": 2}) as scheduler:
            for number in range(20):
                divide.options(delay=number % 3 or None).launch(number, 1)
            oversleep.launch()
            scheduler.run_all()
            return scheduler.timeline.to_json()

    assert len({story() for _ in range(5)}) == 1


def test_capturing_runs_nothing() -> None:
    """Launches are recorded, and that is all."""
    with Harness(is_capturing=True) as scheduler:
        sign_up("ada")
        scheduler.advance(days=2)
        scheduler.assert_launched(remind, args=("ada",))
    assert outbox == []


def test_harnesses_do_not_nest(scheduler) -> None:
    """The second one is refused, and the first one still serves."""
    with pytest.raises(HarnessError, match="do not nest"):
        Harness().open()
    assert divide.launch(1, 2).result() == 0.5


def test_soft_runs_use_threads_again_and_hard_ones_never(scheduler) -> None:
    """As in production: what one run leaves in its thread, the next may find; a process is always a new one."""
    ids = []
    for hard in (False, False, True, True):
        ids.append(leave_behind.options(hard=hard).launch())
        scheduler.run_until_idle()
    assert [message_id.result() for message_id in ids] == [False, True, False, False]
