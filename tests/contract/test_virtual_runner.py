"""The runner of virtual worlds keeps the contract of runners, and kills virtual processes hard."""

import os
import signal
import sys
import threading
import time
from datetime import UTC

import pytest

from schedulergodx.errors import Closed
from schedulergodx.rules.lifecycle import Code
from schedulergodx_testing.clock import FakeClock
from schedulergodx_testing.contracts.runner import RunnerContract
from schedulergodx_testing.contracts.watched_runs import add
from schedulergodx_testing.errors import HarnessError
from schedulergodx_testing.specs import make_task
from schedulergodx_testing.world import World
from schedulergodx_testing.world.choices import Choices
from schedulergodx_testing.world.interpose import interposed
from schedulergodx_testing.world.runner import VirtualRunner

told = []
lock, rlock = threading.Lock(), threading.RLock()
condition = threading.Condition()


@pytest.fixture(autouse=True)
def nothing_told():
    told.clear()
    yield
    assert not lock.locked()


@pytest.fixture
def world():
    opened = World(FakeClock(), Choices(3), patience_s=1.0)
    with interposed(opened, UTC):
        yield opened
        assert opened.end() == []


def sleep_well():
    time.sleep(7200)


def hold_locks():
    rlock.acquire()
    lock.acquire()
    time.sleep(7200)


def hold_locks_and_unwind():
    with lock, rlock, condition:
        condition.wait(7200)


def wait_for_condition():
    with condition:
        condition.wait()


def hold_condition():
    with condition:
        condition.notify()
        time.sleep(10)
        told.append("held to the end")


def wait_in_finally():
    try:
        time.sleep(7200)
    finally:
        told.append("finally")
        try:
            time.sleep(5)
            told.append("slept")
        finally:
            threading.Event().wait()
            told.append("waited")


def never_give_in():
    for _ in range(3):
        try:
            time.sleep(7200)
        except BaseException:  # noqa: BLE001 - the worst a task can do
            told.append("caught")
    return "survived"


def start_threads():
    threading.Thread(target=write_later).start()
    time.sleep(7200)


def leave_a_thread():
    threading.Thread(target=write_later).start()


def write_later():
    time.sleep(60)
    told.append("written by a thread")


def exit_in_a_thread():
    threading.Thread(target=lambda: time.sleep(1) or os._exit(4)).start()
    time.sleep(7200)


def end_itself(how):
    try:
        {
            "exit": lambda: sys.exit(3),
            "os exit": lambda: os._exit(3),
            "abort": os.abort,
            "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
            "term": lambda: os.kill(os.getpid(), signal.SIGTERM),
            "raise": lambda: signal.raise_signal(signal.SIGINT),
            "group": lambda: os.killpg(os.getpgrp(), signal.SIGKILL),
        }[how]()
    except Exception:  # noqa: BLE001 - as tasks do
        told.append("caught")


def ask_whether_it_lives():
    os.kill(os.getpid(), 0)
    os.kill(os.getpid(), signal.SIGWINCH)
    return True


class TestVirtualRunner(RunnerContract):
    @pytest.fixture
    def make_runner(self, world):
        return lambda soft, hard: VirtualRunner(
            world, threads=soft, processes=hard, result_bytes_max=1_000_000, lead_s=0.05
        )

    @pytest.mark.parametrize(
        "function", [sleep_well, hold_locks, hold_locks_and_unwind, wait_in_finally, never_give_in, start_threads]
    )
    def test_a_process_is_killed_where_it_waits(self, world, open_runner, function):
        """Whatever it holds, catches or waits for while it unwinds, it is gone at that very moment."""
        watched = open_runner()
        killed = watched.start(function, is_hard=True)
        time.sleep(3600)
        watched.runner.abandon(killed)
        assert world.clock.monotonic() == 4600
        finished = watched.finished()
        assert (finished.message_id, finished.report.code) == (killed, Code.TASK_KILLED)
        assert world.clock.monotonic() == 4600
        assert not lock.locked()
        assert rlock.acquire(blocking=False)
        rlock.release()
        time.sleep(7200)
        assert set(told) <= {"finally", "caught", "written by a thread"}
        assert ("written by a thread" in told) == (function is start_threads)  # an hour before the kill

    def test_the_threads_of_a_process_end_with_it(self, world, open_runner):
        """By its kill, and by its end."""
        watched = open_runner()
        killed = watched.start(start_threads, is_hard=True)
        time.sleep(30)
        watched.runner.abandon(killed)
        assert watched.report().code is Code.TASK_KILLED
        watched.start(leave_a_thread, is_hard=True)
        assert watched.report().code is Code.OK
        time.sleep(3600)
        assert told == []
        assert world.threads == []

    def test_who_waits_for_a_lock_gets_it_when_the_holder_is_killed(self, world, open_runner):
        """The memory of a killed process is gone, and its locks with it."""
        watched = open_runner()
        killed = watched.start(hold_locks, is_hard=True)
        time.sleep(1)
        waiter = threading.Thread(target=lambda: (lock.acquire() and told.append("got it")) or lock.release())
        waiter.start()
        time.sleep(1)
        watched.runner.abandon(killed)
        waiter.join(5)
        assert told == ["got it"]
        watched.finished()

    def test_a_lock_of_somebody_else_is_not_given_back_by_a_kill(self, world, open_runner):
        """Killed in the wait of a condition that another holds: told at once, and it unwinds when it has the lock."""
        watched = open_runner()
        killed = watched.start(wait_for_condition, is_hard=True)
        time.sleep(1)
        holder = watched.start(hold_condition)
        time.sleep(1)
        watched.runner.abandon(killed)
        finished = watched.finished()
        assert (finished.message_id, finished.report.code) == (killed, Code.TASK_KILLED)
        assert world.clock.monotonic() == 1002
        assert watched.finished().message_id == holder
        assert told == ["held to the end"]
        assert world.clock.monotonic() == 1011
        time.sleep(1)
        assert world.threads == []

    @pytest.mark.parametrize(
        ("how", "code", "words"),
        [
            ("exit", Code.TASK_EXITED, "SystemExit(3)"),
            ("os exit", Code.TASK_EXITED, "exit code 3"),
            ("abort", Code.TASK_KILLED, "SIGABRT"),
            ("kill", Code.TASK_KILLED, "SIGKILL (9)"),
            ("term", Code.TASK_KILLED, "SIGTERM (15)"),
            ("raise", Code.TASK_KILLED, "SIGINT (2)"),
            ("group", Code.TASK_KILLED, "SIGKILL (9)"),
        ],
    )
    def test_a_process_ends_itself_alone(self, open_runner, how, code, words):
        """Exits and signals of a hard task end its virtual process, never the test's own."""
        watched = open_runner()
        watched.start(end_itself, how, is_hard=True)
        report = watched.report()
        assert report.code is code
        assert words in report.message
        assert told == []

    def test_a_thread_ends_its_process(self, world, open_runner):
        """`os._exit` in a thread of a hard task ends all of it."""
        watched = open_runner()
        watched.start(exit_in_a_thread, is_hard=True)
        assert "exit code 4" in watched.report().message
        assert world.clock.monotonic() == 1001

    def test_harmless_signals_are_sent(self, open_runner):
        """Signal 0 and those that end nothing are the system's."""
        watched = open_runner()
        watched.start(ask_whether_it_lives, is_hard=True)
        assert watched.result() is True

    def test_a_soft_task_cannot_end_the_test_run(self, open_runner):
        """`os._exit` in it would end the service in production; here it is refused with a sentence."""
        watched = open_runner()
        watched.start(os._exit, 3)
        report = watched.report()
        assert (report.code, report.exception_type) == (
            Code.ERROR_IN_TASK,
            f"{HarnessError.__module__}.{HarnessError.__qualname__}",
        )
        assert "soft task" in report.message

    def test_a_process_can_be_killed_before_its_first_turn(self, world, open_runner):
        """It is told, and has not run."""
        watched = open_runner()
        watched.runner.abandon(watched.start(write_later, is_hard=True))
        assert watched.report().code is Code.TASK_KILLED
        assert told == []
        assert world.threads == []

    def test_a_crash_ends_everything_untold(self, world, open_runner):
        """As the end of the service's process does."""
        watched = open_runner(soft=2)
        watched.start(sleep_well)
        watched.start(sleep_well, is_hard=True)
        watched.runner.abandon(watched.start(sleep_well))
        time.sleep(10)
        watched.runner.crash()
        assert world.threads == []
        assert watched.runner.threads() == {}
        assert watched.capacities == []

    def test_a_closed_runner_starts_nothing(self, open_runner):
        """`start` after `close` is refused by an error: a bug of the caller, not of the task."""
        watched = open_runner()
        watched.runner.close()
        with pytest.raises(Closed):
            watched.runner.start(make_task(add, 1, 2), start_number=1)
