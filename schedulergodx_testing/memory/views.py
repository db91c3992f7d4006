"""What `MemoryBroker.queues` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from schedulergodx_testing.errors import NotEmulated

if TYPE_CHECKING:
    from schedulergodx_testing.memory.hub import Hub
    from schedulergodx_testing.memory.queues import Message, Queue

BEYOND_THE_SEAM = {
    "priorities": "priorities of messages and consumers",
    "message_ttl_s": "expiry of single messages",
    "bindings": "exchanges and bindings",
    "exchanges": "exchanges and bindings",
    "bind": "exchanges and bindings",
    "exchange_declare": "exchanges and bindings",
    "get": "fetching single messages (basic.get)",
    "qos": "limits of prefetch over a whole channel",
    "recover": "basic.recover",
    "transaction": "AMQP transactions",
    "single_active_consumer": "single active consumers",
    "alternate_exchange": "alternate exchanges",
    "direct_reply_to": "direct reply-to",
    "stream": "streams",
    "streams": "streams",
    "federation": "federation and shovels",
    "policies": "policies, other than `set_limit`",
    "users": "users, permissions and virtual hosts",
    "permissions": "users, permissions and virtual hosts",
    "virtual_hosts": "users, permissions and virtual hosts",
    "x_death": "x-death headers; a dead letter has `reason` and `from_queue`",
}
"""What RabbitMQ has and no transport of this library asks for, by the name under which one would look for it."""


def not_emulated(name: str, owner: object) -> NoReturn:
    """Refuse an attribute that is not there.

    Raises:
        NotEmulated: RabbitMQ has it.
        AttributeError: it has not.
    """
    if name in BEYOND_THE_SEAM:
        raise NotEmulated(
            f"the broker in memory has no {BEYOND_THE_SEAM[name]}: no transport of this library uses that. Use the "
            "fixture rabbitmq for a test that needs it."
        )
    raise AttributeError(f"{type(owner).__name__!r} object has no attribute {name!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageView:
    """One message in a queue.

    Attributes:
        is_redelivered: whether it was handed out before.
        reason, from_queue: of a dead letter: why it is one, and where it was; else "".
        transport: who has it, while it is unacked; else "".
    """

    body: bytes
    message_id: str
    is_redelivered: bool
    reason: str = ""
    from_queue: str = ""
    transport: str = ""


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """One queue at the moment when it was asked for.

    Attributes:
        ready: messages that wait, in the order of delivery.
        unacked: messages that were handed out, in the order of handing out for each consumer.
        consumers: names of the transports that consume from it.
        owner: name of the transport that consumes from it exclusively, or "".
        dead_letters: messages of `<name>.dead`, ready or unacked.
        expires_after_s, is_quorum: as declared.
        limit: how many messages may be ready, or None.
    """

    name: str
    ready: tuple[MessageView, ...]
    unacked: tuple[MessageView, ...]
    consumers: tuple[str, ...]
    owner: str
    dead_letters: tuple[MessageView, ...]
    expires_after_s: float | None
    is_quorum: bool
    limit: int | None

    def __getattr__(self, name: str) -> Any:
        """Refuse what a queue of RabbitMQ has and this one has not."""
        not_emulated(name, self)


class Queues(Mapping[str, QueueView]):
    """The queues of a broker, by name. Each access shows them as they are then. Safe from any thread."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def __getitem__(self, name: str) -> QueueView:
        with self._hub.stepper.lock:
            return self._view(self._hub.store.queues[name])

    def __iter__(self) -> Iterator[str]:
        with self._hub.stepper.lock:
            return iter(list(self._hub.store.queues))

    def __len__(self) -> int:
        return len(self._hub.store.queues)

    def __repr__(self) -> str:
        with self._hub.stepper.lock:
            counts = {queue.name: f"{len(queue)} ready" for queue in self._hub.store.queues.values()}
        return f"Queues({counts})"

    def _view(self, queue: Queue) -> QueueView:
        store = self._hub.store
        dead = store.queues.get(queue.spec.dead_letter_name)
        owner = store.owner(queue.name)
        return QueueView(
            name=queue.name,
            ready=_ready(queue),
            unacked=_unacked(queue),
            consumers=tuple(channel.link.transport for channel in queue.channels),
            owner="" if owner is None else owner.link.transport,
            dead_letters=() if dead is None else _ready(dead) + _unacked(dead),
            expires_after_s=queue.spec.expires_after_s,
            is_quorum=queue.spec.is_quorum,
            limit=store.limits.get(queue.name),
        )


def _ready(queue: Queue) -> tuple[MessageView, ...]:
    return tuple(_message(message) for message in queue)


def _unacked(queue: Queue) -> tuple[MessageView, ...]:
    return tuple(
        _message(message, channel.link.transport) for channel in queue.holders for message in channel.unacked.values()
    )


def _message(message: Message, transport: str = "") -> MessageView:
    return MessageView(
        body=message.body,
        message_id=message.message_id,
        is_redelivered=message.is_redelivered,
        reason=message.reason,
        from_queue=message.from_queue,
        transport=transport,
    )
