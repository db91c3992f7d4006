"""`Consumer`: everything about messages that come in, over all queues that are consumed."""

from __future__ import annotations

import logging
from collections import deque
from itertools import groupby
from typing import TYPE_CHECKING

from schedulergodx.transport.rabbitmq.declare import Declarer
from schedulergodx.transport.rabbitmq.subscription import Subscription, Tag, Wish
from schedulergodx.utils.abstractions import ConsumingStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from schedulergodx.transport.rabbitmq.connection import Link
    from schedulergodx.transport.rabbitmq.errors import Errors
    from schedulergodx.transport.rabbitmq.wire import WireConnection
    from schedulergodx.utils.abstractions import Delivery, QueueSpec, TransportEvent

logger = logging.getLogger("schedulergodx.transport")


class Consumer:
    """The subscriptions of one connection. Methods of its first part may be called from any thread."""

    link: Link
    """Set once by the transport, before anything is called."""

    def __init__(self, who: str, errors: Errors, emit: Callable[[TransportEvent], None]) -> None:
        self._who = who
        self._errors = errors
        self._emit = emit
        self._acked: deque[Delivery] = deque()
        self._is_ack_pending = False
        # Of the link's thread only:
        self._declarer: Declarer | None = None
        self._subscriptions: dict[str, Subscription] = {}

    # --- For any thread

    def consume(self, wish: Wish) -> None:
        """Consume as `wish` says, now and on every later connection."""
        self.link.start()
        self.link.call(lambda: self._begin(wish))

    def stop(self) -> None:
        """Ask for no more deliveries."""
        self.link.call(self._stop)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Let the broker forget `deliveries`, together with those of other calls that come meanwhile."""
        self._acked.extend(deliveries)
        # Set before the link is told and cleared before they are taken, so that none is left behind.
        if not self._is_ack_pending:
            self._is_ack_pending = True
            if not self.link.call(self._ack):  # so nothing was delivered here: these are another transport's
                self._acked.clear()
                self._is_ack_pending = False

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put `deliveries` back into their queues."""
        self.link.call(lambda: self._for_each(deliveries, Subscription.give_back))

    def reject(self, delivery: Delivery, move: Callable[[QueueSpec, str], None]) -> None:
        """Have `move` called with the queue and the message id, if `delivery` is still ours to reject."""
        self.link.call(lambda: self._reject(delivery, move))

    def knows(self, name: str) -> bool:
        """Return whether that queue is, or was, consumed."""
        return name in self._subscriptions

    def delete_queue(self, name: str) -> None:
        """Delete a queue, and do not make it anew for consuming."""
        self.link.call(lambda: self._delete_queue(name))

    def status(self) -> ConsumingStatus:
        """Return what is known of all that is to be consumed; of several queues, the one that was heard least."""
        wanted = [one for one in list(self._subscriptions.values()) if not one.has_ended]
        answers = [one.answered_s_ago() for one in wanted]
        known = [seconds for seconds in answers if seconds is not None]
        return ConsumingStatus(
            connection=self.link.status,
            is_consuming=bool(wanted) and all(one.is_consuming for one in wanted),
            is_waiting=any(one.is_waiting for one in wanted),
            answered_s_ago=max(known) if known and len(known) == len(answers) else None,
        )

    # --- LinkUser

    def on_up(self, connection: WireConnection) -> None:
        """Consume again all that is to be consumed."""
        declarer = self._declarer = Declarer(connection)
        for subscription in self._wanted():
            subscription.start(declarer)

    def on_down(self) -> None:
        """Forget everything of the connection."""
        self._declarer = None
        for subscription in self._subscriptions.values():
            subscription.on_down()

    def on_refused(self, reason: str) -> None:
        """End all consuming: trying again cannot help."""
        for subscription in self._wanted():
            error = self._errors.refused(f"consuming from {subscription.wish.queue.name!r}: {reason}")
            subscription.fail(error, is_logged=True)

    def is_wanting(self) -> bool:
        """Whether anything is to be consumed."""
        return bool(self._wanted())

    def pump(self) -> None:
        """Do nothing: commands do all."""

    # --- For the link's thread

    def _wanted(self) -> list[Subscription]:
        return [subscription for subscription in self._subscriptions.values() if not subscription.has_ended]

    def _begin(self, wish: Wish) -> None:
        older = self._subscriptions.get(wish.queue.name)
        if older is not None and not older.has_ended:
            logger.warning("queue %r is consumed already; nothing was changed", wish.queue.name)
            return
        if older is not None:
            older.give_all_back()
        subscription = Subscription(wish, who=self._who, link=self.link, errors=self._errors, emit=self._emit)
        self._subscriptions[wish.queue.name] = subscription
        if self._declarer is not None:
            subscription.start(self._declarer)

    def _stop(self) -> None:
        for subscription in self._wanted():
            subscription.stop()

    def _for_each(self, deliveries: Sequence[Delivery], do: Callable[[Subscription, list[Tag]], None]) -> None:
        for queue, tags in _by_queue(deliveries):
            if (subscription := self._subscriptions.get(queue)) is not None:
                do(subscription, tags)

    def _ack(self) -> None:
        self._is_ack_pending = False
        self._for_each([self._acked.popleft() for _ in range(len(self._acked))], Subscription.ack)

    def _reject(self, delivery: Delivery, move: Callable[[QueueSpec, str], None]) -> None:
        subscription, tag = self._subscriptions.get(delivery.queue), delivery.tag
        if subscription is not None and isinstance(tag, Tag) and subscription.begin_reject(tag):
            move(subscription.wish.queue, tag.message_id)

    def _delete_queue(self, name: str) -> None:
        if (subscription := self._subscriptions.get(name)) is not None:
            subscription.stop()
        if self._declarer is not None:
            self._declarer.delete(name)


def _by_queue(deliveries: Sequence[Delivery]) -> Iterator[tuple[str, list[Tag]]]:
    for queue, group in groupby(deliveries, lambda delivery: delivery.queue):
        yield queue, [delivery.tag for delivery in group if isinstance(delivery.tag, Tag)]
