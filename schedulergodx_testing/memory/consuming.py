"""`ConsumingLink`: what comes in, and what becomes of it."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from schedulergodx.utils.abstractions import ConsumeFailed, ConsumeResumed, ConsumingStatus, Delivery
from schedulergodx_testing.memory import failures
from schedulergodx_testing.memory.link import PAUSE_MAX_S, PAUSE_MIN_S, Link

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schedulergodx.errors import BrokerError
    from schedulergodx.utils.abstractions import QueueSpec, TransportEvent
    from schedulergodx_testing.memory.hub import Hub
    from schedulergodx_testing.memory.link import Connection
    from schedulergodx_testing.memory.queues import Message, Queue
    from schedulergodx_testing.memory.stepper import Timer

logger = logging.getLogger("schedulergodx.transport")

OWNER_WAIT_S = 3.0
"""How long a queue may be in use before that is an error."""
OWNER_AGAIN_WAIT_S = 180.0
"""The same when we owned it before the connection was lost."""


class Channel:
    """What one consumer has of one queue, over one connection. Its numbers mean nothing elsewhere.

    Attributes:
        unacked: the messages that are out, for the broker, by number.
        handed: the numbers that the program knows and has not acked, given back or rejected.
        rejected: those on their way to the dead letters.
        is_taker: whether the queue has it in its round.
    """

    __slots__ = ("_last", "handed", "is_taker", "link", "prefetch", "queue", "rejected", "unacked", "wish")

    def __init__(self, link: ConsumingLink, wish: Wish, queue: Queue) -> None:
        self.link = link
        self.wish = wish
        self.queue = queue
        self.prefetch = wish.prefetch
        self.unacked: dict[int, Message] = {}
        self.handed: dict[int, str] = {}
        self.rejected: dict[int, None] = {}
        self.is_taker = False
        self._last = 0

    @property
    def has_room(self) -> bool:
        """Whether it may get one more."""
        return len(self.unacked) < self.prefetch

    def take(self, message: Message) -> None:
        """Send a message on its way, which counts as handed out from now on."""
        self._last = number = self._last + 1
        self.unacked[number] = message
        is_redelivered, message.is_redelivered = message.is_redelivered, True
        self.link.bring(self, number, message, is_redelivered=is_redelivered)

    def on_cancelled(self) -> None:
        """Hear that the queue was deleted."""
        self.link.bring(self, 0, None, is_redelivered=False)


class Tag(NamedTuple):
    """What a `Delivery` is known by."""

    channel: Channel
    number: int


@dataclass(eq=False, kw_only=True, slots=True)
class Wish:
    """What `Transport.consume` was asked for, and how far that is.

    Attributes:
        channel: the one that delivers, while there is one.
        has_ended: whether nothing more is wanted.
        was_owner: whether it owned its queue before.
        is_again: whether its queue was deleted under it.
    """

    queue: QueueSpec
    prefetch: int
    is_exclusive: bool
    is_standby: bool
    channel: Channel | None = None
    has_ended: bool = False
    was_owner: bool = False
    is_again: bool = False
    failures: int = 0
    patience: Timer | None = field(default=None, repr=False)
    pause: Timer | None = field(default=None, repr=False)

    def cancel_timers(self) -> None:
        """Wait for nothing."""
        for timer in (self.patience, self.pause):
            if timer is not None:
                timer.cancel()
        self.patience = self.pause = None


class ConsumingLink(Link):
    """The connection for messages that come in."""

    is_consuming = True

    def __init__(self, hub: Hub, transport: str, emit: Callable[[TransportEvent], None]) -> None:
        super().__init__(hub, transport, emit)
        self._wishes: dict[str, Wish] = {}
        self._arriving: deque[tuple[Channel, int, Message | None, bool]] = deque()
        self._channels: list[Channel] = []

    # --- For the transport

    def consume(self, wish: Wish) -> None:
        """Consume as `wish` says, now and on every later connection."""
        name = wish.queue.name
        older = self._wishes.get(name)
        if older is not None and not older.has_ended:
            logger.warning("queue %r is consumed already; nothing was changed", name)
            return
        if older is not None and older.channel is not None:
            self._close_channel(older)
        self._wishes[name] = wish
        self.start()
        self.put(self._arrive_consume, wish)

    def stop(self) -> None:
        """Ask for no more deliveries. What is on its way is not handed over, and goes back when the channel ends."""
        for wish in self._wanted():
            self._stop(wish)

    def consuming_status(self) -> ConsumingStatus:
        """Return whether the broker delivers; one that is cut off without anybody's notice does not answer."""
        wanted, connection = self._wanted(), self.connection
        answers = self.is_up and connection is not None and not connection.is_half_open
        owners = [self.hub.store.owner(wish.queue.name) for wish in wanted if wish.is_exclusive and self.is_up]
        return ConsumingStatus(
            connection=self.status,
            is_consuming=bool(wanted) and all(wish.channel is not None for wish in wanted),
            is_waiting=any(owner is not None and owner is not connection for owner in owners),
            answered_s_ago=0.0 if answers else None,
        )

    def knows(self, name: str) -> bool:
        """Return whether that queue is, or was, consumed."""
        return name in self._wishes

    def forget_queue(self, name: str) -> None:
        """Do not consume a queue any more."""
        if (wish := self._wishes.get(name)) is not None and not wish.has_ended:
            self._stop(wish)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Let the broker forget those of `deliveries` that are known and not acked."""
        for channel, numbers in self._known(deliveries):
            for together in _cover(channel, numbers):
                self.put(self._arrive_ack, (channel, together))

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put those of `deliveries` that are known and not acked back into their queues."""
        for channel, numbers in self._known(deliveries):
            for together in _cover(channel, numbers):
                self.put(self._arrive_give_back, (channel, together))

    def begin_reject(self, delivery: Delivery) -> tuple[QueueSpec, str] | None:
        """Return queue and message id of `delivery`, or None if it is not ours to reject, or being rejected."""
        for channel, numbers in self._known([delivery]):
            if numbers[0] not in channel.rejected:
                channel.rejected[numbers[0]] = None
                return channel.wish.queue, channel.handed[numbers[0]]
        return None

    # --- Its life

    def on_up(self) -> None:
        """Consume again all that is to be consumed."""
        for wish in self._wanted():
            self.put(self._arrive_consume, wish)

    def on_cut(self, connection: Connection) -> None:  # noqa: ARG002 - nothing of it is needed
        """Everything unacked goes back."""
        self._arriving.clear()
        channels, self._channels = self._channels, []
        for channel in channels:
            channel.queue.stop(channel)  # nothing of one goes to another
        for channel in channels:
            self.hub.store.close(channel)

    def on_down(self) -> None:
        """Forget the channels, and wait for nothing."""
        for wish in self._wishes.values():
            wish.channel = None
            wish.cancel_timers()

    def on_refused(self, reason: str) -> None:
        """End all consuming."""
        for wish in self._wanted():
            name = wish.queue.name
            self._fail(wish, failures.refused(f"consuming from {name!r}: {reason}", self.hub.address))

    def _wanted(self) -> list[Wish]:
        return [wish for wish in self._wishes.values() if not wish.has_ended]

    def _stop(self, wish: Wish) -> None:
        wish.has_ended = True
        wish.cancel_timers()
        if wish.channel is not None:
            self.put(self._arrive_stop, wish.channel)

    def _fail(self, wish: Wish, error: BrokerError) -> None:
        if not wish.has_ended:
            self._stop(wish)
            self._log.add("consume failed", self.transport, wish.queue.name, detail=type(error).__name__)
            self.emit(ConsumeFailed(queue=wish.queue.name, error=error))

    # --- What arrives at the broker

    def _arrive_consume(self, wish: Wish) -> None:
        connection, store, name = self.connection, self.hub.store, wish.queue.name
        if wish.has_ended or wish.channel is not None or connection is None:
            return
        if wish.is_exclusive:
            owner = store.owner(name)
            if owner is not None and owner is not connection:
                self._wait_for_owner(wish, owner)
                return
            store.own(name, connection)
            wish.was_owner = True
        wish.cancel_timers()
        error = failures.name_error(name, self.hub.address)
        if error is None and (difference := store.declare(wish.queue, self.transport)):
            error = failures.mismatch(name, difference, self.hub.address)
        if error is not None:
            self._fail(wish, error)
            return
        wish.channel = channel = Channel(self, wish, store.queues[name])
        self._channels.append(channel)
        if wish.is_again:
            wish.is_again = False
            self.emit(ConsumeResumed(queue=name))
        store.consume(channel, self.transport)

    def _wait_for_owner(self, wish: Wish, owner: Connection) -> None:
        """Try again when the owner is gone; be refused when that takes too long."""
        name = wish.queue.name
        connection = self.connection

        def on_gone() -> None:
            if connection is self.connection:
                self.put(self._arrive_consume, wish)

        self.hub.store.wait_for_owner(name, on_gone)
        if wish.patience is None and not wish.is_standby:
            self._log.add("waiting for owner", self.transport, name)
            patience_s = OWNER_AGAIN_WAIT_S if wish.was_owner else OWNER_WAIT_S
            wish.patience = self._stepper.after(
                patience_s, lambda: self._fail(wish, failures.in_use(name, owner.link.transport, self.hub.address))
            )

    def _arrive_stop(self, channel: Channel) -> None:
        self._log.add("consumer stopped", self.transport, channel.queue.name)
        self.hub.store.stop(channel)

    def _arrive_ack(self, what: tuple[Channel, list[int]]) -> None:
        channel, numbers = what
        for message in self.hub.store.ack(channel, numbers):
            self._log.add("acked", self.transport, channel.queue.name, message.message_id)

    def _arrive_give_back(self, what: tuple[Channel, list[int]]) -> None:
        channel, numbers = what
        for number in numbers:
            if (message := channel.unacked.get(number)) is not None:
                self._log.add("given back", self.transport, channel.queue.name, message.message_id)
        self.hub.store.give_back(channel, numbers)

    def _close_channel(self, wish: Wish) -> None:
        channel, wish.channel = wish.channel, None
        if channel is not None:
            channel.handed.clear()
            self.put(self._arrive_close, channel)

    def _arrive_close(self, channel: Channel) -> None:
        if channel in self._channels:
            self._channels.remove(channel)
            self.hub.store.close(channel)

    # --- What arrives here

    def bring(self, channel: Channel, number: int, message: Message | None, *, is_redelivered: bool) -> None:
        """Send a message on its way to the program; None: that its queue was deleted."""
        if self.connection is not None and not self.connection.is_half_open:
            self._arriving.append((channel, number, message, is_redelivered))
            self.inbound.add()

    def receive(self) -> None:
        """Hand one message over, if it is still wanted."""
        entry = self._arriving.popleft()
        self.inbound.take()
        channel, number, message, is_redelivered = entry
        wish = channel.wish
        if channel is not wish.channel or wish.has_ended:
            return
        if message is None:
            self._on_cancelled(wish)
            return
        if self.hub.faults.is_armed and self._is_faulty(channel, number, message, is_redelivered=is_redelivered):
            return
        wish.failures = 0
        channel.handed[number] = message.message_id
        name = channel.queue.name
        self._log.add("delivered", self.transport, name, message.message_id, "redelivered" if is_redelivered else "")
        self.emit(Delivery(queue=name, body=message.body, is_redelivered=is_redelivered, tag=Tag(channel, number)))

    def _is_faulty(self, channel: Channel, number: int, message: Message, *, is_redelivered: bool) -> bool:
        faults, facts = self.hub.faults, (channel.queue.name, self.transport, message.message_id)
        entry = (channel, number, message, is_redelivered)
        if (delay_s := faults.delay_of("delay delivery", *facts)) is not None:
            self._arriving.appendleft(entry)
            self.inbound.add()
            self.hold_up(self.inbound, delay_s)
            return True
        is_followed = bool(self._arriving) and self._arriving[0][0] is channel and self._arriving[0][2] is not None
        if is_followed and faults.takes("reorder", *facts):
            self._arriving.insert(1, entry)
            self.inbound.add()
            return True
        if faults.takes("lose delivery", *facts):
            return True
        if faults.takes("repeat delivery", *facts) and not channel.queue.is_deleted:
            channel.queue.put_again(message)
            self.hub.store.hand_out(channel.queue)
        return False

    def _on_cancelled(self, wish: Wish) -> None:
        """Begin again, on a new channel."""
        self._log.add("consumer cancelled", self.transport, wish.queue.name)
        self._close_channel(wish)
        wish.is_again = True
        wish.failures += 1
        pause_s = max(PAUSE_MIN_S / 2, min(PAUSE_MAX_S, PAUSE_MIN_S * 2.0 ** min(wish.failures - 1, 30)) / 2)
        wish.pause = self._stepper.after(pause_s, lambda: self.put(self._arrive_consume, wish))

    def _known(self, deliveries: Sequence[Delivery]) -> list[tuple[Channel, list[int]]]:
        """Return, for each channel that is open, which of `deliveries` are not acked, given back or rejected yet."""
        known: dict[Channel, list[int]] = {}
        for delivery in deliveries:
            tag = delivery.tag
            if isinstance(tag, Tag) and self._knows(tag):
                known.setdefault(tag.channel, []).append(tag.number)
        return list(known.items())

    def _knows(self, tag: Tag) -> bool:
        channel = tag.channel
        return channel.link is self and channel.wish.channel is channel and tag.number in channel.handed


def _cover(channel: Channel, numbers: list[int]) -> list[list[int]]:
    """Take `numbers` from what is handed out; return those that go to the broker together, as acks of several do.

    The oldest of all that are handed out, as far as they are in `numbers` without a gap, need one ack together.
    """
    if len(numbers) == 1:
        del channel.handed[numbers[0]]
        return [numbers]
    wanted = dict.fromkeys(numbers)
    together = list(takewhile(wanted.__contains__, channel.handed))
    groups = [together] if together else []
    for number in together:
        del wanted[number]
    groups += [[number] for number in sorted(wanted)]
    for group in groups:
        for number in group:
            del channel.handed[number]
    return groups
