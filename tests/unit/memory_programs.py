"""`World` and `Program`: programs over a broker in memory that is stepped by hand, under a clock moved by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx.utils.abstractions import (
    ConnectionChanged,
    ConnectionState,
    ConsumeFailed,
    Delivery,
    Outgoing,
    QueueSpec,
    TransportEvent,
)
from schedulergodx_testing.clock import FakeClock
from schedulergodx_testing.memory import MemoryBroker

if TYPE_CHECKING:
    from schedulergodx.errors import BrokerError

Q = QueueSpec(name="q", has_dead_letters=True)
STEPS_MAX = 100_000


class World:
    """A broker and its clock."""

    def __init__(self, seed: int = 0, **options: object) -> None:
        self.clock = FakeClock()
        self.broker = MemoryBroker(self.clock, seed=seed, **options)

    def run(self) -> None:
        """Let everything happen that can happen without time passing."""
        for _ in range(STEPS_MAX):
            if not self.broker.step():
                return
        raise AssertionError("it goes on and on")

    def pass_s(self, seconds: float) -> None:
        """Let time pass, from timer to timer."""
        end_s = self.clock.monotonic() + seconds
        self.run()
        while (moment_s := self.broker.next_timer()) is not None and moment_s <= end_s:
            self.clock.advance(seconds=moment_s - self.clock.monotonic())
            self.run()
        self.clock.advance(seconds=end_s - self.clock.monotonic())
        self.run()

    def program(self, name: str = "p") -> Program:
        """Start a program."""
        return Program(self, name)

    def consumer(self, name: str = "c", queue: QueueSpec = Q, *, prefetch: int = 10, **options: bool) -> Program:
        """Start a program that consumes, and let it begin."""
        program = self.program(name)
        program.transport.consume(queue, prefetch=prefetch, **options)
        self.run()
        return program

    def ready(self, queue: str = "q") -> list[bytes]:
        """Return the bodies that wait in a queue."""
        return [message.body for message in self.broker.queues[queue].ready]

    def unacked(self, queue: str = "q") -> list[bytes]:
        """Return the bodies that are out."""
        return [message.body for message in self.broker.queues[queue].unacked]

    def kinds(self, *wanted: str) -> list[str]:
        """Return what happened, of these kinds, with the message ids."""
        return [f"{one.kind} {one.message_id}".strip() for one in self.broker.log if one.kind in wanted]


class Program:
    """One transport, and everything it was told."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.transport = world.broker.transport(name)
        self.deliveries: list[Delivery] = []
        self.states: list[tuple[bool, ConnectionState]] = []
        self.failures: list[ConsumeFailed] = []
        self.settled: dict[str, BrokerError | None] = {}
        self.outgoing: dict[str, Outgoing] = {}
        self.transport.listen(self.hear)

    def hear(self, event: TransportEvent) -> None:
        """Note an event."""
        match event:
            case Delivery():
                self.deliveries.append(event)
            case ConnectionChanged():
                self.states.append((event.is_consuming, event.status.state))
            case ConsumeFailed():
                self.failures.append(event)

    def publish(self, *bodies: str, queue: str = "q") -> None:
        """Publish bodies, which are their message ids too; nothing happens yet."""
        for body in bodies:
            outgoing = Outgoing(queue=queue, body=body.encode(), message_id=body, on_settled=self.settle)
            self.outgoing[body] = outgoing
            self.transport.publish(outgoing)

    def settle(self, outgoing: Outgoing, error: BrokerError | None) -> None:
        """Note a settlement: one for each message."""
        assert outgoing.message_id not in self.settled, "settled twice"
        self.settled[outgoing.message_id] = error

    def send(self, *bodies: str, spec: QueueSpec = Q) -> None:
        """Declare the queue and publish, and let everything happen."""
        self.transport.declare(spec)
        self.publish(*bodies, queue=spec.name)
        self.world.run()

    @property
    def bodies(self) -> list[str]:
        """The bodies of all deliveries so far."""
        return [delivery.body.decode() for delivery in self.deliveries]

    @property
    def marked(self) -> list[str]:
        """The same, those redelivered with a `*`."""
        return [delivery.body.decode() + "*" * delivery.is_redelivered for delivery in self.deliveries]

    def take(self) -> list[Delivery]:
        """Return all deliveries so far, and forget them here."""
        deliveries, self.deliveries = self.deliveries, []
        return deliveries
