"""`Store`: all queues of a broker in memory, and everything that a broker does with them by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from schedulergodx_testing.memory.queues import Message, Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from schedulergodx.utils.abstractions import QueueSpec
    from schedulergodx_testing.memory.consuming import Channel
    from schedulergodx_testing.memory.faults import Faults
    from schedulergodx_testing.memory.link import Connection
    from schedulergodx_testing.memory.profiles import Profile
    from schedulergodx_testing.memory.stepper import Stepper

Answer: TypeAlias = Literal["kept", "returned", "refused"]


class Store:
    """The queues, whoever owns them, and their limits. The lock of the broker guards it."""

    def __init__(self, stepper: Stepper, faults: Faults, profile: Profile) -> None:
        self.queues: dict[str, Queue] = {}
        self.limits: dict[str, int] = {}
        self.is_going_down = False
        self._stepper = stepper
        self._log = stepper.log
        self._faults = faults
        self._profile = profile
        self._owners: dict[str, Connection] = {}
        self._waiting_for_owner: dict[str, list[Callable[[], None]]] = {}

    # --- Queues

    def declare(self, spec: QueueSpec, transport: str) -> str:
        """Make sure that a queue exists, its dead letters before it. Return "", or in what it differs."""
        if spec.has_dead_letters and (difference := self.declare(spec.dead_letters, transport)):
            return difference
        queue = self.queues.get(spec.name)
        if queue is None:
            queue = self.queues[spec.name] = Queue(spec)
            self._log.add("declared", transport, spec.name)
        elif difference := _difference(queue.spec, spec):
            self._log.add("declare refused", transport, spec.name, detail=difference)
            return difference
        self._begin_expiry(queue)
        return ""

    def delete(self, name: str, transport: str) -> None:
        """Delete a queue, if it exists, and tell its consumers."""
        if (queue := self.queues.get(name)) is not None:
            self._log.add("queue deleted", transport, name)
            self._remove(queue)

    def _expire(self, queue: Queue) -> None:
        self._log.add("queue expired", queue=queue.name)
        self._remove(queue)

    def _remove(self, queue: Queue) -> None:
        del self.queues[queue.name]
        queue.is_deleted = True
        if queue.expiry is not None:
            queue.expiry.cancel()
        for channel in queue.channels.copy():
            queue.stop(channel)
            channel.on_cancelled()

    def _begin_expiry(self, queue: Queue) -> None:
        if queue.expiry is not None:
            queue.expiry.cancel()
            queue.expiry = None
        if queue.spec.expires_after_s is not None and not queue.channels and not queue.is_deleted:
            queue.expiry = self._stepper.after(queue.spec.expires_after_s, lambda: self._expire(queue))

    # --- Messages in

    def publish(self, name: str, message: Message) -> Answer:
        """Put a message into a queue, and hand it on if somebody waits for it."""
        queue = self.queues.get(name)
        if queue is None:
            return "returned"
        limit = self.limits.get(name)
        if limit is not None and len(queue) >= limit:
            return "refused"
        queue.add(message)
        if queue.takers:
            self.hand_out(queue)
        return "kept"

    def hand_out(self, queue: Queue) -> None:
        """Give ready messages to channels with room, one each in turn."""
        takers = queue.takers
        while takers and len(queue) and not self.is_going_down:
            channel = takers.popleft()
            if not channel.has_room:
                # A classic queue notices that at the next message only: whoever has room by then kept its turn.
                channel.is_taker = False
                continue
            if self._faults.is_armed and len(queue) > 1 and self._faults.takes("reorder", queue.name):
                queue.swap_next_two()
            channel.take(queue.pop())
            if queue.spec.is_quorum and len(channel.unacked) == channel.prefetch:
                channel.is_taker = False  # such a queue passes over whoever takes its last one
            else:
                takers.append(channel)

    # --- Messages out

    def consume(self, channel: Channel, transport: str) -> None:
        """Let a channel consume from its queue."""
        queue = channel.queue
        if queue.expiry is not None:
            queue.expiry.cancel()
            queue.expiry = None
        self._log.add("consuming", transport, queue.name)
        queue.join(channel)
        self.hand_out(queue)

    def stop(self, channel: Channel) -> None:
        """Hand nothing more to a channel, which keeps what it has."""
        channel.queue.stop(channel)
        self._begin_expiry(channel.queue)

    def ack(self, channel: Channel, numbers: Iterable[int]) -> list[Message]:
        """Forget messages of a channel, and fill the room. Return those that there were."""
        messages = [message for number in numbers if (message := channel.unacked.pop(number, None)) is not None]
        self._fill(channel)
        return messages

    def give_back(self, channel: Channel, numbers: Iterable[int]) -> None:
        """Put messages of a channel back where they were; at the end of a quorum queue, where that version does so."""
        messages = [message for number in numbers if (message := channel.unacked.pop(number, None)) is not None]
        queue = channel.queue
        if queue.spec.is_quorum and self._profile.is_given_back_to_the_end:
            # So that its log does not grow with a message that is given back for ever.
            for message in messages if not queue.is_deleted else ():
                queue.add(message)
        else:
            _put_back(queue, messages)
        self._fill(channel)

    def close(self, channel: Channel) -> None:
        """Take everything back from a channel, and forget it."""
        queue = channel.queue
        queue.leave(channel)
        messages = list(channel.unacked.values())
        channel.unacked.clear()
        _put_back(queue, messages)
        self._begin_expiry(queue)
        self.hand_out(queue)

    def _fill(self, channel: Channel) -> None:
        queue = channel.queue
        if not channel.is_taker and channel.has_room and channel in queue.channels:
            channel.is_taker = True
            queue.takers.append(channel)
        self.hand_out(queue)

    # --- Owners: one exclusive consumer for each queue

    def owner(self, name: str) -> Connection | None:
        """Return the connection that owns a queue, if any does."""
        return self._owners.get(name)

    def own(self, name: str, connection: Connection) -> None:
        """Make a connection the owner, until it ends."""
        self._owners[name] = connection

    def wait_for_owner(self, name: str, is_gone: Callable[[], None]) -> None:
        """Have `is_gone` called once the owner of a queue is gone."""
        self._waiting_for_owner.setdefault(name, []).append(is_gone)

    def disown(self, connection: Connection) -> None:
        """Take a connection for gone."""
        names = [name for name, owner in self._owners.items() if owner is connection]
        for name in names:
            del self._owners[name]
            for is_gone in self._waiting_for_owner.pop(name, []):
                is_gone()

    # --- A broker that goes down

    def unsafe(self) -> Iterator[Message]:
        """Go through the messages that a crash may take: nobody was told that they are kept."""
        for queue in self.queues.values():
            held = [message for channel in queue.holders for message in channel.unacked.values()]
            yield from (message for message in [*held, *queue] if not message.is_safe)

    def come_up(self, lost: Iterable[Message]) -> None:
        """Begin again with what is on disk, without `lost`. Everybody is gone, and expiry begins anew."""
        gone = {id(message) for message in lost}
        self.is_going_down = False
        for queue in self.queues.values():
            for message in queue.drop(lambda message: id(message) in gone):
                self._log.add("dropped", "", queue.name, message.message_id, "not on disk")
            for message in queue:
                message.is_safe = True
            self._drop_above_limit(queue)
            self._begin_expiry(queue)

    def _drop_above_limit(self, queue: Queue) -> None:
        """Drop the oldest messages above the limit, as RabbitMQ does when it starts, also if it should only refuse."""
        limit = self.limits.get(queue.name)
        while limit is not None and len(queue) > limit:
            message = queue.pop()
            self._log.add("dropped", "", queue.name, message.message_id, "maxlen")
            dead = self.queues.get(queue.spec.dead_letter_name) if queue.spec.has_dead_letters else None
            if dead is not None:
                copy = Message(message.body, message.message_id, "maxlen", queue.name)
                copy.is_safe = True
                dead.add(copy)


def _put_back(queue: Queue, messages: list[Message]) -> None:
    if not queue.is_deleted:
        for message in messages:
            queue.put_back(message)


def _difference(there: QueueSpec, wanted: QueueSpec) -> str:
    """Say in which argument two queues of one name differ, as RabbitMQ does; "" if in none."""
    for argument, received, current in (
        ("x-queue-type", _type(wanted), _type(there)),
        ("x-expires", _milliseconds(wanted), _milliseconds(there)),
        ("x-dead-letter-routing-key", _dead_letters(wanted), _dead_letters(there)),
    ):
        if received != current:
            facts = f"received {received} but current is {current}"
            return f"406 inequivalent arg '{argument}' for queue '{wanted.name}': {facts}"
    return ""


def _type(spec: QueueSpec) -> str:
    return "quorum" if spec.is_quorum else "classic"


def _milliseconds(spec: QueueSpec) -> str:
    return "none" if spec.expires_after_s is None else str(max(1, round(spec.expires_after_s * 1000)))


def _dead_letters(spec: QueueSpec) -> str:
    return spec.dead_letter_name if spec.has_dead_letters else "none"
