"""One queue of the broker in memory against plain models, over random steps.

`OneQueue` takes any moment, with cuts and crashes, and checks what holds at all of them: what was confirmed is
somewhere until it is acked, nobody else has what one consumer has, the queue is in the order of publishing.
`EveryPlace` lets each step come to rest, and knows from a plain list who has which message, marked or not.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.memory_programs import Program, Q, World

CONSUMERS = ("x", "y", "z")


class OneQueue(RuleBasedStateMachine):
    """One publisher, up to three consumers, one queue."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        """Start the broker and the publisher."""
        self.world = World(seed)
        self.sender = self.world.program("sender")
        self.sender.transport.declare(Q)
        self.consumers: dict[str, Program] = {}
        self.count = 0
        self.acked: set[str] = set()
        self.is_clean = True

    # --- What happens

    @rule(number=st.integers(1, 5))
    def publish(self, number: int) -> None:
        """Send the next numbers."""
        self.sender.publish(*(f"{self.count + place:04d}" for place in range(number)))
        self.count += number

    @rule(count=st.integers(1, 20))
    def step(self, count: int) -> None:
        """Let some things happen."""
        for _ in range(count):
            self.world.broker.step()

    @rule(seconds=st.sampled_from([0.0, 0.05, 1.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        """Let everything happen until then."""
        self.world.pass_s(seconds)

    @rule(name=st.sampled_from(CONSUMERS), prefetch=st.integers(1, 4))
    def consume(self, name: str, prefetch: int) -> None:
        """Start a consumer."""
        if name not in self.consumers:
            self.consumers[name] = self.world.program(name)
            self.consumers[name].transport.consume(Q, prefetch=prefetch)

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), kind=st.sampled_from(["ack", "ack", "give_back"]))
    def answer(self, data: st.DataObject, kind: str) -> None:
        """Ack or give back some of what one consumer has, in any order, stale ones too."""
        consumer = self.consumers[data.draw(st.sampled_from(sorted(self.consumers)))]
        some = data.draw(st.lists(st.sampled_from(consumer.deliveries), unique_by=id)) if consumer.deliveries else []
        getattr(consumer.transport, kind)(some)
        if kind == "ack":
            self.acked |= {delivery.body.decode() for delivery in some}

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), end=st.sampled_from(["stop_consuming", "close", "kill"]))
    def end(self, data: st.DataObject, end: str) -> None:
        """End a consumer in one way or the other."""
        name = data.draw(st.sampled_from(sorted(self.consumers)))
        consumer = self.consumers[name]
        getattr(consumer.transport, end)()
        if end != "stop_consuming":
            del self.consumers[name]

    @rule(name=st.sampled_from([None, "sender", *CONSUMERS]))
    def cut(self, name: str | None) -> None:
        """Cut connections."""
        self.world.broker.faults.cut(name)
        self.is_clean = False

    @rule(is_crash=st.booleans())
    def go_down(self, *, is_crash: bool) -> None:
        """Restart or crash the broker."""
        (self.world.broker.crash if is_crash else self.world.broker.restart)()
        self.is_clean = False

    @rule()
    def half_open(self) -> None:
        """Let nothing through for a while."""
        self.world.broker.faults.half_open(heartbeat_s=10.0)
        self.is_clean = False

    # --- What always holds

    @invariant()
    def nothing_confirmed_is_lost(self) -> None:
        """It is ready or unacked, unless somebody acked it."""
        if "q" in self.world.broker.queues:
            queue = self.world.broker.queues["q"]
            there = {message.message_id for message in (*queue.ready, *queue.unacked)}
            confirmed = {message_id for message_id, error in self.sender.settled.items() if error is None}
            assert confirmed - self.acked <= there
            assert set(self.sender.settled.values()) <= {None}

    @invariant()
    def nobody_else_has_what_one_has(self) -> None:
        """As long as nothing was sent twice, each message is in one place only."""
        if self.is_clean and "q" in self.world.broker.queues:
            queue = self.world.broker.queues["q"]
            there = [message.message_id for message in (*queue.ready, *queue.unacked)]
            assert len(there) == len(set(there))

    @invariant()
    def the_queue_is_in_order(self) -> None:
        """As long as nothing was sent twice, what is ready is in the order of publishing, whatever came back."""
        if self.is_clean and "q" in self.world.broker.queues:
            ready = [message.message_id for message in self.world.broker.queues["q"].ready]
            assert ready == sorted(ready)

    @invariant()
    def nobody_has_more_than_its_prefetch(self) -> None:
        """Nor does anybody get what is ready while it has no room; and nothing waits while somebody has."""
        if "q" in self.world.broker.queues:
            queue = self.world.broker.queues["q"]
            out = [message.transport for message in queue.unacked]
            assert all(out.count(name) <= 4 for name in CONSUMERS)
            if queue.ready and queue.consumers:
                assert all(name in out for name in queue.consumers)

    def teardown(self) -> None:
        """In the end everything is confirmed, and a last consumer gets all that nobody acked."""
        if not hasattr(self, "world"):
            return
        for consumer in self.consumers.values():
            consumer.transport.close()
        self.world.pass_s(100)
        assert len(self.sender.settled) == self.count
        assert set(self.sender.settled.values()) <= {None}
        heir = self.world.consumer("heir", prefetch=10_000)
        everything = {f"{number:04d}" for number in range(self.count)}
        assert set(heir.bodies) >= everything - self.acked
        if self.is_clean:
            assert heir.bodies == sorted(heir.bodies)
        assert self.world.broker.is_idle


class Taker:
    """What the plain model knows of a consumer."""

    def __init__(self, prefetch: int) -> None:
        self.prefetch = prefetch
        self.has: list[int] = []
        self.got: list[tuple[int, bool]] = []
        self.is_consuming = True


class EveryPlace(RuleBasedStateMachine):
    """The same queue, at rest after every step, against a list of numbers and a round of consumers."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        """Start the broker and the publisher."""
        self.world = World(seed)
        self.sender = self.world.program("sender")
        self.sender.transport.declare(Q)
        self.programs: dict[str, Program] = {}
        self.ready: list[int] = []
        self.seen: set[int] = set()
        self.takers: dict[str, Taker] = {}
        self.round: list[str] = []
        self.count = 0

    def hand_out(self) -> None:
        """One each in turn, in order; whoever has no room when its turn comes loses it."""
        while self.ready and self.round:
            name = self.round.pop(0)
            taker = self.takers[name]
            if len(taker.has) >= taker.prefetch:
                continue  # noticed only now
            number = self.ready.pop(0)
            taker.has.append(number)
            taker.got.append((number, number in self.seen))
            self.seen.add(number)
            self.round.append(name)

    def make_room(self, name: str) -> None:
        """Join the round, at its end, if there is room."""
        taker = self.takers[name]
        if taker.is_consuming and name not in self.round and len(taker.has) < taker.prefetch:
            self.round.append(name)

    def take_back(self, name: str, numbers: list[int]) -> None:
        """Put messages back where they were."""
        self.takers[name].has = [number for number in self.takers[name].has if number not in numbers]
        self.ready = sorted(self.ready + numbers)

    def leave(self, name: str) -> None:
        """Take everything back from one who is gone."""
        self.round = [other for other in self.round if other != name]
        self.take_back(name, self.takers[name].has)
        self.hand_out()

    # --- What happens

    @rule(number=st.integers(1, 6))
    def publish(self, number: int) -> None:
        """Send the next numbers."""
        numbers = range(self.count, self.count + number)
        self.sender.publish(*(f"{one:04d}" for one in numbers))
        for one in numbers:
            self.ready.append(one)
            self.hand_out()
        self.count += number

    @precondition(lambda self: self.count)
    @rule(name=st.sampled_from(CONSUMERS), prefetch=st.integers(1, 4))
    def consume(self, name: str, prefetch: int) -> None:
        """Start a consumer."""
        if name not in self.takers:
            self.programs[name] = self.world.consumer(name, prefetch=prefetch)
            self.takers[name] = Taker(prefetch)
            self.make_room(name)
            self.hand_out()

    @precondition(lambda self: self.takers)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        """Ack some of what one has, with stale ones among them."""
        name = data.draw(st.sampled_from(sorted(self.takers)))
        deliveries = self.programs[name].deliveries
        some = data.draw(st.lists(st.sampled_from(deliveries), unique_by=id)) if deliveries else []
        self.programs[name].transport.ack(some)
        current = {self.newest(name, number) for number in self.takers[name].has}
        places = {id(delivery): place for place, delivery in enumerate(deliveries)}
        acked = [int(one.body) for one in some if places[id(one)] in current]
        self.takers[name].has = [number for number in self.takers[name].has if number not in acked]
        if acked:
            self.make_room(name)
        self.hand_out()

    @precondition(lambda self: any(taker.has for taker in self.takers.values()))
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """Give one back; its queue may hand it to the same one again."""
        name = data.draw(st.sampled_from(sorted(name for name, taker in self.takers.items() if taker.has)))
        number = data.draw(st.sampled_from(self.takers[name].has))
        program = self.programs[name]
        program.transport.give_back([program.deliveries[self.newest(name, number)]])
        self.take_back(name, [number])
        self.make_room(name)
        self.hand_out()

    @precondition(lambda self: self.takers)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        """Stop one, who keeps what it has."""
        name = data.draw(st.sampled_from(sorted(self.takers)))
        self.programs[name].transport.stop_consuming()
        self.takers[name].is_consuming = False
        self.round = [other for other in self.round if other != name]

    @precondition(lambda self: self.takers)
    @rule(data=st.data(), is_kill=st.booleans())
    def end(self, data: st.DataObject, *, is_kill: bool) -> None:
        """End one."""
        name = data.draw(st.sampled_from(sorted(self.takers)))
        program = self.programs.pop(name)
        (program.transport.kill if is_kill else program.transport.close)()
        self.leave(name)
        del self.takers[name]

    @precondition(lambda self: self.takers)
    @rule(data=st.data())
    def cut(self, data: st.DataObject) -> None:
        """Cut one off, who comes back, at the end of the round."""
        name = data.draw(st.sampled_from(sorted(self.takers)))
        self.world.broker.faults.cut(name)
        self.leave(name)
        self.world.pass_s(30)
        self.make_room(name)
        self.hand_out()

    def newest(self, name: str, number: int) -> int:
        """Return the place of the latest delivery of a message to one."""
        bodies = [int(delivery.body) for delivery in self.programs[name].deliveries]
        return len(bodies) - 1 - bodies[::-1].index(number)

    # --- What is so

    @invariant()
    def everything_is_where_the_model_has_it(self) -> None:
        """Ready, unacked, and every delivery so far, with its mark."""
        if not hasattr(self, "world") or not self.count:
            return
        self.world.run()
        queue = self.world.broker.queues["q"]
        assert [int(one.body) for one in queue.ready] == self.ready
        assert [one.is_redelivered for one in queue.ready] == [number in self.seen for number in self.ready]
        for name, taker in self.takers.items():
            assert [int(one.body) for one in queue.unacked if one.transport == name] == taker.has
            got = [(int(one.body), one.is_redelivered) for one in self.programs[name].deliveries]
            assert got == taker.got
        assert len(self.sender.settled) == self.count


TestEveryPlace = pytest.mark.slow(EveryPlace.TestCase)
TestEveryPlace.settings = settings(stateful_step_count=40)
TestOneQueue = pytest.mark.slow(OneQueue.TestCase)
TestOneQueue.settings = settings(stateful_step_count=40)
