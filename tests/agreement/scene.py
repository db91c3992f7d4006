"""`Scene`: steps, written as plain data, carried out over the `Transport` seam of a broker, and what was seen of each.

The same steps go to the broker in memory and to a real RabbitMQ. A step is a list, its first item says what is done; a
walk or a recording is a list of steps. Everything that a program can see after a step, once the broker is at rest, is
its observation: plain data too, so that two of them are compared by `==` and kept as JSON.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Protocol

from schedulergodx.utils.abstractions import ConnectionChanged, ConsumeFailed, Delivery, Outgoing, QueueSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.errors import BrokerError
    from schedulergodx.utils.abstractions import Transport, TransportEvent

PEOPLE = ("x", "y")
"""Two programs, each with its own transport."""
QUEUES = {
    "dead": {"has_dead_letters": True},
    "plain": {},
    "full": {},
    "quorum": {"has_dead_letters": True, "is_quorum": True},
}
"""The queues of a walk. `full` takes no more than `FULL_AT` messages that wait."""
OTHERWISE = {"dead": {}, "plain": {"has_dead_letters": True}, "full": {"expires_after_s": 3600.0}, "quorum": {}}
"""The same names with other arguments."""
FULL_AT = 2
EXPIRES_AFTER_S = 0.1

Step = list[Any]
Observation = dict[str, Any]


class Side(Protocol):
    """One broker, as a scene needs it."""

    def open(self, person: str) -> Transport:
        """Return a new transport."""

    def rest(self, scene: Scene) -> None:
        """Return when everything that the steps so far lead to has happened."""

    def between(self) -> None:
        """Do what may happen between two messages that a program publishes one after the other."""

    def stat(self, name: str) -> list[int] | None:
        """Return how many messages of a queue wait and how many consumers it has; None: it does not exist."""

    def delete(self, name: str) -> None:
        """Delete a queue, if it exists."""

    def cut(self, scene: Scene, person: str) -> None:
        """Cut both connections of a person."""

    def restart(self, scene: Scene) -> None:
        """Stop the broker in order, and start it again."""

    def block(self, *, is_on: bool) -> None:
        """Raise the memory alarm, or end it."""

    def wait_until_expired(self, name: str) -> None:
        """Return when a queue is gone."""


class Person:
    """One program: its transport, and what it was told since that was asked last."""

    def __init__(self, name: str, open_transport: Callable[[], Transport], on_event: Callable[[], None]) -> None:
        self.name = name
        self._open = open_transport
        self._on_event = on_event
        self._lock = threading.Lock()
        self._news: list[tuple[str, Any]] = []
        self.count = 0
        self.deliveries: dict[str, list[Delivery]] = defaultdict(list)
        self.enter()

    def enter(self) -> None:
        """Open a transport."""
        self.transport = self._open()
        self.transport.listen(self._hear)

    def settle(self, outgoing: Outgoing, error: BrokerError | None) -> None:
        """Note what became of a message."""
        self._note("settled", (outgoing.message_id, "kept" if error is None else type(error).__name__))

    def _hear(self, event: TransportEvent) -> None:
        match event:
            case Delivery():
                with self._lock:
                    self.deliveries[event.queue].append(event)
                mark = "*" if event.is_redelivered else ""
                self._note("delivered", (event.queue, event.body.decode() + mark))
            case ConsumeFailed():
                self._note("failed", (event.queue, type(event.error).__name__))
            case ConnectionChanged():
                self._note("consuming" if event.is_consuming else "publishing", event.status.state.value)

    def _note(self, kind: str, what: Any) -> None:
        with self._lock:
            self._news.append((kind, what))
            self.count += 1
        self._on_event()

    def take(self, short: Callable[[str], str]) -> Observation:
        """Return the news, by kind: deliveries in the order of each queue, states in that of each connection."""
        with self._lock:
            news, self._news = self._news, []
        delivered: dict[str, list[str]] = defaultdict(list)
        seen: Observation = defaultdict(list)
        for kind, what in news:
            if kind == "delivered":
                delivered[short(what[0])].append(what[1])
            elif kind == "failed":
                seen[kind].append([short(what[0]), what[1]])
            elif kind == "settled":
                seen[kind].append(list(what))
            else:
                seen[kind].append(what)
        # Between queues, and between messages that were published at once, no order is promised.
        for kind in ("settled", "failed"):
            seen[kind].sort()
        seen["delivered"] = dict(sorted(delivered.items()))
        return {kind: seen[kind] for kind in sorted(seen) if seen[kind]}


class Scene:
    """Two programs at one broker."""

    def __init__(self, side: Side, prefix: str) -> None:
        self.side = side
        self.changed = threading.Event()
        self._prefix = prefix
        self._messages = 0
        self._expiring = 0
        self.known: set[str] = set()
        self.is_blocked = False
        self.people = {name: Person(name, lambda name=name: side.open(name), self.changed.set) for name in PEOPLE}

    # --- Names

    def long(self, queue: str) -> str:
        """Return the name that a queue has at the broker."""
        return f"{self._prefix}.{queue}"

    def short(self, name: str) -> str:
        """Return the name that a queue has in steps and observations."""
        return name.removeprefix(f"{self._prefix}.")

    def spec(self, queue: str, *, is_otherwise: bool = False) -> QueueSpec:
        """Return what a queue is declared as. `<queue>.dead` is where its dead letters go."""
        if queue.endswith(".dead"):
            return QueueSpec(name=self.long(queue), is_quorum=self.is_quorum(queue))
        return QueueSpec(name=self.long(queue), **(OTHERWISE if is_otherwise else QUEUES)[queue])

    def is_quorum(self, queue: str) -> bool:
        """Return whether a queue is a quorum queue."""
        return bool(QUEUES[queue.removesuffix(".dead")].get("is_quorum"))

    def transports(self) -> list[Transport]:
        """Return all that are open."""
        return [person.transport for person in self.people.values()]

    # --- Steps

    def do(self, step: Step) -> Observation:
        """Carry a step out, wait until the broker is at rest, and return what was seen."""
        name, *arguments = step
        getattr(self, f"_{name}")(*arguments)
        return self._observe()

    def _observe(self) -> Observation:
        self.side.rest(self)
        seen: Observation = {name: news for name, person in self.people.items() if (news := person.take(self.short))}
        queues = {queue: self._stat(queue) for queue in sorted(self.known)}
        return seen | ({"queues": queues} if queues else {})

    def _stat(self, queue: str) -> list[int] | None:
        found = self.side.stat(self.long(queue))
        # A quorum queue also counts consumers that have stopped and hold messages.
        return found[:1] if found is not None and self.is_quorum(queue) else found

    def close(self) -> None:
        """End it, and leave no queue behind."""
        for transport in self.transports():
            transport.close(0.0)
        for queue in self.known:
            self.side.delete(self.long(queue))

    def _declare(self, person: str, queue: str, *how: str) -> None:
        self._know(queue)
        self.people[person].transport.declare(self.spec(queue, is_otherwise="otherwise" in how))

    def _publish(self, person: str, queue: str, number: int) -> None:
        self.known.add(queue)
        self._send(self.people[person], self.long(queue), number)

    def _send(self, person: Person, name: str, number: int) -> None:
        for place in range(number):
            if place:
                self.side.between()
            self._messages += 1
            message_id = f"m{self._messages}"
            person.transport.publish(
                Outgoing(queue=name, body=message_id.encode(), message_id=message_id, on_settled=person.settle)
            )

    def _consume(self, person: str, queue: str, prefetch: int, *how: str) -> None:
        self._know(queue)
        self.people[person].transport.consume(
            self.spec(queue, is_otherwise="otherwise" in how),
            prefetch=prefetch,
            is_exclusive="exclusive" in how or "standby" in how,
            is_standby="standby" in how,
        )

    def _know(self, queue: str) -> None:
        self.known.add(queue)
        if queue in ("dead", "quorum"):
            self.known.add(f"{queue}.dead")

    def _stop(self, person: str) -> None:
        self.people[person].transport.stop_consuming()

    def _ack(self, person: str, queue: str, places: list[int], *by: str) -> None:
        self._by(person, by).ack(self._some(person, queue, places))

    def _give_back(self, person: str, queue: str, places: list[int], *by: str) -> None:
        self._by(person, by).give_back(self._some(person, queue, places))

    def _reject(self, person: str, queue: str, place: int, *by: str) -> None:
        for delivery in self._some(person, queue, [place]):
            self._by(person, by).reject(delivery, "REASON")

    def _by(self, person: str, by: tuple[str, ...]) -> Transport:
        """Return the transport that is used: another person's too, which must change nothing."""
        return self.people[by[0] if by else person].transport

    def _some(self, person: str, queue: str, places: list[int]) -> list[Delivery]:
        """Return deliveries by their place, counted back from the latest of a person from that queue."""
        deliveries = self.people[person].deliveries[self.long(queue)]
        return [deliveries[-1 - place] for place in places if place < len(deliveries)]

    def _delete(self, person: str, queue: str) -> None:
        self.people[person].transport.delete_queue(self.long(queue))

    def _cut(self, person: str) -> None:
        self.side.cut(self, person)

    def _close(self, person: str) -> None:
        self.people[person].transport.close(0.05 if self.is_blocked else 5.0)
        self.people[person].enter()

    def _restart(self) -> None:
        self.side.restart(self)

    def _block(self) -> None:
        self.is_blocked = True
        self.side.block(is_on=True)

    def _unblock(self) -> None:
        self.is_blocked = False
        self.side.block(is_on=False)

    def _expire(self, person: str) -> None:
        """Make a queue that expires, with a message; wait until it is gone; somebody else finds it missing."""
        self._expiring += 1
        name = self.long(f"expiring{self._expiring}")
        mine = self.people[person]
        other = next(one for one in self.people.values() if one is not mine)
        mine.transport.declare(QueueSpec(name=name, expires_after_s=EXPIRES_AFTER_S))
        self._send(mine, name, 1)
        self.side.rest(self)
        self.side.wait_until_expired(name)
        self._send(other, name, 1)
