"""Which thread drives a harness: the one that opens it, wherever it was made."""

import threading

import pytest

from schedulergodx import Client
from schedulergodx_testing import Harness, HarnessError

client = Client(name="driving", task_lifetime=None)


@client.task
def add(a, b):
    return a + b


def in_thread(function):
    """Call it in a thread of its own, to its end; return what it returned or raised."""
    told = []

    def tell():
        try:
            told.append(function())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            told.append(error)

    thread = threading.Thread(target=tell)
    thread.start()
    thread.join()
    return told[0]


def test_it_is_driven_where_it_is_opened():
    """A runner of tests may make it in one thread, and have the test in another."""
    made = Harness()

    def use():
        with made as scheduler:
            message_id = add.launch(1, 2)
            scheduler.advance(hours=1)
            return message_id.result()

    threads = threading.active_count()
    assert in_thread(use) == 3
    assert threading.active_count() == threads
    with Harness():
        assert add.launch(2, 2).result() == 4


def test_another_thread_can_neither_drive_nor_close_it():
    """Each says so, and harms nothing."""
    is_open, may_close = threading.Event(), threading.Event()
    opened = Harness()
    told = []

    def hold():
        with opened, opened.world.outside():
            is_open.set()
            may_close.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_open.wait(60)
    for call in (lambda: opened.advance(seconds=1), opened.close):
        with pytest.raises(HarnessError, match="the thread that opened") as error:
            call()
        told.append(str(error.value))
    may_close.set()
    thread.join()
    assert "nothing is closed yet" in told[1]
    opened.close()  # which it is
    with Harness():
        assert add.launch(2, 2).result() == 4


def test_what_a_thread_has_left_open_is_closed_by_whoever_comes_then():
    """Nobody else could, once that thread has ended."""
    opened = Harness()
    in_thread(lambda: (opened.open(), add.launch(1, 1), opened.run_until_idle()))
    opened.close()
    with Harness():
        assert add.launch(2, 2).result() == 4
