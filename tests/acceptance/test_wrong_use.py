"""What is wrong with the broker, or with what is in its queues: told at once or waited out, and never in silence."""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import threading
import time
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import pytest

from schedulergodx import BrokerRefused, BrokerUnavailable, Client, QueueMissing, transport
from schedulergodx.utils.abstractions import Delivery, Outgoing, QueueSpec
from schedulergodx.utils.storage import DB
from schedulergodx_testing.specs import make_task

if TYPE_CHECKING:
    from collections.abc import Iterator

    from helpers.programs import Program

pytestmark = pytest.mark.slow

WAIT_S = 30.0
SECRET = "hush-hush-9"
RUN_SERVICE = Path(__file__).parent / "helpers" / "run_service.py"


@pytest.fixture
def request_queue() -> str:
    """The name of a queue that no other test uses."""
    return f"requests-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def closed_port() -> int:
    """A port of 127.0.0.1 where nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


class DeafServer:
    """Takes connections and hangs up, as a port does whose broker is not there yet; counts them."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._attempts: SimpleQueue[int] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def wait_for_attempts(self, count: int) -> None:
        """Return once there were so many more."""
        for _ in range(count):
            self._attempts.get(timeout=WAIT_S)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(WAIT_S)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            connection.close()
            self._attempts.put(1)


@pytest.fixture
def deaf_server() -> Iterator[DeafServer]:
    """A port that answers nothing."""
    with closing(DeafServer()) as server:
        yield server


def add(a, b):
    return a + b


def touch(path):
    from pathlib import Path

    Path(path).touch()


def run_service(tmp_path: Path, **parameters: object) -> Program:
    """Start a service without waiting for anything."""
    from helpers.programs import Program

    parameters.setdefault("db", str(tmp_path / "tasks.db"))
    return Program(RUN_SERVICE, json.dumps(parameters), cwd=tmp_path)


# --- a broker that is not there


def test_a_launch_waits_for_a_broker_that_is_not_there_as_long_as_it_was_told(closed_port: int, caplog) -> None:
    """Then the error names host, port, virtual host, user, attempts and seconds, and nothing was sent."""
    url = f"amqp://alice:{SECRET}@127.0.0.1:{closed_port}/shop"
    with Client(name="shop", url=url, launch_timeout_s=1.0) as client:
        begin = time.monotonic()
        with pytest.raises(BrokerUnavailable) as caught:
            client.task(add).launch(1, 2)
        assert 0.9 < time.monotonic() - begin < 5
    error = caught.value
    assert re.search(
        rf"launch {error.message_id} was not sent: amqp://alice@127\.0\.0\.1:{closed_port}/shop was not reached within "
        r"1 s and [1-9]\d* attempts; the last reason: .*[Rr]efused.*Is the broker running, and is this its address\?",
        str(error),
    )
    assert error.attempts >= 1
    assert error.waited_s == 1.0
    assert SECRET not in str(error) + repr(error) + caplog.text


def test_a_service_waits_for_a_broker_says_so_once_and_ends_within_a_second_when_asked(
    deaf_server: DeafServer, tmp_path: Path
) -> None:
    """However often it tries meanwhile. The password is in no line."""
    url = f"amqp://alice:{SECRET}@127.0.0.1:{deaf_server.port}/shop"
    with run_service(tmp_path, url=url) as service:
        deaf_server.wait_for_attempts(4)
        begin = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - begin < 2.5  # about a second, on a busy machine
        assert len(service.matching("not reached")) == 1
        assert service.matching(f"amqp://alice@127.0.0.1:{deaf_server.port}/shop")
        assert SECRET not in service.text


def test_a_service_without_its_broker_runs_what_is_stored(closed_port: int, tmp_path: Path) -> None:
    """What was accepted needs no broker to run; the answer waits in the database."""
    task = make_task(touch, str(tmp_path / "ran"))
    with closing(DB(tmp_path / "tasks.db")) as db:
        db.open(owner="tests", now=datetime.now(UTC))
        with db.transaction():
            db.add(task, now=datetime.now(UTC))
    with run_service(tmp_path, url=f"amqp://127.0.0.1:{closed_port}/") as service:
        service.wait_for_line(f"task ended: COMPLETED, OK .message {task.message_id}")
        assert (tmp_path / "ran").exists()
        assert service.stop() == 0
        assert service.matching("report StopReport.interrupted=.., unsent_replies=1")


# --- a broker that refuses


@pytest.fixture(params=["password", "vhost", "permission"])
def refused_url(request: pytest.FixtureRequest, rabbitmq, request_queue: str) -> Iterator[tuple[str, str]]:
    """A URL that RabbitMQ refuses, and a word of the reason."""
    if not rabbitmq.is_controllable:
        pytest.skip("users and virtual hosts can only be made on a RabbitMQ of our own")
    if request.param == "password":
        yield rabbitmq.url_for("/", password=SECRET), "403|ACCESS_REFUSED|refused"
    elif request.param == "vhost":
        yield rabbitmq.url_for("nowhere"), "nowhere"
    else:
        # The queue is there, and this user may do nothing with it.
        put(rabbitmq.url, request_queue, [b"makes the queue"])
        user = f"user-{uuid.uuid4().hex[:8]}"
        rabbitmq.add_user(user, SECRET)
        rabbitmq.set_permissions(user, configure="^nothing$", write="^nothing$", read="^nothing$")
        yield rabbitmq.url_for("/", user=user, password=SECRET), "403 ACCESS_REFUSED"
        rabbitmq.ctl("delete_user", user)
        for name in (request_queue, f"{request_queue}.dead"):
            rabbitmq.delete_queue(name)


@pytest.mark.rabbitmq
def test_a_launch_that_the_broker_refuses_is_told_at_once(
    refused_url: tuple[str, str], request_queue: str, caplog
) -> None:
    """Not after the timeout: trying again cannot help. Host, port, virtual host and user are named."""
    url, reason = refused_url
    with Client(name="shop", url=url, request_queue=request_queue, launch_timeout_s=60) as client:
        begin = time.monotonic()
        with pytest.raises(BrokerRefused, match=reason) as caught:
            client.task(add).launch(1, 2)
        assert time.monotonic() - begin < 10
    said = str(caught.value)
    for fact in ("127.0.0.1:", "virtual host", "user", "Check password, virtual host and permissions"):
        assert fact in said
    assert caught.value.message_id is not None
    assert SECRET not in said + repr(caught.value) + caplog.text


@pytest.mark.rabbitmq
def test_a_client_that_may_not_make_queues_is_told_which_one_is_missing(rabbitmq, request_queue: str) -> None:
    """At once, with what to do."""
    if not rabbitmq.is_controllable:
        pytest.skip("users can only be made on a RabbitMQ of our own")
    user = f"user-{uuid.uuid4().hex[:8]}"
    rabbitmq.add_user(user, SECRET)
    rabbitmq.set_permissions(user, configure="^nothing$")
    url = rabbitmq.url_for("/", user=user, password=SECRET)
    message = f"{request_queue}.*Create the queue, or allow this user to"
    with (
        Client(name="shop", url=url, request_queue=request_queue, launch_timeout_s=60) as client,
        pytest.raises(QueueMissing, match=message) as caught,
    ):
        client.task(add).launch(1, 2)
    assert user in str(caught.value)
    assert SECRET not in str(caught.value)
    rabbitmq.ctl("delete_user", user)


@pytest.mark.rabbitmq
def test_a_service_that_the_broker_refuses_ends_with_the_reason(
    refused_url: tuple[str, str], request_queue: str, tmp_path: Path
) -> None:
    """It does not try for ever, and its exit code says that something is wrong."""
    url, reason = refused_url
    with run_service(tmp_path, url=url, request_queue=request_queue) as service:
        assert service.wait() != 0
        [line] = service.matching("^schedulergodx.errors.BrokerRefused")
        assert re.search(reason, line)
        assert "Check password, virtual host and permissions" in line
        assert SECRET not in service.text


# --- what is in the queue


def put(url: str, queue: str, bodies: list[bytes]) -> None:
    """Put bodies into a queue, whatever they are."""
    settled: SimpleQueue[object] = SimpleQueue()
    with closing(transport.connect(url, name="stranger")) as way:
        way.listen(lambda event: None)
        way.declare(QueueSpec(name=queue, has_dead_letters=True))
        for number, body in enumerate(bodies):
            way.publish(
                Outgoing(
                    queue=queue,
                    body=body,
                    message_id=f"strange-{number}",
                    on_settled=lambda _, error: settled.put(error),
                )
            )
        assert [settled.get(timeout=WAIT_S) for _ in bodies] == [None] * len(bodies)


def take(url: str, queue: str, count: int) -> list[bytes]:
    """Take so many bodies out of a queue; there must be no more."""
    inbox: SimpleQueue[Delivery] = SimpleQueue()
    with closing(transport.connect(url, name="undertaker")) as way:
        way.listen(lambda event: inbox.put(event) if isinstance(event, Delivery) else None)
        way.consume(QueueSpec(name=queue), prefetch=1000)
        taken = [inbox.get(timeout=WAIT_S) for _ in range(count)]
        with pytest.raises(Empty):
            inbox.get(timeout=0.2)
        way.give_back(taken)
    return [delivery.body for delivery in taken]


def reasons(url: str, queue: str) -> list[str]:
    """Return the reasons that stand beside dead letters."""
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw:
            rows = raw.execute(
                "SELECT reason FROM message JOIN queue USING (queue_id) WHERE name = ? ORDER BY position", (queue,)
            )
            return [reason for (reason,) in rows]
    import pika

    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()
        found = []
        while (message := channel.basic_get(queue))[0] is not None:
            found.append(message[1].headers["x-schedulergodx-reason"])
        return found


STRANGE = {
    b"": "BAD_JSON",
    b"not JSON at all": "BAD_JSON",
    b"\xff\xfe\x00": "BAD_ENCODING",
    b"[1, 2]": "BAD_MESSAGE",
    b'{"order": 17, "items": ["tea"]}': "BAD_MESSAGE",
    b'{"v": 9, "id": "a", "client": "c", "type": 3, "arguments": {}}': "UNKNOWN_VERSION",
    b'{"id": "a", "client": "c", "type": 42, "arguments": {}}': "UNKNOWN_TYPE",
    b'{"id": "a", "client": "c", "type": 3, "arguments": {"name": "f"}}': "BAD_MESSAGE",
    b'{"id": "a", "client": "c", "type": 3, "arguments": ' + b"[" * 50_000: "BAD_JSON",
    b"x" * (8 * 1024 * 1024 + 1): "TOO_LARGE",
}


def test_what_is_no_message_is_kept_with_its_reason_and_the_next_good_one_runs(
    new_service, new_client, broker_url: str, request_queue: str
) -> None:
    """Each is acked once and never comes again, also to the next service; bodies stay byte for byte."""
    service = new_service(url=broker_url, request_queue=request_queue)
    put(broker_url, request_queue, list(STRANGE))
    client = new_client(name="shop")
    assert client.task(add).launch(1, 2).result(WAIT_S) == 3
    service.wait_for_line("message rejected to the dead letters", count=len(STRANGE))
    assert service.stop() == 0
    again = new_service(url=broker_url, request_queue=request_queue)
    assert client.task(add).launch(3, 4).result(WAIT_S) == 7
    assert not again.matching("rejected")
    assert again.stop() == 0
    dead = f"{request_queue}.dead"
    assert sorted(take(broker_url, dead, len(STRANGE))) == sorted(STRANGE)
    told = [reason.partition(":")[0] for reason in reasons(broker_url, dead)]
    assert sorted(told) == sorted(STRANGE.values())


# --- fork


FORKING = """
import os, sys, warnings
from schedulergodx import Client

warnings.simplefilter("ignore", DeprecationWarning)  # of CPython 3.12: fork in a process with threads
client = Client(name="shop", url=sys.argv[1], request_queue=sys.argv[2])

@client.task
def add(a, b):
    return a + b

before = add.launch(1, 2)
child = os.fork()
if child == 0:
    assert add.launch(3, 4).result(20) == 7
    assert client.result(before, 20) == 3
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert before.result(20) == 3
assert add.launch(5, 6).result(20) == 11
print("both went on")
"""


def test_a_client_goes_on_in_a_fork_and_in_its_parent(
    new_service, broker_url: str, request_queue: str, tmp_path: Path
) -> None:
    """The child gets a connection and a queue of answers of its own; the parent's are not touched."""
    from helpers.programs import Program

    new_service(url=broker_url, request_queue=request_queue)
    with Program("-c", FORKING, broker_url, request_queue, cwd=tmp_path) as program:
        assert program.wait() == 0, program.text
        assert program.matching("both went on")
