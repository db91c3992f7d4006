"""Processes that fork while their threads launch: the child launches too, at once."""

import sqlite3
from pathlib import Path

import pytest

FORKING = """
import os, sys, threading, warnings
from schedulergodx import Client

warnings.simplefilter("ignore", DeprecationWarning)  # of CPython 3.12: fork in a process with threads
client = Client(name="shop", url=sys.argv[1], request_queue=sys.argv[2])

@client.task
def add(a, b):
    return a + b

def go_on():
    while not is_over.is_set():
        launched.append(add.launch(1, 2))

add.launch(1, 2)
launched, is_over = [], threading.Event()
threads = [threading.Thread(target=go_on) for _ in range(3)]
for thread in threads:
    thread.start()
ended = []
for _ in range(50):
    child = os.fork()
    if child == 0:
        import faulthandler
        faulthandler.dump_traceback_later(20, exit=True)
        code = 1
        try:
            ids = {add.launch(3, 4), add.launch(5, 6)}
            code = 0 if len(ids) == 2 else 2
        except BaseException as error:
            os.write(2, f"child: {type(error).__name__}: {error}\\n".encode())
        os._exit(code)
    ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
is_over.set()
for thread in threads:
    thread.join()
assert len(set(launched)) == len(launched) > 0
client.close()
print("children:", sorted(set(ended)), flush=True)
"""


@pytest.mark.slow
def test_fifty_forks_among_threads_that_launch(broker_url: str, request_queue: str, tmp_path: Path) -> None:
    """No child hangs on a lock of its parent, none fails, and the queue file stays whole."""
    from helpers.programs import Program

    with Program("-c", FORKING, broker_url, request_queue, cwd=tmp_path) as program:
        assert program.wait(90) == 0, program.text
        assert program.matching(r"children: \[0\]"), program.text
    if broker_url.startswith("sqlite"):
        with sqlite3.connect(broker_url.removeprefix("sqlite:///")) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()


DAEMONIZING = """
import os, subprocess, sys, warnings
from schedulergodx import Client

warnings.simplefilter("ignore", DeprecationWarning)
client = Client(name="shop", url=sys.argv[1])

@client.task
def add(a, b):
    return a + b

if sys.argv[2:]:
    print(add.launch(9, 9), flush=True)
    client.close()
    sys.exit()
print(add.launch(0, 0), flush=True)
asked, ask = os.pipe()
said, say = os.pipe()
if not (child := os.fork()):
    for number in range(3):
        os.read(asked, 1)
        print(add.launch(number, number), flush=True)
        os.write(say, b"x")
    os._exit(0)

def child_launches():
    os.write(ask, b"x")
    os.read(said, 1)

child_launches()
client.close()
child_launches()
subprocess.run([*sys.orig_argv, "other"], check=True)
child_launches()
print("ended:", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_what_a_child_launches_is_there_whatever_its_parent_does(tmp_path: Path) -> None:
    """As of a daemon: its parent closes its client, other programs launch meanwhile, and nothing confirmed is lost."""
    from helpers.programs import Program

    file = tmp_path / "queue.db"
    with Program("-c", DAEMONIZING, f"sqlite:///{file}", cwd=tmp_path) as program:
        assert program.wait(60) == 0, program.text
        assert program.matching("ended: 0"), program.text
        launched = set(program.matching("^[0-9A-Z]{26}$"))
    with sqlite3.connect(file) as database:
        assert {message_id for (message_id,) in database.execute("SELECT message_id FROM message")} == launched
    database.close()
    assert len(launched) == 5
