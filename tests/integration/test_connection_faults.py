"""A client and a service meet what happens to connections: each recovers by itself, nothing is lost, nothing twice."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from schedulergodx import BrokerBlocked, BrokerUnavailable, Client, LaunchUncertain, Service, TaskOverdue
from schedulergodx.clock import SystemClock
from schedulergodx.config import ServiceLimits
from schedulergodx.utils.abstractions import ConnectionState
from schedulergodx.utils.rmq_property import RmqConnect
from schedulergodx.utils.storage.reader import reader
from schedulergodx_testing.rabbitmq.waiting import wait_until
from tests.acceptance.helpers.programs import Program
from tests.integration.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from schedulergodx_testing.rabbitmq import RabbitMQ

WAIT_S = 40.0
"""Bound of what takes a second or two; the machine may be busy."""
RUN_LIMITED = Path(__file__).parents[1] / "acceptance" / "helpers" / "run_limited_service.py"


@contextmanager
def running(url: str, folder: Path) -> Iterator[Service]:
    """Give a service that runs in a thread; stop it at the end."""
    limits = ServiceLimits(stop_grace_s=1.0, reply_flush_s=1.0)
    service = Service(url=url, db=folder / "tasks.db", limits=limits)
    ended: SimpleQueue[object] = SimpleQueue()
    thread = threading.Thread(target=lambda: ended.put(service.start()), name="service")
    thread.start()
    try:
        until(lambda: service.health().is_healthy, "the service to be well")
        yield service
    finally:
        service.stop(grace_s=0.0)
        thread.join(WAIT_S)
        assert not thread.is_alive()
        assert not ended.empty(), "the service raised"


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait until `is_so`."""
    wait_until(is_so, what, timeout_s=WAIT_S)


def through(proxy: TcpProxy, url: str) -> str:
    """Return the URL with the proxy in the way, and short heartbeats."""
    parts = urlsplit(url)
    place = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{proxy.port}"
    return urlunsplit(parts._replace(netloc=place, query="heartbeat=1"))


def starts_of(folder: Path, message_id: str) -> int:
    """Return how often the database says that a task was started; -1: it is not there."""
    with reader(folder / "tasks.db") as view:
        state = view.find(str(message_id))
    return -1 if state is None else state.starts


def double(text: str) -> str:
    return 2 * text


@pytest.fixture
def proxy(rabbitmq: RabbitMQ) -> Iterator[TcpProxy]:
    with TcpProxy((rabbitmq.host, rabbitmq.port)) as proxy:
        yield proxy


def test_a_broker_that_is_away_is_named() -> None:
    """Host, port and virtual host, how often and how long it was tried; within the time that a launch has."""
    began = SystemClock().monotonic()
    with Client("shop", url="amqp://me:secret@127.0.0.1:1/orders", launch_timeout_s=0.5) as client:
        with pytest.raises(BrokerUnavailable) as caught:
            client.task(double).launch("a")
        assert client.connection_state is ConnectionState.CONNECTING
        assert client.connection_status().attempts
    error = caught.value
    assert SystemClock().monotonic() - began < WAIT_S
    assert all(fact in str(error) for fact in ("127.0.0.1:1", "orders", "0.5 s", f"{error.attempts} attempts"))
    assert error.attempts >= 1
    assert "secret" not in str(error)


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_a_black_hole_is_noticed_and_survived(proxy: TcpProxy, rabbitmq_vhost_url: str, tmp_path: Path) -> None:
    """Packets vanish both ways: heartbeats tell, stored tasks run meanwhile, and afterwards all is answered, once."""
    url = through(proxy, rabbitmq_vhost_url)
    with running(url, tmp_path) as service, Client(url=url, launch_timeout_s=WAIT_S) as client:
        task = client.task(double)
        assert task.launch("a").result(WAIT_S) == "aa"
        delayed = task.options(delay=0.5).launch("b")
        until(lambda: starts_of(tmp_path, delayed) >= 0, "it to be stored")
        proxy.is_black_hole = True
        until(lambda: service.health().consuming.connection.state is ConnectionState.RECOVERING, "it to be noticed")
        until(lambda: client.connection_state is ConnectionState.RECOVERING, "the client to notice")
        assert not service.health().is_healthy
        assert service.health().is_alive
        until(lambda: starts_of(tmp_path, delayed) == 1, "the stored task to run")
        proxy.is_black_hole = False
        assert delayed.result(WAIT_S) == "bb"
        assert task.launch("c").result(WAIT_S) == "cc"
        until(lambda: service.health().is_healthy, "the service to be well again")
        assert starts_of(tmp_path, delayed) == 1


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_a_reset_in_the_middle_of_a_large_launch(proxy: TcpProxy, rabbitmq_vhost_url: str, tmp_path: Path) -> None:
    """The launch is sent again under its id, whole, and runs once."""
    proxied = through(proxy, rabbitmq_vhost_url)
    large = "x" * 4_000_000
    with running(rabbitmq_vhost_url, tmp_path), Client(url=proxied, launch_timeout_s=WAIT_S) as client:
        task = client.task(len)
        assert task.launch("a").result(WAIT_S) == 1
        proxy.reset_after = 2_000_000
        launched = task.launch(large)
        assert proxy.has_reset.is_set()
        assert launched.result(WAIT_S) == len(large)
        assert starts_of(tmp_path, launched) == 1


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_a_connection_that_misses_its_heartbeats(rabbitmq_vhost_url: str, tmp_path: Path) -> None:
    """Storing never holds up a connection; if something does for long, it is made anew, and nothing runs twice."""
    url = f"{rabbitmq_vhost_url}?heartbeat=1"
    with running(url, tmp_path) as service, Client(url=rabbitmq_vhost_url) as client:
        task = client.task(double)
        assert task.launch("a").result(WAIT_S) == "aa"
        is_held, let_go = threading.Event(), threading.Event()

        def hold() -> None:
            is_held.set()
            let_go.wait(WAIT_S)

        transport = service._transport
        transport._consuming.call(hold)  # type: ignore[attr-defined] - only a mistake of our own does so
        assert is_held.wait(WAIT_S)
        meanwhile = task.launch("b")
        beats = SystemClock().monotonic() + 4.0  # the broker hears nothing for two heartbeats, and gives it up
        until(lambda: SystemClock().monotonic() > beats, "heartbeats to be missed")
        let_go.set()
        assert meanwhile.result(WAIT_S) == "bb"
        assert task.launch("c").result(WAIT_S) == "cc"
        assert starts_of(tmp_path, meanwhile) == 1


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_a_service_that_is_frozen_until_the_broker_gives_it_up(rabbitmq_vhost_url: str, tmp_path: Path) -> None:
    """By SIGSTOP, for more than its heartbeats: it connects anew, late tasks follow their policy, all start once."""
    parameters = json.dumps({"url": f"{rabbitmq_vhost_url}?heartbeat=1", "db": "tasks.db"})
    limits = json.dumps({"overdue_grace_s": 0.5})
    channel = RmqConnect.from_url(rabbitmq_vhost_url).get_channel("client-service.dead")
    with (
        Program(RUN_LIMITED, parameters, limits, cwd=tmp_path) as service,
        Client(url=rabbitmq_vhost_url) as client,
        closing(channel.connection),
    ):
        task = client.task(double)
        assert task.launch("a").result(WAIT_S) == "aa"
        skipped = task.options(delay=3.0).launch("b")
        late = task.options(delay=3.0, enable_overdue=True).launch("c")
        overdue_at = SystemClock().monotonic() + 4.0
        until(lambda: starts_of(tmp_path, late) == 0, "both to be stored")
        os.kill(service.pid, signal.SIGSTOP)
        meanwhile = task.launch("d")
        until(lambda: consumers(channel, "client-service") == 0, "the broker to give it up")
        until(lambda: SystemClock().monotonic() > overdue_at, "both to be overdue")
        assert starts_of(tmp_path, late) == 0
        os.kill(service.pid, signal.SIGCONT)
        assert (late.result(WAIT_S), meanwhile.result(WAIT_S)) == ("cc", "dd")
        with pytest.raises(TaskOverdue):
            skipped.result(WAIT_S)
        assert [starts_of(tmp_path, one) for one in (skipped, late, meanwhile)] == [0, 1, 1]
        assert service.stop() == 0


def consumers(channel: BlockingChannel, queue: str) -> int:
    """Return how many consumers the broker knows of a queue."""
    return int(channel.queue_declare(queue, passive=True).method.consumer_count)


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_a_broker_that_has_lost_every_queue(rabbitmq_vhost_url: str, tmp_path: Path) -> None:
    """Queues of requests, dead letters and answers are made again under whoever uses them; who waits is answered."""
    with running(rabbitmq_vhost_url, tmp_path) as service, Client(url=rabbitmq_vhost_url) as client:
        task = client.task(double)
        assert task.launch("a").result(WAIT_S) == "aa"
        delayed = task.options(delay=2.0).launch("b")
        until(lambda: starts_of(tmp_path, delayed) == 0, "it to be stored")
        channel = RmqConnect.from_url(rabbitmq_vhost_url).get_channel("client-service.dead")
        for name in ("client-service", "client-service.dead", client._current().reply_to):
            channel.queue_delete(name)
        channel.connection.close()
        assert delayed.result(WAIT_S) == "bb"
        assert task.launch("c").result(WAIT_S) == "cc"
        until(lambda: service.health().is_healthy, "the service to be well again")
        assert starts_of(tmp_path, delayed) == 1


@pytest.mark.slow
@pytest.mark.rabbitmq
def test_an_alarm_stops_launches_and_not_the_service(
    rabbitmq: RabbitMQ, rabbitmq_vhost_url: str, tmp_path: Path
) -> None:
    """A launch says what is certain; what is stored runs; answers wait, and the same id can be launched again."""
    if not rabbitmq.is_controllable:
        pytest.skip("this broker belongs to somebody else")
    with running(rabbitmq_vhost_url, tmp_path) as service, Client(url=rabbitmq_vhost_url, launch_timeout_s=2) as client:
        task = client.task(double)
        assert task.launch("a").result(WAIT_S) == "aa"
        delayed = task.options(delay=1.0).launch("b")
        rabbitmq.memory_alarm(True)
        with pytest.raises(LaunchUncertain) as sent:  # it was on its way before the broker said that it takes nothing
            task.launch("c")
        assert client.connection_state is ConnectionState.BLOCKED
        with pytest.raises(BrokerBlocked):
            task.launch("d")
        until(lambda: starts_of(tmp_path, delayed) == 1, "the stored task to run")
        until(lambda: "answers wait" in service.health().summary(), "the service to tell")
        assert service.health().is_alive
        rabbitmq.memory_alarm(False)
        again = client.launch_again(sent.value.message_id)
        assert delayed.result(WAIT_S) == "bb"
        assert again.result(WAIT_S) == "cc"
        assert starts_of(tmp_path, again) == 1
