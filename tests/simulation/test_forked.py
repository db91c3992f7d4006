"""Code under test that forks: the child has left the virtual world, and ends as it would anywhere."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

import pytest

from schedulergodx import Client
from schedulergodx_testing import Harness, HarnessError

# A child process takes its real time, on a busy machine more.
pytestmark = [pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"), pytest.mark.scheduler(patience_s=60)]
client = Client(name="forking", task_lifetime=600, hard_task_lifetime=600)


@client.task
def fork_and_exit(status):
    if (pid := os.fork()) == 0:
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@client.task
def fork_and_go_on():
    """What no program should do: the child returns too, and would work as a second service."""
    pid = os.fork()
    return None if pid == 0 else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@client.task
def fork_and_look(now):
    """Whether a child sees another time than the world that it has left."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writer, b"left" if abs(time.time() - now) > 1000 else b"lives in it")
        os._exit(0)
    os.waitpid(pid, 0)
    return os.read(reader, 100).decode()


@client.task
def run_in_a_process(number):
    process = multiprocessing.get_context("fork").Process(target=os._exit, args=(number,))
    process.start()
    process.join()
    return process.exitcode


@client.task
def run_in_a_pool(numbers):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        first = pool.submit(abs, numbers[0]).result()
        return [first, *pool.map(abs, numbers), *[one.result() for one in as_completed([pool.submit(abs, -9)])]]


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(
    ("task", "argument", "result"),
    [(fork_and_exit, 3, 3), (run_in_a_process, 4, 4), (run_in_a_pool, [-1, 2], [1, 1, 2, 9])],
)
def test_a_task_that_forks_has_its_result(scheduler, task, argument, result, hard):
    """The child ends by `os._exit` for real, and the task goes on in virtual time."""
    message_id = task.options(hard=hard).launch(argument)
    scheduler.run_until(message_id)
    assert message_id.result() == result
    assert scheduler.world.threads == []


def test_a_child_that_returns_from_its_task_ends(scheduler):
    """Nobody needs it, and it would wait for ever as a thread without a world."""
    assert fork_and_go_on.launch().result() == 0


@client.task
def fork_and_call(name):
    """What a child hears that launches, or waits for what was launched; and how it ends that fails."""
    earlier = run_in_a_pool.options(delay=10).launch([1])
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            {"launch": lambda: fork_and_exit.launch(0), "wait": earlier.result}[name]()
        except HarnessError as error:
            os.write(writer, str(error).encode())
        return None
    os.waitpid(pid, 0)
    return os.read(reader, 1000).decode()


@pytest.mark.parametrize("name", ["launch", "wait"])
def test_a_child_has_no_part_in_the_harness(scheduler, name):
    """It is told so; nobody there could serve it, and it must not reach a real broker."""
    assert "has no part in the harness" in fork_and_call.launch(name).result()
    assert len(scheduler.launched) == 2


def test_a_child_has_real_time(scheduler):
    assert fork_and_look.launch(time.time()).result() == "left"


def test_a_test_can_fork_too(scheduler):
    """The child of the test's own thread sees the real world."""
    now = time.time()
    if (pid := os.fork()) == 0:
        os._exit(7 if abs(time.time() - now) > 1000 else 8)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_program_with_a_pool_in_a_hard_task_ends():
    """At its exit, Python waits for the processes of pools: they must have heard that they are to end."""
    program = textwrap.dedent(
        """
        from tests.simulation.test_forked import Harness, run_in_a_pool
        with Harness(patience_s=60):
            print(run_in_a_pool.options(hard=True).launch([-3]).result())
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "[3, 3, 9]\n"), ended.stderr


def test_a_pool_outside_of_the_harness_is_as_before():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
        with Harness(patience_s=60):
            assert pool.submit(abs, -1).result() == 1
        assert pool.submit(abs, -2).result(20) == 2
