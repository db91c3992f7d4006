"""Virtual time beside the real world: sockets, selectors, threads and locks that do not belong to it."""

import http.client
import http.server
import queue
import selectors
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future

import pytest

from schedulergodx_testing.errors import NothingLeftToHappen
from schedulergodx_testing.world import outside, real

_REAL_S = 0.02
"""Real seconds that an answer takes: less than the grace."""


@pytest.fixture
def start_outside(world):
    """Return a function that starts a thread in real time; all are joined at the end."""
    threads = []

    def start(body):
        with world.outside():
            threads.append(threading.Thread(target=body, daemon=True))
            threads[-1].start()

    yield start
    for thread in threads:
        with world.outside():
            thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def pair():
    """Return two ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("where", ["test", "thread"])
def test_an_answer_through_a_socket_takes_no_virtual_time(elapsed, in_thread, pair, start_outside, where):
    """Who waits in `recv` with a timeout gets what comes a little later from outside."""
    ours, theirs = pair
    ours.settimeout(3600)
    theirs.settimeout(10)
    start_outside(lambda: theirs.sendall(theirs.recv(5)))

    def ask():
        ours.sendall(b"hello")
        return ours.recv(5)

    assert (ask() if where == "test" else in_thread(ask)) == b"hello"
    assert elapsed() == 0


@pytest.mark.slow
def test_a_socket_that_stays_silent_times_out_in_virtual_time(elapsed, in_thread, pair):
    """After the grace, its timeout is virtual."""
    ours, _ = pair
    ours.settimeout(3600)
    with pytest.raises(TimeoutError):
        ours.recv(5)
    with pytest.raises(TimeoutError):
        in_thread(ours.recv, 5)
    assert elapsed() == 7200


def test_much_is_sent_while_others_read(world, elapsed, pair):
    """`sendall` of more than fits lets the reader, a thread of the world, go on."""
    ours, theirs = pair
    read = bytearray()

    def take():
        while data := theirs.recv(65536):
            read.extend(data)

    reader = threading.Thread(target=take)
    reader.start()
    ours.sendall(bytes(3_000_000))
    ours.shutdown(socket.SHUT_WR)
    reader.join()
    assert len(read) == 3_000_000
    assert elapsed() == 0


@pytest.mark.parametrize("where", ["test", "thread"])
def test_a_selector_waits_for_real_things_first(elapsed, in_thread, pair, start_outside, where):
    """An answer within the grace comes before its timeout; without one, the timeout is virtual."""
    ours, theirs = pair

    def ask():
        with selectors.DefaultSelector() as selector:
            selector.register(ours, selectors.EVENT_READ)
            start_outside(lambda: theirs.sendall(b"x"))
            first = selector.select(3600)
            ours.recv(1)
            return len(first), elapsed(), len(selector.select(3600)), elapsed()

    assert (ask() if where == "test" else in_thread(ask)) == (1, 0, 0, 3600)


@pytest.mark.slow
def test_a_server_and_its_clients_in_one_world(elapsed):
    """A web server that a test starts, and a client in a task, are threads of one world."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            time.sleep(10)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"slept well")

        def log_message(self, *_args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        told = []
        serving = threading.Thread(target=server.serve_forever)
        serving.start()

        def ask():
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
            connection.request("GET", "/")
            told.append(connection.getresponse().read())
            connection.close()

        clients = [threading.Thread(target=ask) for _ in range(2)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        server.shutdown()
        serving.join()
    assert told == [b"slept well"] * 2
    assert 10 <= elapsed() < 30


def test_work_of_a_thread_outside_takes_no_virtual_time(elapsed, in_thread, start_outside):
    """A future that a thread of a driver fulfils a little later is not timed out before."""
    asked, answered = queue.SimpleQueue(), Future()

    def work():
        asked.get(timeout=10)
        real.sleep(_REAL_S)
        answered.set_result("answer")

    start_outside(work)
    asked.put(1)
    assert in_thread(answered.result, 3600) == "answer"
    assert elapsed() == 0


def test_nothing_else_left_waits_for_threads_outside(elapsed, start_outside):
    """A wait without a timeout does not fail while an outsider is about to end it."""
    event = threading.Event()
    start_outside(lambda: (real.sleep(_REAL_S), event.set()))
    assert event.wait()
    assert elapsed() == 0


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
def test_a_lock_held_outside_is_waited_for(elapsed, in_thread, start_outside, make):
    """A driver that holds its lock for a moment costs no virtual time."""
    lock, is_held = make(), threading.Event()

    def hold():
        with lock:
            is_held.set()
            real.sleep(_REAL_S)

    start_outside(hold)
    is_held.wait()
    assert in_thread(lambda: lock.acquire(timeout=3600) and lock.release()) is None
    assert elapsed() == 0


@pytest.mark.slow
def test_a_lock_that_is_never_given_back_fails_after_the_patience(world):
    """It names the lock and shows who waits."""
    lock = threading.Lock()
    with world.outside():
        lock.acquire()
    threading.Thread(target=lock.acquire, name="waits for an outsider").start()
    before = real.monotonic()
    with pytest.raises(NothingLeftToHappen, match="waits for an outsider"):
        threading.Event().wait()
    assert real.monotonic() - before < 3


@pytest.mark.slow
def test_idle_threads_outside_cost_nothing(elapsed, start_outside):
    """Threads that rest do not hold time up: a thousand sleeps are quick beside five of them."""
    inbox = queue.SimpleQueue()
    for _ in range(5):
        start_outside(lambda: inbox.get(timeout=60))
    real.sleep(outside.GRACE_S)
    before = real.monotonic()
    for _ in range(1000):
        time.sleep(60)
    assert elapsed() == 60_000
    assert real.monotonic() - before < 1
    for _ in range(5):
        inbox.put(1)


@pytest.mark.slow
@pytest.mark.parametrize("patience_s", [30.0])  # a busy machine takes its time to start a program
def test_a_child_process_is_real(elapsed, in_thread):
    """Time stands still while a task waits for a child; the child's own sleep is real."""
    command = [sys.executable, "-c", "import time; time.sleep(0.05); print(time.time())"]
    done = in_thread(lambda: subprocess.run(command, check=True, capture_output=True, timeout=60))
    assert abs(float(done.stdout) - real.time_s()) < 60
    assert elapsed() < 1


@pytest.mark.slow
def test_a_foreign_thread_joined_is_waited_for(world, elapsed, in_thread):
    """A thread that lives in real time can be joined from within."""
    with world.outside():
        thread = threading.Thread(target=real.sleep, args=(_REAL_S,))
        thread.start()
    in_thread(thread.join, 3600)
    assert not thread.is_alive()
    assert elapsed() == 0


def test_a_stack_that_cannot_be_followed_is_followed_as_far_as_it_goes(world, monkeypatch):
    """What CPython calls a frame of a thread that runs on meanwhile need not be one: it ends the stack."""
    frames: dict[int, object] = {1: {}}
    monkeypatch.setattr(sys, "_current_frames", lambda: frames)
    threads = outside.ForeignThreads(set)
    assert not threads.are_busy()
    frames[2] = sys._getframe()
    assert threads.are_busy()
