"""One service under random launches, questions, ends, time, failures and crashes, compared with what was promised.

Invariants in plain words: every accepted launch has one row, which only moves forward; it starts at most once and never
before its moment; nothing is acked before it is on disk. In the end every accepted launch has one outcome, and every
queue that asked for it got that outcome, once per asking; after a crash perhaps again, never another one.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter, defaultdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from schedulergodx.errors import DatabaseBusy, DatabaseFull, QueueFull, QueueMissing
from schedulergodx.rules.lifecycle import Code, Report, TaskStatus
from schedulergodx.utils.message import answers, bundles, envelope
from schedulergodx.utils.message.kinds import Message
from tests.unit.doubles import Bench, launch_body, message_body

if TYPE_CHECKING:
    from datetime import datetime

    from schedulergodx.rules.lifecycle import Outcome
    from schedulergodx.utils.abstractions import Outgoing

IDS = ["a", "b", "c", "d", "e"]
QUEUES = ["service-client.shop.1", "service-client.shop.2", "service-client.other.1"]
TAKES_BUNDLES = QUEUES[1]
FAILS_ON = [
    "begin",
    "commit",
    "add",
    "due",
    "finish",
    "replies",
    "reply_queues",
    "add_reply",
    "next_run_at",
    "watchers",
]
REPORTS = [Report(code=Code.OK, result="1"), Report(code=Code.ERROR_IN_TASK, message="no")]


class ServiceModel(RuleBasedStateMachine):
    """Drives a `Bench` whose broker gives back what was not acked, as a real one does."""

    @initialize(threads=st.integers(1, 2), processes=st.integers(1, 2), window=st.integers(1, 3))
    def begin(self, threads: int, processes: int, window: int) -> None:
        """Start with a small service, so that its bounds are met."""
        self.folder = Path(tempfile.mkdtemp())
        self.bench = Bench(
            self.folder / "service.db", threads=threads, processes=processes, replies_in_flight_max=window
        )
        self.bench.confirms = self.bench.transport.confirms = False
        self.bench.open()
        self.facts: dict[str, dict[str, Any]] = {}
        self.due_at: dict[str, datetime] = {}
        self.unacked: dict[int, bytes] = {}
        self.asked: Counter[tuple[str, str]] = Counter()  # (id, queue): how many answers it may get at most
        self.owed: set[tuple[str, str]] = set()  # must get one
        self.heard: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
        self.starts: Counter[str] = Counter()
        self.statuses: dict[str, TaskStatus] = {}
        self.seen_calls = 0
        self.crashes = 0

    def teardown(self) -> None:
        """Let everything end, check the promises, and clear up."""
        if hasattr(self, "bench"):
            try:
                self.end_well()
            finally:
                self.bench.storage.failure = None
                self.bench.storage.database.close()
                shutil.rmtree(self.folder)

    # --- what happens to it

    def _deliver(self, body: bytes) -> None:
        self.unacked[self.bench.deliver(body)] = body

    @rule(
        name=st.sampled_from(IDS),
        delay_s=st.sampled_from([None, 0.5, 30.0, 500.0]),
        lifetime_s=st.sampled_from([None, 1.0, 40.0]),
        hard=st.booleans(),
        enable_overdue=st.booleans(),
        queue=st.sampled_from(QUEUES),
    )
    def launch(self, name: str, queue: str, delay_s: float | None, **facts: object) -> None:
        """A launch arrives; under a known id it is the same one again, to be answered at any queue."""
        if name not in self.facts:
            now = self.bench.clock.now()
            self.facts[name] = {"now": now, "delay_s": delay_s, **facts}
            self.due_at[name] = now if delay_s is None else now + timedelta(seconds=delay_s)
        body = launch_body(name, reply_to=queue, takes_bundles=queue == TAKES_BUNDLES, **self.facts[name])
        self._deliver(body)
        self.asked[name, queue] += 1
        self.owed.add((name, queue))

    @precondition(lambda self: self.facts)
    @rule(data=st.data(), queue=st.sampled_from(QUEUES), is_broken=st.booleans())
    def launch_together(self, data: st.DataObject, queue: str, is_broken: bool) -> None:
        """Known launches arrive again, in one message, and perhaps something in it that is none."""
        names = data.draw(st.lists(st.sampled_from(sorted(self.facts)), min_size=2, max_size=3))
        takes_bundles = queue == TAKES_BUNDLES
        launches = [
            launch_body(name, reply_to=queue, takes_bundles=takes_bundles, **self.facts[name]) for name in names
        ]
        self._deliver(bundles.join([*launches[:1], b"noise", *launches[1:]] if is_broken else launches))
        for name in names:
            self.asked[name, queue] += 1
            self.owed.add((name, queue))

    @precondition(lambda self: self.facts)
    @rule(data=st.data(), queue=st.sampled_from(QUEUES))
    def ask(self, data: st.DataObject, queue: str) -> None:
        """Somebody asks for an outcome, and waits for it."""
        name = data.draw(st.sampled_from(sorted(self.facts)))
        body = _question(name, queue)
        self._deliver(body)
        self.asked[name, queue] += 1
        self.owed.add((name, queue))

    @rule()
    def noise(self) -> None:
        """Something that is no message."""
        self._deliver(b"noise")

    @rule()
    def turn(self) -> None:
        """The service does one turn."""
        self.bench.turn()

    @rule(seconds=st.sampled_from([0.25, 1.0, 31.0, 600.0]))
    def time_passes(self, seconds: float) -> None:
        """The service sleeps and wakes as it wants."""
        self.bench.wait(seconds=seconds)

    @rule(seconds=st.sampled_from([1.0, 100.0, 1000.0]))
    def it_is_held_up(self, seconds: float) -> None:
        """Time passes without the service."""
        self.bench.clock.advance(seconds=seconds)

    @precondition(lambda self: self.bench.runner.running or self.bench.runner.given_up)
    @rule(data=st.data(), report=st.sampled_from(REPORTS))
    def a_run_ends(self, data: st.DataObject, report: Report) -> None:
        """A run ends, in time or after it was given up."""
        runner = self.bench.runner
        runner.finish(data.draw(st.sampled_from(sorted([*runner.running, *runner.given_up]))), report)

    @rule(fails_on=st.sampled_from(FAILS_ON), kind=st.sampled_from([DatabaseBusy, DatabaseFull]))
    def the_database_fails(self, fails_on: str, kind: type[DatabaseFull]) -> None:
        """From now on."""
        self.bench.storage.fails_on, self.bench.storage.failure = fails_on, kind("for a test")

    @rule()
    def the_database_is_well(self) -> None:
        """Again."""
        self.bench.storage.failure = None

    @precondition(lambda self: self.bench.transport.waiting)
    @rule(data=st.data(), error=st.sampled_from([None, None, QueueFull("full")]))
    def an_answer_is_settled(self, data: st.DataObject, error: QueueFull | None) -> None:
        """The broker takes an answer, or does not."""
        at = data.draw(st.integers(0, len(self.bench.transport.waiting) - 1))
        self._settle(self.bench.transport.waiting.pop(at), error)

    @rule()
    def it_is_killed(self) -> None:
        """SIGKILL, and a new service on the same database; the broker gives back what was not acked.

        Answers on their way may have arrived, without the service hearing of it.
        """
        self._take_calls()
        for outgoing in self.bench.transport.waiting:
            self._hear(outgoing)
        self.crashes += 1
        self.bench.crash()
        self.bench.open()
        unacked, self.unacked = self.unacked, {}
        for body in unacked.values():
            self._deliver(body)

    # --- what was promised

    @invariant()
    def promises_hold(self) -> None:
        """After every step."""
        if not hasattr(self, "bench"):
            return
        self._take_calls()
        for name in self.facts:
            status = self.bench.status(name)
            before = self.statuses.get(name)
            if before is not None:
                assert status is not None, f"{name} was lost"
                assert status is before or not before.is_ended, f"{name} went from {before} to {status}"
                assert (before, status) != (TaskStatus.WORK, TaskStatus.WAITING), f"{name} went back"
            if status is not None:
                self.statuses[name] = status
        assert all(count == 1 for count in self.starts.values()), self.starts

    def _take_calls(self) -> None:
        """Check what was called since the last time."""
        for name, fact in self.bench.calls[self.seen_calls :]:
            if name == "ack":
                for tag in fact:
                    body = self.unacked.pop(tag)
                    for message in [envelope.parse(one, bytes_max=10**6) for one in bundles.cut(body)]:
                        if message.kind is Message.TASK:
                            assert self.bench.status(message.message_id) is not None, "acked and not stored"
            elif name == "reject":
                assert b"noise" in bundles.cut(self.unacked.pop(fact[0]))
            elif name == "start":
                self.starts[fact] += 1
                assert self.bench.clock.now() >= self.due_at[fact], "started before its moment"
        self.seen_calls = len(self.bench.calls)

    def _settle(self, outgoing: Outgoing, error: QueueFull | QueueMissing | None) -> None:
        if error is None:
            self._hear(outgoing)
        outgoing.on_settled(outgoing, error)

    def _hear(self, outgoing: Outgoing) -> None:
        for body in bundles.cut(outgoing.body):
            assert body is outgoing.body or outgoing.queue == TAKES_BUNDLES
            self._hear_one(outgoing, body)

    def _hear_one(self, outgoing: Outgoing, body: bytes) -> None:
        outcome = answers.outcome_of(envelope.parse(body, bytes_max=10**6))
        assert outcome is not None
        if outcome.code is Code.UNKNOWN_ID:  # a question that overtook its launch
            self.owed.discard((outcome.message_id, outgoing.queue))
            return
        self.heard[outcome.message_id, outgoing.queue].append(outcome)

    def end_well(self) -> None:
        """Everything works again and every run ends: now all are owed their outcome."""
        bench = self.bench
        bench.storage.failure = None
        for _ in range(200):
            bench.wait(seconds=31)
            for name in [*bench.runner.running, *bench.runner.given_up]:
                bench.runner.finish(name)
            waiting, bench.transport.waiting[:] = list(bench.transport.waiting), []
            for outgoing in waiting:
                self._settle(outgoing, None)
            if not waiting and bench.service._inbox.empty() and bench.elapsed_s > 10**4:
                break
            bench.clock.advance(seconds=100)
        bench.service.step(None)  # what the broker has leaves the outbox with any turn
        self.promises_hold()
        assert not self.unacked, "neither acked nor rejected"
        assert list(bench.storage.database.replies(after=0, limit=10)) == []
        for name in self.facts:
            assert self.statuses[name].is_ended, f"{name} never ended: {self.statuses[name]}"
        for key in self.owed:
            assert self.heard[key], f"{key} was never answered"
        for key, outcomes in self.heard.items():
            assert len(set(outcomes)) == 1, f"{key} heard different outcomes"
            assert len(outcomes) <= self.asked[key] * (1 + self.crashes), f"{key} heard {len(outcomes)} answers"


def _question(name: str, queue: str) -> bytes:
    return message_body(Message.ASK, reply_to=queue, takes_bundles=queue == TAKES_BUNDLES, ids=[name], wait=True)


TestService = pytest.mark.slow(ServiceModel.TestCase)
TestService.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
