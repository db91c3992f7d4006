"""Runs that swallow what is to end them: they are ended, or let go of, and the harness goes on."""

import signal
import threading
import time

import pytest

from schedulergodx import Client
from schedulergodx_testing import Harness, looks

MAIN = threading.main_thread().ident
client = Client(name="swallowing", task_lifetime=3, hard_task_lifetime=3)
ends = []


@client.task
def add(a, b):
    return a + b


@client.task
def swallow(seconds):
    while True:
        try:  # noqa: SIM105 - `suppress` would end it
            time.sleep(seconds)
        except BaseException:  # noqa: BLE001 - as it must not be, and is
            pass


@client.task
def interrupt_and_sleep(seconds):
    signal.pthread_kill(MAIN, signal.SIGINT)
    while True:
        time.sleep(seconds)


@pytest.mark.parametrize(("hard", "seconds"), [(False, 1), (True, 1), (True, 0)])
def test_a_run_that_swallows_its_end_holds_nobody_up(monkeypatch, hard, seconds):
    """It has its outcome at the right second, others run meanwhile and afterwards, and no thread of it is left."""
    monkeypatch.setattr(looks, "_PASSES_MAX_US", 2_000_000)
    threads = threading.active_count()
    with Harness(service={"threads": 2}) as scheduler:
        stubborn = swallow.options(hard=hard).launch(seconds)
        scheduler.advance(seconds=10)
        outcome = scheduler.outcome(stubborn)
        assert outcome.code.name == "TASK_TIMEOUT"
        assert (outcome.ended_at - outcome.started_at).total_seconds() == pytest.approx(3, abs=1.5)
        assert add.options(delay=600).launch(1, 2).result() == 3
    assert threading.active_count() == threads


def test_ctrl_c_within_a_loop_of_waits_leaves_nothing(capfd):
    """Whether the run is at a wait just then, or between two of them."""
    threads = threading.active_count()
    with Harness() as scheduler:
        interrupt_and_sleep.options(task_lifetime=None).launch(0.001)
        with pytest.raises(KeyboardInterrupt):
            scheduler.advance(seconds=5)
        scheduler.advance(seconds=0.01)
    assert threading.active_count() == threads
    assert "Exception in thread" not in capfd.readouterr().err


@client.task(hard_task_lifetime=None)
def unwind(steps):
    def leave(place):
        if not place:
            time.sleep(1000)
        try:
            leave(place - 1)
        finally:
            ends.append(place)
            try:
                time.sleep(1)
            finally:
                ends.append(-place)

    leave(steps)


def test_whoever_waits_while_it_unwinds_swallows_nothing():
    """Each `finally` block runs, though what it waits for is refused."""
    ends.clear()
    with Harness() as scheduler:
        unwind.options(hard=True).launch(5)
        scheduler.advance(seconds=1)
        scheduler.crash_service()
    assert ends == [1, -1, 2, -2, 3, -3, 4, -4, 5, -5]


LOCK, NEVER = threading.Lock(), threading.Event()


@client.task(task_lifetime=None)
def swallow_with_a_lock():
    while True:
        try:
            LOCK.acquire()
            try:
                NEVER.wait(5)
            finally:
                ends.append("given back")
                LOCK.release()
        except BaseException:  # noqa: BLE001 - as it must not be, and is
            ends.append("swallowed")


@pytest.mark.parametrize("hard", [False, True])
def test_a_lock_of_one_that_swallows_is_given_back(hard):
    """It is ended where it goes on, not in what cleans up; and its thread is gone."""
    threads = threading.active_count()
    with Harness() as scheduler:
        swallow_with_a_lock.options(hard=hard).launch()
        scheduler.advance(seconds=1)
    assert not LOCK.locked()
    assert threading.active_count() == threads
