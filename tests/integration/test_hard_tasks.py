"""Hard tasks against the real system: however their process ends, it is told rightly and nothing of it stays.

A task tells the process ids of what it started by lines in a file; a test then waits until they are gone.
"""

import ctypes
import fcntl
import functools
import os
import resource
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import pytest

from schedulergodx.clock import SystemClock
from schedulergodx.rules.lifecycle import Code, Ending
from schedulergodx.rules.limits import NO_LIMITS, TaskLimits
from schedulergodx.service.runner import LocalRunner, system
from schedulergodx.utils.message import results
from schedulergodx_testing.specs import changed, make_task

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="descendants outside of the process group are found on Linux"),
]

GRACE_S = 0.3
WAIT_S = 20.0
GONE_S = 5.0


class Box:
    """A runner, what it told, and the file in which tasks write process ids."""

    def __init__(self, path, runner=None, **options):
        self.path = path
        self.runner = runner or LocalRunner(**{"threads": 1, "processes": 2, "kill_grace_s": GRACE_S} | options)
        self._inbox = SimpleQueue()
        self.runner.listen(self._inbox.put)

    def spares(self):
        """How many processes wait for a task."""
        return self.runner._hard.spares()

    def wait_for_spare(self):
        ready = 2  # its supervisor, and itself
        wait_until(
            lambda: self.spares() and len(system.descendants(self.server())) == ready * self.spares(),
            "no process was made ready for one more task",
        )

    def is_nothing_left(self):
        """Whether the fork server has no descendants, once the spares are told to end."""
        self.runner._hard.end_spares()
        return not system.descendants(self.server())

    def server(self):
        """Process id of the fork server."""
        return self.runner._hard._link.pid

    def start(self, function, *args, limits=NO_LIMITS):
        task = changed(make_task(function, *args, is_hard=True), limits=limits)
        self.runner.start(task, start_number=1)
        return task.message_id

    def finished(self):
        return self._inbox.get(timeout=WAIT_S)

    def report(self):
        return self.finished().report

    def run(self, function, *args, **limits):
        self.start(function, *args, limits=TaskLimits(**limits))
        return self.report()

    def result(self, function, *args):
        report = self.run(function, *args)
        assert report.code is Code.OK, report
        return results.decode(report.result)

    def pids(self, count):
        """Wait until tasks have written so many process ids."""
        wait_until(lambda: len(self._lines()) >= count, "the task wrote no process id")
        return [int(line) for line in self._lines()]

    def _lines(self):
        return self.path.read_text().split() if self.path.exists() else []


def wait_until(condition, what, timeout_s=WAIT_S):
    """Ask until `condition` holds: for what the system tells nobody."""
    clock, nothing = SystemClock(), SimpleQueue()
    deadline = clock.monotonic() + timeout_s
    while not condition():
        assert clock.monotonic() < deadline, what
        clock.wait_for(nothing, 0.005)


def assert_gone(pids, timeout_s=GONE_S):
    """Wait until every process has ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            try:
                ready, _, _ = select.select([descriptor], [], [], timeout_s)
            finally:
                os.close(descriptor)
            assert ready, f"process {pid} is still there"


@pytest.fixture(scope="module")
def runner():
    """One runner for all tests that leave it as it was: its fork server is started once."""
    runner = LocalRunner(threads=1, processes=2, kill_grace_s=GRACE_S)
    runner.warm_up()
    yield runner
    server = runner._hard._link.pid
    runner.close()
    assert_gone([server], timeout_s=0.0)
    assert not runner.threads()


@pytest.fixture
def box(tmp_path, runner):
    """The shared runner. After the test nothing of it is left, not even a zombie."""
    box = Box(tmp_path / "pids", runner)
    yield box
    wait_until(box.is_nothing_left, "something of the test's tasks is left", GONE_S)


@pytest.fixture
def own_box(tmp_path):
    """A runner of the test's own, to be broken."""
    box = Box(tmp_path / "pids")
    yield box
    box.runner.close()
    assert not box.runner.threads()


def note(path, pid):
    """Write a process id to the file, in one piece."""
    descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(descriptor, f"{pid}\n".encode())
    os.close(descriptor)


# --- How a process can end ------------------------------------------------------------------------------------------


def kill_self(number):
    os.kill(os.getpid(), number)
    time.sleep(60)


def read_at_zero():
    ctypes.string_at(0)


def exit_in_a_child_of_fork():
    if os.fork() == 0:
        return "from the child"
    os.wait()
    return "from the worker"


@pytest.mark.parametrize(
    ("function", "args", "code", "text"),
    [
        (sys.exit, (), Code.TASK_EXITED, "SystemExit()"),
        (sys.exit, (3,), Code.TASK_EXITED, "SystemExit(3)"),
        (os._exit, (0,), Code.TASK_EXITED, "with exit code 0 and without a report"),
        (os._exit, (9,), Code.TASK_EXITED, "with exit code 9 and without a report"),
        (kill_self, (signal.SIGKILL,), Code.TASK_KILLED, "killed by SIGKILL (9), possibly since the system was out of"),
        (kill_self, (signal.SIGTERM,), Code.TASK_KILLED, "asked to end by SIGTERM"),
        (kill_self, (signal.SIGHUP,), Code.TASK_KILLED, "killed by SIGHUP (1)."),
        (os.abort, (), Code.TASK_KILLED, "killed by SIGABRT (6)"),
        (read_at_zero, (), Code.TASK_KILLED, "killed by SIGSEGV (11)"),
    ],
)
def test_an_end_without_a_report_is_no_success(box, function, args, code, text):
    """However the process leaves, with exit code 0 or by a signal, the outcome says how, and the next task runs."""
    report = box.run(function, *args)
    assert report.code is code
    assert text in report.message
    assert box.result(abs, -1) == 1


@pytest.mark.parametrize(
    ("number", "ending"),
    [(signal.SIGKILL, Ending.CRASHED), (signal.SIGTERM, Ending.CRASHED), (signal.SIGINT, Ending.ENDED)],
)
def test_a_kill_from_outside_is_a_crash(box, number, ending):
    """It is told as one, so that a task that may starts again; SIGINT is an exception of the task."""
    box.start(sleep_long, str(box.path))
    os.kill(box.pids(1)[0], number)
    assert box.finished().ending is ending


def test_a_kill_by_the_service_is_none(box):
    """Nor is a death by its own hand without a signal."""
    message_id = box.start(sleep_long, str(box.path))
    box.pids(1)
    box.runner.abandon(message_id)
    assert box.finished().ending is Ending.ENDED
    box.start(os._exit, 9)
    assert box.finished().ending is Ending.ENDED


def test_keyboard_interrupt_is_an_error_of_the_task(box):
    """SIGINT raises in the task, as in any program."""
    report = box.run(kill_self, signal.SIGINT)
    assert (report.code, report.exception_type) == (Code.ERROR_IN_TASK, "KeyboardInterrupt")


def test_only_the_worker_reports(box):
    """When the task forks and the child returns from the function as well, the worker's result counts."""
    assert box.result(exit_in_a_child_of_fork) == "from the worker"


def recurse():
    return recurse()


def recurse_in_c(depth):
    """Call back and forth between Python and C until the stack is full, or Python sees it coming."""
    sys.setrecursionlimit(2**30)
    return functools.reduce(lambda total, _: total + recurse_in_c(depth + 1), (0, 0), 0)


def test_recursion_is_an_end_of_the_task_alone(box):
    """A stack that is used up is told, by Python or as the crash that it is in C; the next task runs."""
    assert box.run(recurse).exception_type == "RecursionError"
    report = box.run(recurse_in_c, 0)
    assert report.exception_type == "RecursionError" or "SIGSEGV (11)" in report.message
    assert box.result(abs, -1) == 1


# --- Evil ends ------------------------------------------------------------------------------------------------------


def raise_evil():
    class EvilError(Exception):
        def __init__(self, one, two):
            super().__init__(one, two)

        def _fail(self, *_):
            os._exit(7)  # whoever asks for its text or its pickle

        __repr__ = __reduce__ = __reduce_ex__ = _fail

        def __str__(self):
            raise RuntimeError("no text for you")

    raise EvilError(1, 2)


def raise_loop():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


def raise_large():
    raise ValueError("x" * 50_000_000)


def raise_group():
    raise BaseExceptionGroup("several", [KeyboardInterrupt(), ExceptionGroup("inner", [OSError()])])


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (raise_evil, "EvilError"),
        (raise_loop, "ValueError"),
        (raise_large, "ValueError"),
        (raise_group, "BaseExceptionGroup"),
    ],
)
def test_whatever_is_raised_is_an_answer(box, function, kind):
    """Exceptions travel as bounded texts, never as objects: nothing of theirs runs in the service."""
    report = box.run(function)
    assert (report.code, report.exception_type.rpartition(".")[2]) == (Code.ERROR_IN_TASK, kind)
    assert max(len(report.message), len(report.traceback)) <= 16 * 1024


class EvilResult:
    def __bool__(self):
        raise RuntimeError("no truth for you")

    __eq__ = __len__ = __iter__ = __bool__
    __hash__ = None


def contain_itself():
    result = []
    result.append(result)
    return result


@pytest.mark.parametrize(
    ("function", "code"),
    [
        (threading.Lock, Code.RESULT_UNSERIALIZABLE),
        (lambda: (number for number in range(3)), Code.RESULT_UNSERIALIZABLE),
        (EvilResult, Code.RESULT_UNSERIALIZABLE),
        (contain_itself, Code.RESULT_UNSERIALIZABLE),
        (lambda: ["x" * 2**20] * 1024, Code.RESULT_TOO_LARGE),
        (lambda: "x" * 2**30, Code.RESULT_TOO_LARGE),
        (lambda: bytes(2**30), Code.RESULT_TOO_LARGE),
    ],
    ids=["lock", "generator", "evil", "itself", "a gigabyte in pieces", "a gigabyte", "of bytes"],
)
def test_a_result_that_cannot_travel_is_no_failure(box, function, code):
    """The task is done, with a note that says why the result did not come; it is not run again."""
    box.start(function)
    finished = box.finished()
    assert (finished.report.code, finished.ending) == (code, Ending.ENDED)
    assert len(finished.report.message) <= 16 * 1024


# --- What a task may use --------------------------------------------------------------------------------------------

LIMIT_BYTES = 256 * 1024**2


def leak_slowly():
    kept = []
    while True:
        kept.append(object())


def compute_for_ever():
    while True:
        pass


def open_many():
    return [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]


def write_much(path):
    Path(path).write_bytes(bytes(1_000_001))


@pytest.mark.parametrize(
    ("function", "limits", "code", "text"),
    [
        (partial(bytearray, 2 * 1024**3), {"memory_bytes_max": LIMIT_BYTES}, Code.ERROR_IN_TASK, "MemoryError"),
        (leak_slowly, {"memory_bytes_max": LIMIT_BYTES}, Code.ERROR_IN_TASK, "MemoryError"),
        (
            compute_for_ever,
            {"cpu_s_max": 1},
            Code.TASK_KILLED,
            "killed by SIGXCPU (24): it has computed for longer",
        ),
        (open_many, {"open_files_max": 64}, Code.ERROR_IN_TASK, "OSError: [Errno 24] Too many open files"),
    ],
    ids=["memory", "leak", "cpu", "open files"],
)
def test_a_bound_ends_the_task_with_a_word_that_tells_it(box, function, limits, code, text):
    """What a task wants beyond its bound is an error that it can catch, or the end of its process, not of others."""
    report = box.run(function, **limits)
    assert report.code is code
    assert text in f"{report.exception_type}: {report.message}"
    assert box.result(abs, -1) == 1


def test_the_size_of_files_is_bounded(box):
    """Writing more raises; what was written up to the bound is there."""
    report = box.run(write_much, str(box.path), file_bytes_max=1_000_000)
    assert "File too large" in report.message
    assert box.path.stat().st_size == 1_000_000
    box.path.unlink()


def test_a_service_caps_what_tasks_may_use(tmp_path):
    """Its bound counts where a task names none, or a higher one; no core is ever dumped."""

    def bounds():
        kinds = (resource.RLIMIT_NOFILE, resource.RLIMIT_AS, resource.RLIMIT_CORE)
        return [*(resource.getrlimit(kind)[0] for kind in kinds), *resource.getrlimit(resource.RLIMIT_CPU)]

    caps = TaskLimits(open_files_max=100, memory_bytes_max=2**30)
    box = Box(tmp_path / "pids", limits=caps)
    try:
        box.start(bounds, limits=TaskLimits(open_files_max=200))
        assert results.decode(box.report().result) == [100, 2**30, 0, -1, -1]
        box.start(bounds, limits=TaskLimits(memory_bytes_max=2**29, cpu_s_max=7))
        assert results.decode(box.report().result) == [100, 2**29, 0, 7, 8]  # SIGKILL for what ignores SIGXCPU
    finally:
        box.runner.close()


def explode(path):
    """Fork for ever, in sessions of their own, so that no group holds them."""
    note(path, os.getpid())
    if os.getuid() == 0:
        os.setuid(NOBODY)  # root has no such bound
    while True:
        with suppress(BlockingIOError):
            if os.fork() == 0:
                os.setsid()


NOBODY = 65534


def test_a_fork_bomb_stops_at_its_bound_and_is_gone_when_it_is_killed(box):
    """It comes to as many processes as it may have; after its end is told there is none."""
    most = 40 + sum(1 for _ in Path("/proc").iterdir()) * (os.getuid() != 0)
    message_id = box.start(explode, str(box.path), limits=TaskLimits(processes_max=most))
    worker = box.pids(1)[0]
    wait_until(lambda: len(system.descendants(worker)) >= 30, "the bomb does not go off")
    assert len(system.descendants(worker)) < most
    began = SystemClock().monotonic()
    box.runner.abandon(message_id)
    assert box.report().code is Code.TASK_KILLED
    assert SystemClock().monotonic() - began < GRACE_S + 5.0
    assert not system.descendants(worker)


# --- Overrunning ----------------------------------------------------------------------------------------------------


def sleep_long(path):
    note(path, os.getpid())
    time.sleep(600)


def spin(path):
    note(path, os.getpid())
    while True:
        pass


def wait_in_c(path):
    note(path, os.getpid())
    ctypes.CDLL(None).sleep(600)


def ignore_sigterm(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(path, os.getpid())
    while True:
        time.sleep(600)


def spin_in_finally(path):
    note(path, os.getpid())
    try:
        time.sleep(600)
    finally:
        while True:
            pass


def swallow_everything(path):
    note(path, os.getpid())
    while True:
        with suppress(BaseException):
            time.sleep(600)


def leave_threads_and_sleep(path):
    threading.Thread(target=time.sleep, args=(600,)).start()
    note(path, os.getpid())
    time.sleep(600)


@pytest.mark.parametrize(
    "function",
    [sleep_long, spin, wait_in_c, ignore_sigterm, spin_in_finally, swallow_everything, leave_threads_and_sleep],
)
def test_an_overrunning_task_is_killed(box, function):
    """Whatever it does, it is gone within the grace and a moment, and told once; its place is free then."""
    message_id = box.start(function, str(box.path))
    pids = box.pids(1)
    started = SystemClock().monotonic()
    box.runner.abandon(message_id)
    report = box.report()
    assert report.code is Code.TASK_KILLED
    assert SystemClock().monotonic() - started < GRACE_S + 5.0
    assert_gone(pids, timeout_s=0.0)
    assert box.runner.capacity().hard == 2


def clean_up_when_asked(path, done):
    note(path, os.getpid())
    try:
        time.sleep(600)
    finally:
        note(done, 1)


def test_a_task_that_is_asked_to_end_can_clean_up(box, tmp_path):
    """TERM comes as `SystemExit`, so `finally` does its work."""
    message_id = box.start(clean_up_when_asked, str(box.path), str(tmp_path / "done"))
    box.pids(1)
    box.runner.abandon(message_id)
    assert box.report().message == "The process of the task was asked to end by SIGTERM, and did."
    assert (tmp_path / "done").read_text() == "1\n"


# --- What a task leaves behind --------------------------------------------------------------------------------------

CHILD = "import os, signal, sys, time; {before}; open(sys.argv[1], 'a').write(f'{{os.getpid()}}\\n'); time.sleep(600)"


def family(path, *, stubborn):
    """Start a child, a child in a session of its own, and one whose parent is gone. Returns when all have written."""
    before = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if stubborn else "pass"
    code = CHILD.format(before=before)
    command = [sys.executable, "-c", code, path]
    subprocess.Popen(command)
    subprocess.Popen(command, start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        subprocess.Popen(command)
        os._exit(0)
    wait_for_lines(path, 3)


def wait_for_lines(path, count):
    while not Path(path).exists() or len(Path(path).read_text().split()) < count:
        time.sleep(0.005)


def return_and_leave_a_family(path, stubborn):
    family(path, stubborn=stubborn)
    return "done"


def die_and_leave_a_family(path, stubborn):
    family(path, stubborn=stubborn)
    os._exit(5)


def overrun_with_a_family(path, stubborn):
    family(path, stubborn=stubborn)
    note(path, os.getpid())
    time.sleep(600)


@pytest.mark.parametrize("stubborn", [False, True], ids=["polite", "stubborn"])
def test_children_of_a_returned_task_are_killed(box, stubborn):
    """The result is told at once; children, `setsid` and double forks are gone a grace later."""
    assert box.result(return_and_leave_a_family, str(box.path), stubborn) == "done"
    assert_gone(box.pids(3))


def test_children_of_a_dead_task_are_killed(box):
    """The same after a death without a report."""
    assert "exit code 5" in box.run(die_and_leave_a_family, str(box.path), True).message
    assert_gone(box.pids(3))


@pytest.mark.parametrize("stubborn", [False, True], ids=["polite", "stubborn"])
def test_children_of_an_overrunning_task_are_killed(box, stubborn):
    """When the killed task is told, its children, `setsid` grandchildren and double forks are gone already."""
    message_id = box.start(overrun_with_a_family, str(box.path), stubborn)
    pids = box.pids(4)
    box.runner.abandon(message_id)
    assert box.report().code is Code.TASK_KILLED
    assert_gone(pids, timeout_s=0.0)


def fork_many(path):
    for _ in range(100):
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
    note(path, os.getpid())
    time.sleep(600)


def test_a_hundred_children_with_sessions_of_their_own_are_killed(box):
    """When the killed task is told, none of its many children is left."""
    message_id = box.start(fork_many, str(box.path))
    worker = box.pids(1)[0]
    children = system.descendants(worker)
    assert len(children) == 100
    box.runner.abandon(message_id)
    assert box.report().code is Code.TASK_KILLED
    assert_gone([worker, *children], timeout_s=0.0)


def chain(path):
    """Each generation leaves its session, forks the next one and ends: there is always one, never for long."""
    note(path, os.getpid())
    for _ in range(20_000):
        if os.fork():
            os._exit(0)
        os.setsid()
    os._exit(0)


def test_a_chain_of_fleeing_processes_is_caught(box):
    """A process that forks itself away again and again is still found and ended."""
    box.start(chain, str(box.path))
    box.pids(1)
    assert "exit code 0" in box.report().message
    wait_until(box.is_nothing_left, "the chain goes on")


def leave_a_thread(path):
    note(path, os.getpid())
    threading.Thread(target=time.sleep, args=(600,)).start()
    return "done"


def leave_a_daemon_thread(path):
    note(path, os.getpid())
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return "done"


def hang_at_exit(path):
    import atexit

    note(path, os.getpid())
    atexit.register(time.sleep, 600)
    return "done"


@pytest.mark.parametrize("function", [leave_a_thread, leave_a_daemon_thread, hang_at_exit])
def test_a_task_that_returns_and_does_not_end(box, function):
    """Its result is told at the return; its process is gone a grace later; its place is free at once."""
    assert box.result(function, str(box.path)) == "done"
    assert box.runner.capacity().hard == 2
    assert_gone(box.pids(1))


def finish_a_thread(path):
    def work():
        time.sleep(0.05)
        note(path, os.getpid())

    threading.Thread(target=work).start()
    return "done"


def test_a_thread_may_finish_within_the_grace(box):
    """What a task leaves running has the grace to come to its end."""
    assert box.result(finish_a_thread, str(box.path)) == "done"
    assert_gone(box.pids(1))


def test_many_that_hang_at_their_end_are_bounded(tmp_path):
    """A task that hangs when its process ends cannot pile up processes: beyond a bound the oldest is killed."""
    box = Box(tmp_path / "pids", processes=1, kill_grace_s=60.0)
    try:
        for _ in range(7):
            assert box.result(leave_a_thread, str(box.path)) == "done"
        assert_gone(box.pids(7)[:3])
    finally:
        box.runner.close(timeout_s=0.0)
    assert_gone(box.pids(7))


# --- What a task does to itself ---------------------------------------------------------------------------------------


def close_descriptors():
    os.closerange(0, 256)
    return "closed"


def change_everything():
    os.chdir("/")
    os.umask(0)
    os.environ["PATH"] = ""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 60))
    return str(Path.cwd())


def descriptors():
    return [path.name for path in Path("/dev/fd").iterdir()]


def test_a_task_can_close_descriptors(box):
    """The report's pipe is out of the way of a task that closes 0 to 255."""
    assert box.result(close_descriptors) == "closed"


def test_a_task_changes_nothing_of_the_service(box):
    """Folder, environment, mask and signals of a task are its own; its children are still reaped."""
    before = str(Path.cwd()), dict(os.environ)
    assert box.result(change_everything) == "/"
    assert (str(Path.cwd()), dict(os.environ)) == before
    assert box.result(lambda: str(Path.cwd())) == before[0]


def test_a_task_has_nothing_of_the_service(box):
    """A task sees the standard streams, its pipe and nothing else: no database, no socket."""
    own = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(own, True)  # even what the service would pass on
    try:
        assert len(box.result(descriptors)) == 5  # three streams, the pipe, and the listing itself
    finally:
        os.close(own)


def test_tasks_run_in_a_session_of_their_own_without_threads(box):
    """The worker leads its session, and was not forked from a process with threads."""

    def facts():
        return os.getsid(0) == os.getpid(), len(list(Path("/proc/self/task").iterdir())), os.getpgrp() == os.getpid()

    assert box.result(facts) == (True, 1, True)


def test_a_large_argument_and_a_large_result_travel(box):
    """8 MiB each way, while another task does the same, arrive byte for byte."""
    data = bytes(range(256)) * (5 * 1024 * 1024 // 256)
    for _ in range(2):
        box.start(lambda data: data[::-1], data)
    for _ in range(2):
        assert results.decode(box.report().result) == data[::-1]
    text = box.result(lambda: "x" * (8 * 1024 * 1024 - 2))
    assert len(text) == 8 * 1024 * 1024 - 2


def test_a_result_above_the_limit_is_told(box):
    """A result that is too large stays in the worker; the task is completed."""
    assert box.run(lambda: "x" * (8 * 1024 * 1024)).code is Code.RESULT_TOO_LARGE


def write_rubbish():
    for path in Path("/dev/fd").iterdir():
        with suppress(OSError):
            if int(path.name) > 2:
                os.write(int(path.name), b"\xff" * 64)
    os._exit(0)


def test_rubbish_in_the_pipe_is_no_report(box):
    """A task that writes into its own report's pipe has ended without a report."""
    assert box.run(write_rubbish).code is Code.TASK_EXITED


# --- Spares ---------------------------------------------------------------------------------------------------------


def place():
    return os.getpid(), os.getppid()


def test_the_process_of_the_next_task_is_ready(own_box):
    """None is before the first task; later ones wait for tasks, each for one: a new process under a supervisor used."""
    own_box.runner.warm_up()
    assert own_box.spares() == 0
    places = []
    for _ in range(3):
        places.append(own_box.result(place))
        own_box.wait_for_spare()
    assert len({worker for worker, _ in places}) == 3
    assert len({supervisor for _, supervisor in places}) == 1


def test_there_are_no_more_spares_than_tasks_may_run(own_box):
    """However many supervisors were needed at a time."""
    for number in range(12):
        if number > 1:
            own_box.finished()
        own_box.start(abs, -1)
    for _ in range(2):
        own_box.finished()
    wait_until(lambda: own_box.spares() == 2, "there are no spares")
    wait_until(lambda: len(system.descendants(own_box.server())) == 4, "something else is left")


def surroundings():
    import gc

    from schedulergodx.service.runner import ending

    kinds = range(16)  # of limits, on Linux
    umask = os.umask(0)
    return {
        "folder": str(Path.cwd()),
        "environment": sorted(os.environ.items()),
        "umask": umask,
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "signals": [str(signal.getsignal(number)) for number in (1, 2, 10, 13, 17)],
        "limits": [resource.getrlimit(kind) for kind in kinds],
        "descriptors": len(descriptors()),
        "leads": (os.getsid(0), os.getpgrp()) == (os.getpid(), os.getpid()),
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "oom": Path("/proc/self/oom_score_adj").read_text(),
        "modules": sorted(sys.modules),
        "is the end long": ending._has_any_an_end(gc.get_objects()),
    }


def test_a_task_on_a_spare_finds_what_the_first_one_found(own_box):
    """Nothing that tasks before it did to themselves is seen; and none of our objects makes its end a long one."""
    first = own_box.result(surroundings)
    own_box.wait_for_spare()
    own_box.run(change_everything, open_files_max=100, cpu_s_max=9)
    own_box.wait_for_spare()
    assert own_box.result(surroundings) == first
    assert first["is the end long"] is False


def test_a_task_on_a_spare_is_killed_as_any(box):
    """From the moment it has the task on, with its children, also stubborn ones."""
    box.result(abs, -1)
    box.wait_for_spare()
    message_id = box.start(overrun_with_a_family, str(box.path), True)
    assert box.spares() == 0
    pids = box.pids(4)
    box.runner.abandon(message_id)
    assert box.report().code is Code.TASK_KILLED
    assert_gone(pids, timeout_s=0.0)
    assert box.result(abs, -1) == 1


def test_an_order_to_kill_that_comes_too_late_is_not_for_the_next_task(box):
    """A run that is given up while its end is being told takes nobody along."""
    message_id = box.start(sleep_briefly, str(box.path))
    late = partial(box.runner._hard._kill, box.runner._hard._running[message_id])
    box.finished()
    box.wait_for_spare()
    box.start(sleep_briefly, str(box.path))
    assert box.spares() == 0
    box.pids(2)
    box.runner._hard._reader.call(late)
    assert box.report().code is Code.OK


@pytest.mark.parametrize("which", ["worker", "supervisor"])
def test_a_spare_that_is_killed_is_replaced(box, which):
    """The next task runs all the same, and it is not told of."""
    box.result(abs, -1)
    box.wait_for_spare()
    pids = system.descendants(box.server())  # of the task's own supervisor, or of a new one where that was not free yet
    (supervisor,) = [pid for pid in pids if system.descendants(pid)]
    (spare,) = [pid for pid in pids if pid != supervisor]
    victim = spare if which == "worker" else supervisor
    os.kill(victim, signal.SIGKILL)
    assert_gone([spare])
    box.start(abs, -1)
    finished = box.finished()
    assert (finished.report.code, finished.ending) == (Code.OK, Ending.ENDED)


def test_spares_end_when_no_task_comes(own_box, monkeypatch):
    """After a while; the fork server stays."""
    monkeypatch.setattr("schedulergodx.service.runner.processes.SPARE_S", 0.05)
    own_box.result(abs, -1)
    wait_until(lambda: not system.descendants(own_box.server()), "the spare stays")
    assert own_box.spares() == 0
    assert own_box.result(abs, -1) == 1


def test_spares_end_with_the_runner(tmp_path):
    """`close` leaves none."""
    box = Box(tmp_path / "pids")
    box.result(abs, -1)
    box.wait_for_spare()
    pids = [box.server(), *system.descendants(box.server())]
    box.runner.close()
    assert len(pids) == 3
    assert_gone(pids, timeout_s=0.0)


WITH_A_SPARE = """
import sys, threading
from queue import SimpleQueue
from schedulergodx.service.runner import LocalRunner
from schedulergodx_testing.specs import make_task

ended = SimpleQueue()
runner = LocalRunner(threads=1, processes=1)
runner.listen(ended.put)
runner.start(make_task(abs, -1, is_hard=True), start_number=1)
ended.get()
while not runner._hard.spares():
    threading.Event().wait(0.01)
print(runner._hard._link.pid, flush=True)
threading.Event().wait(600)
"""


def test_a_killed_service_leaves_no_spare():
    """SIGKILL of the service ends what waits for a task, too."""
    with subprocess.Popen([sys.executable, "-c", WITH_A_SPARE], stdout=subprocess.PIPE, text=True) as service:
        server = int(service.stdout.readline())
        wait_until(lambda: len(system.descendants(server)) == 2, "the spare was not forked")
        pids = [server, *system.descendants(server)]
        service.kill()
    assert len(pids) == 3
    assert_gone(pids)


def test_each_task_may_print_as_much_as_any(tmp_path, capfd):
    """What tasks before it printed does not count, and a supervisor that had to copy is used again."""
    box = Box(tmp_path / "pids", output_bytes_max=10)
    places = []
    try:
        for _ in range(3):
            places.append(box.result(lambda: (os.write(1, b"8 bytes\n"), os.getppid())))
            box.wait_for_spare()
    finally:
        box.runner.close()
    assert capfd.readouterr().out == "8 bytes\n" * 3
    assert len({supervisor for _, supervisor in places}) == 1


# --- When parts of the machinery die --------------------------------------------------------------------------------


def kill_supervisor(path):
    family(path, stubborn=True)
    note(path, os.getpid())
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def test_a_killed_supervisor_leaves_nothing(box):
    """When its supervisor is killed the task dies, too, with everything it started; it is told, and the next runs."""
    assert box.run(kill_supervisor, str(box.path)).code is Code.TASK_KILLED
    assert_gone(box.pids(4))
    assert box.result(abs, -1) == 1


def test_a_killed_fork_server_is_replaced(own_box):
    """Running tasks have no need of the fork server: they go on. The next task gets a new one."""
    own_box.start(sleep_briefly, str(own_box.path))
    own_box.pids(1)
    server = own_box.server()
    os.kill(server, signal.SIGKILL)
    assert results.decode(own_box.report().result) == "slept"
    assert own_box.result(abs, -1) == 1
    assert own_box.server() != server


def sleep_briefly(path):
    note(path, os.getpid())
    time.sleep(0.3)
    return "slept"


def test_a_fork_server_that_dies_before_the_task_began(own_box):
    """A task that was handed over and never began is told so."""
    own_box.runner.warm_up()
    os.kill(own_box.server(), signal.SIGSTOP)
    own_box.start(abs, -1)
    os.kill(own_box.server(), signal.SIGKILL)
    report = own_box.report()
    assert report.code is Code.TASK_KILLED
    assert report.message.endswith("It did not run.")


SERVICE = """
import os, sys, threading, time
from schedulergodx.service.runner import LocalRunner
from schedulergodx_testing.specs import changed, make_task

def work(path):
    import os, subprocess, sys, time
    code = "import os, signal, sys, time; signal.signal(15, 1); "
    code += "open(sys.argv[1], 'a').write(f'{os.getpid()}\\\\n'); time.sleep(600)"
    for is_leader in (False, True):
        subprocess.Popen([sys.executable, "-c", code, path], start_new_session=is_leader)
    open(path, "a").write(f"{os.getpid()}\\n{os.getppid()}\\n")
    time.sleep(600)

runner = LocalRunner(threads=1, processes=2, kill_grace_s=60.0)
runner.listen(print)
for _ in range(2):
    runner.start(make_task(work, sys.argv[1], is_hard=True), start_number=1)
if os.fork() == 0:  # of the program's own making, with copies of all descriptors: it must not keep anything alive
    open(sys.argv[2], "a").write(f"{os.getpid()}\\n")
    os.execvp("sleep", ["sleep", "600"]) if sys.argv[3] == "exec" else time.sleep(600)
open(sys.argv[1], "a").write(f"{runner._hard._link.pid}\\n")
threading.Event().wait(600)
"""


@pytest.mark.parametrize("forked", ["exec", "fork"])
def test_a_killed_service_leaves_nothing(box, tmp_path, forked):
    """SIGKILL of the service: fork server, supervisors, workers and their children are gone a moment later.

    A process that the service's own program forked, and that holds copies of its descriptors, does not change that.
    """
    stranger = tmp_path / "stranger"
    service = subprocess.Popen([sys.executable, "-c", SERVICE, str(box.path), str(stranger), forked])
    try:
        pids = box.pids(9)
        wait_until(lambda: stranger.exists() and stranger.read_text(), "the program has not forked")
    finally:
        service.kill()
        service.wait()
    try:
        assert len(set(pids)) == 9
        assert_gone(pids)
    finally:
        os.kill(int(stranger.read_text()), signal.SIGKILL)


def test_close_kills_everything(tmp_path):
    """`close` ends running tasks with their children, tells them, and leaves no process."""
    box = Box(tmp_path / "pids")
    for _ in range(2):
        box.start(sleep_long, str(box.path))
    pids = [*box.pids(2), box.server()]
    box.runner.close()
    assert [box.report().code for _ in range(2)] == [Code.TASK_KILLED] * 2
    assert_gone(pids, timeout_s=0.0)


def test_close_without_time_leaves_nothing(tmp_path):
    """`close(0)` waits for nothing, and the supervisors still kill what was there."""
    box = Box(tmp_path / "pids", kill_grace_s=60.0)
    box.start(ignore_sigterm, str(box.path))
    pids = [*box.pids(1), box.server()]
    box.runner.close(timeout_s=0.0)
    assert box.report().code is Code.TASK_KILLED
    assert_gone(pids)


def test_output_of_a_task_is_that_of_the_service(own_box, capfd):
    """Standard output and error of a task go where those of the service go."""

    def speak():
        sys.stdout.write("to the output\n")
        sys.stderr.write("to the error\n")

    own_box.result(speak)
    output = ""

    def has_come():
        nonlocal output
        captured = capfd.readouterr()
        output += captured.out + captured.err
        return "to the output" in output and "to the error" in output

    wait_until(has_come, "the output of the task did not come")


GIGABYTE = 1024**3
SAID = "\nschedulergodx: a task has printed more than 1000000 bytes here; the rest is dropped\n"


def print_a_gigabyte(stream):
    piece = b"x" * 2**20
    for _ in range(GIGABYTE // len(piece)):
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(stream, rest) :]
    return "printed"


def test_a_gigabyte_that_is_printed_is_cut(tmp_path, capfd):
    """The task goes on to its end as if all were printed; the service's stream gets what is allowed, and a line."""
    box = Box(tmp_path / "pids", output_bytes_max=1_000_000)
    try:
        assert box.result(print_a_gigabyte, 2) == "printed"
    finally:
        box.runner.close()
    assert capfd.readouterr().err == "x" * 1_000_000 + SAID


READS_NOTHING = """
import sys
from queue import SimpleQueue
from schedulergodx.service.runner import LocalRunner
from schedulergodx_testing.specs import make_task

def shout():
    import os
    while True:
        os.write(1, b"x" * 65536)

ended = SimpleQueue()
runner = LocalRunner(threads=1, processes=1, kill_grace_s=0.3)
runner.listen(ended.put)
task = make_task(shout, is_hard=True)
runner.start(task, start_number=1)
sys.stdin.readline()
runner.abandon(task.message_id)
print(ended.get().report.message, file=sys.stderr)
runner.close()
"""


def test_a_stream_that_nobody_reads_holds_up_no_kill():
    """The service's output is a pipe that is full: the task waits, and is killed all the same."""
    program = subprocess.Popen(
        [sys.executable, "-c", READS_NOTHING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with program:
        wait_until(lambda: _is_full(program.stdout), "nothing is printed")
        program.stdin.write("now\n")
        program.stdin.flush()
        assert "SIGTERM" in program.stderr.readline()  # while nobody reads the other stream


def _is_full(pipe):
    waiting = bytearray(4)
    fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    return int.from_bytes(waiting, sys.byteorder) >= 65536


def test_a_hard_task_can_reach_the_broker(tmp_path):
    """Inside a hard task `current_task()` has the service's own way to the broker, without showing its password."""
    from schedulergodx.utils.rmq_property import RmqConnect

    def ask():
        from schedulergodx.context import current_task

        broker = current_task().broker
        return type(broker).__name__, broker.address, broker.rmq_credentials[1], repr(current_task())

    box = Box(tmp_path / "pids", broker=RmqConnect.from_url("amqp://me:secret@localhost/x?heartbeat=5"))
    try:
        kind, address, password, text = box.result(ask)
    finally:
        box.runner.close()
    assert (kind, address, password) == ("RmqConnect", "amqp://me@localhost:5672/x", "secret")
    assert "secret" not in text
