"""The determinism police: what comes from the real world is named, with file and line; `random` is seeded."""

import _thread
import inspect
import os
import random
import secrets
import socket
import sqlite3
import subprocess
import sys
import tempfile
import uuid
from contextlib import closing
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
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass


def start_behind_the_back():
    is_done = real.allocate_lock()
    real.acquire(is_done)
    _thread.start_new_thread(is_done.release, ())
    real.acquire(is_done)


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
    "a child process (subprocess.Popen)": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
}


@pytest.mark.parametrize("where", ["test", "thread"])
@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_named(world, in_thread, name, where):
    """Once, with the line of the code under test that it comes from."""
    world._patience_s = 60.0  # a child process takes its time on a busy machine
    function = LEAKS[name]
    for _ in range(2):
        function() if where == "test" else in_thread(function)
    lines, first = inspect.getsourcelines(ask_sqlite if "SQLite" in name else function)
    (leak,) = world.leaks
    assert leak.kind == name.strip()
    assert leak.file == __file__
    assert first <= leak.line < first + len(lines)
    assert str(leak) == f"{__file__}:{leak.line}: {name.strip()}"


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
