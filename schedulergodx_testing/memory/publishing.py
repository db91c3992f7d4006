"""`PublishingLink`: what goes out, what the broker says of it, and what is sent again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedulergodx.utils.abstractions import ConnectionState, Outgoing
from schedulergodx_testing.memory import failures
from schedulergodx_testing.memory.link import Link
from schedulergodx_testing.memory.queues import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.errors import BrokerError
    from schedulergodx.utils.abstractions import QueueSpec, TransportEvent
    from schedulergodx_testing.memory.hub import Hub
    from schedulergodx_testing.memory.link import Connection


@dataclass(eq=False, kw_only=True, slots=True)
class DeadLetter(Outgoing):
    """A copy of a message that was rejected, on its way to the dead letters.

    Attributes:
        reason: why it was rejected.
        from_queue: the queue it was in.
    """

    reason: str
    from_queue: str


class PublishingLink(Link):
    """The connection for messages that go out. What is not settled is in `unsettled`, in the order of publishing."""

    def __init__(self, hub: Hub, transport: str, emit: Callable[[TransportEvent], None]) -> None:
        super().__init__(hub, transport, emit)
        self.unsettled: dict[Outgoing, None] = {}
        self._queues: dict[str, QueueSpec] = {}
        self._declared: dict[str, QueueSpec] = {}
        self._refused: dict[str, Callable[[str], BrokerError]] = {}
        self._sent_twice: dict[Outgoing, None] = {}
        self._block: object = None
        # Asked for while the broker takes nothing: sent once it does, what was declared before what was published.
        self._undeclared: dict[str, QueueSpec] = {}
        self._held_back: list[Outgoing] = []
        # Of the broker, on their way to us. Confirms keep the order of each queue, and no other.
        self._answers: deque[tuple[Outgoing, Callable[[Outgoing], None]]] = deque()
        self._unconfirmed: dict[str, deque[tuple[Outgoing, Message]]] = {}

    # --- For the transport

    def declare(self, queue: QueueSpec) -> None:
        """Declare `queue` before anything that is published later, now if there is a connection."""
        if self._declared.get(queue.name) == queue:
            return
        self._queues[queue.name] = queue
        if self.status.state is ConnectionState.BLOCKED:
            self._declared.pop(queue.name, None)
            self._undeclared[queue.name] = queue
        else:
            self._declare_now(queue)

    def publish(self, outgoing: Outgoing) -> None:
        """Take `outgoing` on."""
        self.unsettled[outgoing] = None
        self.start()
        if self.status.state is ConnectionState.BLOCKED:
            self._held_back.append(outgoing)
        else:
            self.put(self._arrive, outgoing)

    def forget_queue(self, name: str) -> None:
        """Do not declare a queue again."""
        for queues in (self._queues, self._declared, self._undeclared):
            queues.pop(name, None)

    def settle(self, outgoing: Outgoing, error: BrokerError | None) -> None:
        """Tell what became of a message, unless it was withdrawn."""
        self._sent_twice.pop(outgoing, None)
        if outgoing in self.unsettled:
            del self.unsettled[outgoing]
            if error is not None:
                self._log.add("failed", self.transport, outgoing.queue, outgoing.message_id, type(error).__name__)
            self._stepper.call(self._hand, outgoing, error)
            if not self.unsettled:
                self._stepper.notify()

    def _hand(self, outgoing: Outgoing, error: BrokerError | None) -> None:
        if not self.is_killed:
            outgoing.on_settled(outgoing, error)

    # --- Its life

    def on_up(self) -> None:
        """Declare everything, then send everything that is unsettled, in its order."""
        for queue in self._queues.values():
            self._declare_now(queue)
        for outgoing in self.unsettled:
            self.put(self._arrive, outgoing)

    def on_cut(self, connection: Connection) -> None:  # noqa: ARG002 - nothing of it is needed
        """Forget what was to be confirmed; it is kept. The next message may have been on its way."""
        for entries in self._unconfirmed.values():
            for _, message in entries:
                message.is_safe = True
        self._unconfirmed.clear()
        self._answers.clear()
        on_its_way = next((what for arrive, what in self._outgoing if arrive == self._arrive), None)
        if on_its_way is not None and on_its_way in self.unsettled and self._stepper.choose(2):
            on_its_way.was_sent = True

    def on_vanished(self, what: object) -> None:
        """It counts as sent."""
        if isinstance(what, Outgoing) and what in self.unsettled and what.queue not in self._refused:
            what.was_sent = True

    def on_down(self) -> None:
        """Forget what was declared."""
        self._declared.clear()
        self._refused.clear()
        self._undeclared.clear()
        self._held_back.clear()

    def on_refused(self, reason: str) -> None:
        """Settle all that waits."""
        for outgoing in list(self.unsettled):
            self.settle(outgoing, failures.refused(reason, self.hub.address, outgoing.message_id))

    def unblock(self) -> None:
        """Hear that the broker takes messages again."""
        if self.status.state is ConnectionState.BLOCKED:
            self._tell(self._on_unblocked)

    def _on_unblocked(self) -> None:
        if self.status.state is ConnectionState.BLOCKED and not self.hub.is_alarmed:
            self._log.add("unblocked", self.transport)
            self._set_state(ConnectionState.UP)
            for queue in self._undeclared.values():
                self._declare_now(queue)
                if self.is_connected and queue.name not in self.hub.store.queues and self._stepper.choose(2):
                    # Otherwise what the broker has not read yet comes back, and is sent again: mostly in time, before
                    # what was held back; which of the two is open.
                    self._outgoing.appendleft(self._outgoing.pop())
            for outgoing in self._held_back:
                self.put(self._arrive, outgoing)
            self._undeclared.clear()
            self._held_back.clear()
            self.outbound.resume(self._block)

    # --- What arrives at the broker

    def _declare_now(self, queue: QueueSpec) -> None:
        if self.connection is not None and self.connection.is_open:
            self._declared[queue.name] = queue
            self.put(self._arrive_declare, queue)

    def _arrive_declare(self, queue: QueueSpec) -> None:
        self._refused.pop(queue.name, None)
        address = self.hub.address
        if failures.name_error(queue.name, address) is not None:
            self._refused[queue.name] = lambda message_id: (
                failures.name_error(queue.name, address, message_id) or failures.refused(queue.name, address)
            )
        elif difference := self.hub.store.declare(queue, self.transport):
            self._refused[queue.name] = lambda message_id: failures.mismatch(
                queue.name, difference, address, message_id
            )
        if queue.name in self._refused:
            self._declared.pop(queue.name, None)

    def _arrive(self, outgoing: Outgoing) -> None:
        if outgoing not in self.unsettled:
            return  # withdrawn
        if (refusal := self._refused.get(outgoing.queue)) is not None:
            self.settle(outgoing, refusal(outgoing.message_id))
            return
        outgoing.was_sent = True
        if self.hub.is_alarmed:
            self._hold(outgoing)
            return
        faults = self.hub.faults
        if faults.is_armed and self._is_faulty(outgoing):
            return
        self._keep(outgoing)
        if faults.is_armed and faults.takes("repeat message", outgoing.queue, self.transport, outgoing.message_id):
            second = _message(outgoing)
            second.is_safe = True  # nobody waits for its confirm
            self.hub.store.publish(outgoing.queue, second)

    def _hold(self, outgoing: Outgoing) -> None:
        """The broker reads no further, and says so to whom it is: only those who publish hear of an alarm."""
        self._outgoing.appendleft((self._arrive, outgoing))
        self.outbound.add()
        self._block = self.outbound.halt()
        self._log.add("blocked", self.transport, outgoing.queue, outgoing.message_id)
        self._set_state(ConnectionState.BLOCKED, reason="low on memory")

    def _is_faulty(self, outgoing: Outgoing) -> bool:
        faults, facts = self.hub.faults, (outgoing.queue, self.transport, outgoing.message_id)
        if (delay_s := faults.delay_of("delay message", *facts)) is not None:
            self._outgoing.appendleft((self._arrive, outgoing))
            self.outbound.add()
            self.hold_up(self.outbound, delay_s)
            return True
        return faults.takes("lose message", *facts)

    def _keep(self, outgoing: Outgoing) -> None:
        queue, limit_bytes = outgoing.queue, self.hub.profile.message_bytes_max
        if len(outgoing.body) > limit_bytes:
            self._answer(outgoing, lambda it: self.settle(it, failures.too_large(it, limit_bytes, self.hub.address)))
            return
        message = _message(outgoing)
        answer = self.hub.store.publish(queue, message)
        self._log.add(answer, self.transport, queue, outgoing.message_id)
        if answer == "returned":
            self._answer(outgoing, self._on_returned)
        elif answer == "refused":
            self._answer(outgoing, lambda it: self.settle(it, failures.full(it, self.hub.address)))
        else:
            entries = self._unconfirmed.get(queue)
            if entries is None:
                entries = self._unconfirmed[queue] = deque()
            entries.append((outgoing, message))
            self.inbound.add()

    def _answer(self, outgoing: Outgoing, do: Callable[[Outgoing], None]) -> None:
        """Say at once what needs no disk: it overtakes the confirms."""
        self._answers.append((outgoing, do))
        self.inbound.add()

    # --- What the broker says

    def receive(self) -> None:
        """Hear of one message that was not kept; or that one or several were, of any queue, in its order."""
        if self._answers:
            outgoing, do = self._answers.popleft()
            self.inbound.take()
            do(outgoing)
            return
        names = list(self._unconfirmed)
        queue = names[self._stepper.choose(len(names))]
        entries = self._unconfirmed[queue]
        faults = self.hub.faults
        if faults.is_armed:
            first = entries[0][0]
            delay_s = faults.delay_of("delay confirm", queue, self.transport, first.message_id)
            if delay_s is not None:
                self.hold_up(self.inbound, delay_s)
                return
        count = 1 + self._stepper.choose(len(entries))
        self.inbound.take(count)
        for _ in range(count):
            self._confirm(*entries.popleft())
        if not entries:
            del self._unconfirmed[queue]

    def _confirm(self, outgoing: Outgoing, message: Message) -> None:
        message.is_safe = True
        queue, message_id, faults = outgoing.queue, outgoing.message_id, self.hub.faults
        if faults.is_armed and faults.takes("lose confirm", queue, self.transport, message_id):
            return
        self._log.add("confirmed", self.transport, queue, message_id)
        self.settle(outgoing, None)

    def _on_returned(self, outgoing: Outgoing) -> None:
        """Make the queue again if it was declared here, e.g. because it has expired, and send once more."""
        queue = self._queues.get(outgoing.queue)
        if queue is not None and outgoing in self.unsettled and outgoing not in self._sent_twice:
            self._sent_twice[outgoing] = None
            self._declare_now(queue)
            self.put(self._arrive, outgoing)
        else:
            self.settle(outgoing, failures.missing(outgoing, self.hub.address))


def _message(outgoing: Outgoing) -> Message:
    if isinstance(outgoing, DeadLetter):
        return Message(outgoing.body, outgoing.message_id, outgoing.reason, outgoing.from_queue)
    return Message(outgoing.body, outgoing.message_id)
