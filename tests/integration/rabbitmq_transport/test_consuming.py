"""What becomes of messages that come in, over a real RabbitMQ."""

from __future__ import annotations

from queue import SimpleQueue
from typing import TYPE_CHECKING

import pika
import pytest

from schedulergodx.errors import (
    InvalidParameter,
    QueueInUse,
)
from schedulergodx.transport.rabbitmq import subscription
from schedulergodx.utils.abstractions import ConnectionState, QueueSpec
from schedulergodx_testing.contracts.recorder import WAIT_S, Recorder, Sending, consume, publish
from tests.integration.rabbitmq_transport.helpers import Connect, sender_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from schedulergodx_testing.rabbitmq import RabbitMQ

pytestmark = pytest.mark.rabbitmq


def test_a_channel_that_the_broker_closes_is_noticed(connect: Connect, queue: QueueSpec) -> None:
    """The connection stays open and pika says nothing by itself; the consumer begins again on a new channel."""
    transport = connect()
    recorder = sender_of(transport, queue)
    transport.consume(queue, prefetch=1)
    stale = recorder.delivery()
    # What the broker does when an ack comes too late for it: PRECONDITION_FAILED on the channel.
    (consumer,) = transport._consumer._subscriptions.values()
    intake = consumer.intake
    assert intake is not None
    transport._consuming.call(lambda: intake.channel.basic_ack(4711))
    again = recorder.delivery()
    assert (again.body, again.is_redelivered) == (b"first", True)
    transport.ack([stale])
    transport.ack([again])
    publish(transport, queue.name, b"second")
    assert recorder.delivery().body == b"second"
    assert ConnectionState.RECOVERING not in recorder.changes_so_far()


def test_a_consumer_that_the_broker_has_forgotten_is_noticed(
    connect: Connect, queue: QueueSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alive but not consuming: connection and channel are open, no error came, and the broker delivers nothing."""
    monkeypatch.setattr(subscription, "PROBE_PAUSE_S", 0.05)
    transport = connect()
    recorder = sender_of(transport, queue)
    transport.consume(queue, prefetch=1, is_exclusive=True)
    transport.ack([recorder.delivery()])
    (consumer,) = transport._consumer._subscriptions.values()
    intake = consumer.intake
    assert intake is not None
    cancel = pika.spec.Basic.Cancel(consumer_tag=intake.consumer_tag, nowait=True)  # behind pika's own back
    transport._consuming.call(lambda: intake.channel._send_method(cancel))
    publish(transport, queue.name, b"second")
    assert recorder.delivery().body == b"second"
    assert transport.consuming().is_consuming
    assert not recorder.has_failures()


def test_a_channel_that_does_not_answer_costs_its_connection(
    connect: Connect, queue: QueueSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long before heartbeats would tell, the connection is made anew, and consuming goes on."""
    monkeypatch.setattr(subscription, "PROBE_PAUSE_S", 0.05)
    transport = connect()
    recorder = sender_of(transport, queue)
    transport.consume(queue, prefetch=1)
    recorder.delivery()
    monkeypatch.setattr(subscription, "PROBE_PATIENCE_S", 0.0)
    assert recorder.change(ConnectionState.RECOVERING).is_consuming
    monkeypatch.setattr(subscription, "PROBE_PATIENCE_S", WAIT_S)
    again = recorder.delivery()
    assert (again.body, again.is_redelivered) == (b"first", True)
    answered_s_ago = transport.consuming().answered_s_ago
    assert answered_s_ago is not None
    assert answered_s_ago < WAIT_S


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
    """`delete_queue` of what is consumed over the same transport does not make it anew, nor does it fail."""
    transport = connect()
    recorder = sender_of(transport, queue)
    transport.consume(queue, prefetch=10)
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


def test_consuming_again_after_a_stop(connect: Connect, queue: QueueSpec) -> None:
    """What the first time left unacked comes again, and an ack from then does nothing."""
    transport = connect()
    recorder = sender_of(transport, queue)
    transport.consume(queue, prefetch=10, is_exclusive=True)
    old = recorder.delivery()
    transport.stop_consuming()
    transport.consume(queue, prefetch=10, is_exclusive=True)
    again = recorder.delivery()
    assert (again.body, again.is_redelivered) == (b"first", True)
    transport.ack([old])
    transport.ack([again])
    publish(transport, queue.name, b"second")
    assert recorder.delivery().body == b"second"


def test_a_prefetch_that_amqp_cannot_say_is_refused(connect: Connect, queue: QueueSpec) -> None:
    """0 would be without limit, and above 65535 there is no room in the frame."""
    for prefetch in (0, 65536):
        with pytest.raises(InvalidParameter, match="prefetch"):
            connect().consume(queue, prefetch=prefetch)


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


@pytest.fixture
def impatient(broker: RabbitMQ) -> Iterator[RabbitMQ]:
    """A broker that waits one second for an ack, instead of 30 minutes, and looks often."""
    change = "[application:set_env(rabbit, Name, Value) || {{Name, Value}} <- [{{consumer_timeout, {}}}, "
    change += "{{channel_tick_interval, {}}}, {{quorum_tick_interval, {}}}]]."
    broker.ctl("eval", change.format(1000, 200, 200))
    yield broker
    broker.ctl("eval", change.format(1_800_000, 60_000, 5000))


@pytest.mark.slow
def test_an_ack_that_comes_too_late_is_survived(connect: Connect, impatient: RabbitMQ, queue: QueueSpec) -> None:
    """The broker closes the channel, or from 4.3 on cancels the consumer; the message comes again, and all goes on."""
    spec = QueueSpec(name=queue.name, has_dead_letters=True, is_quorum=True)  # 4.3 times out on these alone
    transport = connect()
    recorder = sender_of(transport, spec)
    transport.consume(spec, prefetch=10, is_exclusive=True)
    late = recorder.delivery()
    again = recorder.delivery()
    assert (again.body, again.is_redelivered) == (b"first", True)
    transport.ack([late])
    transport.ack([again])
    publish(transport, spec.name, b"second")
    delivery = recorder.delivery()
    transport.ack([delivery])
    assert delivery.body == b"second"
    assert not recorder.has_failures()


def test_many_acks_are_one_frame(connect: Connect, queue: QueueSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand deliveries acked together cost one ack, and are gone."""
    transport = connect()
    recorder = sender_of(transport, queue)
    publish(transport, queue.name, *(b"%d" % number for number in range(999)))
    transport.consume(queue, prefetch=1000)
    deliveries = recorder.deliveries(1000)
    (consumer,) = transport._consumer._subscriptions.values()
    intake = consumer.intake
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
