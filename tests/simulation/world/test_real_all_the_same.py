"""What virtual time cannot see, as docs/testing.md lists it: each limit is there, and what is said to follow does."""

import ctypes
import logging
import multiprocessing
import os
import queue
import sched
import select
import signal
import socket
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from schedulergodx_testing.world import real

_WAIT_S = 0.002
_DAY_S = 86400


def poll():
    select.poll().poll(_WAIT_S * 1000)


def epoll():
    with select.epoll() as waiting:
        waiting.poll(_WAIT_S)


def get():
    with pytest.raises(queue.Empty):
        multiprocessing.Queue().get(timeout=_WAIT_S)


REAL_WAITS = {
    "select.poll": poll,
    "select.epoll": epoll,
    "signal.sigtimedwait": lambda: signal.sigtimedwait([signal.SIGUSR1], _WAIT_S),
    "multiprocessing.Queue.get": get,
    "multiprocessing.Event.wait": lambda: multiprocessing.Event().wait(_WAIT_S),
    "a wait in C": lambda: ctypes.CDLL(None).usleep(round(_WAIT_S * 1e6)),
}


@pytest.mark.parametrize("where", ["test", "thread"])
@pytest.mark.parametrize("name", REAL_WAITS)
def test_a_wait_that_is_real(elapsed, in_thread, name, where):
    """It takes real time, and no virtual one."""
    began_s = real.monotonic()
    REAL_WAITS[name]() if where == "test" else in_thread(REAL_WAITS[name])
    assert real.monotonic() - began_s >= _WAIT_S * 0.9
    assert elapsed() == 0


def test_a_locked_database_is_waited_for_in_real_time(elapsed, tmp_path):
    """SQLite waits in C."""
    path = tmp_path / "busy.db"
    with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(path, timeout=_WAIT_S)) as other:
        one.execute("begin exclusive")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("begin exclusive")
    assert elapsed() == 0


def test_times_of_files_are_real(world, tmp_path):
    """Until the test sets them."""
    path = tmp_path / "file"
    path.touch()
    os.utime(path)
    assert abs(path.stat().st_mtime - real.time_s()) < _DAY_S
    assert abs(path.stat().st_mtime - time.time()) > _DAY_S
    os.utime(path, (time.time(), time.time()))
    assert path.stat().st_mtime == time.time()


def test_alarms_go_off_after_real_seconds(world, elapsed):
    """Not within a virtual sleep."""
    is_silent = real.allocate_lock()
    real.acquire(is_silent)
    before = signal.signal(signal.SIGALRM, lambda *_: is_silent.release())
    try:
        signal.setitimer(signal.ITIMER_REAL, 60)
        time.sleep(3600)
        assert is_silent.locked()
        signal.setitimer(signal.ITIMER_REAL, _WAIT_S)
        assert real.acquire(is_silent, True, 60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert elapsed() == 3600


def test_processor_times_are_real(world):
    """They do not follow a virtual sleep."""
    before_s = time.process_time(), time.thread_time(), os.times().elapsed
    time.sleep(_DAY_S)
    after_s = time.process_time(), time.thread_time(), os.times().elapsed
    assert all(0 <= after - before < _DAY_S for before, after in zip(before_s, after_s, strict=True))


def test_what_sqlite_does_not_show_is_not_named(world, tmp_path):
    """A table, a view and a trigger from before, and parameters that can be read only once."""
    with closing(sqlite3.connect(tmp_path / "x.db")) as database:
        with world.outside():
            database.executescript(
                "create table t (n, at text default current_timestamp); create table log (at);"
                "create view clock as select datetime() as now;"
                "create trigger told after insert on t begin insert into log values (datetime()); end"
            )
        database.execute("insert into t (n) values (1)")
        database.executemany("insert into log values (datetime(?))", iter([("now",)]))
        for sql in ("select at from t", "select now from clock", "select at from log"):
            assert database.execute(sql).fetchone()[0] > "2026-01-02"
    assert world.leaks == []


def test_what_is_not_named(world, tmp_path):
    """Files, DNS, and who one is."""
    (tmp_path / "file").write_text(str(os.getpid()), "utf-8")
    socket.getaddrinfo("localhost", 80)
    os.environ.get("PATH")
    assert world.leaks == []


def schedule():
    plan = sched.scheduler(time.time, time.sleep)
    plan.enter(_DAY_S, 0, lambda: None)
    plan.run()


def start_timer():
    timer = threading.Timer(_DAY_S, lambda: None)
    timer.start()
    timer.join()


def wait_for_queue():
    with pytest.raises(queue.Empty):
        queue.Queue().get(timeout=_DAY_S)


def use_pool():
    with ThreadPoolExecutor(1) as pool:
        pool.submit(time.sleep, _DAY_S).result(timeout=2 * _DAY_S)


VIRTUAL_WAITS = {
    "threading.Timer": start_timer,
    "sched": schedule,
    "queue": wait_for_queue,
    "a pool of threads": use_pool,
    "select.select": lambda: select.select([], [], [], _DAY_S),
}


@pytest.mark.parametrize("name", VIRTUAL_WAITS)
def test_a_wait_that_is_virtual(elapsed, name):
    """A day is over at once; all clocks of the system and log records show it."""
    began = time.clock_gettime(time.CLOCK_REALTIME), time.clock_gettime(time.CLOCK_MONOTONIC)
    VIRTUAL_WAITS[name]()
    assert elapsed() == pytest.approx(_DAY_S)
    assert time.clock_gettime(time.CLOCK_REALTIME) - began[0] == pytest.approx(_DAY_S)
    assert time.clock_gettime(time.CLOCK_MONOTONIC) - began[1] == pytest.approx(_DAY_S)
    assert logging.makeLogRecord({}).created == time.time()
