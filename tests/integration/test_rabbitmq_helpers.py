"""What a test can do to its broker: the same on a private node and on a container."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pika
import pika.exceptions
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from schedulergodx_testing.rabbitmq import (
    LocalRabbitMQ,
    RabbitMQ,
    RabbitMQCommandFailed,
    RabbitMQUnavailable,
)

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

# Each of these means something to a shell, to AMQP URLs, or to a console that is not UTF-8.
AWKWARD = "tä$k s`x\"'&;%/"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("node", marks=pytest.mark.local_node),
        pytest.param("container", marks=pytest.mark.docker),
    ],
)
def broker(request: pytest.FixtureRequest) -> Iterator[RabbitMQ]:
    if request.param == "container":
        yield request.getfixturevalue("rabbitmq_container")
        return
    try:
        node = LocalRabbitMQ()
    except RabbitMQUnavailable as error:
        if request.config.getoption("--require-rabbitmq"):
            raise
        pytest.skip(str(error))
    with node:
        yield node


@pytest.fixture
def vhost(broker: RabbitMQ) -> Iterator[str]:
    """The name of a virtual host for one test."""
    with broker.private_vhost() as url:
        yield url.rpartition("/")[2]


@contextmanager
def channel_to(url: str) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(f"{url}?blocked_connection_timeout=20"))
    try:
        yield connection.channel()
    finally:
        with suppress(pika.exceptions.AMQPError):
            connection.close()


def keep(channel: BlockingChannel, queue: str, count: int) -> None:
    """Put persistent messages into a durable queue and wait until the broker has them."""
    channel.confirm_delivery()
    channel.queue_declare(queue, durable=True)
    for _ in range(count):
        channel.basic_publish("", queue, b"x", pika.BasicProperties(delivery_mode=2))


def test_queues_tells_ready_and_unacknowledged(broker: RabbitMQ, vhost: str) -> None:
    """Counts are those of this moment, under the queue's own name."""
    assert broker.queues(vhost) == {}
    with channel_to(broker.url_for(vhost)) as channel:
        keep(channel, AWKWARD, 3)
        channel.basic_get(AWKWARD)
        assert broker.queues(vhost) == {AWKWARD: (2, 1)}


def test_a_restart_keeps_port_and_messages(broker: RabbitMQ, vhost: str) -> None:
    """Clients find it where it was, with what they had stored."""
    url = broker.url_for(vhost)
    with channel_to(url) as channel:
        keep(channel, "kept", 2)
        broker.restart()
    assert broker.url_for(vhost) == url
    with channel_to(url) as channel:
        assert channel.queue_declare("kept", passive=True).method.message_count == 2


def test_a_killed_broker_is_gone_until_it_is_started(broker: RabbitMQ, vhost: str) -> None:
    """It ends without a word, and what it had confirmed is there again afterwards."""
    with channel_to(broker.url_for(vhost)) as channel:
        keep(channel, "kept", 1)
        broker.flush()
        broker.kill()
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            channel.connection.process_data_events(time_limit=20)
    with pytest.raises(RabbitMQUnavailable, match="no RabbitMQ answers"):
        _ = broker.version
    broker.kill()
    broker.start()
    assert broker.queues(vhost) == {"kept": (1, 0)}


def test_a_paused_broker_is_silent(broker: RabbitMQ, vhost: str) -> None:
    """It keeps its connections but answers nobody, until it goes on."""
    with channel_to(broker.url_for(vhost)) as channel:
        broker.pause()
        with pytest.raises(RabbitMQUnavailable, match="no RabbitMQ answers"):
            _ = broker.version
        broker.unpause()
        channel.queue_declare("after")
    assert broker.version


def test_a_memory_alarm_blocks_publishers(broker: RabbitMQ, vhost: str) -> None:
    """Who publishes is told `blocked`, and `unblocked` when it is over."""
    told: list[str] = []
    with channel_to(broker.url_for(vhost)) as channel:
        connection = channel.connection
        connection.add_on_connection_blocked_callback(lambda *_: told.append("blocked"))
        connection.add_on_connection_unblocked_callback(lambda *_: told.append("unblocked"))
        broker.memory_alarm(True)
        channel.basic_publish("", "nowhere", b"x")
        connection.process_data_events(time_limit=20)
        assert told == ["blocked"]
        broker.memory_alarm(False)
        connection.process_data_events(time_limit=20)
        assert told == ["blocked", "unblocked"]


def test_a_deleted_queue_cancels_its_consumer(broker: RabbitMQ, vhost: str) -> None:
    """The consumer is told, the queue and its messages are gone."""
    cancelled: list[object] = []
    with channel_to(broker.url_for(vhost)) as channel:
        channel.queue_declare(AWKWARD)
        channel.add_on_cancel_callback(cancelled.append)
        channel.basic_consume(AWKWARD, lambda *_: None)
        broker.delete_queue(AWKWARD, vhost)
        channel.connection.process_data_events(time_limit=20)
        assert len(cancelled) == 1
    assert broker.queues(vhost) == {}


def test_closed_connections_may_come_back(broker: RabbitMQ, vhost: str) -> None:
    """The client is told that it was forced out; nothing keeps it from connecting again."""
    with channel_to(broker.url_for(vhost)) as channel:
        broker.close_connections()
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="closed by a test"):
            channel.connection.process_data_events(time_limit=20)
    with channel_to(broker.url_for(vhost)) as channel:
        channel.queue_declare("again")


def test_a_user_may_do_what_is_permitted(broker: RabbitMQ, vhost: str) -> None:
    """A new user may not enter; with permissions it may do what they match and no more."""
    broker.add_user(f"{AWKWARD}{vhost}", AWKWARD)
    url = broker.url_for(vhost, user=f"{AWKWARD}{vhost}", password=AWKWARD)
    with pytest.raises(pika.exceptions.ProbableAccessDeniedError), channel_to(url):
        pass
    broker.set_permissions(f"{AWKWARD}{vhost}", vhost=vhost, configure="^mine")
    with channel_to(url) as channel:
        channel.queue_declare("mine")
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
            channel.queue_declare("another")


def test_private_vhosts_are_apart_and_removed(broker: RabbitMQ) -> None:
    """Two tests see nothing of each other, even when one leaves the broker dead."""
    with broker.private_vhost() as one, broker.private_vhost() as two:
        with channel_to(one) as channel:
            channel.queue_declare("q", durable=True)
        with channel_to(two) as channel, pytest.raises(pika.exceptions.ChannelClosedByBroker):
            channel.queue_declare("q", passive=True)
        broker.stop()
    left = broker.ctl("--quiet", "list_vhosts").split()
    assert not {one.rpartition("/")[2], two.rpartition("/")[2]} & set(left)


def test_a_broker_that_ended_by_itself_is_healed(broker: RabbitMQ) -> None:
    """The next test gets a running broker, also when no helper was used to end it."""
    with suppress(RabbitMQCommandFailed):  # the command loses whom it talks to
        broker.ctl("eval", "erlang:halt().")
    broker.heal()
    assert broker.version


def test_a_command_that_fails_tells_its_facts(broker: RabbitMQ) -> None:
    """The error holds the command, its exit code and what it wrote."""
    with pytest.raises(RabbitMQCommandFailed, match="delete_vhost not-there ended with") as caught:
        broker.ctl("delete_vhost", "not-there")
    assert caught.value.arguments == ("delete_vhost", "not-there")
    assert caught.value.exit_code != 0
    assert "not-there" in caught.value.output


def test_erlang_is_evaluated_inside_the_broker(broker: RabbitMQ, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its value comes back as text, an error with what it says; the same where there is no `erl_call`."""
    values = {"1 + 1": "2", 'length("four")': "4", "[a, {b, 2}]": "[a, {b, 2}]"}
    assert {expression: broker.evaluate(expression) for expression in values} == values
    with pytest.raises(RabbitMQCommandFailed, match="badmatch"):
        broker.evaluate("1 = 2")
    monkeypatch.setattr(broker, "_erl_call", lambda _expression: (127, "", "not found"))
    assert broker.evaluate("1 + 1") == "2"
    with pytest.raises(RabbitMQCommandFailed, match="badmatch"):
        broker.evaluate("1 = 2")
