"""Every wait of `threading`, `queue` and `concurrent.futures` is virtual, and time passes only when all wait."""

import _thread
import queue
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures import wait as wait_for_all
from contextlib import suppress

import pytest

from schedulergodx_testing.errors import Deadlock, NothingLeftToHappen, ThreadStuck, TooManyEvents
from schedulergodx_testing.world import real

OLD_LOCK, OLD_RLOCK = threading.Lock(), threading.RLock()
OLD_CONDITION, OLD_PLAIN_CONDITION = threading.Condition(), threading.Condition(threading.Lock())
OLD_EVENT, OLD_QUEUE, OLD_SIMPLE_QUEUE = threading.Event(), queue.Queue(), queue.SimpleQueue()


def refuses(function, error):
    """Return a function that calls `function` and expects the error."""

    def call():
        with pytest.raises(error):
            function()

    return call


def wait_of(condition):
    with condition:
        assert not condition.wait(30)


def wait_for_of(condition):
    with condition:
        assert not condition.wait_for(lambda: False, 30)


WAITS = {
    "event": lambda: threading.Event().wait(30),
    "condition": lambda: wait_of(threading.Condition()),
    "condition of a plain lock": lambda: wait_of(threading.Condition(threading.Lock())),
    "condition.wait_for": lambda: wait_for_of(threading.Condition()),
    "queue.get": refuses(lambda: queue.Queue().get(timeout=30), queue.Empty),
    "priority queue": refuses(lambda: queue.PriorityQueue().get(timeout=30), queue.Empty),
    "simple queue": refuses(lambda: queue.SimpleQueue().get(timeout=30), queue.Empty),
    "semaphore": lambda: threading.Semaphore(0).acquire(timeout=30),
    "bounded semaphore": lambda: threading.BoundedSemaphore(0).acquire(timeout=30),
    "barrier": refuses(lambda: threading.Barrier(2).wait(30), threading.BrokenBarrierError),
    "future": refuses(lambda: Future().result(30), FutureTimeoutError),
    "futures": lambda: wait_for_all([Future()], timeout=30),
    "as completed": refuses(lambda: list(as_completed([Future()], timeout=30)), FutureTimeoutError),
    "an event from before": lambda: OLD_EVENT.wait(30),
    "a condition from before": lambda: wait_of(OLD_CONDITION),
    "a plain condition from before": lambda: wait_of(OLD_PLAIN_CONDITION),
    "a queue from before": refuses(lambda: OLD_QUEUE.get(timeout=30), queue.Empty),
    "a simple queue from before": refuses(lambda: OLD_SIMPLE_QUEUE.get(timeout=30), queue.Empty),
}


@pytest.mark.parametrize("where", ["test", "thread"])
@pytest.mark.parametrize("name", WAITS)
def test_a_timeout_is_virtual(world, elapsed, in_thread, name, where):
    """Each wait that nobody ends takes exactly its thirty seconds, none of them real."""
    before = real.monotonic()
    WAITS[name]() if where == "test" else in_thread(WAITS[name])
    # `as_completed` looks again and again until its time is not over, but past; then looking takes a microsecond.
    assert elapsed() == (30.000001 if name == "as completed" else 30)
    assert real.monotonic() - before < 2


@pytest.mark.parametrize("old", [False, True], ids=["new", "old"])
@pytest.mark.parametrize("kind", ["Lock", "RLock"])
def test_a_lock_held_across_a_sleep_stops_nobody(world, elapsed, kind, old):
    """Others wait for it as long as the holder sleeps; the rest of the world goes on; also for locks from before."""
    lock = {"Lock": OLD_LOCK, "RLock": OLD_RLOCK}[kind] if old else vars(threading)[kind]()
    told = []

    def hold():
        with lock:
            time.sleep(10)
        told.append(("held", elapsed()))

    def want():
        time.sleep(1)
        told.append(("not now", lock.acquire(blocking=False)))
        told.append(("not in time", lock.acquire(timeout=5), elapsed()))
        with lock:
            told.append(("got it", elapsed()))

    threads = [threading.Thread(target=body) for body in (hold, want, lambda: time.sleep(3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told, key=lambda line: line[-1]) == [
        ("not now", False),
        ("not in time", False, 6),
        *sorted([("held", 10), ("got it", 10)], key=told.index),
    ]


def test_things_made_before_wake_their_waiters(world, elapsed):
    """Queues, events and conditions of a module reach from thread to thread."""
    told = []

    def give():
        for step in (
            lambda: OLD_QUEUE.put("queue"),
            lambda: OLD_SIMPLE_QUEUE.put("simple"),
            OLD_EVENT.set,
            lambda: notify(OLD_CONDITION),
            lambda: notify(OLD_PLAIN_CONDITION),
        ):
            time.sleep(1)
            step()

    def notify(condition):
        with condition:
            condition.notify()

    def take():
        told.append((OLD_QUEUE.get(), elapsed()))
        told.append((OLD_SIMPLE_QUEUE.get(), elapsed()))
        told.append((OLD_EVENT.wait(60), elapsed()))
        for condition in (OLD_CONDITION, OLD_PLAIN_CONDITION):
            with condition:
                told.append((condition.wait(60), elapsed()))

    threads = [threading.Thread(target=body) for body in (take, give)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    OLD_EVENT.clear()
    assert told == [("queue", 1), ("simple", 2), (True, 3), (True, 4), (True, 5)]


def test_a_condition_gives_its_lock_back_as_often_as_it_was_taken(world):
    """A re-entrant lock that was taken twice is owned twice after the wait."""
    condition = threading.Condition()
    with condition, condition:
        condition.wait(5)
        with pytest.raises(RuntimeError, match=r"cannot notify|un-acquired"):
            threading.Condition().notify()
        condition.notify()
    with pytest.raises(RuntimeError, match="un-acquired"):
        condition.wait(1)


def test_threads_join_the_world(world, elapsed):
    """A thread that a thread starts lives in virtual time, is alive from its start, and is joined in time."""
    told = []

    def child():
        time.sleep(60)
        told.append(("child", elapsed()))

    def parent():
        thread = threading.Thread(target=child)
        thread.start()
        told.append(thread.is_alive())
        told.append(thread.ident is not None)
        thread.join(10)
        told.append((thread.is_alive(), elapsed()))
        thread.join()
        told.append((thread.is_alive(), elapsed()))

    thread = threading.Thread(target=parent)
    thread.start()
    thread.join()
    assert told == [True, True, (True, 10), ("child", 60), (False, 60)]
    assert world.threads == []


def test_a_subclass_with_its_own_run_joins_too(world, elapsed):
    """So does a Timer, which can be cancelled."""
    told = []
    threading.Timer(30, lambda: told.append(elapsed())).start()
    cancelled = threading.Timer(40, lambda: told.append("cancelled one"))
    cancelled.start()
    time.sleep(35)
    cancelled.cancel()
    cancelled.join()
    assert told == [30]
    assert "run" not in vars(cancelled)


def test_an_error_in_a_thread_goes_where_it_goes_outside(world, monkeypatch):
    """`threading.excepthook` is told; the others go on."""
    told = []
    monkeypatch.setattr(threading, "excepthook", lambda what: told.append(what.exc_type))
    thread = threading.Thread(target=lambda: time.sleep(1) or 1 / 0)
    thread.start()
    thread.join()
    assert told == [ZeroDivisionError]


def test_a_pool_works_in_virtual_time(world, elapsed):
    """Two threads of a pool do four sleeps of an hour in two hours."""
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(time.sleep, 3600) for _ in range(4)]
        assert wait_for_all(futures, timeout=3600 * 1.5).not_done == set(futures[2:])
    assert elapsed() == 7200


def test_a_thread_that_was_never_joined_is_ended(world):
    """At the end of the world a worker that waits for ever is gone, and its `finally` has run."""
    told = []

    def work():
        try:
            threading.Event().wait()
        finally:
            told.append("ended")
            with suppress(Exception):
                time.sleep(5)
                told.append("never")

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(1)
    assert world.end() == []
    assert told == ["ended"]
    assert not thread.is_alive()


def test_a_deadlock_names_both(world):
    """Two threads that wait for each other's lock are told with both stacks, at once."""
    one, other = threading.Lock(), threading.Lock()

    def take_one_first():
        with one:
            time.sleep(1)
            other.acquire()

    def take_other_first():
        with other:
            time.sleep(1)
            one.acquire()

    for body in (take_one_first, take_other_first):
        threading.Thread(target=body, name=body.__name__).start()
    with pytest.raises(Deadlock) as caught:
        time.sleep(10)
    text = str(caught.value)
    assert text.count("take_one_first") >= 2
    assert text.count("take_other_first") >= 2
    assert text.count("acquire()") == 2


def test_a_lock_that_serves_as_a_signal_is_no_deadlock(world, elapsed):
    """A thread takes a lock twice, and another one gives it back: as programs did before there were events."""
    told = []

    def wait_for_signal():
        signal = _thread.allocate_lock()
        signal.acquire()
        threading.Thread(target=lambda: time.sleep(5) or signal.release()).start()
        signal.acquire()
        told.append(elapsed())

    thread = threading.Thread(target=wait_for_signal)
    thread.start()
    thread.join()
    assert told == [5]


def test_a_wait_that_nothing_can_end_is_told(world):
    """The test's body waits for an event that nobody will set: everybody's stack is shown."""
    thread = threading.Thread(target=threading.Event().wait, name="waits for ever")
    thread.start()
    with pytest.raises(NothingLeftToHappen) as caught:
        threading.Event().wait()
    assert "waits for ever" in str(caught.value)
    assert "test_a_wait_that_nothing_can_end_is_told" in str(caught.value)


@pytest.mark.slow
def test_a_thread_that_spins_is_told_and_ended(world):
    """It is named with its stack within the patience, and stopped at the end."""
    go_on = True

    def spin():
        while go_on:
            pass

    thread = threading.Thread(target=spin, name="spinner")
    thread.start()
    with pytest.raises(ThreadStuck, match=r"spinner(.|\n)*in spin"):
        time.sleep(1)
    assert world.end() == []
    assert not thread.is_alive()


@pytest.mark.slow
def test_a_thread_that_truly_blocks_is_told_and_named(world):
    """One that waits in C cannot be ended: its name comes at the end, and nothing hangs."""
    gate = real.allocate_lock()
    real.acquire(gate)
    thread = threading.Thread(target=lambda: real.acquire(gate), name="blocker", daemon=True)
    thread.start()
    with pytest.raises(ThreadStuck, match="blocker"):
        time.sleep(1)
    assert world.end() == ["blocker"]
    gate.release()
    with world.outside():
        thread.join(10)


def test_an_interrupt_of_the_test_leaves_nothing_behind(world):
    """Ctrl-C, or a timeout of the test, while a thread has the baton: the end still ends everything."""

    def interrupt():
        _thread.interrupt_main()
        threading.Event().wait()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        time.sleep(10)
    assert world.end() == []
    assert not thread.is_alive()


def test_events_without_an_end_are_told(world):
    """A thread that yields for ever at one instant is an error, not a hang."""
    world._events_max = 1000
    is_wanted = False

    def poll():
        while not is_wanted:
            time.sleep(0)

    threading.Thread(target=poll).start()
    with pytest.raises(TooManyEvents):
        time.sleep(1)
