"""`TransportContract`: everything that client and service rely on in a `Transport`.

A test waits for events, with a bound, and never for time to pass: that something does *not* happen is shown by what
happens instead, e.g. the message goes to somebody else.
"""

from __future__ import annotations

import threading
import uuid
from queue import SimpleQueue
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import BrokerError, Closed, QueueMissing
from schedulergodx.utils.abstractions import ConnectionState, Outgoing, QueueSpec, Transport
from schedulergodx_testing.contracts.recorder import WAIT_S, Sending, assert_empty, bodies, consume, publish
from schedulergodx_testing.contracts.transport_broker import CAPABILITIES, TransportBrokerContract
from schedulergodx_testing.contracts.transport_life import TransportLifeContract
from schedulergodx_testing.contracts.transport_queues import TransportQueueContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Connect = Callable[[], Transport]

__all__ = ["CAPABILITIES", "Connect", "TransportContract"]


class TransportContract(TransportLifeContract, TransportQueueContract, TransportBrokerContract):
    """Subclass it, override the fixture `open_transport`, and every test runs against your transport.

    Attributes:
        capabilities: what the tests can have done to the broker, out of `CAPABILITIES`; for each of them override the
            fixture that it names. A test that needs another one is not there at all.
        is_quorum: whether the queues of the tests are quorum queues.
    """

    is_quorum = False

    @pytest.fixture
    def open_transport(self) -> Connect:
        """Return a function that opens a transport, each time a new one, to one and the same broker."""
        raise NotImplementedError("override this fixture")

    @pytest.fixture
    def connect(self, open_transport: Connect) -> Iterator[Connect]:
        """Like `open_transport`; what it opened is closed after the test, and its threads have ended then."""
        opened: list[Transport] = []

        def connect() -> Transport:
            transport = open_transport()
            opened.append(transport)
            return transport

        yield connect
        for transport in opened:
            transport.close()
        for transport in opened:
            for thread in transport.threads().values():
                thread.join(WAIT_S)
                assert not thread.is_alive(), f"{thread.name} goes on after close"

    @pytest.fixture
    def queue(self) -> QueueSpec:
        """Describe a queue of this test alone, with dead letters, which does not exist yet."""
        return QueueSpec(name=f"contract.{uuid.uuid4().hex}", has_dead_letters=True, is_quorum=self.is_quorum)

    @pytest.fixture
    def sender(self, connect: Connect, queue: QueueSpec) -> Transport:
        """A transport that has declared `queue`."""
        sender = connect()
        sender.listen(lambda _event: None)
        sender.declare(queue)
        return sender

    # --- Publishing

    def test_what_is_confirmed_waits_without_a_consumer(self, connect: Connect, queue: QueueSpec) -> None:
        """A confirmed message is kept when its sender is gone and nobody consumes; a transport opened later gets it."""
        older = connect()
        older.declare(queue)
        publish(older, queue.name, b"kept")
        older.close()
        delivery = consume(connect(), queue).delivery()
        assert (delivery.queue, delivery.body, delivery.is_redelivered) == (queue.name, b"kept", False)

    def test_declare_comes_before_what_is_published_after_it(self, connect: Connect, queue: QueueSpec) -> None:
        """Nobody has to wait between declare and publish."""
        transport = connect()
        transport.declare(queue)
        assert Sending(transport, queue.name, b"at once").error() is None

    def test_declaring_again_keeps_the_messages(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """A queue that exists is left as it is by declare, from any transport."""
        publish(sender, queue.name, b"a")
        other = connect()
        other.declare(queue)
        publish(other, queue.name, b"b")
        assert bodies(consume(connect(), queue).deliveries(2)) == [b"a", b"b"]

    def test_a_missing_queue_is_an_error_of_that_message_alone(self, sender: Transport, queue: QueueSpec) -> None:
        """`QueueMissing` settles the message, and what is published before and after it is kept."""
        names = (queue.name, f"{queue.name}.missing", queue.name)
        before, missing, after = (Sending(sender, name, b"a").error() for name in names)
        assert (before, after) == (None, None)
        assert isinstance(missing, QueueMissing)

    def test_confirms_of_several_queues(self, sender: Transport, queue: QueueSpec) -> None:
        """Messages to three queues, one of them missing, are each settled once, with what is true of that message."""
        other = QueueSpec(name=f"{queue.name}.other", is_quorum=self.is_quorum)
        sender.declare(other)
        names = [queue.name, f"{queue.name}.missing", other.name] * 60
        sendings = [Sending(sender, name, b"%d" % number) for number, name in enumerate(names)]
        for name, sending in zip(names, sendings, strict=True):
            assert isinstance(sending.error(), QueueMissing) == name.endswith(".missing")
        publish(sender, queue.name, b"end")
        assert all(sending.settlements.empty() for sending in sendings)

    def test_messages_keep_their_order(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """What one thread publishes without waiting is delivered in that order."""
        sent = [b"%d" % number for number in range(300)]
        publish(sender, queue.name, *sent)
        assert bodies(consume(connect(), queue, prefetch=300).deliveries(300)) == sent

    def test_eight_threads_publish_at_once(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """Every message of every thread is confirmed and delivered once, each thread's in order."""
        errors: SimpleQueue[BaseException] = SimpleQueue()

        def publish_numbers(name: int) -> None:
            try:
                publish(sender, queue.name, *(b"%d %d" % (name, number) for number in range(40)))
            except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
                errors.put(error)

        threads = [threading.Thread(target=publish_numbers, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors.empty(), errors.get()
        received = [body.split() for body in bodies(consume(connect(), queue, prefetch=320).deliveries(320))]
        for name in range(8):
            numbers = [int(number) for sender_name, number in received if int(sender_name) == name]
            assert numbers == list(range(40))

    @pytest.mark.parametrize("size_bytes", [0, 1, 131071, 131072, 131073, 8 * 1024 * 1024])
    def test_a_body_arrives_as_it_was(
        self, connect: Connect, sender: Transport, queue: QueueSpec, size_bytes: int
    ) -> None:
        """Bodies from nothing to 8 MiB, around the size of a frame too, arrive byte for byte."""
        body = bytes(range(256)) * (size_bytes // 256) + bytes(range(size_bytes % 256))
        publish(sender, queue.name, body)
        received = consume(connect(), queue).delivery().body
        assert len(received) == size_bytes
        assert received == body

    @pytest.mark.parametrize("letter", ["n", "ñ"])
    def test_a_name_may_have_255_bytes(self, connect: Connect, letter: str) -> None:
        """The longest name of a queue is 255 bytes of UTF-8."""
        name = f"contract.{uuid.uuid4().hex}."
        name += letter * ((255 - len(name)) // len(letter.encode()))
        name += "-" * (255 - len(name.encode()))
        transport = connect()
        queue = QueueSpec(name=name, is_quorum=self.is_quorum)
        recorder = consume(transport, queue)
        transport.declare(queue)
        publish(transport, name, b"a")
        assert recorder.delivery().queue == name

    def test_queues_do_not_mix(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """A message reaches the queue it was published to, and no other."""
        other = QueueSpec(name=f"{queue.name}.other", is_quorum=self.is_quorum)
        sender.declare(other)
        publish(sender, queue.name, b"question 1", b"question 2")
        publish(sender, other.name, b"answer 1", b"answer 2")
        for spec, word in ((queue, b"question"), (other, b"answer")):
            deliveries = consume(connect(), spec).deliveries(2)
            assert bodies(deliveries) == [word + b" 1", word + b" 2"]
            assert {delivery.queue for delivery in deliveries} == {spec.name}

    def test_publish_after_close_is_refused(self, sender: Transport, queue: QueueSpec) -> None:
        """`Closed` is raised, and the message is not settled besides."""
        publish(sender, queue.name, b"a")
        sender.close()
        settled: list[BrokerError | None] = []
        outgoing = Outgoing(
            queue=queue.name, body=b"b", message_id="late", on_settled=lambda _outgoing, error: settled.append(error)
        )
        with pytest.raises(Closed):
            sender.publish(outgoing)
        assert settled == []

    def test_a_withdrawn_message_is_not_settled(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """`withdraw` is True or `on_settled` is called, never both; what was never sent is not in the queue."""
        withdrawn: list[Sending] = []
        settled: list[Sending] = []
        for number in range(50):
            sending = Sending(sender, queue.name, b"%d" % number)
            (withdrawn if sender.withdraw(sending.outgoing) else settled).append(sending)
        publish(sender, queue.name, b"end")
        sender.close()
        assert [sending.error() for sending in settled] == [None] * len(settled)
        assert all(sending.settlements.empty() for sending in withdrawn)
        recorder = consume(connect(), queue, prefetch=100)
        received = set(recorder.bodies_until(b"end"))
        assert received >= {sending.outgoing.body for sending in settled}
        assert received.isdisjoint(sending.outgoing.body for sending in withdrawn if not sending.outgoing.was_sent)

    def test_what_is_settled_cannot_be_withdrawn(self, sender: Transport, queue: QueueSpec) -> None:
        """`withdraw` returns False for a message that the broker has confirmed or refused."""
        for name in (queue.name, f"{queue.name}.missing"):
            sending = Sending(sender, name, b"a")
            sending.error()
            assert sending.outgoing.was_sent
            assert not sender.withdraw(sending.outgoing)

    # --- Consuming

    def test_prefetch_bounds_what_is_unacked(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """A consumer with a prefetch of 2 holds two of five messages; the others go to somebody else."""
        publish(sender, queue.name, b"1", b"2", b"3", b"4", b"5")
        slow = consume(connect(), queue, prefetch=2)
        assert bodies(slow.deliveries(2)) == [b"1", b"2"]
        assert bodies(consume(connect(), queue, prefetch=10).deliveries(3)) == [b"3", b"4", b"5"]

    def test_an_ack_makes_room(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """With a prefetch of 1 every ack brings the next message, for as many as there are."""
        sent = [b"%d" % number for number in range(20)]
        publish(sender, queue.name, *sent)
        transport = connect()
        recorder = consume(transport, queue, prefetch=1)
        for body in sent:
            delivery = recorder.delivery()
            assert delivery.body == body
            transport.ack([delivery])

    def test_what_is_acked_is_forgotten(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """Acked one by one, several at once and out of order, it does not come back; what was left out does."""
        publish(sender, queue.name, b"1", b"2", b"3", b"4", b"5")
        transport = connect()
        deliveries = consume(transport, queue).deliveries(5)
        transport.ack([deliveries[1]])
        transport.ack([deliveries[4], deliveries[0]])
        transport.ack([])
        transport.close()
        publish(sender, queue.name, b"end")
        assert bodies(consume(connect(), queue).deliveries(3)) == [b"3", b"4", b"end"]

    def test_acking_twice_does_nothing(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """A second ack, alone or among others, touches neither the connection nor other messages."""
        publish(sender, queue.name, b"1", b"2", b"3")
        transport = connect()
        recorder = consume(transport, queue, prefetch=2)
        first, second = recorder.deliveries(2)
        transport.ack([first])
        transport.ack([first, first])
        assert recorder.delivery().body == b"3"
        recorder.change(ConnectionState.UP)
        assert recorder.changes_so_far() == []
        transport.close()
        assert bodies(consume(connect(), queue).deliveries(2)) == [second.body, b"3"]

    def test_a_stale_ack_does_nothing(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """A delivery of one transport cannot be acked, rejected or given back through another one."""
        publish(sender, queue.name, b"1")
        older, newer = connect(), connect()
        stale = consume(older, queue).delivery()
        older.close()
        recorder = consume(newer, queue)
        assert recorder.delivery().is_redelivered
        newer.ack([stale])
        newer.reject(stale, "STALE")
        newer.give_back([stale])
        publish(sender, queue.name, b"2")
        assert recorder.delivery().body == b"2"
        newer.close()
        assert bodies(consume(connect(), queue).deliveries(2)) == [b"1", b"2"]
        assert_empty(connect(), queue.dead_letter_name, is_quorum=self.is_quorum)

    def test_a_stale_ack_before_consuming_holds_up_no_later_one(
        self, connect: Connect, sender: Transport, queue: QueueSpec
    ) -> None:
        """Whatever was acked through a transport before it consumes, what it gets afterwards can be acked."""
        publish(sender, queue.name, b"1", b"2")
        older, newer = connect(), connect()
        stale = consume(older, queue, prefetch=1).delivery()
        older.close()
        newer.ack([stale])
        recorder = consume(newer, queue, prefetch=1)
        newer.ack([recorder.delivery()])
        assert recorder.delivery().body == b"2"

    def test_what_was_unacked_comes_back_first(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """After close, unacked messages are first in line again, in their order and marked as redelivered."""
        publish(sender, queue.name, b"1", b"2", b"3")
        transport = connect()
        consume(transport, queue, prefetch=2).deliveries(2)
        transport.close()
        deliveries = consume(connect(), queue).deliveries(3)
        assert bodies(deliveries) == [b"1", b"2", b"3"]
        assert [delivery.is_redelivered for delivery in deliveries] == [True, True, False]

    def test_two_consumers_share_a_queue(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """Each message goes to one of them."""
        one, two = connect(), connect()
        recorders = [consume(one, queue, prefetch=1), consume(two, queue, prefetch=1)]
        publish(sender, queue.name, b"1", b"2")
        first, second = recorders[0].delivery(), recorders[1].delivery()
        assert {first.body, second.body} == {b"1", b"2"}
        one.ack([first])
        two.ack([second])
        publish(sender, queue.name, b"3", b"4")
        assert {recorder.delivery().body for recorder in recorders} == {b"3", b"4"}

    def test_a_message_comes_to_a_consumer_that_waits(self, connect: Connect, queue: QueueSpec) -> None:
        """What one transport publishes reaches another that consumed before, and its own publisher too."""
        consumer, other = connect(), connect()
        recorder = consume(consumer, queue)
        for transport, body in ((other, b"from another"), (consumer, b"from itself")):
            transport.declare(queue)
            publish(transport, queue.name, body)
            assert recorder.delivery().body == body

    def test_stop_consuming_ends_deliveries_but_not_acks(
        self, connect: Connect, sender: Transport, queue: QueueSpec
    ) -> None:
        """After it, room made by an ack is not filled, others get what is left, and stopping again does nothing."""
        publish(sender, queue.name, b"1", b"2", b"3")
        transport = connect()
        recorder = consume(transport, queue, prefetch=1)
        first = recorder.delivery()
        transport.stop_consuming()
        transport.ack([first])
        transport.stop_consuming()
        other = consume(connect(), queue)
        assert bodies(other.deliveries(2)) == [b"2", b"3"]
        transport.close()
        publish(sender, queue.name, b"end")
        assert other.delivery().body == b"end"
        assert recorder.delivery_within(0) is None

    def test_reject_moves_to_the_dead_letters(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """A rejected message is in `<queue>.dead` as it was, and in its queue no more; this makes room."""
        publish(sender, queue.name, b"bad", b"good")
        transport = connect()
        recorder = consume(transport, queue, prefetch=1)
        bad = recorder.delivery()
        transport.reject(bad, "BAD_MESSAGE")
        transport.reject(bad, "TOO SOON")
        good = recorder.delivery()
        assert (bad.body, good.body) == (b"bad", b"good")
        transport.reject(bad, "TWICE")
        reader = connect()
        dead = consume(reader, QueueSpec(name=queue.dead_letter_name, is_quorum=self.is_quorum)).delivery()
        assert (dead.queue, dead.body) == (queue.dead_letter_name, b"bad")
        reader.ack([dead])
        reader.close()
        transport.close()
        assert consume(connect(), queue).delivery().body == b"good"
        assert_empty(connect(), queue.dead_letter_name, is_quorum=self.is_quorum)

    def test_give_back_returns_to_the_same_place(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """What is given back is delivered again, marked, before the messages behind it."""
        publish(sender, queue.name, b"1", b"2")
        transport = connect()
        recorder = consume(transport, queue, prefetch=1)
        transport.give_back([recorder.delivery()])
        again = recorder.delivery()
        assert (again.body, again.is_redelivered) == (b"1", True)
        transport.ack([again])
        following = recorder.delivery()
        assert (following.body, following.is_redelivered) == (b"2", False)

    def test_several_given_back_return_together(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """Given back in any order, they are delivered again, marked, in the order of the queue, before what follows."""
        publish(sender, queue.name, b"1", b"2", b"3", b"4")
        transport = connect()
        recorder = consume(transport, queue, prefetch=3)
        first, second, third = recorder.deliveries(3)
        transport.give_back([third, first])
        again = recorder.deliveries(2)
        transport.ack([second])
        again.append(recorder.delivery())
        received = bodies(again)
        assert (sorted(received) if self.is_quorum else received) == [b"1", b"3", b"4"]
        assert {delivery.body for delivery in again if not delivery.is_redelivered} == {b"4"}

    def test_what_was_given_back_is_another_delivery(
        self, connect: Connect, sender: Transport, queue: QueueSpec
    ) -> None:
        """The older delivery of a message that came again cannot be acked, rejected or given back any more."""
        publish(sender, queue.name, b"1")
        transport = connect()
        recorder = consume(transport, queue, prefetch=1)
        older = recorder.delivery()
        transport.give_back([older])
        assert recorder.delivery().is_redelivered
        transport.ack([older])
        transport.reject(older, "STALE")
        transport.give_back([older])
        publish(sender, queue.name, b"2")
        transport.close()
        assert bodies(consume(connect(), queue).deliveries(2)) == [b"1", b"2"]
        assert_empty(connect(), queue.dead_letter_name, is_quorum=self.is_quorum)

    def test_others_get_what_a_stopped_consumer_gives_back(
        self, connect: Connect, sender: Transport, queue: QueueSpec
    ) -> None:
        """Of three unacked messages the one given back goes to another consumer; the others stay and can be acked."""
        publish(sender, queue.name, b"1", b"2", b"3")
        transport = connect()
        first, second, third = consume(transport, queue).deliveries(3)
        transport.stop_consuming()
        transport.give_back([second])
        other = consume(connect(), queue)
        assert other.delivery().body == b"2"
        transport.ack([first, third])
        transport.close()
        publish(sender, queue.name, b"end")
        assert other.delivery().body == b"end"
