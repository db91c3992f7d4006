"""`TransportLifeContract`: how a transport begins and ends. A part of `TransportContract`."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from schedulergodx.errors import Closed
from schedulergodx.utils.abstractions import ConnectionState, QueueSpec, Transport
from schedulergodx_testing.contracts.recorder import WAIT_S, Sending, bodies, consume, publish
from schedulergodx_testing.rabbitmq.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    Connect = Callable[[], Transport]


class TransportLifeContract:
    """States, threads, and what `close` means."""

    def test_states_are_told(self, connect: Connect, queue: QueueSpec) -> None:
        """A consumer hears of UP and CLOSED; `status` tells UP once something is confirmed, CLOSED at the end."""
        transport = connect()
        assert transport.status().state is ConnectionState.CONNECTING
        recorder = consume(transport, queue)
        assert recorder.change(ConnectionState.UP).is_consuming
        transport.declare(queue)
        publish(transport, queue.name, b"a")
        status = transport.status()
        assert (status.state, status.attempts, status.reason) == (ConnectionState.UP, 0, "")
        transport.close()
        recorder.change(ConnectionState.CLOSED)
        assert transport.status().state is ConnectionState.CLOSED

    def test_whether_anything_would_be_delivered_is_told(
        self, connect: Connect, sender: Transport, queue: QueueSpec
    ) -> None:
        """`consuming` tells of a consumer that the broker has answered, of one that waits, and of the end."""
        first, second = connect(), connect()
        status = first.consuming()
        assert (status.is_consuming, status.is_waiting, status.answered_s_ago) == (False, False, None)
        publish(sender, queue.name, b"a")
        consume(first, queue, is_exclusive=True).delivery()
        status = first.consuming()
        assert (status.connection.state, status.is_consuming) == (ConnectionState.UP, True)
        assert status.answered_s_ago is not None
        assert 0 <= status.answered_s_ago <= WAIT_S
        recorder = consume(second, queue, is_exclusive=True, is_standby=True)
        wait_until(lambda: second.consuming().is_waiting, "the standby to wait", timeout_s=WAIT_S)
        assert not second.consuming().is_consuming
        first.close()
        status = first.consuming()
        assert (status.connection.state, status.is_consuming) == (ConnectionState.CLOSED, False)
        recorder.delivery()
        assert second.consuming().is_consuming
        assert not second.consuming().is_waiting

    def test_threads_are_named(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """Nothing runs before the first use; every thread is listed under its name and ends with close."""
        assert not connect().threads()
        publish(sender, queue.name, b"a")
        threads = sender.threads()
        assert threads
        assert {thread.name: thread for thread in threads.values()} == dict(threads)
        sender.close()
        assert not any(thread.is_alive() for thread in threads.values())
        assert set(sender.threads()) == set(threads)

    def test_close_waits_for_what_is_under_way(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """When close returns everything is settled, and what was confirmed is in the queue."""
        sendings = [Sending(sender, queue.name, b"%d" % number) for number in range(50)]
        sender.close(WAIT_S)
        assert Counter(sending.settlements.get_nowait()[1] for sending in sendings) == {None: 50}
        assert len(consume(connect(), queue, prefetch=50).deliveries(50)) == 50

    def test_after_close_nothing_happens(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """No event comes after close, and acking, giving back, rejecting, stopping or closing again does nothing."""
        publish(sender, queue.name, b"1", b"2")
        transport = connect()
        recorder = consume(transport, queue)
        deliveries = recorder.deliveries(2)
        transport.close()
        count = recorder.count
        transport.ack(deliveries)
        transport.give_back(deliveries)
        transport.reject(deliveries[0], "LATE")
        transport.stop_consuming()
        transport.delete_queue(queue.name)
        transport.close()
        publish(sender, queue.name, b"3")
        assert bodies(consume(connect(), queue).deliveries(3)) == [b"1", b"2", b"3"]
        assert recorder.count == count

    def test_close_of_what_was_never_used_is_immediate(self, connect: Connect) -> None:
        """A transport that was made and not used has nothing to close, twice."""
        transport = connect()
        for _ in range(2):
            transport.close()
        assert transport.status().state is ConnectionState.CLOSED
        assert not transport.threads()

    def test_close_while_others_publish(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """Each message of four threads is refused with `Closed` or settled once, and what was confirmed is kept."""
        publish(sender, queue.name, b"first")
        is_going = threading.Barrier(5)
        sendings: list[Sending] = []

        def publish_until_closed() -> None:
            is_going.wait(WAIT_S)
            with suppress(Closed):
                sendings.extend(Sending(sender, queue.name, b"%d" % number) for number in range(10_000))

        threads = [threading.Thread(target=publish_until_closed) for _ in range(4)]
        for thread in threads:
            thread.start()
        is_going.wait(WAIT_S)
        sender.close(WAIT_S)
        for thread in threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        kept = sum(sending.error() is None for sending in sendings)
        assert all(sending.settlements.empty() for sending in sendings)
        assert len(consume(connect(), queue, prefetch=50_000).deliveries(1 + kept)) == 1 + kept

    def test_consuming_again_after_a_stop(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """A transport that stopped may consume again: what it left unacked comes back first, marked."""
        publish(sender, queue.name, b"1", b"2")
        transport = connect()
        recorder = consume(transport, queue, prefetch=1)
        assert recorder.delivery().body == b"1"
        transport.stop_consuming()
        transport.consume(queue, prefetch=2)
        deliveries = recorder.deliveries(2)
        assert sorted(bodies(deliveries)) == [b"1", b"2"]
        assert {delivery.body for delivery in deliveries if delivery.is_redelivered} == {b"1"}
