"""How much memory tasks need, counted and not timed: what they need at once, and what is left of them.

A real service and real clients over one file, since a harness keeps all that happened. The bounds leave room for how
threads take turns; a single object that stays for each task breaks them.
"""

import gc
import sys
import threading
import tracemalloc

import pytest

from schedulergodx import Client, Service

TASKS = 1_000
WARM_UP_ROUNDS, ROUNDS = 2, 2
LEFT_BLOCKS_MAX = 0.5
"""Blocks of memory that may be left of a task: whatever is kept for each is one at least."""
PEAK_BYTES_MAX = 6_000
"""Of memory for each task, when all are under way at once, in client and service together; measured: 2,200."""


def nothing():
    pass


@pytest.fixture
def url(tmp_path):
    """The address of a service of this process, which runs."""
    address = f"sqlite:///{tmp_path / 'broker.db'}"
    service = Service(url=address, db=tmp_path / "service.db")
    thread = threading.Thread(target=service.start)
    thread.start()
    yield address
    service.stop()
    thread.join(30)
    assert not thread.is_alive()


def answer_all(url):
    """Have a thousand tasks answered; their client is closed then, since it keeps the newest outcomes."""
    with Client(url=url) as client:
        task = client.task(nothing)
        with client.batch():
            ids = [task.launch() for _ in range(TASKS)]
        for message_id in ids:
            message_id.result(30)


def blocks():
    """Return how many blocks of memory are in use."""
    gc.collect()
    return sys.getallocatedblocks()


@pytest.mark.slow
def test_nothing_is_left_of_a_task_that_is_answered(url):
    """After the second thousand, memory does not grow by the two thousand that follow."""
    for _ in range(WARM_UP_ROUNDS):
        answer_all(url)
    before = blocks()
    for _ in range(ROUNDS):
        answer_all(url)
    assert (blocks() - before) / (ROUNDS * TASKS) < LEFT_BLOCKS_MAX


@pytest.mark.slow
def test_a_burst_needs_little_memory_at_once(url):
    """A thousand tasks that are launched, run and answered at once need a few kilobytes each."""
    answer_all(url)
    gc.collect()
    tracemalloc.start()
    try:
        answer_all(url)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes / TASKS < PEAK_BYTES_MAX
