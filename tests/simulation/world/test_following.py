"""Runs that follow each other go on in one thread of the system, and nothing else of them is different."""

import threading
import time

import pytest

from schedulergodx import Client
from schedulergodx_testing import Harness
from schedulergodx_testing.errors import ThreadStuck
from schedulergodx_testing.world.threads import VirtualThread

client = Client(name="following")
seen = []


@client.task
def note(number):
    seen.append((number, threading.current_thread().name))


@client.task
def spin(is_ended):
    while not is_ended:
        pass


@client.task
def sleep_and_note(number):
    time.sleep(number / 2)
    seen.append((number, threading.current_thread().name))


@pytest.fixture(autouse=True)
def _nothing_seen():
    seen.clear()


def test_runs_follow_each_other_without_the_driver(monkeypatch):
    """The baton goes to the system's threads less often than there are runs, and each run has the name of its own."""
    handed = []
    hand_over = VirtualThread.hand_over
    monkeypatch.setattr(VirtualThread, "hand_over", lambda self, s: handed.append(self) or hand_over(self, s))
    with Harness() as scheduler:
        ids = [note.launch(number) for number in range(100)]
        scheduler.run_until_idle()
    assert sorted(seen) == [(number, f"thread of {note.name} {message_id}") for number, message_id in enumerate(ids)]
    assert len(handed) <= 50


def test_a_run_that_sleeps_is_followed_too():
    """What waits in the middle goes on later, while the others have ended."""
    with Harness() as scheduler:
        for number in (3, 1, 2, 0):
            sleep_and_note.launch(number)
        scheduler.advance(seconds=2)
    assert [number for number, _ in seen] == [0, 1, 2, 3]


def test_one_that_spins_is_named_whomever_it_follows():
    """The patience counts for each run by itself, and the error names the one that has used it up."""
    with Harness(patience_s=0.3, service={"threads": 1}, copies=True) as scheduler:
        ids = [spin.launch(is_ended) for is_ended in (True, True, True, False)]
        with pytest.raises(ThreadStuck, match=f"thread of .*spin {ids[-1]} ran for 0.3"):
            scheduler.run_until_idle()


def test_an_error_of_the_condition_reaches_the_test():
    """A condition that raises while runs follow each other raises where it was given."""

    def condition():
        if len(seen) > 1:
            raise ZeroDivisionError
        return False

    with Harness() as scheduler:
        for number in range(20):
            note.launch(number)
        with pytest.raises(ZeroDivisionError):
            scheduler.run_until(condition)


def test_a_condition_is_asked_as_by_the_driver():
    """Whoever asks, it is virtual time that it sees, and nothing happens once it holds."""
    with Harness() as scheduler:
        started = time.time()
        drivers = set()
        for number in range(20):
            note.launch(number)

        def is_half_done():
            drivers.add((scheduler.world.is_driver(), time.time() - started))
            return len(seen) == 10

        scheduler.run_until(is_half_done)
        assert len(seen) == 10
        assert drivers == {(True, 0.0)}
