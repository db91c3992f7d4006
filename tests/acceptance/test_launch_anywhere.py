"""Launches from odd places of a program: each is confirmed, or refused by an error that says why, and none hangs."""

from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import pytest
from helpers.programs import Program

from schedulergodx import Client, LaunchRefused, SchedulerError
from schedulergodx.client.connection import Connection
from schedulergodx.utils.abstractions import Outgoing

AT_THE_END = """
import atexit, sys
from schedulergodx import Client

client = Client(name="shop", url=sys.argv[1], request_queue=sys.argv[2])
task = client.task(len)

class Launches:
    def __init__(self, word):
        self.word = word

    def __del__(self):
        launch(self.word)

def launch(word):
    try:
        print(word, "launched", task.launch(word), flush=True)
    except BaseException as error:
        print(word, type(error).__name__, error, flush=True)

Launches("deleted")
atexit.register(launch, "atexit")
of_the_module = Launches("of the module")
in_a_circle = Launches("in a circle")
in_a_circle.itself = in_a_circle
del in_a_circle
print("the program ends", flush=True)
"""


@pytest.mark.slow
def test_launches_at_the_end_of_a_program(
    broker_url: str, request_queue: str, new_client: Callable[..., Client], service: Program, tmp_path: Path
) -> None:
    """In `__del__` and at exit they are confirmed and run; what is too late, or the collector's, says so at once."""
    with Program("-c", AT_THE_END, broker_url, request_queue, cwd=tmp_path) as program:
        assert program.wait() == 0, program.text
    asker = new_client(name="asker")
    for word in ("deleted", "atexit"):
        (line,) = program.matching(f"^{word} launched")
        assert asker.result(line.split()[-1], timeout_s=20) == len(word)
    (line,) = program.matching("^of the module ")
    assert "Closed client 'shop' is closed; task builtins.len was not sent" in line, program.text
    (line,) = program.matching("^in a circle ")
    assert "LaunchRefused task builtins.len was not sent: a `__del__`" in line, program.text


@pytest.mark.slow
def test_a_collector_that_runs_in_the_thread_of_the_connection(client: Client, broker_url: str) -> None:
    """A launch there would wait for itself: it is refused at once, and the connection goes on."""
    task = client.task(len)
    assert task.launch("a").result(20) == 1
    heard: SimpleQueue[SchedulerError] = SimpleQueue()

    def launch_there(*_anything: object) -> None:
        try:
            task.launch("b")
        except SchedulerError as error:
            heard.put(error)

    connection = client._current()
    connection.publisher._transport().publish(_outgoing(connection, launch_there))
    assert task.launch("c").result(20) == 1
    assert isinstance(heard.get(timeout=20), LaunchRefused)


def _outgoing(connection: Connection, on_settled: Callable[..., None]) -> Outgoing:
    return Outgoing(queue=connection.reply_to, body=b"{}", message_id="odd", on_settled=on_settled)
