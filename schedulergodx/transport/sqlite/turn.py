"""`Turn`: one transaction on the queue file, and what follows from it once it is on disk."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schedulergodx.errors import BrokerError, QueueInUse, QueueMismatch, QueueMissing
from schedulergodx.utils.abstractions import ConsumeFailed, ConsumeResumed, Delivery

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from schedulergodx.transport.sqlite.outbox import Outbox
    from schedulergodx.transport.sqlite.queue_file import QueueFile
    from schedulergodx.utils.abstractions import Outgoing, QueueSpec

logger = logging.getLogger(__name__)

UNSTORABLE = (
    UnicodeEncodeError,
    OverflowError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
"""What SQLite raises for a message that it can never store: trying again would only keep the others waiting."""


@dataclass(eq=False, kw_only=True, slots=True)
class Consumer:
    """One `consume` of this transport.

    Attributes:
        spec, prefetch, is_exclusive, is_standby: as in `Transport.consume`.
        refused_at_s: monotonic time from which a queue in use is an error.
        is_joined: whether the file knows it.
        unacked: how many messages it holds.
    """

    spec: QueueSpec
    prefetch: int
    is_exclusive: bool
    is_standby: bool
    refused_at_s: float
    is_joined: bool = False
    unacked: int = 0

    def is_impatient(self, monotonic_s: float) -> bool:
        """Return whether it has waited long enough for a queue that is in use."""
        return not self.is_joined and not self.is_standby and monotonic_s >= self.refused_at_s


@dataclass(kw_only=True, slots=True)
class Ledger:
    """What this transport is in the file: its owner, queues, consumers, and the messages that it holds, by position.

    `tags` has the tag of each held message's latest delivery: an older one of the same message means nothing any more.
    """

    broker: str
    description: str
    owner_id: str = ""
    declared: dict[str, QueueSpec] = field(default_factory=dict)
    consumers: dict[str, Consumer] = field(default_factory=dict)
    held: dict[int, Consumer] = field(default_factory=dict)
    tags: dict[int, object] = field(default_factory=dict)

    def add_consumer(self, consumer: Consumer) -> None:
        """Have `consumer` join; a second one for the same queue changes nothing."""
        self.consumers.setdefault(consumer.spec.name, consumer)

    def forget_file(self) -> None:
        """The file is closed or another one: nothing is held, and every consumer has to join again."""
        self.owner_id = ""
        self.held.clear()
        self.tags.clear()
        for consumer in self.consumers.values():
            consumer.is_joined, consumer.unacked = False, 0


class Turn:
    """One transaction. Commands change the file through it; only `after_commit` then changes the ledger.

    If the transaction fails, the turn is dropped and its commands go through another one. One thread uses it.
    """

    def __init__(self, file: QueueFile, ledger: Ledger, outbox: Outbox, *, now_s: float, monotonic_s: float) -> None:
        self._file = file
        self._ledger = ledger
        self._outbox = outbox
        self._now_s = now_s
        self._monotonic_s = monotonic_s
        self._settled: list[tuple[Outgoing, BrokerError | None]] = []
        self._released: set[int] = set()
        self._joined: list[Consumer] = []
        self._failed: list[ConsumeFailed] = []
        self._remade: list[Consumer] = []
        self._deliveries: list[tuple[int, Consumer, Delivery]] = []
        self.size_bytes = 0

    # --- Commands

    def publish(self, outgoing: Outgoing) -> None:
        """Put a message into its queue."""
        if not self._outbox.mark_sent(outgoing):
            return
        error: BrokerError | None = None
        try:
            if not self._file.add(outgoing.queue, outgoing.message_id, outgoing.body):
                error = self._missing(outgoing)
        except UNSTORABLE as reason:
            text = f"the message cannot be stored in {self._ledger.broker} ({type(reason).__name__})"
            error = BrokerError(text, message_id=outgoing.message_id, broker=self._ledger.broker)
        self._settled.append((outgoing, error))
        self.size_bytes += len(outgoing.body)

    def _missing(self, outgoing: Outgoing) -> BrokerError:
        name, message_id, broker = outgoing.queue, outgoing.message_id, self._ledger.broker
        declared = self._ledger.declared.get(name)
        differing = self._file.differing(declared) if declared is not None else None
        if differing is not None:
            text = f"the queue {name!r} is not made: {self._in_the_way(differing)}"
            return QueueMismatch(text, message_id=message_id, broker=broker)
        text = f"the queue {name!r} does not exist in {broker}: declare it first"
        return QueueMissing(text, message_id=message_id, broker=broker)

    def _in_the_way(self, wanted: QueueSpec) -> str:
        return (
            f"the queue {wanted.name!r} exists in {self._ledger.broker} with other arguments than {wanted}. "
            "Delete that queue, or use the settings that it was made with"
        )

    def declare(self, spec: QueueSpec) -> None:
        """Make a queue."""
        differing = self._file.declare(spec, now_s=self._now_s)
        if differing == spec:
            logger.warning("queue %r exists in %s with other arguments; used as it is", spec.name, self._ledger.broker)
        elif differing is not None:
            logger.warning("queue %r is not made, unless it is there: %s", spec.name, self._in_the_way(differing))

    def declare_all(self) -> None:
        """Make the queues that were declared before the file was opened again."""
        for spec in list(self._ledger.declared.values()):
            self.declare(spec)

    def stop_consuming(self) -> None:
        """Leave every queue, and keep what is held."""
        self._file.remove_consumers(self._ledger.owner_id, now_s=self._now_s)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Forget what is held of `deliveries`."""
        positions = self._held(deliveries)
        self._file.remove(positions, self._ledger.owner_id)
        self._released.update(positions)

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Let what is held of `deliveries` wait again."""
        positions = self._held(deliveries)
        self._file.give_back(positions, self._ledger.owner_id)
        self._released.update(positions)

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Move `delivery`, if it is held, to the dead letters of its queue."""
        for position in self._held([delivery]):
            dead_queue = self._ledger.held[position].spec.dead_letter_name
            self._file.bury(position, self._ledger.owner_id, dead_queue=dead_queue, reason=reason, now_s=self._now_s)
            self._released.add(position)

    def delete_queue(self, name: str) -> None:
        """Delete a queue; what is held of it is not."""
        self._file.delete_queue(name)

    def leave(self) -> None:
        """Give everything back and be nobody in the file."""
        self._file.remove_owner(self._ledger.owner_id, now_s=self._now_s)
        self._released.update(self._ledger.held)

    # --- What happens besides

    def sweep(self, dead_owner_ids: Iterable[str]) -> None:
        """Give back what dead owners had, and delete the queues that nobody used for too long."""
        for owner_id in dead_owner_ids:
            self._file.remove_owner(owner_id, now_s=self._now_s)
        for name in self._file.expired_queues(now_s=self._now_s):
            self._file.delete_queue(name)

    def take(self) -> None:
        """Take for each consumer what it has room for: the last thing before the commit."""
        for consumer in self._ledger.consumers.values():
            if self._is_in(consumer) or self._join(consumer):
                self._take_for(consumer)

    def _is_in(self, consumer: Consumer) -> bool:
        if not consumer.is_joined or self._file.is_consumer(consumer.spec.name, self._ledger.owner_id):
            return consumer.is_joined
        logger.warning("queue %r in %s was deleted; made anew", consumer.spec.name, self._ledger.broker)
        self._remade.append(consumer)
        self._released.update(position for position, holder in self._ledger.held.items() if holder is consumer)
        return False

    def _join(self, consumer: Consumer) -> bool:
        """Return whether `consumer` may take from its queue from now on."""
        name, owner_id = consumer.spec.name, self._ledger.owner_id
        if (differing := self._file.declare(consumer.spec, now_s=self._now_s)) is not None:
            error = QueueMismatch(self._in_the_way(differing), broker=self._ledger.broker)
            self._failed.append(ConsumeFailed(queue=name, error=error))
            return False
        self._file.add_owner(owner_id, self._ledger.description)
        holder = self._file.consumer_in_the_way(name, owner_id, is_exclusive=consumer.is_exclusive)
        if holder is None:
            self._file.add_consumer(name, owner_id, is_exclusive=consumer.is_exclusive)
            self._joined.append(consumer)
            self._return_leftovers(consumer)
            return True
        if consumer.is_impatient(self._monotonic_s):
            text = f"the queue {name!r} in {self._ledger.broker} is taken by {holder}; stop it first, or stand by"
            self._failed.append(ConsumeFailed(queue=name, error=QueueInUse(text, broker=self._ledger.broker)))
        return False

    def _return_leftovers(self, consumer: Consumer) -> None:
        """Give back what an earlier consumer of the same queue, which was stopped, still holds."""
        held = self._ledger.held.items()
        left = [position for position, holder in held if holder.spec.name == consumer.spec.name]
        self._file.give_back(left, self._ledger.owner_id)
        self._released.update(left)

    def _take_for(self, consumer: Consumer) -> None:
        released = sum(self._ledger.held[position] is consumer for position in self._released)
        room = consumer.prefetch - consumer.unacked + released
        if room <= 0:
            return
        for position, body, deliveries in self._file.take(consumer.spec.name, self._ledger.owner_id, room):
            delivery = Delivery(
                queue=consumer.spec.name,
                body=body,
                is_redelivered=deliveries > 1,
                tag=(self._ledger.owner_id, position, deliveries),
            )
            self._deliveries.append((position, consumer, delivery))

    def _held(self, deliveries: Sequence[Delivery]) -> list[int]:
        """Return the positions of those deliveries that are still held; others are left out."""
        positions = []
        for delivery in deliveries:
            match delivery.tag:
                case (_, int(position), _) if self._ledger.tags.get(position) == delivery.tag:
                    positions.append(position)
        return positions

    # --- Afterwards

    def after_commit(self) -> list[Delivery | ConsumeFailed | ConsumeResumed]:
        """Settle what was published, bring the ledger up to date, and return the events to tell."""
        for position in self._released:
            self._ledger.held.pop(position).unacked -= 1
            del self._ledger.tags[position]
        for consumer in self._joined:
            consumer.is_joined = True
        for failure in self._failed:
            self._ledger.consumers.pop(failure.queue, None)
        for position, consumer, delivery in self._deliveries:
            self._ledger.held[position] = consumer
            self._ledger.tags[position] = delivery.tag
            consumer.unacked += 1
        for outgoing, error in self._settled:
            self._outbox.settle(outgoing, error)
        resumed = [ConsumeResumed(queue=one.spec.name) for one in self._remade if one in self._joined]
        return [*self._failed, *resumed, *(delivery for _, _, delivery in self._deliveries)]

    def after_rollback(self) -> None:
        """Note that nothing of it was kept; for a commit that failed halfway, that is not known."""
        self._outbox.mark_unsent(outgoing for outgoing, _ in self._settled)
