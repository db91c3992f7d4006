"""What service, supervisor and worker tell each other: frames, notes, and what becomes of broken ones."""

import errno
import itertools
import os
import signal
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.rules.lifecycle import Code, Ending, Report
from schedulergodx.rules.limits import TaskLimits
from schedulergodx.service.runner import frames
from schedulergodx.service.runner.hard_run import PIECE_BYTES, HardRun
from schedulergodx.service.runner.notes import BEGAN, EXITED, FAILED, GONE, NOTE
from schedulergodx.utils.message import results
from schedulergodx.utils.rmq_property import RmqConnect
from schedulergodx_testing.specs import changed, make_task

LIMIT = 1000


def body_of(frame: bytes) -> bytes:
    reader = frames.FrameReader()
    reader.feed(frame)
    assert reader.is_complete
    return reader.body()


@given(
    function=st.none() | st.binary(),
    arguments=st.binary(),
    lifetime_s=st.none() | st.floats(min_value=0.1, allow_infinity=False),
    broker=st.none() | st.text(),
    memory_bytes_max=st.none() | st.integers(1, 2**40),
)
def test_an_order_arrives_as_it_was(function, arguments, lifetime_s, broker, memory_bytes_max):
    """Every field of a task, raw bytes and moments among them, and what goes with it, arrive the same."""
    task = changed(
        make_task(abs, -1),
        function=function,
        arguments=arguments,
        arguments_by_value=function,
        lifetime_s=lifetime_s,
        limits=TaskLimits(memory_bytes_max=memory_bytes_max),
    )
    order = frames.Order(task=task, start_number=2, broker=broker, result_bytes_max=5)
    assert frames.unpack_order(body_of(frames.pack_order(order))) == order


def test_the_place_of_a_rabbitmq_travels():
    """A `RmqConnect` arrives with everything; one that holds objects which are no data is left out."""
    connect = RmqConnect.from_url("amqps://me:secret@host/x?heartbeat=5")
    order = frames.Order(task=make_task(abs, -1), start_number=1, broker=connect, result_bytes_max=5)
    arrived = frames.unpack_order(body_of(frames.pack_order(order))).broker
    assert isinstance(arrived, RmqConnect)
    assert vars(arrived) == vars(connect)
    for broker in (RmqConnect({"tcp_options": object()}, ("a", "b")), object()):
        order = frames.Order(task=order.task, start_number=1, broker=broker, result_bytes_max=5)
        assert frames.unpack_order(body_of(frames.pack_order(order))).broker is None


@given(st.sampled_from(Code), st.none() | st.lists(st.text() | st.integers()).map(results.encode), st.text(), st.text())
def test_a_report_arrives_as_it_was(code, result, message, traceback):
    """Every report arrives the same."""
    report = Report(code=code, result=result, exception_type="E", message=message, traceback=traceback)
    assert frames.unpack_report(body_of(frames.pack_report(report))) == report


@pytest.mark.parametrize(
    "changes",
    [{"result": ']}},"id":"another"'}, {"result": ""}, {"result": "NaN"}, {"result": "1 2"}, {"message": 5}],
    ids=str,
)
def test_a_report_that_no_run_makes_is_no_report(changes):
    """What a function writes into the pipe of its own process becomes no part of an answer, and ends no service."""
    facts = {"code": Code.OK, "result": "1", "message": ""} | changes
    assert frames.unpack_report(body_of(frames.pack_report(Report(**facts)))) is None


@given(st.binary(max_size=60))
def test_rubbish_is_no_report(rubbish):
    """Bytes that are no report give None, never an error."""
    assert frames.unpack_report(rubbish) is None


@given(st.lists(st.integers(0, 40), max_size=10))
def test_a_frame_may_come_in_pieces(cuts):
    """However a frame is cut, it is complete with its last byte and not before."""
    frame = frames.pack_report(Report(code=Code.OK, result="1"))
    places = sorted({0, *(min(cut, len(frame) - 1) for cut in cuts), len(frame)})
    reader = frames.FrameReader()
    for start, end in itertools.pairwise(places):
        assert not reader.is_complete
        reader.feed(frame[start:end])
    assert reader.is_complete


def test_a_frame_above_the_limit_is_not_kept():
    """A length that is too large makes the sender's bytes be thrown away."""
    reader = frames.FrameReader(length_max=LIMIT)
    reader.feed(struct.pack(">Q", LIMIT + 1) + b"x" * 100)
    reader.feed(b"x" * 5000)
    assert not reader.is_complete
    assert len(reader._data) == 0


def test_what_follows_a_frame_is_not_kept():
    """A task that writes on behind its report fills nobody's memory."""
    reader = frames.FrameReader(length_max=LIMIT)
    reader.feed(struct.pack(">Q", 3) + b"abc")
    reader.feed(b"x" * 5000)
    assert reader.body() == b"abc"
    assert len(reader._data) == 11


class Endless:
    """A pipe whose other end never stops writing."""

    def __init__(self, head):
        self.count = 0
        self._head = head

    def setblocking(self, _is_blocking):
        pass

    def fileno(self):
        return 1000

    def recv(self, size):
        self.count += 1
        assert self.count < 10_000, "it reads for ever"
        head, self._head = self._head, b""
        return head + b"x" * (size - len(head))


@pytest.mark.parametrize("head", [b"", struct.pack(">Q", 3)], ids=["no report", "behind its report"])
def test_a_worker_that_never_stops_writing_holds_up_nobody(ends, head):
    """One look at its pipe has an end, so that other runs have their turn, and keeps a bounded part of it."""
    (channel, _), _ = ends
    run = HardRun(channel, Endless(head), report_bytes_max=LIMIT)
    for _ in range(3):
        assert run.read_pipe()
    assert len(run._report._data) <= PIECE_BYTES


def begun(channel, pipe, task, order):
    """A run that has its task."""
    run = HardRun(channel, pipe, report_bytes_max=LIMIT)
    run.begin(task, order)
    return run


@pytest.fixture
def ends():
    pairs = socket.socketpair(), socket.socketpair()
    yield pairs
    for pair in pairs:
        for end in pair:
            end.close()


TASK = make_task(abs, -1)


def report_after(ends, *notes, is_abandoned=False, task=TASK):
    """What a run reports after the supervisor wrote these notes, cut at odd places, and closed the channel."""
    (channel, supervisor), (pipe, _) = ends
    run = begun(channel, pipe, task, b"order")
    run.is_abandoned = is_abandoned
    data = b"".join(NOTE.pack(*note) for note in notes)
    for start in range(0, len(data), 3):
        supervisor.send(data[start : start + 3])
        run.read_channel()
    supervisor.close()
    run.read_channel()
    assert run.is_gone
    return run.end()


@pytest.mark.parametrize(
    ("notes", "code", "text", "ending"),
    [
        (
            [(FAILED, errno.EAGAIN)],
            Code.TASK_KILLED,
            f"{os.strerror(errno.EAGAIN)}. It did not run.",
            Ending.NOT_STARTED,
        ),
        ([], Code.TASK_KILLED, "ended before. It did not run.", Ending.NOT_STARTED),
        ([(BEGAN, 5)], Code.TASK_KILLED, "is gone with its supervisor. It may have run partly.", Ending.CRASHED),
        ([(BEGAN, 5), (EXITED, 0)], Code.TASK_EXITED, "with exit code 0 and without a report.", Ending.ENDED),
        ([(BEGAN, 5), (EXITED, 3 << 8)], Code.TASK_EXITED, "with exit code 3 and without a report.", Ending.ENDED),
        (
            [(BEGAN, 5), (EXITED, signal.SIGKILL)],
            Code.TASK_KILLED,
            "SIGKILL (9), possibly since the system was out",
            Ending.CRASHED,
        ),
        ([(BEGAN, 5), (EXITED, signal.SIGSEGV | 128)], Code.TASK_KILLED, "killed by SIGSEGV (11).", Ending.CRASHED),
        (
            [(BEGAN, 5), (EXITED, signal.SIGRTMIN + 1)],
            Code.TASK_KILLED,
            f"killed by signal ({signal.SIGRTMIN + 1}).",
            Ending.CRASHED,
        ),
    ],
)
def test_what_a_supervisor_tells_becomes_a_report(ends, notes, code, text, ending):
    """Each way in which a process can end, or not begin, has its sentence."""
    report, how = report_after(ends, *notes)
    assert report.code is code
    assert text in report.message
    assert how is ending


def test_a_run_that_was_told_to_end_is_not_out_of_memory(ends):
    """SIGKILL after `abandon` was the service's own."""
    report, ending = report_after(ends, (BEGAN, 5), (EXITED, signal.SIGKILL), is_abandoned=True)
    assert report.message.endswith("killed by SIGKILL (9), since the service told it to end.")
    assert ending is Ending.ENDED


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (signal.SIGXCPU, "killed by SIGXCPU (24): it has computed for longer than its limit of 7 s (cpu_s_max)."),
        (signal.SIGKILL, "kernel log would say so, or it ignored SIGXCPU at its limit of 7 s."),
    ],
)
def test_a_run_that_computed_too_long_is_told_its_limit(ends, number, text):
    """SIGXCPU is the task's own overrun, no crash; SIGKILL may have come for the same reason."""
    task = changed(TASK, limits=TaskLimits(cpu_s_max=7))
    report, ending = report_after(ends, (BEGAN, 5), (EXITED, number), task=task)
    assert report.message.endswith(text)
    assert ending is (Ending.ENDED if number == signal.SIGXCPU else Ending.CRASHED)


def test_an_order_is_written_without_waiting(ends):
    """What does not fit into the socket waits, and goes when there is room."""
    (channel, _), (pipe, worker) = ends
    order = bytes(range(256)) * 8192
    run = begun(channel, pipe, TASK, order)
    assert run.is_writing
    received = b""
    while len(received) < len(order):
        received += worker.recv(1024 * 1024)
        run.write_order()
    assert received == order
    assert not run.is_writing


def test_an_order_to_a_worker_that_is_gone_is_dropped(ends):
    """Nobody reads it, and the channel will tell why."""
    (channel, _), (pipe, worker) = ends
    worker.close()
    run = begun(channel, pipe, TASK, b"order")
    assert not run.is_writing
    assert not run.read_pipe()


def test_a_spare_knows_whether_its_worker_is_there(ends):
    """Until it has a task, it is alive as long as nothing comes and the other end is open."""
    (channel, _), (pipe, worker) = ends
    spare = HardRun(channel, pipe, report_bytes_max=LIMIT)
    assert spare.is_spare
    assert spare.is_alive
    worker.close()
    assert not spare.is_alive


def test_nothing_left_is_told_apart_from_a_closed_channel(ends):
    """After GONE the supervisor can be used again; when it closes the channel, it is gone itself."""
    (channel, supervisor), (pipe, _) = ends
    run = begun(channel, pipe, TASK, b"order")
    supervisor.send(NOTE.pack(BEGAN, 7) + NOTE.pack(EXITED, 0) + NOTE.pack(GONE, 0))
    run.read_channel()
    assert (run.status, run.is_gone, run.is_closed) == (0, True, False)
    supervisor.close()
    run.read_channel()
    assert run.is_closed
