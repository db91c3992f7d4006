"""Runs that follow each other go on in one thread of the system, and nothing else of them is different."""

import _thread
import signal
import threading
import time

import pytest

from schedulergodx import Client
from schedulergodx_testing import Harness
from schedulergodx_testing.actors import ServiceActor
from schedulergodx_testing.errors import ThreadStuck
from schedulergodx_testing.world.threads import VirtualThread, Worker

MAIN = threading.main_thread().ident
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
def interrupt_and_note(number, sleep_s):
    signal.pthread_kill(MAIN, signal.SIGINT)
    if sleep_s:
        time.sleep(sleep_s)
    seen.append((number, threading.current_thread().name))


@client.task
def interrupt_and_spin():
    signal.pthread_kill(MAIN, signal.SIGINT)
    while not seen:
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


def test_a_condition_may_wait_itself():
    """Whoever asks it: things happen meanwhile, and afterwards it is what is waited for as before."""
    with Harness() as scheduler:
        for number in range(5):
            note.launch(number)
        later = note.options(delay=10).launch(5)
        began = scheduler.clock.monotonic()
        note.options(delay=20).launch(6)
        scheduler.run_until(lambda: len(seen) >= 3 and later.result() is None and len(seen) == 7)
        assert [number for number, _ in seen[5:]] == [5, 6]
        assert scheduler.clock.monotonic() - began == 20


# --- Turns that are done for the driver, which sleeps meanwhile


def launch_one_by_one(count):
    return [note.options(delay=60 * number).launch(number) for number in range(1, count + 1)]


@pytest.fixture
def in_turns(monkeypatch):
    """Have functions called in each turn of a service that a thread of the world does for the driver."""
    called = []
    step = ServiceActor.step

    def watched(actor):
        if threading.get_ident() != threading.main_thread().ident:
            for call in called:
                call(actor)
        step(actor)

    monkeypatch.setattr(ServiceActor, "step", watched)
    return called


def test_tasks_that_come_one_by_one_need_the_driver_once(monkeypatch, in_turns):
    """The thread of the first goes on through the day: turns, time, and the other runs, each by its own name."""
    handed, turns = [], []
    hand_over = VirtualThread.hand_over
    monkeypatch.setattr(VirtualThread, "hand_over", lambda self, s: handed.append(self) or hand_over(self, s))
    in_turns.append(turns.append)
    with Harness() as scheduler:
        ids = launch_one_by_one(20)
        scheduler.advance(hours=1)
        assert [message_id.result() for message_id in ids] == [None] * 20
        names = [f"thread of {note.name} {message_id}" for message_id in ids]
    assert seen == list(zip(range(1, 21), names, strict=True))
    assert len(handed) == 1
    assert len(turns) >= 2 * 19


def test_time_passes_no_further_than_it_may(in_turns):
    """Whoever moves the clock: not beyond what was asked for."""
    with Harness() as scheduler:
        launch_one_by_one(9)
        began = scheduler.clock.monotonic()
        scheduler.advance(seconds=310)
        assert (len(seen), scheduler.clock.monotonic() - began) == (5, 310)
        scheduler.run_until_idle()
        assert (len(seen), scheduler.clock.monotonic() - began) == (5, 310)


def test_an_error_of_such_a_turn_reaches_the_test(in_turns):
    """As one of a turn that the driver does itself, with the place where it was raised."""

    def fail(actor):
        raise ZeroDivisionError(actor.name)

    with Harness() as scheduler:
        launch_one_by_one(3)
        in_turns.append(fail)
        with pytest.raises(ZeroDivisionError, match="service") as caught:
            scheduler.advance(hours=1)
        in_turns.clear()
        scheduler.advance(hours=1)
    assert "fail" in [entry.name for entry in caught.traceback]
    assert [number for number, _ in seen] == [1, 2, 3]


def test_a_long_turn_is_no_stuck_thread(in_turns):
    """The patience is for runs. A turn may take longer, as it may in the driver."""
    with Harness(patience_s=0.1) as scheduler:
        never = threading.Event()

        def take_long(_actor):
            with scheduler.world.outside():
                never.wait(0.35)
            in_turns.clear()

        in_turns.append(take_long)
        launch_one_by_one(3)
        scheduler.advance(hours=1)
    assert len(seen) == 3


@pytest.mark.parametrize("interrupt", [_thread.interrupt_main, lambda: signal.pthread_kill(MAIN, signal.SIGINT)])
def test_an_interrupt_waits_for_the_end_of_such_a_turn(in_turns, interrupt):
    """Ctrl-C reaches the test once nothing goes on any more, and nothing is left behind by it."""
    threads = threading.active_count()
    with Harness() as scheduler:
        ids = launch_one_by_one(3)
        in_turns.append(lambda _actor: in_turns.clear() or interrupt())
        with pytest.raises(KeyboardInterrupt):
            scheduler.advance(hours=1)
        scheduler.advance(hours=1)
        assert [message_id.result() for message_id in ids] == [None] * 3
    assert threading.active_count() == threads


@pytest.mark.parametrize("sleep_s", [0, 2])
@pytest.mark.parametrize("before", [0, 2])
def test_an_interrupt_waits_for_a_run_that_soon_gives_the_baton_back(sleep_s, before):
    """At its end, or its next wait: it is not lost, whether the driver has begun it or it has followed another."""
    threads = threading.active_count()
    with Harness() as scheduler:
        launch_one_by_one(before)
        message_id = interrupt_and_note.options(delay=600).launch(9, sleep_s)
        with pytest.raises(KeyboardInterrupt):
            scheduler.advance(hours=1)
        assert scheduler.world._baton.lost == []
        scheduler.advance(hours=1)
        assert (message_id.result(), seen[-1][0]) == (None, 9)
        outcome = message_id.outcome()
        assert (outcome.ended_at - outcome.started_at).total_seconds() == sleep_s
    assert threading.active_count() == threads


def test_a_run_that_was_lost_and_has_ended_by_itself_leaves_nothing_behind():
    """What had spun on after Ctrl-C comes to its end before the harness is closed."""
    threads = threading.active_count()
    with Harness() as scheduler:
        interrupt_and_spin.launch()
        with pytest.raises(KeyboardInterrupt):
            scheduler.run_until_idle()
        [lost] = scheduler.world._baton.lost
        seen.append("the end")
        while not lost.has_given_back:
            pass
    assert threading.active_count() == threads


def test_an_interrupt_ends_a_turn_that_hangs(in_turns):
    """After the patience, and it says where that was; the test goes on as the driver."""

    def hang(_actor):
        in_turns.clear()
        signal.pthread_kill(MAIN, signal.SIGINT)
        while True:
            pass

    threads = threading.active_count()
    with Harness(patience_s=0.2) as scheduler:
        launch_one_by_one(3)
        in_turns.append(hang)
        with pytest.raises(KeyboardInterrupt) as caught:
            scheduler.advance(hours=1)
        assert "in hang" in caught.value.__notes__[0]
        assert scheduler.world.is_driver()
        scheduler.run_until_idle()
    assert threading.active_count() == threads


def test_a_run_that_is_stuck_while_such_a_turn_waits_is_lost(monkeypatch):
    """One that has the baton within a turn, and keeps it, is told of and let go of, as one of the driver's."""
    waited = []
    step = ServiceActor.step

    def waiting(actor):
        step(actor)
        is_begun = any(not thread.has_begun and "spin" in thread.name for thread in scheduler.world.threads)
        if is_begun and threading.get_ident() != MAIN:
            waited.append(True)
            time.sleep(0.001)

    monkeypatch.setattr(ServiceActor, "step", waiting)
    with Harness(patience_s=0.2, service={"threads": 2}) as scheduler:
        note.options(delay=1).launch(1)
        spin.options(delay=2).launch([])
        note.options(delay=5).launch(5)
        with pytest.raises(ThreadStuck, match=r"thread of .*spin"):
            scheduler.advance(seconds=10)
        assert waited
        assert scheduler.world.threads == []
        scheduler.advance(seconds=10)
    assert [number for number, _ in seen] == [1, 5]


def test_what_such_a_turn_crashes_is_crashed(in_turns):
    """A crash at a named moment ends the service in the middle of a turn, whoever does it."""
    turns = []
    in_turns.append(turns.append)
    with Harness() as scheduler:
        ids = launch_one_by_one(3)
        crash = scheduler.crash_at("W9", n=2)
        scheduler.advance(seconds=150)
        assert crash.has_happened
        scheduler.start_service()
        scheduler.advance(hours=1)
        assert [message_id.outcome().code.name for message_id in ids] == ["OK", "TASK_INTERRUPTED", "OK"]
    assert turns


def test_one_that_is_lost_before_its_first_turn_is_interrupted():
    """Its turn is on its way already when Ctrl-C comes: it gets no second one, and that is no error."""
    ended = threading.Thread(target=bool)
    ended.start()
    ended.join()
    worker = Worker()
    worker.thread = ended
    with Harness() as scheduler:
        thread = scheduler.world.spawn("never begins", bool)
        thread._use(worker)
        assert not thread.hand_over(0)
        assert thread.interrupt(0.1)
        scheduler.world.threads.remove(thread)
