"""A client's program as a harness sees it: its way to the broker, watched, and cut off when the program is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from schedulergodx.utils.abstractions import ConsumeFailed, Delivery
from schedulergodx_testing.answered import ids_of
from schedulergodx_testing.errors import ClientCrashed

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

    from schedulergodx.errors import BrokerError
    from schedulergodx.utils.abstractions import Outgoing, QueueSpec, TransportEvent
    from schedulergodx_testing.calls import Calls
    from schedulergodx_testing.memory.transport import MemoryTransport


class ClientProgram:
    """The `Transport` of one client of a harness. What is not watched passes through.

    Args:
        inner: the way to the broker.
        calls: counts `client.publish`, `client.hear` (an answer) and `client.ack`.
        note: adds a line to the timeline: lane, words, message id.
        on_sent: told each message before it is sent.
        on_confirmed: told the id of each launch that the broker has, when the client hears of it.
    """

    def __init__(
        self,
        inner: MemoryTransport,
        *,
        calls: Calls,
        note: Callable[[Any, str, str], None],
        on_sent: Callable[[Outgoing], None],
        on_confirmed: Callable[[str, str], None],
    ) -> None:
        self.name = inner.name
        self.queue = ""
        self.is_dead = False
        self._inner = inner
        self._calls = calls
        self._note = note
        self._on_sent = on_sent
        self._on_confirmed = on_confirmed
        self._on_event: Callable[[TransportEvent], None] = lambda _event: None
        self._unsettled: dict[Outgoing, Callable[[Outgoing, BrokerError | None], None]] = {}

    def listen(self, on_event: Callable[[TransportEvent], None]) -> None:
        """Hand every event to `on_event`."""
        self._on_event = on_event
        self._inner.listen(self._hear)

    def _hear(self, event: TransportEvent) -> None:
        """Hand an event on. The program can die before it, or after it; nothing comes after, so nothing is raised."""
        if self.is_dead or not isinstance(event, Delivery):
            self._on_event(event)
            return
        try:
            call = self._calls.begin("client.hear", self.name, self)
            self._on_event(event)
            self._calls.end(call, self)
        except ClientCrashed:
            return

    def consume(self, queue: QueueSpec, *, prefetch: int, is_exclusive: bool = False, is_standby: bool = False) -> None:
        """Consume; the queue of answers is what this client is known by."""
        self.queue = queue.name
        self._inner.consume(queue, prefetch=prefetch, is_exclusive=is_exclusive, is_standby=is_standby)

    def publish(self, outgoing: Outgoing) -> None:
        """Send, unless the program is dead or dies here. Raises ClientCrashed."""
        if self.is_dead:
            raise self._crash
        call = self._calls.begin("client.publish", self.name, self)
        settled = outgoing.on_settled
        self._unsettled[outgoing] = settled
        self._on_sent(outgoing)

        def on_settled(sent: Outgoing, error: BrokerError | None) -> None:
            self._unsettled.pop(sent, None)
            for message_id in ids_of(sent) if error is None else ():
                self._on_confirmed(message_id, self.name)
            settled(sent, error)

        outgoing.on_settled = on_settled
        self._inner.publish(outgoing)
        self._calls.end(call, self)

    def withdraw(self, outgoing: Outgoing) -> bool:
        """Give up on a message."""
        self._unsettled.pop(outgoing, None)
        return self._inner.withdraw(outgoing)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Ack, unless the program is dead or dies here: nothing comes after it then, so nothing is raised."""
        if self.is_dead:
            return
        try:
            call = self._calls.begin("client.ack", self.name, self)
            self._inner.ack(deliveries)
            self._calls.end(call, self)
        except ClientCrashed:
            return

    def die(self, why: str) -> NoReturn:
        """End the program in the middle of a call. Raises ClientCrashed."""
        self.kill(why)
        raise self._crash

    def kill(self, why: str = "") -> None:
        """End the program: its connections break, and whatever waits in it ends with `ClientCrashed`."""
        self.is_dead = True
        self._note("client", f"{self.name} is killed {why}".rstrip(), "")
        self._crash = ClientCrashed(
            f"the program of client {self.name!r} was killed {why}".rstrip()
            + "; scheduler.new_client(name=…) is its next start, and can ask for outcomes by id",
        )
        self._inner.kill()
        unsettled, self._unsettled = self._unsettled, {}
        for outgoing, settled in unsettled.items():
            settled(outgoing, self._crash)
        self._on_event(ConsumeFailed(queue=self.queue, error=self._crash))

    def threads(self) -> Mapping[str, threading.Thread]:
        """Return the threads of the way to the broker; asked at each launch, so it stands here."""
        return self._inner.threads()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
