"""`Queue`: one queue of a broker in memory: order, who gets the next message, what comes back and where to."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schedulergodx.utils.abstractions import QueueSpec
    from schedulergodx_testing.memory.consuming import Channel
    from schedulergodx_testing.memory.stepper import Timer

_BEFORE_ALL = -(2**62)


class Message:
    """One message in a queue. It is ready, or unacked with one channel, never both.

    Attributes:
        place: its place in the queue: the smaller, the nearer to the head.
        is_redelivered: whether it was ever handed out, also when that got lost on the way.
        is_safe: whether a crash spares it: it was confirmed, or the broker had the time to write it.
        reason: why it is a dead letter, and `from_queue` where it was; else "".
    """

    __slots__ = ("body", "from_queue", "is_redelivered", "is_safe", "message_id", "place", "reason")

    def __init__(self, body: bytes, message_id: str, reason: str = "", from_queue: str = "") -> None:
        self.body = body
        self.message_id = message_id
        self.reason = reason
        self.from_queue = from_queue
        self.place = 0
        self.is_redelivered = False
        self.is_safe = False


class Queue:
    """A durable queue. The lock of the broker guards it."""

    def __init__(self, spec: QueueSpec) -> None:
        self.spec = spec
        self.name = spec.name
        self.is_deleted = False
        self.expiry: Timer | None = None
        self.channels: list[Channel] = []
        """Whoever consumes, in the order of arrival."""
        self.takers: deque[Channel] = deque()
        """Those of them with room, in the order in which they get messages."""
        self.holders: list[Channel] = []
        """Every channel that may have unacked messages of it, also when it consumes no more."""
        self._fresh: deque[Message] = deque()
        self._returned: list[tuple[int, int, Message]] = []
        self._puts = 0
        self._last_place = 0
        self._last_return = 0

    def __len__(self) -> int:
        """How many messages are ready."""
        return len(self._fresh) + len(self._returned)

    def __iter__(self) -> Iterator[Message]:
        """Go through the ready messages, in the order of delivery."""
        return iter(sorted([*(entry[-1] for entry in sorted(self._returned)), *self._fresh], key=_place))

    def add(self, message: Message) -> None:
        """Put a new message at the end."""
        self._last_place += 1
        message.place = self._last_place
        self._fresh.append(message)

    def pop(self) -> Message:
        """Take the first message off."""
        if self._returned and (not self._fresh or self._returned[0][0] < self._fresh[0].place):
            return heapq.heappop(self._returned)[-1]
        return self._fresh.popleft()

    def put_back(self, message: Message) -> None:
        """Put a message back where it was; in a quorum queue, first in line, behind what came back before it."""
        if self.spec.is_quorum:
            self._last_return += 1
            message.place = _BEFORE_ALL + self._last_return
        self._put(message)

    def put_again(self, message: Message) -> None:
        """Put a second copy of a message that was taken off where it was: first in line."""
        copy = Message(message.body, message.message_id, message.reason, message.from_queue)
        copy.is_redelivered, copy.is_safe, copy.place = True, message.is_safe, message.place
        self._put(copy)

    def swap_next_two(self) -> None:
        """Exchange the places of the first two ready messages, of which there must be two."""
        first, second = self.pop(), self.pop()
        first.place, second.place = second.place, first.place
        self._put(first)
        self._put(second)

    def drop(self, is_unwanted: Callable[[Message], bool]) -> list[Message]:
        """Take out every ready message that is unwanted, and return them in their order."""
        dropped = [message for message in self if is_unwanted(message)]
        self._fresh = deque(message for message in self._fresh if not is_unwanted(message))
        self._returned = [entry for entry in self._returned if not is_unwanted(entry[-1])]
        heapq.heapify(self._returned)
        return dropped

    def join(self, channel: Channel) -> None:
        """Let a channel consume."""
        self.channels.append(channel)
        self.holders.append(channel)
        channel.is_taker = True
        self.takers.append(channel)

    def stop(self, channel: Channel) -> None:
        """Hand nothing more to a channel. It keeps what it has."""
        if channel in self.channels:
            self.channels.remove(channel)
        if channel.is_taker:
            channel.is_taker = False
            self.takers.remove(channel)

    def leave(self, channel: Channel) -> None:
        """Forget a channel."""
        self.stop(channel)
        if channel in self.holders:
            self.holders.remove(channel)

    def _put(self, message: Message) -> None:
        self._puts += 1  # a copy shares its place with the original
        heapq.heappush(self._returned, (message.place, self._puts, message))


def _place(message: Message) -> int:
    return message.place
