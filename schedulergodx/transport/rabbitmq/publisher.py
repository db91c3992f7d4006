"""`Publisher`: sends, learns from the broker what became of each message, and sends again what may be lost."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from pika.exceptions import ChannelClosedByBroker
from pika.spec import Basic, BasicProperties

from schedulergodx.errors import BrokerError, Closed
from schedulergodx.transport.rabbitmq.declare import Declarer
from schedulergodx.transport.rabbitmq.errors import ACCESS_REFUSED, Errors, code_and_text, reason_text
from schedulergodx.utils.abstractions import Outgoing

if TYPE_CHECKING:
    from pika.channel import Channel
    from pika.frame import Method

    from schedulergodx.transport.rabbitmq.connection import Link
    from schedulergodx.transport.rabbitmq.wire import WireConnection
    from schedulergodx.utils.abstractions import QueueSpec

logger = logging.getLogger("schedulergodx.transport")

WINDOW_MAX = 4096
"""Messages sent and not confirmed yet."""
WINDOW_BYTES_MAX = 32 * 1024 * 1024
"""The same in bytes of their bodies; one message may always be sent."""
BATCH_MAX = 256
"""Messages taken under one lock: other threads wait for it to publish."""
REFUSALS_MAX = 6
REFUSAL_PAUSE_S = 0.05
"""How often a quorum queue may refuse a message, and the first of the pauses between, each twice the one before.

While its members elect a leader it refuses everything, e.g. when somebody else has begun to make it a moment ago.
"""
PERSISTENT = 2  # W16: until a service has stored a launch, that disk has its only copy
"""AMQP's delivery mode of what the broker keeps on disk."""


@dataclass(eq=False, kw_only=True, slots=True)
class DeadLetter(Outgoing):
    """A copy of a message that was rejected, on its way to the dead letters. `headers` say why."""

    headers: dict[str, Any] = field(default_factory=dict)


class Publisher:
    """Everything about messages that go out. What is not settled is in `_unsettled`, in the order of publishing.

    Whoever takes a message out of `_unsettled`, under the lock, decides its fate: the thread of the link settles it,
    or any other thread withdraws it. So each is settled or withdrawn, never both, and `was_sent` is never wrong.
    """

    link: Link
    """Set once by the transport, before anything is called."""

    def __init__(self, errors: Errors) -> None:
        self._errors = errors
        self._lock = threading.Condition()
        # Under the lock:
        self._unsettled: dict[Outgoing, None] = {}
        self._to_send: deque[Outgoing] = deque()
        self._queues: dict[str, QueueSpec] = {}
        self._undeclared: dict[str, QueueSpec] = {}
        self._declared: set[str] = set()
        self._is_closed = False
        # Of the link's thread only:
        self._channel: Channel | None = None
        self._declarer: Declarer | None = None
        self._declaring: QueueSpec | None = None
        self._refused_queues: dict[str, BaseException] = {}
        self._is_confirming = False
        self._tag = 0
        self._confirmed_to = 0
        self._in_flight: dict[int, Outgoing] = {}
        self._in_flight_bytes = 0
        self._returned: set[int] = set()
        self._last_returned = 0
        self._again: list[Outgoing] = []
        self._sent_twice: set[Outgoing] = set()
        self._refusals: dict[Outgoing, int] = {}
        self._is_pausing = False
        self._careful_left = 0

    # --- For any thread

    def publish(self, outgoing: Outgoing) -> None:
        """Take `outgoing` on. Raises Closed."""
        with self._lock:
            if self._is_closed:
                raise Closed(f"the transport was closed; message {outgoing.message_id} was not sent")
            self._unsettled[outgoing] = None
            self._to_send.append(outgoing)
        self.link.start()
        self.link.wake()

    def withdraw(self, outgoing: Outgoing) -> bool:
        """Let go of `outgoing`; False when it was settled before."""
        with self._lock:
            if outgoing not in self._unsettled:
                return False
            del self._unsettled[outgoing]
            self._lock.notify_all()
            return True

    def declare(self, queue: QueueSpec) -> None:
        """Declare `queue` before anything that is published later, unless it was declared so on this connection.

        Should it be gone meanwhile, the first message to it brings it back.
        """
        with self._lock:
            if queue.name in self._declared and self._queues.get(queue.name) == queue:
                return
            self._queues[queue.name] = queue
            self._undeclared[queue.name] = queue
            self._declared.discard(queue.name)
        self.link.wake()

    def forget_queue(self, name: str) -> None:
        """Do not declare a queue again."""
        with self._lock:
            self._queues.pop(name, None)
            self._undeclared.pop(name, None)
            self._declared.discard(name)

    def delete_queue(self, name: str) -> None:
        """Delete a queue."""
        self.link.call(lambda: self._delete_queue(name))

    def close(self, timeout_s: float) -> None:
        """Take nothing more on, wait at most `timeout_s` seconds for what is unsettled, then settle it with errors."""
        with self._lock:
            self._is_closed = True
            if self.link.thread is not threading.current_thread():
                self._lock.wait_for(lambda: not self._unsettled, timeout_s)
            left = list(self._unsettled)
        for outgoing in left:
            self._settle(outgoing, self._errors.closed(outgoing))

    # --- LinkUser

    def on_up(self, connection: WireConnection) -> None:
        """Open the channels; queues are declared and messages sent once that is done."""
        self._declarer = Declarer(connection)
        self._open_channel(connection)

    def on_down(self) -> None:
        """Forget the channels. All that is unsettled is to be sent, again or for the first time, in its order."""
        self._declarer = None
        self._declaring = None
        self._refused_queues.clear()
        with self._lock:
            self._undeclared = dict(self._queues)
            self._declared.clear()
        self._forget_channel()

    def on_refused(self, reason: str) -> None:
        """Settle all that waits: trying again cannot help."""
        with self._lock:
            left = list(self._unsettled)
        for outgoing in left:
            self._settle(outgoing, self._errors.refused(reason, outgoing.message_id))

    def is_wanting(self) -> bool:
        """Whether a message waits."""
        return bool(self._unsettled)

    def pump(self) -> None:
        """Declare what is to be declared, then send as much as the window allows."""
        channel, connection = self._channel, self.link.connection
        if channel is None or connection is None or not self._is_confirming or self.link.is_blocked:
            return
        if self._again:
            if self._in_flight or self._is_pausing:
                return  # others of that queue may come back too: they keep their order if it is made after all of them
            with self._lock:
                self._to_send.extendleft(reversed(self._again))
            self._again.clear()
        if self._declare_next():
            return
        with connection.gathering():
            while batch := self._take_batch():
                for outgoing in batch:
                    self._send(channel, outgoing)

    # --- Declaring

    def _delete_queue(self, name: str) -> None:
        if self._declarer is not None:
            self._declarer.delete(name)

    def _declare_next(self) -> bool:
        """Return whether sending has to wait for a queue that is being declared."""
        if self._declaring is not None or self._declarer is None:
            return True
        with self._lock:
            if not self._undeclared:
                return False
            name = next(iter(self._undeclared))
            queue = self._declaring = self._undeclared.pop(name)
        self._declarer.declare(queue, lambda error: self._on_declared(queue, error))
        return True

    def _on_declared(self, queue: QueueSpec, error: BaseException | None) -> None:
        self._declaring = None
        self._refused_queues.pop(queue.name, None)
        if error is None:
            with self._lock:
                if self._queues.get(queue.name) == queue:
                    self._declared.add(queue.name)
        else:
            self._refused_queues[queue.name] = error
            logger.error("queue %r cannot be declared: %s", queue.name, reason_text(error))
        self.link.wake()

    # --- Sending

    def _take_batch(self) -> list[Outgoing]:
        """Take what may be sent now. From here on it counts as sent."""
        window = 1 if self._careful_left else WINDOW_MAX
        room = min(BATCH_MAX, window - len(self._in_flight))
        bytes_left = WINDOW_BYTES_MAX - self._in_flight_bytes
        batch: list[Outgoing] = []
        with self._lock:
            # A queue that was declared meanwhile has to exist before what was published after it.
            while self._to_send and not self._undeclared and len(batch) < room and (bytes_left > 0 or not batch):
                outgoing = self._to_send[0]
                if bytes_left < len(outgoing.body) and (self._in_flight or batch):
                    break
                self._to_send.popleft()
                if outgoing not in self._unsettled:
                    continue  # withdrawn
                outgoing.was_sent = outgoing.was_sent or outgoing.queue not in self._refused_queues
                bytes_left -= len(outgoing.body)
                batch.append(outgoing)
        return batch

    def _send(self, channel: Channel, outgoing: Outgoing) -> None:
        if (refusal := self._refused_queues.get(outgoing.queue)) is not None:
            self._settle(outgoing, self._errors.declaring(outgoing.queue, refusal, outgoing.message_id))
            return
        headers = outgoing.headers if isinstance(outgoing, DeadLetter) else None
        properties = BasicProperties(delivery_mode=PERSISTENT, message_id=outgoing.message_id, headers=headers)
        try:
            channel.basic_publish("", outgoing.queue, outgoing.body, properties, mandatory=True)  # after: W3
        except Exception as error:  # noqa: BLE001 - pika encodes all of a message before it writes any of it
            outgoing.was_sent = False
            self._settle(outgoing, self._errors.publishing(outgoing, error))
            return
        self._tag += 1
        self._in_flight[self._tag] = outgoing
        self._in_flight_bytes += len(outgoing.body)

    def _settle(self, outgoing: Outgoing, error: BrokerError | None) -> None:
        self._sent_twice.discard(outgoing)
        self._refusals.pop(outgoing, None)
        with self._lock:
            if outgoing not in self._unsettled:
                return  # withdrawn
            del self._unsettled[outgoing]
            if self._is_closed and not self._unsettled:
                self._lock.notify_all()
        try:
            outgoing.on_settled(outgoing, error)
        except Exception:
            logger.exception("message %s: on_settled raised; the message was settled", outgoing.message_id)

    # --- The channel

    def _open_channel(self, connection: WireConnection) -> None:
        channel = self._channel = connection.channel(on_open_callback=self._on_channel_open)
        channel.add_on_close_callback(self._on_channel_closed)

    def _on_channel_open(self, channel: Channel) -> None:
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm, callback=lambda _frame: self._on_confirming(channel))

    def _on_confirming(self, channel: Channel) -> None:
        if channel is self._channel:
            self._is_confirming = True
            self.pump()

    def _forget_channel(self) -> None:
        self._channel = None
        self._is_confirming = False
        self._tag = self._confirmed_to = self._last_returned = self._in_flight_bytes = 0
        self._in_flight.clear()
        self._again.clear()
        self._refusals.clear()
        self._is_pausing = False
        self._returned.clear()
        with self._lock:
            self._to_send = deque(self._unsettled)

    def _on_channel_closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel or not isinstance(reason, ChannelClosedByBroker):
            return  # the link tells when the connection is lost
        suspects = [outgoing for outgoing in self._in_flight.values() if outgoing in self._unsettled]
        logger.warning("the broker closed the channel for publishing: %s", reason_text(reason))
        self._forget_channel()
        if len(suspects) == 1 or code_and_text(reason)[0] == ACCESS_REFUSED:
            # The only one in flight is the one, and permission to publish is the same for every message.
            for outgoing in suspects:
                self._settle(outgoing, self._errors.publishing(outgoing, reason))
        else:
            # It was one of these, and the broker does not say which: send them one at a time.
            self._careful_left = len(suspects)
        if (connection := self.link.connection) is not None:
            self._open_channel(connection)

    # --- What the broker says of a message

    def _on_return(self, _channel: Channel, method: Basic.Return, properties: BasicProperties, body: bytes) -> None:
        """Find which message came back; its confirm follows. The broker names no tag, but returns come in order."""
        for tag in chain(range(self._last_returned + 1, self._tag + 1), self._in_flight):
            outgoing = self._in_flight.get(tag)
            if (
                outgoing is not None
                and tag not in self._returned
                and outgoing.message_id == properties.message_id
                and outgoing.queue == method.routing_key
                and outgoing.body == body
            ):
                self._returned.add(tag)
                self._last_returned = tag
                return

    def _on_confirm(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        tag, is_kept = frame.method.delivery_tag or 0, isinstance(frame.method, Basic.Ack)
        first = self._confirmed_to + 1 if frame.method.multiple else tag
        for confirmed in range(first, tag + 1):
            if confirmed in self._in_flight:
                self._on_confirmed(confirmed, is_kept=is_kept)
        if frame.method.multiple:
            self._confirmed_to = max(self._confirmed_to, tag)
        if self._to_send or self._again:
            self.link.wake()  # once after all that the broker has sent together, so that writes stay large

    def _on_confirmed(self, tag: int, *, is_kept: bool) -> None:
        outgoing = self._in_flight.pop(tag)
        self._in_flight_bytes -= len(outgoing.body)
        self._careful_left = max(0, self._careful_left - 1)
        if tag in self._returned:
            self._returned.discard(tag)
            self._on_unroutable(outgoing)
        elif is_kept:
            self._settle(outgoing, None)
        else:
            self._on_refused_message(outgoing)

    def _on_refused_message(self, outgoing: Outgoing) -> None:
        """Send once more, after a pause, what a quorum queue of ours refused: it may just be electing a leader."""
        refusals = self._refusals.get(outgoing, 0) + 1
        with self._lock:
            queue = self._queues.get(outgoing.queue)
            is_worth_trying = queue is not None and queue.is_quorum and outgoing in self._unsettled
        if not is_worth_trying or refusals > REFUSALS_MAX:
            self._settle(outgoing, self._errors.full(outgoing))
            return
        self._refusals[outgoing] = refusals
        self._again.append(outgoing)
        if not self._is_pausing:
            self._is_pausing = True
            self.link.later(REFUSAL_PAUSE_S * 2 ** (refusals - 1), self._end_pause)

    def _end_pause(self) -> None:
        self._is_pausing = False
        self.pump()

    def _on_unroutable(self, outgoing: Outgoing) -> None:
        """Make the queue again if it was declared here, e.g. because it has expired, and send once more."""
        with self._lock:
            queue = self._queues.get(outgoing.queue)
            if queue is not None and outgoing in self._unsettled and outgoing not in self._sent_twice:
                self._sent_twice.add(outgoing)
                self._undeclared[queue.name] = queue
                self._declared.discard(queue.name)
                self._again.append(outgoing)
                return
        # Its sender is told, and knows what it means: an answer to a client that has gone is no reason to worry.
        logger.debug("message %s: no queue %r", outgoing.message_id, outgoing.queue)
        self._settle(outgoing, self._errors.missing(outgoing))
