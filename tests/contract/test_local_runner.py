"""The production runner keeps the contract, and a few promises of its own."""

import os
import threading

import pytest

from schedulergodx.errors import Closed
from schedulergodx.rules.lifecycle import Code, Ending
from schedulergodx.service.runner import LocalRunner, processes, threads
from schedulergodx_testing.contracts.runner import RunnerContract
from schedulergodx_testing.contracts.watched_runs import add, pass_gate
from schedulergodx_testing.specs import make_task


class TestLocalRunner(RunnerContract):
    @pytest.fixture
    def make_runner(self):
        return lambda soft, hard: LocalRunner(threads=soft, processes=hard, kill_grace_s=1.0)

    def test_threads_are_used_again(self, open_runner):
        """Task after task runs in the one thread that there is."""
        watched = open_runner(soft=4)
        names = set()
        for _ in range(5):
            watched.start(add, 1, 2)
            watched.finished()
            names.update(watched.runner.threads())
        assert len(names) <= 2  # the first thread may not have come back when the second task arrives

    def test_too_many_abandoned_runs_take_room_away(self, open_runner, make_gate):
        """Up to four times the threads are replaced; beyond that the room shrinks, and comes back at their end."""
        watched = open_runner(soft=1)
        gates = {}
        for number in range(threads.ABANDONED_FACTOR + 1):
            assert watched.runner.capacity().soft == 1
            name = f"gate {number}"
            gate = make_gate(name)
            message_id = watched.start(pass_gate, name)
            gate.wait_until_reached()
            watched.runner.abandon(message_id)
            gates[message_id] = gate
        assert watched.runner.capacity().soft == 0
        for message_id, gate in gates.items():
            gate.open()
            assert watched.finished().message_id == message_id
            assert watched.runner.capacity().soft == 1
        assert watched.runner.abandoned() == 0

    def test_a_run_abandoned_before_its_thread_is_not_begun(self, open_runner, make_gate):
        """Beyond its room a run waits for a thread; one that was given up meanwhile does not run."""
        watched = open_runner(soft=1)
        gate = make_gate("first")
        watched.start(pass_gate, "first")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", _refuse)
            late = watched.start(add, 1, 2)  # there is a thread already, so it waits for that one
        watched.runner.abandon(late)
        gate.open()
        codes = {one.message_id: one.report.code for one in (watched.finished(), watched.finished())}
        assert codes[late] == Code.TASK_TIMEOUT  # told by its own thread or by the first one's: in any order

    @pytest.mark.parametrize("is_hard", [False, True])
    def test_a_system_without_threads_is_told(self, open_runner, monkeypatch, is_hard):
        """When the system has no thread left the task is told so, and the next one runs."""
        watched = open_runner()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading.Thread, "start", _refuse)
            watched.start(add, 1, 2, is_hard=is_hard)
        finished = watched.finished()
        assert "could be started for the task" in finished.report.message
        assert finished.ending is Ending.NOT_STARTED
        watched.start(add, 1, 2, is_hard=is_hard)
        assert watched.result() == 3

    def test_a_function_that_comes_back_twice_takes_nothing_along(self, open_runner, make_gate, tmp_path):
        """The child of a function that forks ends with it: what waits behind it runs in the service alone, once."""
        watched = open_runner(soft=1)
        gate = make_gate("first")
        watched.start(pass_gate, "first")
        gate.wait_until_reached()
        watched.runner.start(make_task(fork_and_come_back), start_number=1)
        watched.runner.start(make_task(append, str(tmp_path / "effects")), start_number=1)
        gate.open()
        assert [watched.result() for _ in range(3)] == ["first", 1, None]
        assert (tmp_path / "effects").read_text() == "ran\n"

    def test_a_system_without_descriptors_is_told(self, open_runner):
        """When sockets cannot be made the task is told so, and the next one runs."""
        watched = open_runner(hard=1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(processes.socket, "socketpair", _no_descriptors)
            watched.start(add, 1, 2, is_hard=True)
        finished = watched.finished()
        assert (finished.ending, finished.report.message) == (
            Ending.NOT_STARTED,
            "No process could be started for the task: [Errno 24] Too many open files. It did not run.",
        )
        watched.start(add, 1, 2, is_hard=True)
        assert watched.result() == 3

    def test_a_system_without_fork_is_told(self, open_runner, monkeypatch):
        """Where processes cannot be forked a hard task ends in HARD_NOT_SUPPORTED."""
        monkeypatch.setattr(processes, "can_run_hard", lambda: False)
        watched = open_runner()
        watched.start(add, 1, 2, is_hard=True)
        assert watched.report().code is Code.HARD_NOT_SUPPORTED

    def test_a_closed_runner_starts_nothing(self, open_runner):
        """`start` after `close` is refused by an error: a bug of the caller, not of the task."""
        watched = open_runner()
        watched.runner.close()
        for is_hard in (False, True):
            with pytest.raises(Closed):
                watched.runner.start(make_task(add, 1, 2, is_hard=is_hard), start_number=1)


def fork_and_come_back():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of CPython 3.12: fork in a process with threads
        child = os.fork()
    if child == 0:
        return None
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def append(path):
    from pathlib import Path

    with Path(path).open("a") as file:
        file.write("ran\n")


def _refuse(_thread):
    raise RuntimeError("can't start new thread")


def _no_descriptors(*_args):
    raise OSError(24, "Too many open files")
