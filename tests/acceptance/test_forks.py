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
