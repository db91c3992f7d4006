"""What becomes of messages that go out, and what is told to whom, over a real RabbitMQ."""

from __future__ import annotations

import logging
from queue import SimpleQueue
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from schedulergodx.errors import (
    BrokerError,
    QueueFull,
    QueueMismatch,
)
from schedulergodx.transport.rabbitmq import publisher
from schedulergodx.utils.abstractions import ConnectionState, Outgoing, QueueSpec, TransportEvent
from schedulergodx.utils.rmq_property import RmqConnect
from schedulergodx_testing.contracts.recorder import WAIT_S, Sending, bodies, consume, publish
from tests.integration.rabbitmq_transport.helpers import Connect, received_until, sender_of

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from schedulergodx_testing.rabbitmq import RabbitMQ

pytestmark = pytest.mark.rabbitmq


def test_confirms_in_a_window_keep_the_order(
    connect: Connect, queue: QueueSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a window far below what is published, all is confirmed and delivered in order, once."""
    monkeypatch.setattr(publisher, "WINDOW_MAX", 7)
    transport = connect()
    transport.declare(queue)
    sent = [b"%d" % number for number in range(500)]
    publish(transport, queue.name, *sent)
    assert bodies(consume(connect(), queue, prefetch=500).deliveries(500)) == sent


def test_a_window_of_bytes_lets_one_large_message_through(
    connect: Connect, queue: QueueSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message above the window of bytes is sent alone, between others, in order."""
    monkeypatch.setattr(publisher, "WINDOW_BYTES_MAX", 10)
    transport = connect()
    transport.declare(queue)
    sent = [b"12345", b"", b"x" * 1000, b"12345", b"123456"]
    publish(transport, queue.name, *sent)
    assert bodies(consume(connect(), queue).deliveries(5)) == sent


def test_what_is_published_is_persistent_and_named(
    connect: Connect, queue: QueueSpec, channel: BlockingChannel
) -> None:
    """On the wire a message has its id and delivery mode 2, and no header of ours."""
    transport = connect()
    transport.declare(queue)
    sending = Sending(transport, queue.name, b"body")
    assert sending.error() is None
    _method, properties, body = channel.basic_get(queue.name, auto_ack=True)
    assert (body, properties.delivery_mode, properties.message_id, properties.headers) == (
        b"body",
        2,
        sending.outgoing.message_id,
        None,
    )


def test_a_queue_that_was_declared_here_is_made_again(
    connect: Connect, queue: QueueSpec, channel: BlockingChannel
) -> None:
    """When it is gone at a publish, it is declared anew and the messages are sent again, in order."""
    transport = connect()
    sender_of(transport, queue)
    channel.queue_delete(queue.name)
    sent = [b"%d" % number for number in range(50)]
    publish(transport, queue.name, *sent)
    assert bodies(consume(connect(), queue, prefetch=50).deliveries(50)) == sent


def test_a_full_queue_is_told(connect: Connect, queue: QueueSpec, channel: BlockingChannel) -> None:
    """A queue that refuses more gives `QueueFull`, for the refused message alone."""
    channel.queue_declare(queue.name, durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    transport = connect()
    publish(transport, queue.name, b"fits")
    assert isinstance(Sending(transport, queue.name, b"too much").error(), QueueFull)
    channel.queue_purge(queue.name)
    assert Sending(transport, queue.name, b"fits again").error() is None


@pytest.mark.slow
def test_a_quorum_queue_that_is_just_being_made_refuses_nothing(connect: Connect, queue: QueueSpec) -> None:
    """Two connections make it at one moment, and one of them publishes before it has a leader: all is kept."""
    for number in range(20):
        spec = QueueSpec(name=f"{queue.name}.{number}", is_quorum=True)
        transport = connect()
        recorder = consume(transport, spec)
        transport.declare(spec)
        publish(transport, spec.name, b"a", b"b")
        assert sorted(bodies(recorder.deliveries(2))) == [b"a", b"b"]
        transport.close()


@pytest.mark.slow
def test_a_full_quorum_queue_is_told(connect: Connect, broker: RabbitMQ, vhost_url: str, queue: QueueSpec) -> None:
    """One that refuses more for good gives `QueueFull`, after a few tries; once there is room, it takes again."""
    vhost = unquote(urlsplit(vhost_url).path[1:])
    limit = '{"max-length": 1, "overflow": "reject-publish"}'
    broker.ctl("--vhost", vhost, "set_policy", "--apply-to", "queues", queue.name, f"^{queue.name}$", limit)
    spec = QueueSpec(name=queue.name, is_quorum=True)
    transport = connect()
    transport.declare(spec)
    errors = [Sending(transport, queue.name, b"%d" % number).error() for number in range(5)]
    assert errors[0] is None
    assert isinstance(errors[-1], QueueFull)
    recorder = consume(transport, spec)
    for _ in range(errors.count(None)):
        transport.ack([recorder.delivery()])
    publish(transport, queue.name, b"fits again")


def test_a_queue_made_otherwise_is_named(connect: Connect, queue: QueueSpec, channel: BlockingChannel) -> None:
    """`QueueMismatch` says what the broker says, and a queue beside it works."""
    channel.queue_declare(queue.name, durable=True, arguments={"x-max-length": 5})
    transport, other = connect(), QueueSpec(name=f"{queue.name}.other")
    transport.declare(queue)
    transport.declare(other)
    error = Sending(transport, queue.name, b"").error()
    assert isinstance(error, QueueMismatch)
    assert "inequivalent arg" in str(error)
    assert queue.name in str(error)
    assert Sending(transport, other.name, b"").error() is None
    channel.queue_delete(queue.name)
    transport.declare(queue)
    assert Sending(transport, queue.name, b"").error() is None


def test_a_name_that_amqp_cannot_say_harms_nobody_else(connect: Connect, queue: QueueSpec) -> None:
    """A queue's name above 255 bytes is an error of its messages; others, before and after, are kept."""
    transport = connect()
    sender_of(transport, queue)
    transport.declare(QueueSpec(name="n" * 256))
    before = Sending(transport, queue.name, b"before")
    wrong = Sending(transport, "n" * 256, b"")
    after = Sending(transport, queue.name, b"after")
    assert before.error() is None
    assert isinstance(wrong.error(), BrokerError)
    assert after.error() is None


@pytest.mark.slow
def test_a_message_too_large_for_the_broker_is_the_only_one_that_fails(
    connect: Connect, broker: RabbitMQ, queue: QueueSpec
) -> None:
    """The broker closes the channel over it without saying which: the others are kept, in order."""
    limit = broker.max_message_bytes(1000)
    try:
        transport = connect()
        transport.declare(queue)
        sendings = [Sending(transport, queue.name, b"%d" % number) for number in range(20)]
        guilty = Sending(transport, queue.name, b"x" * 1001)
        sendings += [Sending(transport, queue.name, b"%d" % number) for number in range(20, 40)]
        error = guilty.error()
        assert type(error) is BrokerError
        assert "larger than configured max size" in str(error)
        assert [sending.error() for sending in sendings] == [None] * 40
    finally:
        broker.max_message_bytes(limit)
    # Sent again after the channel was closed, some may be there twice; the first copies are in order.
    consumer = connect()
    recorder = consume(consumer, queue, prefetch=100)
    publish(transport, queue.name, b"end")
    received = received_until(consumer, recorder, b"end")
    assert list(dict.fromkeys(received)) == [b"%d" % number for number in range(40)] + [b"end"]


def test_a_publisher_makes_no_consuming_connection(connect: Connect, queue: QueueSpec) -> None:
    """One thread until something is consumed; two then, and both end with close."""
    transport = connect()
    recorder = sender_of(transport, queue)
    assert set(transport.threads()) == {"test-publishing"}
    transport.consume(queue, prefetch=1)
    recorder.delivery()
    assert set(transport.threads()) == {"test-publishing", "test-consuming"}


def test_a_listener_that_raises_does_no_harm(
    connect: Connect, queue: QueueSpec, caplog: pytest.LogCaptureFixture
) -> None:
    """What `on_event` or `on_settled` raises is logged, and messages go on."""
    transport = connect()
    events: SimpleQueue[TransportEvent] = SimpleQueue()

    def fail(event: TransportEvent) -> None:
        events.put(event)
        raise RuntimeError("a listener's mistake")

    def fail_to_settle(_outgoing: Outgoing, _error: BrokerError | None) -> None:
        raise RuntimeError("a sender's mistake")

    transport.listen(fail)
    transport.declare(queue)
    transport.publish(Outgoing(queue=queue.name, body=b"a", message_id="id-a", on_settled=fail_to_settle))
    publish(transport, queue.name, b"b")
    assert "message id-a" in caplog.text
    assert events.get(timeout=WAIT_S)
    assert "a listener's mistake" in caplog.text


def test_an_error_inside_a_connection_costs_that_connection_only(
    connect: Connect, queue: QueueSpec, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is raised in the thread of a connection, the thread goes on with another one."""
    transport = connect()
    recorder = sender_of(transport, queue)

    def fail() -> None:
        raise RuntimeError("a mistake of our own")

    transport._publishing.call(fail)
    recorder.change(ConnectionState.RECOVERING)
    publish(transport, queue.name, b"second")
    assert "a mistake of our own" in caplog.text


def test_pika_can_still_be_heard(connect: Connect, queue: QueueSpec, caplog: pytest.LogCaptureFixture) -> None:
    """Pika's own records of our threads are dropped, until somebody sets a level for its logger."""
    caplog.set_level(logging.INFO)
    sender_of(connect(), queue)
    assert not [record for record in caplog.records if record.name.startswith("pika")]
    caplog.set_level(logging.INFO, logger="pika")
    sender_of(connect(), queue)
    assert [record for record in caplog.records if record.name.startswith("pika")]


def test_get_channel_of_1_0_0(rabbitmq: RabbitMQ, queue: QueueSpec) -> None:
    """`RmqConnect.get_channel` connects, declares a durable queue and returns a pika channel."""
    channel = RmqConnect.from_url(rabbitmq.url).get_channel(queue.name)
    try:
        channel.basic_publish("", queue.name, b"plain")
        assert channel.basic_get(queue.name, auto_ack=True)[2] == b"plain"
        channel.queue_delete(queue.name)
    finally:
        channel.connection.close()
