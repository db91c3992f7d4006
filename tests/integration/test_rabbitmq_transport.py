"""The transport over a real RabbitMQ, where the broker does what only RabbitMQ does: restart, block, refuse, return."""

from __future__ import annotations

import logging
import secrets
import socket
import threading
import uuid
from contextlib import ExitStack, closing, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pika
import pytest

from schedulergodx.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnavailable,
    LaunchUncertain,
    QueueFull,
    QueueInUse,
    QueueMismatch,
    QueueMissing,
)
from schedulergodx.transport.rabbitmq import RabbitMQTransport, publisher
from schedulergodx.transport.rabbitmq.parameters import connection_parameters
from schedulergodx.utils.abstractions import ConnectionState, Outgoing, QueueSpec, TransportEvent
from schedulergodx.utils.rmq_property import RmqConnect
from schedulergodx_testing.contracts.recorder import WAIT_S, Recorder, Sending, bodies, consume, publish
from schedulergodx_testing.rabbitmq.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from schedulergodx_testing.rabbitmq import RabbitMQ

    Connect = Callable[..., RabbitMQTransport]

pytestmark = pytest.mark.rabbitmq


@pytest.fixture(scope="module")
def vhost_url(rabbitmq: RabbitMQ) -> Iterator[str]:
    """Give one virtual host for the tests of this file: each names its queues for itself."""
    with rabbitmq.private_vhost() as url:
        yield url


@pytest.fixture
def broker(rabbitmq: RabbitMQ) -> Iterator[RabbitMQ]:
    """A broker that may be stopped, cut and configured, and that runs again after the test."""
    if not rabbitmq.is_controllable:
        pytest.skip("this broker belongs to somebody else")
    rabbitmq.heal()
    yield rabbitmq
    rabbitmq.heal()


@pytest.fixture
def connect(vhost_url: str) -> Iterator[Connect]:
    """Return a function that opens a transport, to the virtual host or another URL; all are closed after the test."""
    opened: list[RabbitMQTransport] = []

    def connect(url: str = vhost_url) -> RabbitMQTransport:
        transport = RabbitMQTransport(RmqConnect.from_url(url), name="test")
        opened.append(transport)
        return transport

    yield connect
    for transport in opened:
        transport.close()
        assert not any(thread.is_alive() for thread in transport.threads().values())


@pytest.fixture
def queue() -> QueueSpec:
    """Describe a queue of this test alone."""
    return QueueSpec(name=f"test.{uuid.uuid4().hex}", has_dead_letters=True)


@pytest.fixture
def channel(vhost_url: str) -> Iterator[BlockingChannel]:
    """A plain pika channel, to see what the broker has, apart from the transport."""
    connection = pika.BlockingConnection(connection_parameters(RmqConnect.from_url(vhost_url), "spy"))
    yield connection.channel()
    with suppress(pika.exceptions.AMQPError):
        connection.close()


def vhost_of(url: str) -> str:
    return str(RmqConnect.from_url(url).rmq_parameters["virtual_host"])


def sender_of(transport: RabbitMQTransport, queue: QueueSpec) -> Recorder:
    """Declare `queue` and wait until its messages are confirmed."""
    recorder = Recorder(transport)
    transport.declare(queue)
    publish(transport, queue.name, b"first")
    return recorder


def received_until(transport: RabbitMQTransport, recorder: Recorder, last: bytes) -> list[bytes]:
    """Ack everything that comes, until `last` comes; return the bodies."""
    received: list[bytes] = []
    while not received or received[-1] != last:
        delivery = recorder.delivery()
        transport.ack([delivery])
        received.append(delivery.body)
    return received


# --- Publishing


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


def test_a_message_too_large_for_the_broker_is_the_only_one_that_fails(
    connect: Connect, broker: RabbitMQ, queue: QueueSpec
) -> None:
    """The broker closes the channel over it without saying which: the others are kept, in order."""
    limit = broker.ctl("--quiet", "eval", "application:get_env(rabbit, max_message_size, 134217728).")
    broker.ctl("eval", "application:set_env(rabbit, max_message_size, 1000).")
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
        broker.ctl("eval", f"application:set_env(rabbit, max_message_size, {limit.strip()}).")
    # Sent again after the channel was closed, some may be there twice; the first copies are in order.
    consumer = connect()
    recorder = consume(consumer, queue, prefetch=100)
    publish(transport, queue.name, b"end")
    received = received_until(consumer, recorder, b"end")
    assert list(dict.fromkeys(received)) == [b"%d" % number for number in range(40)] + [b"end"]


# --- Restarts and losses


class Load(threading.Thread):
    """Publishes numbers, at most 200 of them unsettled at a time, until it is told to stop."""

    def __init__(self, transport: RabbitMQTransport, queue: str) -> None:
        super().__init__(daemon=True)
        self.transport, self.queue = transport, queue
        self.settlements: list[tuple[bytes, BrokerError | None]] = []
        self.has_started, self.is_enough = threading.Event(), threading.Event()
        self.count = 0
        self._room = threading.Semaphore(200)

    def run(self) -> None:
        while not self.is_enough.is_set():
            assert self._room.acquire(timeout=WAIT_S)
            body = b"%d" % self.count
            self.transport.publish(Outgoing(queue=self.queue, body=body, message_id="id", on_settled=self._on_settled))
            self.count += 1
        for _ in range(200):
            assert self._room.acquire(timeout=WAIT_S)

    def _on_settled(self, outgoing: Outgoing, error: BrokerError | None) -> None:
        self.settlements.append((outgoing.body, error))
        if len(self.settlements) == 500:
            self.has_started.set()
        self._room.release()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["restart", "kill", "close_connections"])
def test_nothing_is_lost_when_the_broker_restarts_under_load(
    connect: Connect, broker: RabbitMQ, queue: QueueSpec, way: str
) -> None:
    """Messages published before, during and after are each confirmed once and delivered at least once."""
    sender, receiver = connect(), connect()
    sender_of(sender, queue)
    recorder = consume(receiver, queue, prefetch=100)
    received = received_until(receiver, recorder, b"first")
    load = Load(sender, queue.name)
    load.start()
    assert load.has_started.wait(WAIT_S)
    getattr(broker, way)()
    broker.start()
    recorder.change(ConnectionState.RECOVERING)
    recorder.change(ConnectionState.UP)
    publish(sender, queue.name, b"it is back")
    load.is_enough.set()
    load.join(WAIT_S)
    publish(sender, queue.name, b"end")
    received = received_until(receiver, recorder, b"end")
    numbers = [b"%d" % number for number in range(load.count)]
    assert sorted(load.settlements) == sorted((number, None) for number in numbers)
    assert set(received) >= set(numbers)


@pytest.mark.slow
def test_connections_closed_by_the_broker_come_back(connect: Connect, broker: RabbitMQ, queue: QueueSpec) -> None:
    """Each change is told once, the consumer goes on, and an ack from before the loss harms nothing."""
    transport = connect()
    recorder = sender_of(transport, queue)
    transport.consume(queue, prefetch=10)
    stale = recorder.delivery()
    for _ in range(2):
        recorder.change(ConnectionState.UP)
    broker.close_connections()
    for _ in range(2):
        lost = recorder.change(ConnectionState.RECOVERING).status
        assert "CONNECTION_FORCED" in lost.reason
    again = recorder.delivery()
    assert (again.body, again.is_redelivered) == (b"first", True)
    transport.ack([stale])
    transport.give_back([stale])
    transport.reject(stale, "STALE")
    transport.ack([again])
    publish(transport, queue.name, b"second")
    assert recorder.delivery().body == b"second"
    assert recorder.changes_so_far().count(ConnectionState.RECOVERING) == 0


@pytest.mark.slow
def test_a_broker_that_is_away_is_waited_for(
    connect: Connect, broker: RabbitMQ, queue: QueueSpec, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits can be withdrawn as never sent; the rest is sent when the broker comes. Attempts are not logged."""
    broker.stop()
    caplog.set_level(logging.INFO)
    sender, receiver = connect(), connect()
    recorder = consume(receiver, queue)
    sender.declare(queue)
    withdrawn, kept = Sending(sender, queue.name, b"withdrawn"), Sending(sender, queue.name, b"kept")
    wait_until(lambda: sender.status().attempts >= 3, "three attempts", timeout_s=WAIT_S)
    status = sender.status()
    assert (status.state, status.reason) == (ConnectionState.CONNECTING, "Connection refused")
    assert sender.withdraw(withdrawn.outgoing)
    assert not withdrawn.outgoing.was_sent
    broker.start()
    assert kept.error() is None
    assert recorder.delivery().body == b"kept"
    assert withdrawn.settlements.empty()
    assert sender.status().attempts == 0
    lines = [record.message for record in caplog.records if "publishing" in record.message]
    assert len(lines) == 2, lines
    assert not [record for record in caplog.records if record.name.startswith("pika")]


def test_close_while_the_broker_is_away_is_bounded(connect: Connect, queue: QueueSpec) -> None:
    """What was never sent is settled with `BrokerUnavailable`, and the threads end."""
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        transport = connect(f"amqp://guest:guest@127.0.0.1:{nobody.getsockname()[1]}/")
        consume(transport, queue)
        sending = Sending(transport, queue.name, b"")
        transport.close(timeout_s=0.1)
        assert isinstance(sending.error(), BrokerUnavailable)


def test_close_while_a_handshake_hangs_is_bounded(connect: Connect, queue: QueueSpec) -> None:
    """A server that accepts and says nothing does not hold `close`, nor leave a socket open."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        transport = connect(f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/")
        sending = Sending(transport, queue.name, b"")
        accepted, _ = silent.accept()
        with closing(accepted):
            accepted.settimeout(WAIT_S)
            assert accepted.recv(8).startswith(b"AMQP")
            transport.close(timeout_s=0.1)
            assert accepted.recv(1) == b""
        assert isinstance(sending.error(), BrokerUnavailable)


def test_close_while_tcp_hangs_is_bounded(connect: Connect, queue: QueueSpec) -> None:
    """A host that does not even answer a connection attempt does not hold `close`."""
    with socket.socket() as deaf, ExitStack() as callers:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(2):  # what fills the backlog
            caller = callers.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        transport = connect(f"amqp://guest:guest@127.0.0.1:{deaf.getsockname()[1]}/")
        sending = Sending(transport, queue.name, b"")
        transport.close(timeout_s=0.1)
        assert isinstance(sending.error(), BrokerUnavailable)


@pytest.mark.slow
def test_close_while_the_broker_is_frozen_is_bounded(connect: Connect, broker: RabbitMQ, queue: QueueSpec) -> None:
    """What was sent and not confirmed is uncertain; the connection is cut."""
    transport = connect()
    sender_of(transport, queue)
    consume(transport, queue).delivery()
    broker.pause()
    sending = Sending(transport, queue.name, b"")
    transport.close(timeout_s=0.3)
    assert isinstance(sending.error(), LaunchUncertain)
    assert transport.status().state is ConnectionState.CLOSED


# --- Refusals


@pytest.mark.parametrize(
    ("user", "password", "vhost", "word"),
    [
        ("guest", "wrong-password", None, "ACCESS_REFUSED"),
        ("nobody-here", "guest", None, "ACCESS_REFUSED"),
        ("guest", "guest", "no-such-vhost", "no-such-vhost"),
    ],
)
def test_a_refusal_is_named_at_once(  # noqa: PLR0913, PLR0917 - fixtures and parameters
    connect: Connect, rabbitmq: RabbitMQ, queue: QueueSpec, user: str, password: str, vhost: str | None, word: str
) -> None:
    """Publish and consume fail with `BrokerRefused`, naming host, port, vhost and user, never the password."""
    transport = connect(rabbitmq.url_for(vhost or "/", user=user, password=password))
    recorder = consume(transport, queue)
    error = Sending(transport, queue.name, b"").error()
    assert isinstance(error, BrokerRefused)
    failure = recorder.failure()
    assert isinstance(failure.error, BrokerRefused)
    for text in (str(error), str(failure.error)):
        assert all(fact in text for fact in (word, rabbitmq.host, str(rabbitmq.port), repr(user), repr(vhost or "/")))
        assert "wrong-password" not in text
    assert transport.status().state is ConnectionState.REFUSED
    again = Sending(transport, queue.name, b"").error()
    assert isinstance(again, BrokerRefused)
    states = recorder.changes_so_far()
    assert states.count(ConnectionState.REFUSED) == 3
    assert ConnectionState.RECOVERING not in states


@pytest.mark.slow
def test_a_refusal_ends_when_its_cause_does(connect: Connect, broker: RabbitMQ, queue: QueueSpec) -> None:
    """A later publish and a later consume try once more."""
    user = f"late-{secrets.token_hex(4)}"
    transport = connect(broker.url_for("/", user=user, password="secret"))
    transport.declare(queue)
    assert isinstance(Sending(transport, queue.name, b"").error(), BrokerRefused)
    broker.add_user(user, "secret")
    broker.set_permissions(user)
    publish(transport, queue.name, b"let in")
    assert consume(transport, queue).delivery().body == b"let in"


@pytest.mark.slow
def test_what_a_user_may_not_do_is_named(connect: Connect, broker: RabbitMQ, queue: QueueSpec) -> None:
    """Without the right to configure, existing queues can be used; without write or read, the error says so."""
    user = f"small-{secrets.token_hex(4)}"
    broker.add_user(user, "secret")
    missing = QueueSpec(name=f"{queue.name}.missing")
    maker = connect(broker.url)
    sender_of(maker, queue)
    url = broker.url_for("/", user=user, password="secret")

    broker.set_permissions(user, configure="^$")
    transport = connect(url)
    transport.declare(queue)
    transport.declare(missing)
    assert Sending(transport, queue.name, b"second").error() is None
    assert isinstance(Sending(transport, missing.name, b"").error(), QueueMissing)
    recorder = consume(transport, queue)
    assert bodies(recorder.deliveries(2)) == [b"first", b"second"]
    transport.consume(QueueSpec(name=f"{queue.name}.dead"), prefetch=1, is_exclusive=True)
    assert isinstance(recorder.failure().error, BrokerRefused)
    transport.close()

    broker.set_permissions(user, configure="^$", write="^$", read="^$")
    transport = connect(url)
    transport.declare(queue)
    errors = [sending.error() for sending in [Sending(transport, queue.name, b"") for _ in range(5)]]
    assert [type(error) for error in errors] == [BrokerRefused] * 5
    assert isinstance(consume(transport, queue).failure().error, BrokerRefused)


# --- Alarms


@pytest.mark.slow
def test_an_alarm_blocks_publishing_and_not_consuming(connect: Connect, broker: RabbitMQ, queue: QueueSpec) -> None:
    """BLOCKED is told; what is not sent yet can be withdrawn as such; deliveries and acks go on; then all is sent."""
    transport = connect()
    recorder = sender_of(transport, queue)
    publish(transport, queue.name, b"second")
    broker.memory_alarm(True)
    blocking = Sending(transport, queue.name, b"blocks")
    assert not recorder.change(ConnectionState.BLOCKED).is_consuming
    assert transport.status().state is ConnectionState.BLOCKED
    withdrawn, waits = Sending(transport, queue.name, b"withdrawn"), Sending(transport, queue.name, b"waits")
    transport.consume(queue, prefetch=1)
    for body in (b"first", b"second"):
        delivery = recorder.delivery()
        assert delivery.body == body
        transport.ack([delivery])
    assert transport.withdraw(withdrawn.outgoing)
    assert not withdrawn.outgoing.was_sent
    assert blocking.outgoing.was_sent
    broker.memory_alarm(False)
    while recorder.change(ConnectionState.UP).is_consuming:
        pass
    assert blocking.error() is None
    assert waits.error() is None
    delivery = recorder.delivery()
    transport.ack([delivery])
    assert [delivery.body, recorder.delivery().body] == [b"blocks", b"waits"]


@pytest.mark.slow
def test_an_alarm_that_lasts_is_survived(connect: Connect, broker: RabbitMQ, vhost_url: str, queue: QueueSpec) -> None:
    """After `blocked_connection_timeout` the connection is made anew, until the alarm is over; nothing is lost."""
    transport = connect(f"{vhost_url}?blocked_connection_timeout=0.3")
    recorder = sender_of(transport, queue)
    broker.memory_alarm(True)
    sending = Sending(transport, queue.name, b"second")
    for _ in range(2):
        recorder.change(ConnectionState.BLOCKED)
        recorder.change(ConnectionState.RECOVERING)
    broker.memory_alarm(False)
    assert sending.error() is None


@pytest.mark.slow
def test_close_under_an_alarm_is_bounded(connect: Connect, broker: RabbitMQ, queue: QueueSpec) -> None:
    """The broker does not even read the goodbye; what was sent is uncertain, what was not is not."""
    transport = connect()
    recorder = sender_of(transport, queue)
    broker.memory_alarm(True)
    sent = Sending(transport, queue.name, b"sent")
    recorder.change(ConnectionState.BLOCKED)
    unsent = Sending(transport, queue.name, b"unsent")
    transport.close(timeout_s=0.2)
    assert isinstance(sent.error(), LaunchUncertain)
    assert isinstance(unsent.error(), BrokerUnavailable)


# --- Consuming


@pytest.mark.slow
def test_a_channel_that_the_broker_closes_is_noticed(connect: Connect, broker: RabbitMQ, queue: QueueSpec) -> None:
    """The connection stays open and pika says nothing by itself; the consumer begins again on a new channel."""
    transport = connect()
    recorder = sender_of(transport, queue)
    transport.consume(queue, prefetch=1)
    stale = recorder.delivery()
    # What the broker does when an ack comes too late for it: PRECONDITION_FAILED on the channel.
    (subscription,) = transport._consumer._subscriptions.values()
    intake = subscription.intake
    assert intake is not None
    transport._consuming.call(lambda: intake.channel.basic_ack(4711))
    again = recorder.delivery()
    assert (again.body, again.is_redelivered) == (b"first", True)
    transport.ack([stale])
    transport.ack([again])
    publish(transport, queue.name, b"second")
    assert recorder.delivery().body == b"second"
    assert ConnectionState.RECOVERING not in recorder.changes_so_far()


def test_a_queue_deleted_under_an_exclusive_consumer_is_made_again(
    connect: Connect, queue: QueueSpec, channel: BlockingChannel
) -> None:
    """The broker cancels the consumer and nothing else; it stays the owner and consumes again."""
    transport = connect()
    recorder = sender_of(transport, queue)
    transport.consume(queue, prefetch=10, is_exclusive=True)
    old = recorder.delivery()
    channel.queue_delete(queue.name)
    transport.ack([old])
    publish(transport, queue.name, b"second")
    assert recorder.delivery().body == b"second"
    assert not recorder.has_failures()


def test_a_queue_deleted_by_its_own_consumer_stays_deleted(
    connect: Connect, queue: QueueSpec, channel: BlockingChannel
) -> None:
    """`delete_queue` of what is consumed over the same transport does not make it anew."""
    transport = connect()
    recorder = consume(transport, queue)
    sender_of(connect(), queue)
    recorder.delivery()
    transport.delete_queue(queue.name)
    transport.close()
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no queue"):
        channel.queue_declare(queue.name, passive=True)


@pytest.mark.slow
def test_an_owner_comes_back_after_a_restart(connect: Connect, broker: RabbitMQ, queue: QueueSpec) -> None:
    """After a restart one of owner and standby consumes, and neither fails."""
    owner, standby = connect(), connect()
    first = consume(owner, queue, is_exclusive=True)
    sender = connect()
    sender_of(sender, queue)
    owner.ack([first.delivery()])
    second = consume(standby, queue, is_exclusive=True, is_standby=True)
    second.change(ConnectionState.UP)
    broker.restart()
    publish(sender, queue.name, b"second")
    delivery = first.delivery_within(WAIT_S / 2) or second.delivery()
    assert delivery.body == b"second"
    assert not first.has_failures()
    assert not second.has_failures()


def test_an_exclusive_consumer_of_another_program_is_respected(
    connect: Connect, queue: QueueSpec, channel: BlockingChannel
) -> None:
    """A consumer that the broker itself knows as exclusive gives `QueueInUse` too."""
    sender_of(connect(), queue)
    channel.basic_consume(queue.name, lambda *_: None, exclusive=True)
    assert isinstance(consume(connect(), queue).failure().error, QueueInUse)


def test_a_rejected_message_tells_why(connect: Connect, queue: QueueSpec, channel: BlockingChannel) -> None:
    """In the dead letters it is persistent and has reason, queue and message id in its headers."""
    transport = connect()
    recorder = Recorder(transport)
    transport.declare(queue)
    sending = Sending(transport, queue.name, b"bad")
    assert sending.error() is None
    transport.consume(queue, prefetch=10)
    transport.reject(recorder.delivery(), "BAD_MESSAGE")
    transport.close()
    _method, properties, body = channel.basic_get(queue.dead_letter_name, auto_ack=True)
    message_id = sending.outgoing.message_id
    assert (body, properties.delivery_mode, properties.message_id) == (b"bad", 2, message_id)
    assert properties.headers == {
        "x-schedulergodx-reason": "BAD_MESSAGE",
        "x-schedulergodx-queue": queue.name,
        "x-schedulergodx-message-id": message_id,
    }
    assert channel.queue_declare(queue.name, passive=True).method.message_count == 0


def test_what_cannot_be_moved_stays(connect: Connect, queue: QueueSpec, channel: BlockingChannel) -> None:
    """When the dead letters are full, a rejected message is not lost: it comes again later."""
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    plain = QueueSpec(name=queue.name)
    channel.queue_declare(queue.dead_letter_name, durable=True, arguments=arguments)
    transport = connect()
    recorder = sender_of(transport, plain)
    transport.consume(plain, prefetch=10)
    transport.reject(recorder.delivery(), "BAD_MESSAGE")
    transport.close()
    assert consume(connect(), plain).delivery().body == b"first"


def test_quorum_queues_work_the_same(connect: Connect, queue: QueueSpec) -> None:
    """Declare, publish, own, consume, give back, reject and ack on queues of the quorum type."""
    spec = QueueSpec(name=queue.name, has_dead_letters=True, is_quorum=True)
    transport = connect()
    recorder = sender_of(transport, spec)
    publish(transport, spec.name, b"bad")
    transport.consume(spec, prefetch=10, is_exclusive=True)
    first, bad = recorder.deliveries(2)
    transport.give_back([first])
    first = recorder.delivery()
    assert (first.body, first.is_redelivered) == (b"first", True)
    transport.reject(bad, "BAD_MESSAGE")
    transport.ack([first])
    dead = consume(connect(), QueueSpec(name=spec.dead_letter_name, is_quorum=True))
    assert dead.delivery().body == b"bad"


def test_many_acks_are_one_frame(connect: Connect, queue: QueueSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand deliveries acked together cost one ack, and are gone."""
    transport = connect()
    recorder = sender_of(transport, queue)
    publish(transport, queue.name, *(b"%d" % number for number in range(999)))
    transport.consume(queue, prefetch=1000)
    deliveries = recorder.deliveries(1000)
    (subscription,) = transport._consumer._subscriptions.values()
    intake = subscription.intake
    assert intake is not None
    frames: SimpleQueue[tuple[int, bool]] = SimpleQueue()
    ack = intake.channel.basic_ack

    def spy(delivery_tag: int, multiple: bool) -> None:
        frames.put((delivery_tag, multiple))
        ack(delivery_tag, multiple)

    monkeypatch.setattr(intake.channel, "basic_ack", spy)
    transport.ack(deliveries)
    transport.close()
    assert frames.get(timeout=WAIT_S) == (1000, True)
    assert frames.empty()


# --- Threads and events


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
