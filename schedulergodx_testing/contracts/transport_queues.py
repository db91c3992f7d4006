"""`TransportQueueContract`: who may consume a queue, and what becomes of one that is deleted or left alone.

A part of `TransportContract`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import QueueInUse, QueueMismatch, QueueMissing
from schedulergodx.utils.abstractions import ConnectionState, QueueSpec, Transport
from schedulergodx_testing.contracts.recorder import WAIT_S, Sending, bodies, consume, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    Connect = Callable[[], Transport]

EXPIRES_AFTER_S = 0.5
"""Life of a queue without consumers in the tests of expiry."""
PAUSE_S = 0.02
"""How often a test asks again for what it can only learn by asking, in seconds."""


class TransportQueueContract:
    """Consumers that are refused or stand by, queues that go."""

    is_quorum = False

    def test_consuming_otherwise_than_declared_is_refused(
        self, connect: Connect, sender: Transport, queue: QueueSpec
    ) -> None:
        """A queue that exists with another expiry is not consumed: `ConsumeFailed` with `QueueMismatch`."""
        publish(sender, queue.name, b"a")
        otherwise = replace(queue, expires_after_s=3600.0)
        failure = consume(connect(), otherwise).failure()
        assert failure.queue == queue.name
        assert isinstance(failure.error, QueueMismatch)

    def test_dead_letters_that_differ_are_refused_with_their_queue(
        self, connect: Connect, sender: Transport, queue: QueueSpec
    ) -> None:
        """Where its dead letters go is declared with a queue: if that exists with another expiry, neither is made.

        Who consumes hears of it as `ConsumeFailed`, and who has declared and publishes by its message: `QueueMismatch`.
        """
        new = replace(queue, name=f"{queue.name}.new")
        dead = QueueSpec(name=new.dead_letter_name, expires_after_s=3600.0, is_quorum=self.is_quorum)
        sender.declare(dead)
        publish(sender, dead.name, b"dead")
        failure = consume(connect(), new).failure()
        assert failure.queue == new.name
        assert isinstance(failure.error, QueueMismatch)
        assert isinstance(Sending(sender, new.name, b"a").error(), QueueMissing)
        declaring = connect()
        declaring.declare(new)
        assert isinstance(Sending(declaring, new.name, b"a").error(), QueueMismatch)

    @pytest.mark.slow
    def test_a_second_exclusive_consumer_is_refused(
        self, connect: Connect, sender: Transport, queue: QueueSpec
    ) -> None:
        """It gets `ConsumeFailed` with `QueueInUse`, which names the first; that is not disturbed, a standby waits."""
        first = consume(connect(), queue, is_exclusive=True)
        publish(sender, queue.name, b"1")
        assert first.delivery().body == b"1"
        standby = consume(connect(), queue, is_exclusive=True, is_standby=True)
        standby.change(ConnectionState.UP)
        failure = consume(connect(), queue, is_exclusive=True).failure()
        assert failure.queue == queue.name
        assert isinstance(failure.error, QueueInUse)
        assert "another service" not in str(failure.error)
        publish(sender, queue.name, b"2")
        assert first.delivery().body == b"2"
        assert not standby.has_failures()

    @pytest.mark.slow
    def test_a_standby_takes_over(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """A standby gets nothing while the first consumer lives, and everything that this one left when it closes."""
        active = connect()
        recorder = consume(active, queue, is_exclusive=True)
        publish(sender, queue.name, b"1", b"2")
        acked, _unacked = recorder.deliveries(2)
        standby = consume(connect(), queue, is_exclusive=True, is_standby=True)
        standby.change(ConnectionState.UP)
        active.ack([acked])
        publish(sender, queue.name, b"3")
        assert recorder.delivery().body == b"3"
        assert standby.delivery_within(0) is None
        active.close()
        assert bodies(standby.deliveries(2)) == [b"2", b"3"]
        assert not standby.has_failures()

    def test_a_deleted_queue_is_consumed_again(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """A consumer whose queue is deleted notices, makes it anew, tells, and gets what is published from then on."""
        recorder = consume(connect(), queue)
        publish(sender, queue.name, b"before")
        assert recorder.delivery().body == b"before"
        sender.delete_queue(queue.name)
        sender.delete_queue(f"{queue.name}.missing")
        assert recorder.resumed().queue == queue.name
        for number in range(int(WAIT_S / PAUSE_S)):
            Sending(sender, queue.name, b"after %d" % number).error()
            if recorder.delivery_within(PAUSE_S):
                break
        else:
            pytest.fail("the consumer did not come back")
        assert not recorder.has_failures()

    @pytest.mark.slow
    def test_an_abandoned_queue_expires(self, connect: Connect, sender: Transport, queue: QueueSpec) -> None:
        """A queue without a consumer goes after `expires_after_s`, with its messages; one with a consumer stays."""
        abandoned, used = (
            QueueSpec(name=f"{queue.name}.{word}", expires_after_s=EXPIRES_AFTER_S, is_quorum=self.is_quorum)
            for word in ("abandoned", "used")
        )
        using, closing = connect(), connect()
        recorder = consume(using, used)
        consume(closing, abandoned).change(ConnectionState.UP)
        sender.declare(used)
        closing.declare(abandoned)
        publish(closing, abandoned.name, b"waits")
        publish(sender, used.name, b"waits")
        recorder.delivery()
        closing.close()
        publisher = connect()
        for _ in range(int(WAIT_S / PAUSE_S)):
            if isinstance(Sending(publisher, abandoned.name, b"still there?").error(), QueueMissing):
                break
            assert recorder.delivery_within(PAUSE_S) is None
        else:
            pytest.fail("the queue did not expire")
        using.close()
        assert consume(connect(), used).delivery().body == b"waits"
