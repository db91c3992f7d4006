"""Real programs, killed by SIGKILL in each window of docs/crash-windows.md, over RabbitMQ and over one file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from schedulergodx import Client, InvalidParameter, OutcomePruned, TaskInterrupted
from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.transport import connect_really
from schedulergodx.utils.abstractions import Outgoing
from schedulergodx.utils.storage.reader import reader
from schedulergodx_testing import HarnessError
from schedulergodx_testing.killing import RealProgram

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from schedulergodx.rules.tasks import TaskState
    from schedulergodx.utils.id_generators import MessageId

pytestmark = pytest.mark.slow

WAIT_S = 30.0
SERVICE = """
import json, sys
from schedulergodx_testing.killing import RealProgram
point, n, facts = json.loads(sys.argv[1])
RealProgram(point, n=n).service(**facts).start()
"""
FORGETFUL_SERVICE = """
import json, sys
from schedulergodx.config import ServiceLimits
from schedulergodx.service import pruning
from schedulergodx_testing.killing import RealProgram
pruning.PRUNE_EVERY_S = 0.1
[facts] = json.loads(sys.argv[1])
program = RealProgram("W13")

def show(call, when, _program):
    if call.name == "transport.ack" and when == "before":
        print(program.heard[-1].body.decode(), flush=True)

program.calls.hooks.append(show)
program.service(limits=ServiceLimits(keep_outcomes_s=2.0), **facts).start()
"""
GREEDY_SERVICE = """
import json, sys
from schedulergodx_testing.killing import RealProgram
[facts] = json.loads(sys.argv[1])
program, claims = RealProgram(), [0]

def die_after_many_claims(call, when, _program):
    if call.name == "storage.begin" and when == "before":
        claims.append(0)
    elif call.name == "storage.start" and when == "after":
        claims[-1] += 1
    elif call.name == "storage.commit" and when == "after" and sum(claims[:-1]) >= 20 <= claims[-1]:
        program.die("with many claimed, after as many that have had their time")

program.calls.hooks.append(die_after_many_claims)
program.service(**facts).start()
"""
TASKS = 400
CLIENT = """
import json, sys
from schedulergodx_testing.killing import RealProgram
point, facts, message_id, path = json.loads(sys.argv[1])

def note(path):
    import os
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"begun\\nended\\n")
    os.close(descriptor)
    return "done"

client = RealProgram(point).client(id_generator=iter([message_id]), **facts)
launched = client.task(note).launch(path)
print(launched, flush=True)
print(launched.result(30), flush=True)
client.close()
"""


def note(path, fifo=""):
    """Write down that the run begins and ends; between the two, open a FIFO and wait until its other end is closed."""
    import os
    from pathlib import Path

    def write(word: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, word)
        os.close(descriptor)

    write(b"begun\n")
    if fifo:
        Path(fifo).read_bytes()
    write(b"ended\n")
    return "done"


def write(path, name):
    """Write a name down."""
    import os

    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{name}\n".encode())
    os.close(descriptor)
    return "done"


class Place:
    """One broker, one queue, one database, and the programs of one test.

    Attributes:
        effects: the file that runs write to.
        db: the service's database.
    """

    def __init__(self, url: str, folder: Path, exits: ExitStack) -> None:
        self.effects = folder / "effects"
        self.db = folder / "tasks.db"
        self.facts: dict[str, Any] = {"url": url, "request_queue": f"requests-{uuid.uuid4().hex[:8]}"}
        self._exits = exits

    def start(self, program: str, *facts: Any) -> subprocess.Popen[str]:
        """Start a program of its own; killed at the end of the test, if it still runs."""
        process = subprocess.Popen(
            [sys.executable, "-c", program, json.dumps(facts)], stdout=subprocess.PIPE, text=True
        )
        self._exits.enter_context(process)
        self._exits.callback(process.kill)
        return process

    def start_service(self, point: str = "", *, n: int = 1, threads: int = 8) -> subprocess.Popen[str]:
        """Start a service in a process of its own, which is killed at the n-th such moment."""
        return self.start(SERVICE, point, n, {**self.facts, "db": str(self.db), "threads": threads})

    def killed_service(self, point: str) -> None:
        """Run a service until it has been killed there."""
        assert self.start_service(point).wait(WAIT_S) == -signal.SIGKILL

    @contextmanager
    def service(self) -> Iterator[RealProgram]:
        """Run a service that lives, in a thread of this process, and return what it does."""
        program = RealProgram()
        service = program.service(**self.facts, db=str(self.db))
        thread = threading.Thread(target=service.start)
        thread.start()
        try:
            yield program
        finally:
            service.stop()
            thread.join(WAIT_S)
            assert not thread.is_alive()

    def client(self) -> Client:
        """Return a client of this process."""
        return self._exits.enter_context(closing(Client("shop", task_lifetime=None, **self.facts)))

    def tasks(self) -> list[TaskState]:
        """Return what the database holds."""
        with reader(self.db) as database:
            return database.tasks(limit=1000)

    def ran(self) -> list[str]:
        """Return what runs have done."""
        return self.effects.read_text().split() if self.effects.exists() else []


@pytest.fixture(params=[pytest.param("rabbitmq", marks=pytest.mark.rabbitmq), "one file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    url = request.getfixturevalue("rabbitmq_url") if request.param == "rabbitmq" else f"sqlite:///{tmp_path}/queue.db"
    with ExitStack() as exits:
        yield Place(url, tmp_path, exits)


def calls(program: RealProgram, name: str) -> int:
    """Return how often a program made a call."""
    return sum(call.name == name for call in program.calls.all)


def bodies(program: RealProgram, message_id: str) -> list[bytes]:
    """Return what a program heard of a launch."""
    return [message.body for message in program.heard if json.loads(message.body)["id"] == message_id]


def send_again(place: Place, body: bytes, message_id: str) -> None:
    """Put a message into the queue once more, and return when it has arrived."""
    with closing(connect_really(place.facts["url"], name="again")) as transport:
        queue = place.facts["request_queue"]
        transport.publish(Outgoing(queue=queue, body=body, message_id=message_id, on_settled=lambda _, __: None))


def test_k1_a_client_killed_before_it_publishes_leaves_nothing(place: Place) -> None:
    """No id was returned, nothing is anywhere, and the next launch under the same id is the first one."""
    first = place.start(CLIENT, "W1", place.facts, "one", str(place.effects))
    assert (first.wait(WAIT_S), first.communicate()[0]) == (-signal.SIGKILL, "")
    with place.service() as service:
        again = place.start(CLIENT, "", place.facts, "one", str(place.effects))
        assert again.communicate(timeout=WAIT_S)[0].split() == ["one", "done"]
        assert calls(service, "transport.hear") == 1
    assert place.ran() == ["begun", "ended"]


def test_k2_a_launch_whose_confirm_was_not_heard_is_one_row(place: Place) -> None:
    """The client died before it heard that the broker has the message: it runs; sent again, it changes nothing."""
    first = place.start(CLIENT, "W2", place.facts, "one", str(place.effects))
    assert (first.wait(WAIT_S), first.communicate()[0]) == (-signal.SIGKILL, "")
    client = place.client()
    with place.service() as service:
        assert client.result("one", WAIT_S) == "done"
        [body] = bodies(service, "one")
        send_again(place, body, "one")  # and behind it, in the same queue:
        assert client.task(note).launch(os.devnull).result(WAIT_S) == "done"
        assert bodies(service, "one") == [body, body]
    assert [task.starts for task in place.tasks() if task.message_id == "one"] == [1]
    assert place.ran() == ["begun", "ended"]


@pytest.mark.parametrize(
    ("point", "stored"),
    [("transport.hear", []), ("W4", []), ("W5", [TaskStatus.WAITING]), ("W6", [TaskStatus.WAITING])],
    ids=["k3 before the transaction", "k4 inside the transaction", "k5 before the ack", "k6 after the ack"],
)
def test_k3_to_k6_a_service_killed_around_its_transaction_stores_once(
    place: Place, point: str, stored: list[TaskStatus]
) -> None:
    """Before the commit nothing is kept and the delivery comes again; after it, it comes again and is known."""
    launched = place.client().task(note).options(delay=0.0 if not stored else 60.0).launch(str(place.effects))
    place.killed_service(point)
    assert [task.status for task in place.tasks()] == stored
    assert place.ran() == []
    with place.service() as service:
        if not stored:
            assert launched.result(WAIT_S) == "done"
        follow = place.client().task(note).launch(os.devnull)
        assert follow.result(WAIT_S) == "done"
        heard = len(bodies(service, launched))
        # Nobody can tell whether an ack arrived that was on its way.
        assert heard in ({0, 1} if point == "W6" else {1})
    assert [task.message_id for task in place.tasks()].count(launched) == 1
    assert place.ran() == ([] if stored else ["begun", "ended"])


def test_k7_a_stored_task_is_found_at_the_next_start(place: Place, tmp_path: Path) -> None:
    """The service dies with a task that is stored and not claimed, for want of a free thread: it runs once, late."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    client = place.client()
    before = client.task(note).launch(os.devnull, str(fifo))
    process = place.start_service("W7", n=2, threads=1)
    with fifo.open("wb"):  # which waits until the run reads there
        launched = client.task(note).launch(str(place.effects))
        assert process.wait(WAIT_S) == -signal.SIGKILL
    left = {task.message_id: (task.status, task.starts) for task in place.tasks()}
    assert left == {before: (TaskStatus.WORK, 1), launched: (TaskStatus.WAITING, 0)}
    with place.service():
        assert launched.result(WAIT_S) == "done"
    assert place.ran() == ["begun", "ended"]
    assert {task.message_id: task.starts for task in place.tasks()} == {before: 1, launched: 1}


def test_k8_a_claim_that_had_not_begun_runs_as_if_it_had_not_been_made(place: Place) -> None:
    """Claimed on disk, and killed before its thread came to it: that is known, so it runs, and it has one start."""
    launched = place.client().task(note).launch(str(place.effects))
    place.killed_service("W8")
    assert [(task.status, task.starts) for task in place.tasks()] == [(TaskStatus.WORK, 1)]
    with place.service():
        assert launched.result(WAIT_S) == "done"
    assert place.ran() == ["begun", "ended"]
    assert [task.starts for task in place.tasks()] == [1]


def test_k10_an_interrupted_task_is_told_and_not_run_again(place: Place) -> None:
    """It has run, and its outcome is not on disk: TASK_INTERRUPTED; one start."""
    launched = place.client().task(note).launch(str(place.effects))
    place.killed_service("W9")
    assert [(task.status, task.starts) for task in place.tasks()] == [(TaskStatus.WORK, 1)]
    with place.service(), pytest.raises(TaskInterrupted, match="may have done part of its work"):
        launched.result(WAIT_S)
    assert place.ran() == ["begun", "ended"]
    assert [task.starts for task in place.tasks()] == [1]


def test_of_many_claims_only_what_had_begun_is_interrupted(place: Place) -> None:
    """Killed with many tasks claimed in one commit, some of which have run: the others run later, none runs twice."""
    client = place.client()
    task = client.task(write)
    with client.batch():
        launched = {task.launch(str(place.effects), str(number)): str(number) for number in range(TASKS)}
    process = place.start(GREEDY_SERVICE, {**place.facts, "db": str(place.db), "threads": 2})
    assert process.wait(WAIT_S) == -signal.SIGKILL
    before = place.ran()
    claimed = {task.message_id for task in place.tasks() if task.status is TaskStatus.WORK}
    interrupted = set()
    with place.service():
        for message_id in launched:
            try:
                assert message_id.result(WAIT_S) == "done"
            except TaskInterrupted:
                interrupted.add(message_id)
    assert len(interrupted) + 20 <= len(claimed)
    assert {name for name in before if launched_as(launched, name) in claimed} <= {launched[one] for one in interrupted}
    ran = place.ran()
    assert len(set(ran)) == len(ran)
    unseen = set(launched.values()) - set(ran)
    assert unseen <= {launched[one] for one in interrupted}
    assert len(unseen) <= 2  # each thread may have been between its mark and the effect
    assert {task.starts for task in place.tasks()} == {1}


def launched_as(launched: dict[MessageId, str], name: str) -> MessageId:
    """Return the id of the launch that writes a name."""
    return next(message_id for message_id, one in launched.items() if one == name)


def test_k9_a_task_interrupted_in_its_midst_may_have_run_partly(place: Place, tmp_path: Path) -> None:
    """Killed from outside while the function waits: told, not run again; one that may start again does, once more."""
    fifos = [tmp_path / "first", tmp_path / "second"]
    for fifo in fifos:
        os.mkfifo(fifo)
    client = place.client()
    launched = client.task(note).launch(str(place.effects), str(fifos[0]))
    retried = client.task(note).options(on_crash="retry").launch(os.devnull, str(fifos[1]))
    process = place.start_service()
    with fifos[0].open("wb"), fifos[1].open("wb"):  # which waits until a run reads there
        process.kill()
        assert process.wait(WAIT_S) == -signal.SIGKILL
    for fifo in fifos:
        fifo.unlink()
        fifo.touch()  # now it ends at once
    with place.service():
        with pytest.raises(TaskInterrupted, match="may have done part of its work"):
            launched.result(WAIT_S)
        assert retried.result(WAIT_S) == "done"
    assert place.ran() == ["begun"]
    assert {task.message_id: task.starts for task in place.tasks()} == {launched: 1, retried: 2}


@pytest.mark.parametrize(
    ("point", "times"), [("W10", 1), ("W11", 2)], ids=["k11 before the answer", "k12 before it is forgotten"]
)
def test_k11_k12_an_answer_is_sent_until_it_is_known_to_have_arrived(place: Place, point: str, times: int) -> None:
    """From the outbox, after the restart: late, or twice with the same bytes, and handed over once."""
    listener = RealProgram()
    with closing(listener.client(name="shop", task_lifetime=None, **place.facts)) as client:
        launched = client.task(note).launch(str(place.effects))
        process = place.start_service(point)
        if point == "W11":  # the outbox forgets it in the next turn, which is one for something else
            assert launched.result(WAIT_S) == "done"
            other = client.task(note).launch(os.devnull)
        assert process.wait(WAIT_S) == -signal.SIGKILL
        left = next(task for task in place.tasks() if task.message_id == launched)
        assert left.status is TaskStatus.COMPLETED
        with place.service() as service:
            assert launched.result(WAIT_S) == "done"
            if point == "W11":
                with suppress(TaskInterrupted):  # it may have begun
                    other.result(WAIT_S)
            client.task(note).launch(os.devnull).result(WAIT_S)  # behind the answer, in the same queue
            assert calls(service, "transport.publish") == 1 + times
        answers = bodies(listener, launched)
        assert len(answers) == times
        assert len(set(answers)) == 1
        assert launched.outcome() == left.outcome
    assert place.ran() == ["begun", "ended"]


def test_13_an_answer_that_died_with_its_client_is_asked_for_by_id(place: Place) -> None:
    """The client dies with the answer in its hands: the next program gets it from the service; nothing runs again."""
    with place.service():
        first = place.start(CLIENT, "W12", place.facts, "one", str(place.effects))
        assert (first.wait(WAIT_S), first.communicate()[0].split()) == (-signal.SIGKILL, ["one"])
        assert place.client().result("one", WAIT_S) == "done"
    assert place.ran() == ["begun", "ended"]
    assert [task.starts for task in place.tasks()] == [1]


def test_w13_the_id_of_a_forgotten_outcome_survives_the_kill(place: Place) -> None:
    """The service dies when it has forgotten an outcome: the same launch, sent once more, does not run again."""
    process = place.start(FORGETFUL_SERVICE, {**place.facts, "db": str(place.db)})
    first = place.start(CLIENT, "", place.facts, "one", str(place.effects))
    assert first.communicate(timeout=WAIT_S)[0].split() == ["one", "done"]
    body = process.communicate(timeout=WAIT_S)[0].strip()
    assert process.returncode == -signal.SIGKILL
    assert place.tasks() == []
    with place.service() as service:
        send_again(place, body.encode(), "one")
        client = place.client()
        assert client.task(note).launch(os.devnull).result(WAIT_S) == "done"
        with pytest.raises(OutcomePruned):
            client.result("one", WAIT_S)
        assert bodies(service, "one") == [body.encode()]
    assert place.ran() == ["begun", "ended"]


@pytest.mark.parametrize(
    ("point", "error", "words"),
    [
        ("W3", InvalidParameter, "window of the broker"),
        ("W14", HarnessError, "below the seams"),
        ("W16", HarnessError, "the disk is the broker's"),
        ("W99", InvalidParameter, "takes"),
    ],
)
def test_what_is_no_moment_of_a_program_is_refused(point: str, error: type[Exception], words: str) -> None:
    """With the reason."""
    with pytest.raises(error, match=words):
        RealProgram(point)
