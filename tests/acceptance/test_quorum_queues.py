"""Client and service over quorum queues: what holds on classic ones holds here, and both must say the same."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pika
import pytest

from schedulergodx import Client, QueueMismatch, TaskInterrupted, TaskRaised
from schedulergodx.transport.rabbitmq import RabbitMQTransport
from schedulergodx.utils.abstractions import QueueSpec
from schedulergodx.utils.rmq_property import RmqConnect
from schedulergodx_testing.contracts.recorder import consume, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schedulergodx_testing.rabbitmq import RabbitMQ

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq]

WAIT_S = 30.0
QUEUE = QueueSpec(name="client-service", has_dead_letters=True, is_quorum=True)
SECONDS = 10.0
"""In which a standby takes over; it looks once a second."""
LOSSES = 25
"""More than the 20 after which RabbitMQ from 4.0 on drops a message by default."""


@pytest.fixture
def url(rabbitmq: RabbitMQ) -> Iterator[str]:
    """A virtual host of this test alone, on a broker that may be restarted."""
    if not rabbitmq.is_controllable:
        pytest.skip("this RabbitMQ was only given by its URL: queues of another type may be there")
    with rabbitmq.private_vhost() as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A client of quorum queues."""
    with Client(name="shop", url=url, queue_type="quorum", task_lifetime=None, launch_timeout_s=60) as client:
        yield client


def double(number):
    return 2 * number


def fail():
    raise ValueError("as wanted")


def append_and_wait_for(path, done):
    """Add a line to a file, and return when there is another file."""
    import time

    with Path(path).open("a", encoding="utf-8") as file:
        file.write("started\n")
    print("I run", flush=True)  # noqa: T201 - the test waits for this line of the service
    while not Path(done).exists():
        time.sleep(0.005)
    return "done"


def vhost_of(url: str) -> str:
    return unquote(urlsplit(url).path[1:])


def test_tasks_run_and_are_answered(rabbitmq: RabbitMQ, url: str, client: Client, new_service) -> None:
    """Soft, hard, delayed and failing tasks; all queues that keep anything are quorum queues."""
    new_service(url=url, queue_type="quorum")
    task = client.task(double)
    assert task.launch(1).result(WAIT_S) == 2
    assert task.options(hard=True, hard_task_lifetime=None).launch(2).result(WAIT_S) == 4
    assert task.options(delay=0.2).launch(3).result(WAIT_S) == 6
    with pytest.raises(TaskRaised, match="as wanted"):
        client.task(fail).launch().result(WAIT_S)
    text = rabbitmq.ctl("--vhost", vhost_of(url), "--quiet", "--formatter", "json", "list_queues", "name", "type")
    types = {row["name"]: row["type"].removeprefix("rabbit_").removesuffix("_queue") for row in json.loads(text)}
    assert types == {
        "client-service": "quorum",
        "client-service.dead": "quorum",
        "client-service.owner": "classic",  # goes with its connection, which no quorum queue does
        "client-service.owner.name": "classic",  # says who that is, and keeps nothing
        client.rmq_consumer_que: "quorum",
    }


def test_a_killed_service_and_a_restarted_broker_lose_nothing(
    rabbitmq: RabbitMQ, url: str, client: Client, new_service, tmp_path: Path
) -> None:
    """The task that ran is reported as interrupted, those that waited in the queue run once after both are back."""
    service = new_service(url=url, queue_type="quorum")
    running = client.task(append_and_wait_for).launch(str(tmp_path / "runs"), str(tmp_path / "never"))
    service.wait_for_line("^I run")
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    waiting = [client.task(double).launch(number) for number in range(20)]
    rabbitmq.restart()
    new_service(url=url, queue_type="quorum")
    assert [one.result(WAIT_S) for one in waiting] == [2 * number for number in range(20)]
    with pytest.raises(TaskInterrupted):
        running.result(WAIT_S)
    assert (tmp_path / "runs").read_text() == "started\n"


def test_a_task_survives_more_losses_than_the_default_limit(url: str, client: Client, new_service) -> None:
    """A launch that was delivered and lost with its connection 25 times is still there, and runs."""
    launched = client.task(double).launch(21)
    for number in range(LOSSES):
        dying = RabbitMQTransport(RmqConnect.from_url(url), name="dies")
        delivery = consume(dying, QUEUE, prefetch=1).delivery()
        assert delivery.is_redelivered is (number > 0)
        dying._consuming.call(lambda link=dying._consuming: link.cut("killed"))
        dying.close()
    new_service(url=url, queue_type="quorum")
    assert launched.result(WAIT_S) == 42


def test_a_queue_from_before_the_limit_is_used_as_it_is(
    rabbitmq: RabbitMQ, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A quorum queue without the argument, as RabbitMQ 3 made it, is used; from 4 on one warning says what it does."""
    old = {"x-queue-type": "quorum"}
    dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": QUEUE.dead_letter_name}
    connection = pika.BlockingConnection(pika.URLParameters(url))
    connection.channel().queue_declare(QUEUE.dead_letter_name, durable=True, arguments=old)
    connection.channel().queue_declare(QUEUE.name, durable=True, arguments=old | dead)
    connection.close()
    transport = RabbitMQTransport(RmqConnect.from_url(url), name="newer")
    transport.declare(QUEUE)
    publish(transport, QUEUE.name, b"a")
    transport.close()
    warnings = [record for record in caplog.records if "was made without x-delivery-limit=-1" in record.getMessage()]
    assert len(warnings) == (2 if int(rabbitmq.version.split(".")[0]) >= 4 else 0)


@pytest.mark.parametrize("first", ["classic", "quorum"])
def test_client_and_service_must_say_the_same(url: str, first: str, new_service) -> None:
    """Whoever comes second with the other type hears `QueueMismatch`, which names both types, and nothing is sent."""
    new_service(url=url, queue_type=first).wait_for_line("consuming from")
    second = {"classic": "quorum", "quorum": "classic"}[first]
    mismatch = pytest.raises(QueueMismatch, match=f"received .*{second}.* but current is .*{first}")
    with Client(name="shop", url=url, queue_type=second) as client, mismatch:
        client.task(double).launch(1)
    with Client(name="shop", url=url, queue_type=first) as client:
        assert client.task(double).launch(1).result(WAIT_S) == 2


def test_a_second_service_is_refused_and_told_who_has_the_queue(
    url: str, client: Client, new_service, tmp_path
) -> None:
    """Its process ends with an error that names the first one, which goes on."""
    first = new_service(url=url, queue_type="quorum", name="first")
    first.wait_for_line("consuming from")
    db = str(tmp_path / "second.db")
    second = new_service(url=url, queue_type="quorum", db=db, ready="^schedulergodx.errors.QueueInUse")
    assert second.wait() != 0
    [line] = second.matching("^schedulergodx.errors.QueueInUse")
    assert re.search(rf"client-service.* is taken by first \(p\w+ {first.pid} on ", line)
    assert client.task(double).launch(1).result(WAIT_S) == 2


def test_a_standby_takes_over_when_the_first_service_is_killed(url: str, client: Client, new_service, tmp_path) -> None:
    """Though a quorum queue knows no exclusive consumers: one service takes from it, and seconds after that another."""
    first = new_service(url=url, queue_type="quorum")
    first.wait_for_line("consuming from")
    standby = new_service(url=url, queue_type="quorum", standby=True, db=str(tmp_path / "standby.db"))
    standby.wait_for_line("waiting for its owner")
    assert client.task(double).launch(1).result(WAIT_S) == 2
    first.kill()
    assert client.task(double).launch(2).result(SECONDS) == 4
    assert standby.stop() == 0
    assert len(standby.matching("task .* stored")) == 1
