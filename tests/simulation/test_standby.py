"""Two services, one queue: the second is refused, or waits and takes over."""

from __future__ import annotations

import time

import pytest

from schedulergodx import Client, DatabaseInUse, QueueInUse, TaskInterrupted
from schedulergodx_testing import Harness, invariants

client = Client(name="shop", task_lifetime=None)
ran: list[str] = []


@client.task
def work(name: str, seconds: float = 0) -> str:
    ran.append(name)
    time.sleep(seconds)
    return name


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def test_a_standby_on_the_same_database_takes_over_within_seconds(scheduler: Harness) -> None:
    """When the first is killed: what ran is interrupted, what waited runs once, what is launched meanwhile runs."""
    running = work.launch("running", 1000)
    waiting = work.options(delay=60).launch("waiting")
    standby = scheduler.new_service(name="second", db=str(scheduler.services[0].path), standby=True)
    scheduler.advance(hours=0.01)
    assert standby.health().is_healthy
    assert standby.health().summary() == "service second waits as a standby; 0 run"
    scheduler.crash_service()
    late = work.launch("late")
    killed_at = scheduler.clock.monotonic()
    assert late.result() == "late"
    assert scheduler.clock.monotonic() - killed_at < 5
    with pytest.raises(TaskInterrupted):
        running.result()
    assert waiting.result() == "waiting"
    assert ran == ["running", "late", "waiting"]
    assert standby.health().phase == "running"
    scheduler.run_until_idle()
    assert invariants.check(scheduler, is_over=True) == []


def test_a_standby_takes_over_from_a_service_that_stops(scheduler: Harness) -> None:
    """In order, and back again: the first comes back as the standby of the second."""
    path = str(scheduler.services[0].path)
    scheduler.new_service(name="second", db=path, standby=True)
    scheduler.stop_service()
    assert work.launch("a").result() == "a"
    scheduler.new_service(name="third", db=path, standby=True)
    scheduler.crash_service(1)
    assert work.launch("b").result() == "b"
    assert ran == ["a", "b"]


def test_a_standby_that_waits_for_a_database_can_be_stopped(scheduler: Harness) -> None:
    """At once, and the first goes on."""
    scheduler.new_service(name="second", db=str(scheduler.services[0].path), standby=True)
    before = scheduler.clock.monotonic()
    scheduler.stop_service(1)
    assert scheduler.clock.monotonic() == before
    assert work.launch("a").result() == "a"


def test_without_standby_the_second_is_refused_by_the_database(scheduler: Harness) -> None:
    """At once, naming the first."""
    with pytest.raises(DatabaseInUse, match="in use by the service 'service@"):
        scheduler.new_service(name="second", db=str(scheduler.services[0].path))


def test_without_standby_the_second_is_refused_by_the_queue(scheduler: Harness) -> None:
    """After a few seconds, in which a killed owner would be noticed; the first goes on."""
    scheduler.run_until_idle()
    second = scheduler.new_service(name="second")
    scheduler.advance(seconds=10)
    assert second.is_done
    with pytest.raises(QueueInUse, match="client-service"):
        raise second._error
    assert work.launch("a").result() == "a"
