"""`Faults`: what can go wrong with a broker in memory, on request."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from schedulergodx.config import seconds as checked_seconds
from schedulergodx.config import whole_number
from schedulergodx.errors import InvalidParameter

if TYPE_CHECKING:
    from schedulergodx_testing.memory.hub import Hub
    from schedulergodx_testing.memory.link import Link

FaultName: TypeAlias = Literal[
    "lose message",
    "lose confirm",
    "lose delivery",
    "repeat message",
    "repeat delivery",
    "delay message",
    "delay confirm",
    "delay delivery",
    "reorder",
]
HEARTBEAT_S = 60.0
"""What RabbitMQ proposes: after so long without a sign of life, a connection counts as lost."""
_TIMES_MAX = 1_000_000


@dataclass(slots=True)
class _Armed:
    name: FaultName
    queue: str | None
    transport: str | None
    times: int
    delay_s: float = 0.0

    def fits(self, name: str, queue: str, transport: str | None) -> bool:
        return (
            self.name == name
            and self.queue in (None, queue)
            and (transport is None or self.transport in (None, transport))
        )


@dataclass(slots=True)
class _Cut:
    at: int
    transport: str | None


class Faults:
    """Everything that can be made to go wrong, each by one call, at any moment of a test, from any thread.

    `queue` and `transport` are names and narrow a fault down; None: any. `times`: to how many it happens; one may arm
    as many faults as one likes, and the one armed first happens first. A lost message is lost without a trace, as by a
    broken switch: the program hears nothing until its connection is cut as well, which `cut` and `half_open` do. Of the
    broker of a harness that is closed, all but `clear` raise HarnessError.

    Attributes:
        counts: how often each fault has happened, by name.
        operations: how many things have travelled over connections so far, in both directions.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._armed: list[_Armed] = []
        self._cuts: list[_Cut] = []
        self.is_armed = False
        self.is_cutting = False
        self.counts: Counter[str] = Counter()
        self.operations = 0

    # --- Messages, confirms, deliveries

    def lose_message(self, queue: str | None = None, *, transport: str | None = None, times: int = 1) -> None:
        """Lose the next message that is published, before it is kept. It counts as sent."""
        self._arm("lose message", queue, transport, times)

    def lose_confirm(self, queue: str | None = None, *, transport: str | None = None, times: int = 1) -> None:
        """Lose the next confirm. The message is kept."""
        self._arm("lose confirm", queue, transport, times)

    def lose_delivery(self, queue: str | None = None, *, transport: str | None = None, times: int = 1) -> None:
        """Lose the next delivery. It stays unacked, and comes again when the connection is lost."""
        self._arm("lose delivery", queue, transport, times)

    def repeat_message(self, queue: str | None = None, *, transport: str | None = None, times: int = 1) -> None:
        """Keep the next message that is published twice, as when it is sent again after a lost confirm."""
        self._arm("repeat message", queue, transport, times)

    def repeat_delivery(self, queue: str | None = None, *, transport: str | None = None, times: int = 1) -> None:
        """Deliver the next message twice, the second time marked as redelivered. Each wants an ack of its own."""
        self._arm("repeat delivery", queue, transport, times)

    def delay_message(
        self, delay_s: float, queue: str | None = None, *, transport: str | None = None, times: int = 1
    ) -> None:
        """Let the next message that is published take so many seconds, and all behind it on its connection."""
        self._arm("delay message", queue, transport, times, delay_s)

    def delay_confirm(
        self, delay_s: float, queue: str | None = None, *, transport: str | None = None, times: int = 1
    ) -> None:
        """Let the next confirm take so many seconds, and all behind it on its connection."""
        self._arm("delay confirm", queue, transport, times, delay_s)

    def delay_delivery(
        self, delay_s: float, queue: str | None = None, *, transport: str | None = None, times: int = 1
    ) -> None:
        """Let the next delivery take so many seconds, and all behind it on its connection."""
        self._arm("delay delivery", queue, transport, times, delay_s)

    def reorder(self, queue: str | None = None, *, times: int = 1) -> None:
        """Exchange the next two messages of a queue that wait, in it or on their way to a consumer."""
        self._arm("reorder", queue, None, times)

    def clear(self) -> None:
        """Forget all faults that are armed and have not happened, cuts too."""
        with self._hub.stepper.lock:
            self._armed.clear()
            self._cuts.clear()
            self.is_armed = self.is_cutting = False

    # --- Connections

    def cut(self, transport: str | None = None) -> int:
        """Cut connections now, without a word: everything on its way is lost. They are made again after a pause.

        Returns:
            How many there were.
        """
        with self._hub.ordering():
            return sum([self._cut(link) for link in self._links(transport)])

    def cut_at(self, operation: int, transport: str | None = None) -> None:
        """Cut connections instead of the `operation`-th thing, from now on, that travels over one of them.

        With 1, 2, 3 … in turn, up to one more than `operations` says of a run without faults, every moment is tried.

        Raises:
            InvalidParameter: it is not a whole number from 1 on.
        """
        whole_number("operation", operation, least=1, most=2**62)
        with self._hub.ordering():
            self._cuts.append(_Cut(operation, transport))
            self.is_cutting = True

    def half_open(self, transport: str | None = None, *, heartbeat_s: float = HEARTBEAT_S) -> int:
        """Let nothing through any more, unnoticed until heartbeats are missed, `heartbeat_s` seconds later.

        What is sent meanwhile counts as sent, and is lost. Returns how many connections there were.
        """
        checked_seconds("heartbeat_s", heartbeat_s, is_least_allowed=False)
        with self._hub.ordering():
            links = [link for link in self._links(transport) if link.half_open(heartbeat_s)]
            for link in links:
                self._happen("half-open", link.transport, detail=link.title)
            return len(links)

    # --- The broker

    def block(self) -> None:
        """Raise the alarm of a broker that is low on memory or disk: it takes no messages, but acks as ever.

        A program hears of it when it publishes; one that only consumes never does. Twice is once.
        """
        with self._hub.ordering():
            if not self._hub.is_alarmed:
                self._hub.is_alarmed = True
                self._happen("block")

    def unblock(self) -> None:
        """End the alarm. Nothing happens when there is none."""
        with self._hub.ordering():
            if self._hub.is_alarmed:
                self._hub.is_alarmed = False
                self._happen("unblock")
                for link in self._hub.publishing:
                    link.unblock()

    def refuse(self, reason: str = "403 ACCESS_REFUSED - Login was refused") -> None:
        """Refuse every new connection, as with a wrong password; `accept` ends that. Those that are up stay.

        Raises:
            InvalidParameter: the reason is empty.
        """
        if not reason:
            raise InvalidParameter("a refusal needs a reason, e.g. '403 ACCESS_REFUSED'")
        with self._hub.ordering():
            self._hub.refusal = reason
            self._happen("refuse", detail=reason)

    def accept(self) -> None:
        """Accept connections again after `refuse`. Programs that gave up try again when they next want something."""
        with self._hub.ordering():
            self._hub.refusal = ""
            self._happen("accept")

    def go_away(self) -> None:
        """Cut all connections, and let none be made until `come_back`: the network is down. Nothing kept is lost."""
        with self._hub.ordering():
            self._hub.is_away = True
            self._note("away")
            self._hub.go_down("away", "Connection reset by peer")

    def come_back(self) -> None:
        """Let connections be made again after `go_away`. Programs come by themselves, at the end of their pauses."""
        with self._hub.ordering():
            self._hub.is_away = False
            self._note("back")

    # --- For the inside of the broker, under the lock

    def takes(self, name: FaultName, queue: str, transport: str | None = None, message_id: str = "") -> bool:
        """Return whether a fault of that name happens to this now, and count it."""
        return self._take(name, queue, transport, message_id) is not None

    def delay_of(self, name: FaultName, queue: str, transport: str, message_id: str) -> float | None:
        """Return by how many seconds this is delayed, or None."""
        armed = self._take(name, queue, transport, message_id)
        return None if armed is None else armed.delay_s

    def cuts_now(self, link: Link) -> bool:
        """Return whether the connection of `link` was cut, instead of what was about to travel over it."""
        due = None
        for cut in self._cuts:
            if cut.transport in (None, link.transport):
                cut.at -= 1
                due = due or (cut if cut.at == 0 else None)
        if due is None:
            return False
        self._cuts = [cut for cut in self._cuts if cut.at > 0]
        self.is_cutting = bool(self._cuts)
        for one in self._links(due.transport):
            self._cut(one)
        return True

    def _cut(self, link: Link) -> bool:
        if not link.is_connected:
            return False
        self._happen("cut", link.transport, detail=link.title)
        return link.cut("Connection reset by peer")

    def _links(self, transport: str | None) -> list[Link]:
        return [link for link in self._hub.links if transport in (None, link.transport)]

    def _arm(self, name: FaultName, queue: str | None, transport: str | None, times: int, delay_s: float = 0.0) -> None:
        whole_number("times", times, least=1, most=_TIMES_MAX)
        checked_seconds("delay_s", delay_s)
        with self._hub.ordering():
            self._armed.append(_Armed(name, queue, transport, times, delay_s))
            self.is_armed = True

    def _take(self, name: FaultName, queue: str, transport: str | None, message_id: str) -> _Armed | None:
        for armed in self._armed:
            if armed.fits(name, queue, transport):
                armed.times -= 1
                if not armed.times:
                    self._armed.remove(armed)
                    self.is_armed = bool(self._armed)
                self._happen(name, transport or "", queue, message_id)
                return armed
        return None

    def _happen(
        self, name: str, transport: str = "", queue: str = "", message_id: str = "", *, detail: str = ""
    ) -> None:
        self.counts[name] += 1
        self._hub.stepper.log.add("fault", transport, queue, message_id, f"{name} {detail}".rstrip())

    def _note(self, kind: Literal["away", "back"]) -> None:
        self.counts[kind] += 1
        self._hub.stepper.log.add(kind)
