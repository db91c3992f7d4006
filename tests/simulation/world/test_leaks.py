"""The determinism police: what comes from the real world is named, with file and line; `random` is seeded."""

import _thread
import inspect
import multiprocessing
import os
import random
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import closing, suppress
from datetime import UTC
from random import choice as early_choice
from uuid import uuid4 as early_uuid4

import pytest

from schedulergodx_testing.clock import FakeClock
from schedulergodx_testing.world import RealWorldLeak, World, real
from schedulergodx_testing.world.choices import Choices
from schedulergodx_testing.world.interpose import interposed


def ask_sqlite(sql):
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(sql)
        database.cursor().execute("SELECT date('2026-01-01')")


def connect():
    with socket.create_connection(SERVER.getsockname()):
        pass


def start_behind_the_back():
    is_done = real.allocate_lock()
    real.acquire(is_done)
    _thread.start_new_thread(is_done.release, ())
    real.acquire(is_done)


def one_socket(use):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        use(udp)


def accept():
    """Look for a connection to that server."""
    with socket.socket(fileno=os.dup(SERVER.fileno())) as server:
        server.setblocking(False)
        with suppress(BlockingIOError):
            server.accept()[0].close()


def start_process(way):
    """Start a child that does nothing; what it is about stands in one line."""
    process = multiprocessing.get_context(way).Process(target=len, args=((),))
    process.start()
    process.join()
    assert process.exitcode == 0


SERVER = socket.create_server(("127.0.0.1", 0))
"""Of the real world: nobody asks for it but who connects."""
TRUE = shutil.which("true")
SYSTEM = random.SystemRandom()

# Each calls from a line of this file.
LEAKS = {
    "the time of SQLite": lambda: ask_sqlite("SELECT datetime('now')"),
    "the time of SQLite ": lambda: ask_sqlite("CREATE TABLE t (at TEXT DEFAULT CURRENT_TIMESTAMP)"),
    "uuid.uuid1": lambda: [uuid.uuid1()],
    "uuid.uuid4": lambda: [uuid.uuid4()],
    "uuid.uuid4 ": lambda: [early_uuid4()],
    "os.urandom": lambda: os.urandom(8),
    "secrets.token_hex": lambda: [secrets.token_hex()],
    "random.Random without a seed": lambda: random.Random().random(),
    "random.seed without a seed": lambda: [random.seed()],
    "random.SystemRandom": lambda: SYSTEM.choice([1, 2]),
    "random.SystemRandom ": lambda: random.SystemRandom().random(),
    "uuid.getnode": lambda: [uuid.getnode()],
    "os.getrandom": lambda: os.getrandom(8),
    "secrets.choice": lambda: secrets.choice([1, 2]),
    "a real connection (socket.connect)": connect,
    "_thread.start_new_thread": start_behind_the_back,
    "a real connection (socket.sendto)": lambda: one_socket(lambda udp: udp.sendto(b"x", ("127.0.0.1", 9))),
    "a real connection (socket.sendmsg)": lambda: one_socket(lambda udp: udp.sendmsg([b"x"], [], 0, ("127.0.0.1", 9))),
    "a real server (socket.bind, socket.listen)": lambda: socket.create_server(("127.0.0.1", 0)).close(),
    "a real server (socket.bind, socket.listen) ": lambda: one_socket(lambda udp: udp.bind(("127.0.0.1", 0))),
    "a real connection (socket.accept)": accept,
    "a child process (subprocess.Popen)": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    "a child process (os.system)": lambda: os.system("true"),
    "a child process (os.popen)": lambda: os.popen("true").close(),
    "a child process (os.posix_spawn)": lambda: os.waitpid(os.posix_spawn(TRUE, ["true"], {}), 0),
    "a child process (os.posix_spawnp)": lambda: os.waitpid(os.posix_spawnp("true", ["true"], {}), 0),
    "a child process (os.spawnv)": lambda: os.spawnv(os.P_WAIT, TRUE, ["true"]),
    "a child process (os.spawnv) ": lambda: os.spawnl(os.P_WAIT, TRUE, "true"),
    "a child process (fork)": lambda: os.waitpid(os.fork() or os._exit(0), 0),
    "a child process (fork) ": lambda: os.waitpid(os.forkpty()[0] or os._exit(0), 0),
    "a child process (multiprocessing)": lambda: start_process("fork"),
    "a child process (multiprocessing) ": lambda: start_process("spawn"),
    "a child process (multiprocessing)  ": lambda: start_process("forkserver"),
}
FUNCTIONS = {"SQLite": ask_sqlite, "multiprocessing": start_process}
"""Where the lines are that some of them call from."""


@pytest.fixture
def patience_s():
    """A child process takes its time on a busy machine."""
    return 60.0


@pytest.fixture(scope="module", autouse=True)
def _server():
    with SERVER:
        yield


@pytest.mark.parametrize("where", ["test", "thread"])
@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_named(world, in_thread, name, where):
    """Once, with the line of the code under test that it comes from."""
    function = LEAKS[name]
    for _ in range(2):
        function() if where == "test" else in_thread(function)
    home = next((home for word, home in FUNCTIONS.items() if word in name), function)
    lines, first = inspect.getsourcelines(home)
    (leak,) = world.leaks
    assert leak.kind == name.strip()
    assert leak.file == __file__
    assert first <= leak.line < first + len(lines)
    assert str(leak) == f"{__file__}:{leak.line}: {name.strip()}"


# What SQLite takes from the system, with the parameters.
ASKING = {
    "select datetime()": (),
    "select DATE ( )": (),
    "select time()": (),
    "select julianday()": (),
    "select unixepoch()": (),
    "select strftime('%Y')": (),
    "select strftime('%s')": (),
    "select strftime(?)": ("%s, %s",),
    """select datetime("now")""": (),
    """select strftime('%s', "now")""": (),
    "select datetime('subsec')": (),
    "select strftime('%s', 'subsecond')": (),
    "select datetime('NOW', '-1 day')": (),
    "select datetime(?)": ("now",),
    "select datetime(:moment)": {"moment": "Now"},
    "select strftime('%s', ?)": ["now"],
    "select random()": (),
    "select hex(randomblob(?))": (8,),
}


@pytest.mark.parametrize("sql", ASKING)
def test_what_sqlite_takes_by_itself_is_named(world, sql):
    """Functions of time without a moment mean now, and now may be a parameter."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.cursor().execute(sql, ASKING[sql])
    (leak,) = world.leaks
    assert leak.kind == f"the {'chance' if 'random' in sql else 'time'} of SQLite"


@pytest.mark.parametrize("rows", [[("now",), ("2026-01-01",)], (["2026-01-01"], ["now"])])
def test_the_rows_of_many_are_looked_through(world, rows):
    """Those of `executemany`, where they can be read twice."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("create table t (at text)")
        database.executemany("insert into t values (datetime(?))", rows)
        database.executemany("insert into t values (date(?))", iter([("2026-01-01",)]))
        assert database.execute("select count(*) from t").fetchone() == (3,)
    assert [leak.kind for leak in world.leaks] == ["the time of SQLite"]


# Times that are given, and words that are none.
GIVEN = {
    "select datetime(?), strftime('%Y', ?)": ("2026-01-01", "2026-01-01"),
    "select date('2026-01-01', '+1 day'), unixepoch(0, 'unixepoch'), strftime('%s', 5)": (),
    "select datetime('2026-01-01', 'subsec')": (),
    "select strftime('%s', '2026-01-01', 'subsec')": (),
    "select ?, 'random', 'time'": ("now",),
    "select t.now, t.datetime from (select 1 as now, 2 as datetime) t": (),
}


@pytest.mark.parametrize("sql", GIVEN)
def test_a_time_that_is_given_is_no_leak(world, sql):
    """The same each time."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(sql, GIVEN[sql])
    assert world.leaks == []


def test_a_pair_of_sockets_is_no_leak(world):
    """It stays within the process, also where systems lack pairs, and Python makes one by a server of its own."""
    lines = ["a.bind(('127.0.0.1', 0))", "a.listen()", "b.connect(a.getsockname())", "a.accept()[0].close()"]
    module = {"__name__": "socket"}
    exec("\n ".join(["def socketpair(a, b):", *lines]), module)  # as Windows has it
    with socket.socket() as one, socket.socket() as other:
        module["socketpair"](one, other)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendmsg([b"x"])
        assert theirs.recv(1) == b"x"
    assert world.leaks == []


@pytest.mark.parametrize("where", ["test", "thread"])
def test_a_forked_child_lives_in_real_time(world, in_thread, where):
    """It sees the real date, and its end is its own, also where it was forked in a task."""
    began_s = real.time_s()

    def fork():
        return os.waitpid(os.fork() or os._exit(7 if time.time() >= began_s else 8), 0)[1]

    assert os.waitstatus_to_exitcode(fork() if where == "test" else in_thread(fork)) == 7


def test_unseeded_random_is_named_where_it_is_not_seeded():
    """With `is_seeding_random=False` the functions of `random` are leaks; one's own `Random` is not."""
    world = World(FakeClock(), Choices(), is_seeding_random=False)
    with interposed(world, UTC):
        random.Random(4).random()
        random.random()
        early_choice([1, 2])
    line = inspect.currentframe().f_lineno
    assert world.leaks == [
        RealWorldLeak("random.random", __file__, line - 2),
        RealWorldLeak("random.choice", __file__, line - 1),
    ]


def test_a_clean_run_has_no_leaks(world, in_thread):
    """Seeded random, files, threads of the world and ids of the library are none; nor is the real thread outside."""

    def work():
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
        random.shuffle([1, 2])
        random.Random(5).shuffle([1, 2])
        uuid.uuid5(uuid.NAMESPACE_DNS, "x")

    in_thread(work)
    work()
    with world.outside():
        uuid.uuid4()
    assert world.leaks == []
