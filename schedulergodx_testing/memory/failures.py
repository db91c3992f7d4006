"""The errors of a broker in memory: those of this library that the transport over RabbitMQ gives, in the same cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx.errors import (
    BrokerError,
    BrokerRefused,
    BrokerUnavailable,
    LaunchUncertain,
    QueueFull,
    QueueInUse,
    QueueMismatch,
    QueueMissing,
)
from schedulergodx_testing.errors import NotEmulated

if TYPE_CHECKING:
    from schedulergodx.utils.abstractions import Outgoing

NAME_BYTES_MAX = 255


def name_error(name: str, broker: str, message_id: str | None = None) -> BrokerError | None:
    """Return why a broker takes no queue of this name, or None.

    Raises:
        NotEmulated: the name is empty, which means another thing to a broker.
    """
    if not name:
        raise NotEmulated(
            "a queue without a name is one that RabbitMQ names; the transport seam has no such thing: name the queue"
        )
    if len(name.encode()) > NAME_BYTES_MAX:
        text = f"queue {name[:40]!r}…: a name has at most {NAME_BYTES_MAX} bytes of UTF-8. Use a shorter one."
        return BrokerError(text, message_id=message_id, broker=broker)
    if name.startswith("amq."):
        text = f"refused: queue {name!r}: 403 contains reserved prefix 'amq.' ({broker}). Use another name."
        return BrokerRefused(text, message_id=message_id, broker=broker)
    return None


def refused(what: str, broker: str, message_id: str | None = None) -> BrokerRefused:
    """Say that the broker refused us."""
    text = f"refused: {what} ({broker}). Check password, virtual host and permissions."
    return BrokerRefused(text, message_id=message_id, broker=broker)


def mismatch(queue: str, difference: str, broker: str, message_id: str | None = None) -> QueueMismatch:
    """Say that a queue exists with other arguments."""
    text = f"queue {queue!r}: {difference} ({broker}). Delete that queue, or use the settings that it was made with."
    return QueueMismatch(text, message_id=message_id, broker=broker)


def in_use(queue: str, owner: str, broker: str) -> QueueInUse:
    """Say that somebody else takes from a queue."""
    text = f"queue {queue!r} is taken by {owner} ({broker})"
    return QueueInUse(f"{text}. Stop that one, use another queue, or wait as a standby.", broker=broker)


def missing(outgoing: Outgoing, broker: str) -> QueueMissing:
    """Say that the queue of a message does not exist."""
    text = f"no queue {outgoing.queue!r}: message {outgoing.message_id} was not kept ({broker}). Declare it first."
    return QueueMissing(text, message_id=outgoing.message_id, broker=broker)


def full(outgoing: Outgoing, broker: str) -> QueueFull:
    """Say that the queue of a message takes no more."""
    text = f"queue {outgoing.queue!r} refused message {outgoing.message_id}: it is full ({broker}). Try again later."
    return QueueFull(text, message_id=outgoing.message_id, broker=broker)


def too_large(outgoing: Outgoing, limit_bytes: int, broker: str) -> BrokerError:
    """Say that a message is larger than this version takes."""
    text = (
        f"message {outgoing.message_id} to queue {outgoing.queue!r}: 406 message size {len(outgoing.body)} is larger "
        f"than configured max size {limit_bytes} ({broker}). It was not kept."
    )
    return BrokerError(text, message_id=outgoing.message_id, broker=broker)


def closed(outgoing: Outgoing, broker: str) -> BrokerError:
    """Say that the transport was closed before a message was confirmed."""
    if outgoing.was_sent:
        text = f"message {outgoing.message_id} was sent but not confirmed before the transport was closed"
        return LaunchUncertain(
            f"{text} ({broker}). It may have been kept.", message_id=outgoing.message_id, broker=broker
        )
    text = f"the transport was closed before message {outgoing.message_id} was sent ({broker})"
    return BrokerUnavailable(text, message_id=outgoing.message_id, broker=broker)
