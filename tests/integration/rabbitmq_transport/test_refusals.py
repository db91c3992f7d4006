"""The broker refuses who or what we are, or takes nothing for now."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import (
    BrokerRefused,
    BrokerUnavailable,
    LaunchUncertain,
    QueueMissing,
)
from schedulergodx.utils.abstractions import ConnectionState, QueueSpec
from schedulergodx_testing.contracts.recorder import Sending, bodies, consume, publish
from tests.integration.rabbitmq_transport.helpers import Connect, sender_of

if TYPE_CHECKING:
    from schedulergodx_testing.rabbitmq import RabbitMQ

pytestmark = pytest.mark.rabbitmq


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
    # Once for each of the three; a connection may be refused before it knows what to consume, and then again.
    assert 3 <= states.count(ConnectionState.REFUSED) <= 4
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
