"""`TransportBrokerContract`: what must hold when the broker is restarted, cut off, blocked, full, or looked into.

A part of `TransportContract`. Each test here needs that something is done to the broker, or seen of it, by other means
than a transport: a capability, with a fixture of its own.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

import pytest

from schedulergodx.errors import QueueFull
from schedulergodx.utils.abstractions import ConnectionState, QueueSpec, Transport
from schedulergodx_testing.contracts.recorder import WAIT_S, Recorder, Sending, bodies, consume, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    Connect = Callable[[], Transport]

Test = TypeVar("Test", bound="Callable[..., None]")

CAPABILITIES: Final = {
    "restart_broker": "the broker is a program of its own, which can be stopped in order and started again",
    "cut_connections": "a transport has connections, which the broker can close",
    "block": "the broker can take nothing for a while",
    "fill": "a queue can be made to refuse messages when so many of them wait",
    "dead_letters": "what stands beside a dead letter can be looked at",
}
"""What a broker may be able to do, by the name of the fixture that does it."""


def needs(capability: str) -> Callable[[Test], Test]:
    """Mark a test as one of those that only transports with this capability have."""

    def mark(test: Test) -> Test:
        test.needs = capability  # type: ignore[attr-defined] # read by `TransportBrokerContract`
        return test

    return mark


class TransportBrokerContract:
    """Losses, alarms, limits, dead letters."""

    capabilities: ClassVar[frozenset[str]] = frozenset()
    is_quorum = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        unknown = cls.capabilities - set(CAPABILITIES)
        assert not unknown, f"{cls.__name__} names capabilities that do not exist: {', '.join(sorted(unknown))}"
        for name, test in vars(TransportBrokerContract).items():
            capability = getattr(test, "needs", None)
            if capability is not None and name not in vars(cls):
                # Also back again: a subclass may be able to do what its base is not.
                setattr(cls, name, test if capability in cls.capabilities else None)

    # --- Fixtures to override

    @pytest.fixture
    def restart_broker(self) -> Callable[[], None]:
        """Return a function that stops the broker in order and starts it again; it returns when it serves again."""
        raise NotImplementedError("override this fixture, or leave the capability out")

    @pytest.fixture
    def cut_connections(self) -> Callable[[], None]:
        """Return a function with which the broker closes every connection. They may come back at once."""
        raise NotImplementedError("override this fixture, or leave the capability out")

    @pytest.fixture
    def block(self) -> Callable[[bool], None]:
        """Return a function that makes the broker take nothing (True), or take messages again (False)."""
        raise NotImplementedError("override this fixture, or leave the capability out")

    @pytest.fixture
    def fill(self) -> Callable[[QueueSpec, int], None]:
        """Return a function that makes a queue refuse what is published while so many messages wait in it."""
        raise NotImplementedError("override this fixture, or leave the capability out")

    @pytest.fixture
    def dead_letters(self) -> Callable[[QueueSpec], list[tuple[bytes, str, str]]]:
        """Return a function that lists body, message id and reason of the dead letters that wait beside a queue."""
        raise NotImplementedError("override this fixture, or leave the capability out")

    # --- Restarts

    @needs("restart_broker")
    @pytest.mark.slow
    def test_a_restart_of_the_broker_loses_nothing(
        self, connect: Connect, sender: Transport, queue: QueueSpec, restart_broker: Callable[[], None]
    ) -> None:
        """Confirmed messages, acked ones apart, are there again, and those that were out are marked."""
        publish(sender, queue.name, b"1", b"2", b"3")
        transport = connect()
        recorder = consume(transport, queue, prefetch=2)
        first, _ = recorder.deliveries(2)
        transport.ack([first])
        assert recorder.delivery().body == b"3"
        publish(sender, queue.name, b"4")
        restart_broker()
        sender.close()
        deliveries = recorder.deliveries(2)
        assert bodies(deliveries) == [b"2", b"3"]
        assert all(delivery.is_redelivered for delivery in deliveries)
        transport.ack(deliveries)
        last = recorder.delivery()
        assert (last.body, last.is_redelivered) == (b"4", False)

    @needs("restart_broker")
    @pytest.mark.slow
    def test_what_is_published_during_a_restart_is_kept(
        self, connect: Connect, sender: Transport, queue: QueueSpec, restart_broker: Callable[[], None]
    ) -> None:
        """Every message that is published before, during and after a restart is confirmed in the end, and is there."""
        sent = _publish_during(sender, queue, restart_broker)
        assert _first_of_each(connect(), queue, len(sent)) == sent

    # --- Cuts

    @needs("cut_connections")
    @pytest.mark.slow
    def test_what_was_unacked_comes_back_after_a_cut(
        self, connect: Connect, sender: Transport, queue: QueueSpec, cut_connections: Callable[[], None]
    ) -> None:
        """Unacked messages come again, first in line, in order and marked; an ack of the old delivery does nothing."""
        publish(sender, queue.name, b"1", b"2", b"3")
        transport = connect()
        recorder = consume(transport, queue, prefetch=2)
        lost = recorder.deliveries(2)
        cut_connections()
        again = recorder.deliveries(2)
        assert bodies(again) == [b"1", b"2"]
        assert all(delivery.is_redelivered for delivery in again)
        transport.ack(lost)
        transport.give_back(lost)
        transport.ack(again)
        last = recorder.delivery()
        assert (last.body, last.is_redelivered) == (b"3", False)
        transport.close()
        publish(connect_with(connect, queue), queue.name, b"end")
        assert bodies(consume(connect(), queue).deliveries(2)) == [b"3", b"end"]

    @needs("cut_connections")
    @pytest.mark.slow
    def test_a_reconnect_is_told(
        self, connect: Connect, sender: Transport, queue: QueueSpec, cut_connections: Callable[[], None]
    ) -> None:
        """Both connections tell RECOVERING, then UP; events come as before, and so does what is published."""
        transport = connect()
        recorder = consume(transport, queue)
        transport.declare(queue)
        publish(transport, queue.name, b"before")
        assert recorder.delivery().body == b"before"
        recorder.changes_so_far()
        cut_connections()
        changes = [recorder.next_change() for _ in range(4)]
        for is_consuming in (True, False):
            states = [change.status.state for change in changes if change.is_consuming is is_consuming]
            assert states == [ConnectionState.RECOVERING, ConnectionState.UP]
        publish(sender, queue.name, b"after")
        assert recorder.bodies_until(b"after") == [b"before"]

    @needs("cut_connections")
    @pytest.mark.slow
    def test_what_is_published_around_cuts_is_kept(
        self, connect: Connect, sender: Transport, queue: QueueSpec, cut_connections: Callable[[], None]
    ) -> None:
        """Every message is settled once without error and is there; sent twice or not, the first ones are in order."""
        sent = _publish_during(sender, queue, cut_connections)
        assert _first_of_each(connect(), queue, len(sent)) == sent

    # --- Alarms

    @needs("block")
    @pytest.mark.slow
    def test_a_blocked_broker_settles_nothing(
        self, connect: Connect, sender: Transport, queue: QueueSpec, block: Callable[[bool], None]
    ) -> None:
        """BLOCKED is told to whom publishes; what waits is confirmed, or can be withdrawn, and UP is told then."""
        publish(sender, queue.name, b"before")
        publisher = connect_with(connect, queue)
        recorder = Recorder(publisher)
        publish(publisher, queue.name, b"warm")
        block(True)
        try:
            waiting = Sending(publisher, queue.name, b"waits")
            recorder.change(ConnectionState.BLOCKED)
            given_up = Sending(publisher, queue.name, b"given up")
            assert publisher.status().state is ConnectionState.BLOCKED
            assert waiting.settlements.empty()
            assert publisher.withdraw(given_up.outgoing)
        finally:
            block(False)
        assert waiting.error() is None
        recorder.change(ConnectionState.UP)
        publish(publisher, queue.name, b"end")
        received = consume(connect(), queue).bodies_until(b"end")
        assert received == [b"before", b"warm", b"waits"]
        assert given_up.settlements.empty()

    # --- Limits

    @needs("fill")
    def test_a_full_queue_refuses(
        self, connect: Connect, sender: Transport, queue: QueueSpec, fill: Callable[[QueueSpec, int], None]
    ) -> None:
        """What a full queue refuses is settled with `QueueFull` and not kept; room that is made is used again."""
        publish(sender, queue.name, b"1")
        fill(queue, 2)
        kept = [b"1", *_fill_up(sender, queue.name, b"a")]
        # A quorum queue notices that it is full some messages later.
        assert self.is_quorum or kept == [b"1", b"a0"]
        transport = connect()
        recorder = consume(transport, queue, prefetch=1)
        for body in kept[:-1]:
            delivery = recorder.delivery()
            assert delivery.body == body
            transport.ack([delivery])
        assert recorder.delivery().body == kept[-1]
        kept = _fill_up(sender, queue.name, b"b")
        assert len(kept) >= 1
        assert self.is_quorum or kept == [b"b0", b"b1"]
        assert bodies(consume(connect(), queue, prefetch=100).deliveries(len(kept))) == kept

    # --- Dead letters

    @needs("dead_letters")
    def test_a_dead_letter_keeps_its_reason(
        self,
        connect: Connect,
        sender: Transport,
        queue: QueueSpec,
        dead_letters: Callable[[QueueSpec], list[tuple[bytes, str, str]]],
    ) -> None:
        """The reason, and the id of the message, stand beside the dead letter, in the order of rejecting."""
        sendings = [Sending(sender, queue.name, body) for body in (b"bad", b"worse")]
        assert [sending.error() for sending in sendings] == [None, None]
        transport = connect()
        deliveries = consume(transport, queue).deliveries(2)
        for delivery, reason in zip(deliveries, ("BAD_MESSAGE", "UNKNOWN_VERSION"), strict=True):
            transport.reject(delivery, reason)
        transport.close()
        ids = [sending.outgoing.message_id for sending in sendings]
        assert dead_letters(queue) == [(b"bad", ids[0], "BAD_MESSAGE"), (b"worse", ids[1], "UNKNOWN_VERSION")]


def connect_with(connect: Connect, queue: QueueSpec) -> Transport:
    """Open a transport and declare `queue`."""
    transport = connect()
    transport.declare(queue)
    return transport


def _fill_up(transport: Transport, name: str, letter: bytes) -> list[bytes]:
    """Publish until a message is refused; return those that were kept."""
    kept: list[bytes] = []
    while (error := Sending(transport, name, letter + b"%d" % len(kept)).error()) is None:
        kept.append(letter + b"%d" % len(kept))
        assert len(kept) < 100, "the queue takes everything"
    assert isinstance(error, QueueFull)
    return kept


def _publish_during(transport: Transport, queue: QueueSpec, do: Callable[[], None]) -> list[bytes]:
    """Publish numbers from before `do` until after it; return them when the broker has every one."""
    publish(transport, queue.name, b"0")
    sendings: list[Sending] = []
    is_over, has_begun = threading.Event(), threading.Event()

    def publish_numbers() -> None:
        while not is_over.is_set():
            sendings.append(Sending(transport, queue.name, b"%d" % (1 + len(sendings))))
            if len(sendings) % 50 == 0:
                has_begun.set()
                is_over.wait(0.02)  # at most so many: a restart takes seconds, on a busy machine a minute
        has_begun.set()

    thread = threading.Thread(target=publish_numbers)
    thread.start()
    try:
        assert has_begun.wait(WAIT_S)
        do()
    finally:
        is_over.set()
        thread.join()
    assert [sending.error() for sending in sendings] == [None] * len(sendings)
    return [b"%d" % number for number in range(1 + len(sendings))]


def _first_of_each(transport: Transport, queue: QueueSpec, number: int) -> list[bytes]:
    """Consume until so many different bodies have come; return them in the order in which each came first."""
    recorder = consume(transport, queue, prefetch=1000)
    found: dict[bytes, None] = {}
    while len(found) < number:
        delivery = recorder.delivery()
        transport.ack([delivery])  # there may be more of them than any prefetch
        found[delivery.body] = None
    return list(found)
