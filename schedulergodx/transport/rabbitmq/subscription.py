"""`Subscription`: consuming from one queue, again and again, on whichever connection there is."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pika.exceptions import AMQPError, ChannelClosedByBroker

from schedulergodx.clock import SystemClock
from schedulergodx.transport.rabbitmq.acks import UnackedTags
from schedulergodx.transport.rabbitmq.backoff import pause_s
from schedulergodx.transport.rabbitmq.errors import (
    ACCESS_REFUSED,
    NOT_FOUND,
    RESOURCE_LOCKED,
    Errors,
    code_and_text,
    reason_text,
)
from schedulergodx.utils.abstractions import ConsumeFailed, ConsumeResumed, Delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pika.channel import Channel
    from pika.frame import Method
    from pika.spec import Basic, BasicProperties, Queue

    from schedulergodx.errors import BrokerError
    from schedulergodx.transport.rabbitmq.connection import Link
    from schedulergodx.transport.rabbitmq.declare import Declarer
    from schedulergodx.utils.abstractions import QueueSpec, TransportEvent

logger = logging.getLogger("schedulergodx.transport")
_clock = SystemClock()

OWNER_WAIT_S = 3.0
"""How long a queue may be in use before that is an error: the broker may not have noticed the end of a killed owner."""
OWNER_AGAIN_WAIT_S = 180.0
"""The same when we owned it before the connection was lost: the broker needs up to two heartbeats to notice."""
OWNER_PAUSE_S = 0.25
STANDBY_PAUSE_S = 1.0
"""Between two tries to own a queue. Each one that fails is a line in the log of the broker."""
PROBE_PAUSE_S = 10.0
"""Between two questions on a channel that consumes."""
PROBE_PATIENCE_S = 60.0
"""For the answer; then the connection is made anew."""
PROBES_WITHOUT_CONSUMER = 2
"""So often the broker may say that nobody consumes before that is believed."""
QUEUE_NAME_BYTES_MAX = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """What `Transport.consume` was asked for."""

    queue: QueueSpec
    prefetch: int
    is_exclusive: bool
    is_standby: bool


@dataclass(eq=False, slots=True)
class Intake:
    """One channel that delivers. Its tags mean nothing on any other."""

    channel: Channel
    consumer_tag: str = ""
    is_consuming: bool = False
    unacked: UnackedTags = field(default_factory=UnackedTags)
    rejected: set[int] = field(default_factory=set)


class Tag(NamedTuple):
    """What a `Delivery` of ours is known by."""

    intake: Intake
    number: int
    message_id: str


def owner_queue_name(queue: str) -> str:
    """Return the name of the queue whose owner may consume from `queue`."""
    name = f"{queue}.owner"
    if len(name.encode()) <= QUEUE_NAME_BYTES_MAX - len(".name"):
        return name
    return f"schedulergodx.owner.{hashlib.sha256(queue.encode()).hexdigest()}"


class Subscription:
    """One consumed queue. For the thread of the link only.

    Each start goes the same way: own, declare, open a channel, qos, consume. Whatever ends it, other than `stop`, a
    refusal or the loss of the connection, begins that again after a pause.
    """

    def __init__(
        self, wish: Wish, *, who: str, link: Link, errors: Errors, emit: Callable[[TransportEvent], None]
    ) -> None:
        self.wish = wish
        self._who = who
        self.intake: Intake | None = None
        self.has_ended = False
        self._link = link
        self._errors = errors
        self._emit = emit
        self._declarer: Declarer | None = None
        self._is_owner = False
        self._was_owner = False
        self._waited_s = 0.0
        self._has_told_waiting = False
        self._failures = 0
        self._timer: object = None
        self._answered_at: float | None = None
        self._unseen = 0
        self._is_again = False

    # --- For any thread

    @property
    def is_consuming(self) -> bool:
        """Whether the broker has said that it delivers."""
        return (intake := self.intake) is not None and intake.is_consuming

    @property
    def is_waiting(self) -> bool:
        """Whether the queue is in use, and this waits for its owner to go."""
        return self._has_told_waiting

    def answered_s_ago(self) -> float | None:
        """Return the seconds since the broker last answered about this queue; None: not on this connection."""
        return None if (at := self._answered_at) is None else _clock.monotonic() - at

    # --- Its life

    def start(self, declarer: Declarer) -> None:
        """Begin on a connection that has just opened."""
        self._declarer = declarer
        self._waited_s = 0.0
        self._own()

    def on_down(self) -> None:
        """Forget everything of the connection."""
        self._declarer = None
        self._timer = None
        self._is_owner = False
        self._answered_at = None
        self.intake = None

    def stop(self) -> None:
        """Ask for no more deliveries. The channel stays, for acks, and so does the ownership."""
        self.has_ended = True
        self._link.cancel(self._timer)
        intake = self.intake
        if intake is not None and intake.channel.is_open and intake.consumer_tag:
            with suppress(AMQPError):
                intake.channel.basic_cancel(intake.consumer_tag, callback=lambda _frame: None)
            intake.consumer_tag = ""

    def give_all_back(self) -> None:
        """Close the channel after `stop`: what is unacked goes back to its queue."""
        intake, self.intake = self.intake, None
        if intake is not None and intake.channel.is_open:
            with suppress(AMQPError):
                intake.channel.close()

    def fail(self, error: BrokerError, *, is_logged: bool = False) -> None:
        """End for good and tell why; `is_logged`: the link has said so already."""
        if not self.has_ended:
            self.stop()
            if not is_logged:
                logger.error("consuming from %r has ended: %s", self.wish.queue.name, error)
            self._emit(ConsumeFailed(queue=self.wish.queue.name, error=error))

    # --- Own, declare, consume

    def _own(self) -> None:
        if self._declarer is None or self.has_ended:
            return
        if self.wish.is_exclusive and not self._is_owner:
            self._declarer.own(owner_queue_name(self.wish.queue.name), self._on_owned)
        else:
            self._declarer.declare(self.wish.queue, self._on_declared)

    def _on_owned(self, error: BaseException | None) -> None:
        if self.has_ended:
            return
        self._answered_at = _clock.monotonic()
        if error is None:
            self._is_owner = self._was_owner = True
            if self._declarer is not None:
                self._declarer.say_owner(f"{owner_queue_name(self.wish.queue.name)}.name", self._who)
            self._own()
        elif code_and_text(error)[0] != RESOURCE_LOCKED:
            self.fail(self._errors.declaring(owner_queue_name(self.wish.queue.name), error))
        else:
            self._wait_for_owner()

    def _wait_for_owner(self) -> None:
        queue, limit_s = self.wish.queue.name, OWNER_AGAIN_WAIT_S if self._was_owner else OWNER_WAIT_S
        if self._waited_s >= limit_s and not self.wish.is_standby and self._declarer is not None:
            self._declarer.ask_owner(
                f"{owner_queue_name(queue)}.name", lambda owner: self.fail(self._errors.in_use(queue, owner=owner))
            )
            return
        if not self._has_told_waiting:
            self._has_told_waiting = True
            logger.info("queue %r is in use; waiting for its owner to go", queue)
        pause = OWNER_PAUSE_S if self._waited_s < OWNER_WAIT_S else STANDBY_PAUSE_S
        self._waited_s += pause
        self._timer = self._link.later(pause, self._own)

    def _on_declared(self, error: BaseException | None) -> None:
        connection = self._link.connection
        if self.has_ended or connection is None:
            return
        if error is not None:
            self.fail(self._errors.declaring(self.wish.queue.name, error))
            return
        channel = connection.channel(on_open_callback=self._on_channel_open)
        self.intake = Intake(channel)
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_cancel_callback(lambda _frame: self._on_cancelled_by_broker(channel))

    def _on_channel_open(self, channel: Channel) -> None:
        intake = self.intake
        if self.has_ended or intake is None or channel is not intake.channel:
            return
        # A limit binds only consumers that are made after it.
        channel.basic_qos(prefetch_count=self.wish.prefetch)
        intake.consumer_tag = channel.basic_consume(
            self.wish.queue.name, self._on_message, callback=lambda _frame: self._on_consuming(intake)
        )

    def _on_consuming(self, intake: Intake) -> None:
        intake.is_consuming = True
        self._has_told_waiting = False
        self._answered_at = _clock.monotonic()
        self._unseen = 0
        self._link.later(PROBE_PAUSE_S, lambda: self._probe(intake))
        logger.info("consuming from %r", self.wish.queue.name)
        if self._is_again:
            self._is_again = False
            self._emit(ConsumeResumed(queue=self.wish.queue.name))

    def _on_message(self, _channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        intake = self.intake
        if intake is None or self.has_ended:
            return  # its channel gives it back when it closes
        number = method.delivery_tag or 0
        intake.unacked.add(number)
        self._failures = 0
        tag = Tag(intake, number, properties.message_id or "")
        self._emit(Delivery(queue=self.wish.queue.name, body=body, is_redelivered=bool(method.redelivered), tag=tag))

    # --- Its silent deaths

    def _probe(self, intake: Intake) -> None:
        """Ask on the channel that consumes how many consumers the queue has: heartbeats say nothing about that."""
        if not self._is_consuming_by(intake):
            return

        def give_up() -> None:
            if self._is_consuming_by(intake):
                self._link.cut(f"no answer on the channel that consumes from {self.wish.queue.name!r}")

        patience = self._link.later(PROBE_PATIENCE_S, give_up)

        def on_answer(frame: Method[Queue.DeclareOk]) -> None:
            self._link.cancel(patience)
            self._on_probed(intake, frame.method.consumer_count or 0)

        intake.channel.queue_declare(self.wish.queue.name, passive=True, callback=on_answer)

    def _on_probed(self, intake: Intake, consumers: int) -> None:
        self._answered_at = _clock.monotonic()
        if not self._is_consuming_by(intake):
            return
        # Asked twice: a quorum queue that elects a leader counts none for a moment.
        self._unseen = 0 if consumers else self._unseen + 1
        if self._unseen < PROBES_WITHOUT_CONSUMER:
            self._link.later(PROBE_PAUSE_S, lambda: self._probe(intake))
        else:
            self.give_all_back()
            self._begin_again("the broker knows of no consumer any more")

    def _is_consuming_by(self, intake: Intake) -> bool:
        return intake is self.intake and intake.channel.is_open and not self.has_ended

    def _on_cancelled_by_broker(self, channel: Channel) -> None:
        """Begin again: the queue was deleted, its node failed, or we acked too late for the broker.

        On a new channel: the broker may have given the unacked messages of this one to somebody else already.
        """
        if self.intake is None or channel is not self.intake.channel:
            return
        self.give_all_back()
        self._begin_again("the broker cancelled the consumer; the queue was probably deleted")

    def _on_channel_closed(self, channel: Channel, reason: Exception) -> None:
        intake = self.intake
        if intake is None or channel is not intake.channel or not isinstance(reason, ChannelClosedByBroker):
            return  # we closed it, or the link tells that the connection is lost
        self.intake = None
        code, _ = code_and_text(reason)
        if intake.is_consuming or code == NOT_FOUND:
            self._begin_again(f"the broker closed the channel: {reason_text(reason)}")
        elif code == ACCESS_REFUSED and "exclusive use" in reason_text(reason):
            self.fail(self._errors.in_use(self.wish.queue.name))
        else:
            self.fail(self._errors.declaring(self.wish.queue.name, reason))

    def _begin_again(self, why: str) -> None:
        if not self.has_ended:
            self._failures += 1
            self._is_again = True
            logger.warning("queue %r: %s; consuming again", self.wish.queue.name, why)
            self._timer = self._link.later(pause_s(self._failures, 1.0), self._own)

    # --- What becomes of deliveries

    def ack(self, tags: Iterable[Tag]) -> None:
        """Ack those of `tags` that this channel knows and has not acked."""
        if (intake := self._intake()) is not None:
            for ack in intake.unacked.take(_numbers(intake, tags)):
                intake.channel.basic_ack(ack.tag, multiple=ack.is_multiple)

    def give_back(self, tags: Iterable[Tag]) -> None:
        """Give those of `tags` that this channel knows back to the queue. By nack, which counts as no failure."""
        if (intake := self._intake()) is not None:
            for ack in intake.unacked.take(_numbers(intake, tags)):
                intake.channel.basic_nack(ack.tag, multiple=ack.is_multiple, requeue=True)

    def begin_reject(self, tag: Tag) -> bool:
        """Return whether `tag` is to be moved to the dead letters: it is known, and not on its way there."""
        intake = self._intake()
        if intake is None or tag.intake is not intake or tag.number not in intake.unacked:
            return False
        if tag.number in intake.rejected:
            return False
        intake.rejected.add(tag.number)
        return True

    def _intake(self) -> Intake | None:
        return self.intake if self.intake is not None and self.intake.channel.is_open else None


def _numbers(intake: Intake, tags: Iterable[Tag]) -> list[int]:
    return [tag.number for tag in tags if tag.intake is intake]
