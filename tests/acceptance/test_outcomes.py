"""How a task ended, as the client hears it: results, errors, questions by id; over each transport."""

import asyncio
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest
from helpers.functions import add, blame, nap
from helpers.programs import Program

from schedulergodx import (
    InvalidParameter,
    ResultTimeout,
    ResultUnserializable,
    TaskKilled,
    TaskRaised,
    TaskStatus,
    TaskTimedOut,
    UnknownMessageId,
)

pytestmark = pytest.mark.slow

WAIT_S = 20


def leave(code):
    import os

    os._exit(code)


def test_what_a_function_raises_is_told(client):
    """Type, text and traceback arrive as texts in a `TaskRaised`; the traceback is that of the function."""
    with pytest.raises(TaskRaised, match="ERROR_IN_TASK: ValueError: no milk") as caught:
        client.task(blame).launch("no milk").result(WAIT_S)
    error = caught.value
    assert (error.code, error.exception_type, error.message) == ("ERROR_IN_TASK", "ValueError", "no milk")
    assert error.traceback.startswith("Traceback (most recent call last):")
    assert "in blame" in error.traceback
    assert "run_payload" not in error.traceback
    assert error.traceback.endswith("ValueError: no milk\n")


@pytest.mark.parametrize(
    ("call", "changes", "error", "code"),
    [
        ((nap, 1), {"task_lifetime": 0.1}, TaskTimedOut, "TASK_TIMEOUT"),
        ((nap, 60), {"hard": True, "hard_task_lifetime": 0.3}, TaskTimedOut, "TASK_TIMEOUT"),
        ((blame, "x"), {"hard": True}, TaskRaised, "ERROR_IN_TASK"),
        ((leave, 0), {"hard": True}, TaskKilled, "TASK_EXITED"),
        ((leave, 3), {"hard": True}, TaskKilled, "TASK_EXITED"),
    ],
    ids=["soft timeout", "hard timeout", "hard error", "hard exit 0", "hard exit 3"],
)
def test_how_a_task_ended_is_an_error_of_its_own(client, call, changes, error, code):
    """Each way to end has its subclass of `TaskFailed`, with the code."""
    function, *args = call
    with pytest.raises(error) as caught:
        client.task(**changes)(function).launch(*args).result(WAIT_S)
    assert caught.value.code == code
    assert caught.value.message


def test_an_answer_that_takes_longer_than_the_wait(client):
    """The wait ends, the task goes on, and a later wait has its result."""
    launched = client.task(nap).launch(0.5)
    with pytest.raises(ResultTimeout, match=r"within 0\.05 s") as caught:
        launched.result(0.05)
    assert (caught.value.message_id, caught.value.waited_s) == (launched, 0.05)
    assert launched.outcome() is None
    assert launched.result(WAIT_S) == 0.5


@pytest.mark.parametrize("timeout_s", [-1, float("nan"), float("inf"), "5", True])
def test_a_wrong_timeout_is_refused(client, timeout_s):
    """Only None means without limit."""
    with pytest.raises(InvalidParameter, match="timeout_s"):
        client.result("any", timeout_s)


RESULTS = {
    "tuple": (1, (2.5, None)),
    "bytes": b"\x00\xff",
    "datetime": datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2))),
    "Decimal": Decimal("1.10"),
    "infinity": float("-inf"),
    "big int": 2**200,
    "set in a dict": {1: {"a", "b"}, "x": frozenset({(1, 2)})},
    "text": "Grüße, 世界\n\x00\udc80",
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_arrives_as_it_was(client, name):
    """Tuples, bytes, moments and all numbers arrive equal and of the same type."""
    expected = RESULTS[name]
    result = client.task(lambda: expected).launch().result(WAIT_S)
    assert (type(result), result) == (type(expected), expected)


def test_nan_arrives_as_nan(client):
    """NaN is no JSON, and arrives all the same."""
    result = client.task(lambda: float("nan")).launch().result(WAIT_S)
    assert result != result  # noqa: PLR0124 - what NaN is


def test_a_result_that_is_no_data_is_not_run_again(client, tmp_path):
    """The task counts as completed, the error shows a shortened repr, and there was one run."""
    runs = tmp_path / "runs"

    def unserializable(path):
        with path.open("a") as file:
            file.write("x")
        return {"lock": __import__("threading").Lock()}

    launched = client.task(unserializable).launch(runs)
    with pytest.raises(ResultUnserializable, match=r"result\['lock'\] is a _thread.lock") as caught:
        launched.result(WAIT_S)
    assert caught.value.code == "RESULT_UNSERIALIZABLE"
    assert "<unlocked _thread.lock" in caught.value.representation
    assert launched.outcome().status is TaskStatus.COMPLETED
    assert runs.read_text() == "x"


def test_a_result_that_is_too_large(client):
    """A result above the limit is told as such, beside a completed task."""
    with pytest.raises(ResultUnserializable) as caught:
        client.task(lambda: b"x" * 9_000_000).launch().result(WAIT_S)
    assert caught.value.code == "RESULT_TOO_LARGE"
    assert len(str(caught.value)) < 5000


def test_a_large_result_arrives(client):
    """Six megabytes are below the limit."""
    assert client.task(lambda: "é" * 1_000_000).launch().result(WAIT_S) == "é" * 1_000_000


def test_another_client_asks_by_id(client, new_client):
    """An outcome is kept by the service: any client gets it by the id, also while the task still waits or runs."""
    done, running = client.task(add).launch(1, 2), client.task(nap).launch(0.5)
    assert done.result(WAIT_S) == 3
    other = new_client(name="another")
    assert other.result(str(done), WAIT_S) == 3
    assert other.result(str(running), WAIT_S) == 0.5
    assert running.result(WAIT_S) == 0.5
    assert other.sync_await_response(done, WAIT_S).arguments["result"] == 3
    assert other.outcome(done).code.value == "OK"
    assert asyncio.run(other.async_result(done)) == 3


def test_an_outcome_that_is_not_here_yet_is_asked_for(client, new_client):
    """`outcome` and `get_response` do not wait; once the service has answered they have it."""
    done = client.task(add).launch(1, 2)
    done.result(WAIT_S)
    other = new_client(name="another")
    assert other.outcome(done) is None
    assert other.result(done, WAIT_S) == 3  # asked for once; the same answer serves both
    assert other.get_response(done).arguments["result"] == 3


def test_an_id_that_nobody_launched(client):
    """The service says that it does not know it, and the same question may be asked again."""
    for _ in range(2):
        with pytest.raises(UnknownMessageId, match="never-launched") as caught:
            client.result("never-launched", WAIT_S)
        assert caught.value.message_id == "never-launched"
    assert client.outcome("never-launched") is None
    assert client.get_thread("never-launched-either") is None


@pytest.mark.parametrize("message_id", ["", "a\nb", "x" * 101, "a\x00", 5, None])
def test_an_id_that_cannot_be_one_is_refused(client, message_id):
    """What no launch can have as its id is refused here, instead of waiting for ever for an answer to it."""
    for ask in (client.result, client.outcome, client.get_response, client.sync_await_response):
        with pytest.raises(InvalidParameter, match="message_id"):
            ask(message_id)
    with pytest.raises(InvalidParameter, match="message_id"):
        asyncio.run(client.async_result(message_id))


def test_two_clients_of_one_name_get_their_own_answers(new_client, service):
    """Every client has a queue of answers of its own."""
    first, second = new_client(name="twin"), new_client(name="twin")
    launched = [one.task(add).launch(number) for number in range(20) for one in (first, second)]
    assert [one.result(WAIT_S) for one in launched] == [number for number in range(20) for _ in range(2)]


CLIENT_PROGRAM = """
import sys
from schedulergodx import Client
client = Client(name="twin", url=sys.argv[1], request_queue=sys.argv[2])
@client.task
def double(number):
    return 2 * number
ids = [double.launch(int(sys.argv[3]) + number) for number in range(20)]
print(*[id.result(20) for id in ids])
print(double.launch(int(sys.argv[3])))
"""


def test_two_processes_of_one_name_get_their_own_answers(new_client, service, broker_url, request_queue, tmp_path):
    """Neither hears the other's answers; what a process did not wait for, another client gets by its id."""
    with ExitStack() as stack:
        arguments = ("-c", CLIENT_PROGRAM, broker_url, request_queue)
        programs = [stack.enter_context(Program(*arguments, str(start), cwd=tmp_path)) for start in (100, 200)]
        assert [program.wait() for program in programs] == [0, 0], programs[0].text + programs[1].text
    client = new_client(name="heir")
    for start, program in zip((100, 200), programs, strict=True):
        results, message_id = program.lines
        assert results.split() == [str(2 * (start + number)) for number in range(20)]
        assert client.result(message_id, WAIT_S) == 2 * start
