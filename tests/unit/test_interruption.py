"""`TaskOverrun` comes while a function runs, at most once, and never afterwards."""

import logging
import threading
from contextlib import suppress
from queue import SimpleQueue

import pytest

from schedulergodx.context import TaskOverrun
from schedulergodx.service.runner import LocalRunner
from schedulergodx.service.runner.interruption import Interruption
from schedulergodx_testing.contracts.watched_runs import add
from schedulergodx_testing.specs import make_task

WAIT_S = 20.0
RUNS = 300


def in_thread(body):
    """Run `body(interruption, ready, go)` in a thread. Returns its interruption, the two events, and what it brings."""
    ready, go, brought, made = threading.Event(), threading.Event(), SimpleQueue(), SimpleQueue()

    def run():
        interruption = Interruption()
        made.put(interruption)
        try:
            brought.put(body(interruption, ready, go))
        except TaskOverrun as error:
            brought.put(error)

    threading.Thread(target=run).start()
    interruption = made.get(timeout=WAIT_S)
    assert ready.wait(WAIT_S)
    return interruption, go, brought


def wait(ready, go):
    ready.set()
    assert go.wait(WAIT_S)


def test_it_comes_when_the_wait_is_over():
    """A thread that waits in C has it at the end of the wait, and only once, however often it is sent."""

    def body(_interruption, ready, go):
        with suppress(TaskOverrun):
            wait(ready, go)
            return "it did not come"
        return sum(range(10_000))

    interruption, go, brought = in_thread(body)
    for _ in range(3):
        assert interruption.send()
    go.set()
    assert brought.get(timeout=WAIT_S) == sum(range(10_000))


def test_it_does_not_come_after_the_end():
    """Who has ended is not asked."""

    def body(interruption, ready, go):
        interruption.end()
        wait(ready, go)
        return sum(range(10_000))

    interruption, go, brought = in_thread(body)
    assert interruption.send()
    go.set()
    assert brought.get(timeout=WAIT_S) == sum(range(10_000))


def test_the_end_takes_back_what_has_not_come():
    """What was sent, and would come later, comes in `end` or not at all."""

    def body(interruption, ready, go):
        with suppress(TaskOverrun):  # as a function that handles it
            wait(ready, go)
        interruption.end()
        return sum(range(10_000))

    interruption, go, brought = in_thread(body)
    assert interruption.send()
    go.set()
    assert brought.get(timeout=WAIT_S) == sum(range(10_000))


def test_who_is_in_shared_code_is_left_alone():
    """In `logging`, which holds locks that all threads need, it is not sent; later it is."""
    ready, go = threading.Event(), threading.Event()

    class Slow(logging.Handler):
        def emit(self, _record):
            wait(ready, go)

    logger = logging.getLogger("slow")
    handler = Slow()
    logger.addHandler(handler)

    def body(_interruption, is_ready, may_go):
        is_ready.set()
        logger.error("x")
        wait(is_ready, may_go)

    interruption, may_go, brought = in_thread(body)
    assert ready.wait(WAIT_S)
    assert not interruption.send()
    ready.clear()
    go.set()
    while not interruption.send():
        pass
    may_go.set()
    assert isinstance(brought.get(timeout=WAIT_S), TaskOverrun)
    logger.removeHandler(handler)


@pytest.mark.slow
def test_a_storm_of_runs_that_are_abandoned_as_they_end():
    """Each is told once, no thread is hit outside of its function, and the pool is as strong as before."""
    told = SimpleQueue()
    runner = LocalRunner(threads=2)
    runner.listen(told.put)
    try:
        for number in range(RUNS):
            task = make_task(add, number, 1, by="reference")
            runner.start(task, start_number=1)
            for _ in range(number % 7 * 50):  # spread over the life of the run
                pass
            runner.abandon(task.message_id)
            assert told.get(timeout=WAIT_S).message_id == task.message_id
        assert runner.abandoned() == 0
        assert runner.capacity().soft == 2
        assert told.empty()
    finally:
        runner.close()
    assert not runner.threads()
