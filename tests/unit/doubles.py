"""A `Bench` that steps a service by hand: a fake clock, and doubles that write down what it asks of the other seams.

Everything that matters in order is written into one list, `Bench.calls`: commits, acks, rejects, publishes, starts.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from schedulergodx.config import ServiceLimits
from schedulergodx.errors import Closed, StorageError
from schedulergodx.rules.lifecycle import Code, Ending, Report, TaskStatus
from schedulergodx.service import Service
from schedulergodx.service.stopping import Phase
from schedulergodx.utils.abstractions import (
    Capacity,
    ConnectionState,
    ConnectionStatus,
    ConsumingStatus,
    Delivery,
    Finished,
    Stop,
)
from schedulergodx.utils.message import answers, bundles, envelope, launches, payload
from schedulergodx.utils.message.kinds import Message
from schedulergodx.utils.storage import DB
from schedulergodx_testing import FakeClock
from schedulergodx_testing.specs import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from schedulergodx.rules.lifecycle import Outcome
    from schedulergodx.rules.tasks import TaskSpec
    from schedulergodx.service import StopReport
    from schedulergodx.utils.abstractions import Outgoing, QueueSpec, TransportEvent

Call = tuple[str, Any]

MICROSECOND_S = 1e-6
REPLIES = "service-client.shop.1"


class HandTransport:
    """Keeps what it is given; a test settles what was published by hand, unless `confirms` is on."""

    def __init__(self, calls: list[Call], *, confirms: bool = True) -> None:
        self.calls = calls
        self.confirms = confirms
        self.waiting: list[Outgoing] = []
        self.state = ConnectionState.UP
        self.reason = ""
        self.is_closed = False
        self.consumed: list[tuple[QueueSpec, bool, bool]] = []

    def listen(self, on_event: Callable[[TransportEvent], None]) -> None:
        self.on_event = on_event

    def declare(self, queue: QueueSpec) -> None:
        raise AssertionError("a service declares no queue of its own")

    def publish(self, outgoing: Outgoing) -> None:
        if self.is_closed:
            raise Closed("closed")
        self.calls.append(("publish", outgoing.message_id))
        if self.confirms:
            outgoing.on_settled(outgoing, None)
        self.waiting.append(outgoing)

    def withdraw(self, outgoing: Outgoing) -> bool:
        raise AssertionError("a service withdraws nothing")

    def consume(self, queue: QueueSpec, *, prefetch: int, is_exclusive: bool = False, is_standby: bool = False) -> None:
        self.calls.append(("consume", queue.name))
        self.consumed.append((queue, is_exclusive, is_standby))

    def stop_consuming(self) -> None:
        self.calls.append(("stop_consuming", None))

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self.calls.append(("ack", [delivery.tag for delivery in deliveries]))

    def reject(self, delivery: Delivery, reason: str) -> None:
        self.calls.append(("reject", (delivery.tag, reason)))

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        raise AssertionError("a service gives nothing back: closing does")

    def delete_queue(self, name: str) -> None:
        raise AssertionError("a service deletes no queue")

    def status(self) -> ConnectionStatus:
        return ConnectionStatus(state=self.state, broker="hand://", reason=self.reason)

    def consuming(self) -> ConsumingStatus:
        return ConsumingStatus(connection=self.status(), is_consuming=bool(self.consumed), answered_s_ago=0.0)

    def threads(self) -> dict[str, Any]:
        return {}

    def close(self, timeout_s: float = 5.0) -> None:
        self.calls.append(("transport closed", None))
        self.is_closed = True


class HandRunner:
    """Starts nothing: a test says how each run ends."""

    def __init__(  # noqa: PLR0913 - what a runner may be like
        self,
        calls: list[Call],
        *,
        soft: int,
        hard: int,
        can_hard: bool = True,
        takes_ahead: bool = False,
        lead_s: float = 0.0,
    ) -> None:
        self.calls = calls
        self.room = {False: soft, True: hard}
        self.can_hard = can_hard
        self.lead_s = lead_s
        self.takes_ahead = takes_ahead
        self.running: dict[str, TaskSpec] = {}
        self.given_up: dict[str, TaskSpec] = {}
        self.start_numbers: list[tuple[str, int]] = []
        self.waiting: dict[str, Callable[[], bool]] = {}  # given ahead, until `begin`
        self.left: dict[str, Callable[[], float]] = {}  # of those that were given ahead of their moment

    def listen(self, on_finished: Callable[[Finished], None]) -> None:
        self.on_finished = on_finished

    def can_run_hard(self) -> bool:
        return self.can_hard

    def capacity(self, ahead: int = 0) -> Capacity:
        taken = {kind: sum(task.is_hard is kind for task in self.running.values()) for kind in (False, True)}
        ahead = ahead if self.takes_ahead else 0
        return Capacity(soft=self.room[False] + ahead - taken[False], hard=self.room[True] - taken[True])

    def take_back(self) -> list[str]:
        taken, self.waiting = list(self.waiting), {}
        for message_id in taken:
            del self.running[message_id]
        return taken

    def begin(self, message_id: str) -> bool:
        """Let a run begin that waits. Returns whether it does."""
        begins = self.waiting.pop(message_id)()
        if not begins:
            self.finish(message_id, Report(code=Code.OVERDUE_SKIPPED), Ending.NOT_BEGUN)
        return begins

    def start(
        self,
        task: TaskSpec,
        *,
        start_number: int,
        on_begin: Callable[[], bool] = lambda: True,
        left_s: Callable[[], float] | None = None,
    ) -> None:
        if left_s is not None:
            assert 0 < left_s() <= self.lead_s
            self.left[task.message_id] = left_s
            self.waiting[task.message_id] = on_begin
        elif self.room[task.is_hard] > sum(one.is_hard is task.is_hard for one in self.running.values()):
            assert on_begin()
        else:
            assert not task.is_hard
            self.waiting[task.message_id] = on_begin
        self.calls.append(("start", task.message_id))
        self.running[task.message_id] = task
        self.start_numbers.append((task.message_id, start_number))

    def abandon(self, message_id: str) -> None:
        self.calls.append(("abandon", message_id))
        self.given_up[message_id] = self.running.pop(message_id)

    def abandoned(self) -> int:
        return len(self.given_up)

    def threads(self) -> dict[str, Any]:
        return {}

    def close(self, timeout_s: float = 5.0) -> None:
        self.calls.append(("runner closed", None))

    def finish(self, message_id: str, report: Report | None = None, ending: Ending = Ending.ENDED) -> None:
        """End a run, also an abandoned one."""
        self.running.pop(message_id, None)
        self.given_up.pop(message_id, None)
        report = report or Report(code=Code.OK, result="1")
        self.on_finished(Finished(message_id=message_id, report=report, ending=ending))

    def crash(self, message_id: str) -> None:
        """End a run by killing its process from outside."""
        self.finish(message_id, Report(code=Code.TASK_KILLED, message="killed by SIGKILL (9)"), Ending.CRASHED)


class HandStorage:
    """A real database in a temporary file that fails when told to, and writes down its commits."""

    def __init__(self, path: Path, calls: list[Call]) -> None:
        self.database = DB(path)
        self.calls = calls
        self.failure: StorageError | None = None
        self.fails_on = "commit"
        self._is_open = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            with self.database.transaction():
                self._fail("begin")
                yield
                self._fail("commit")
        except BaseException:
            self.calls.append(("rollback", None))
            raise
        self.calls.append(("commit", None))

    def __getattr__(self, name: str) -> Any:
        self._fail(name)
        return getattr(self.database, name)

    def _fail(self, name: str) -> None:
        if self.failure is not None and name == self.fails_on:
            raise self.failure


class Bench:
    """One service over hand-made seams, stepped by hand."""

    def __init__(self, path: Path, **limits: Any) -> None:
        self.path = path
        self.clock = FakeClock(EPOCH)
        self._began_us = self.clock.monotonic_us()
        self.calls: list[Call] = []
        self.limits = limits
        self.can_hard = True
        self.takes_ahead = False
        self.lead_s = 0.0
        self.confirms = True
        self._tags = 0
        self.make()

    def make(self) -> None:
        """Make a service, as a new process would on the same database."""
        limits = ServiceLimits(**self.limits)
        self.transport = HandTransport(self.calls, confirms=self.confirms)
        self.storage = HandStorage(self.path, self.calls)
        self.runner = HandRunner(
            self.calls,
            soft=limits.threads,
            hard=limits.processes,
            can_hard=self.can_hard,
            takes_ahead=self.takes_ahead,
            lead_s=self.lead_s,
        )
        self.service = Service(
            url="sqlite:///unused",
            limits=limits,
            clock=self.clock,
            transport=self.transport,
            storage=self.storage,
            runner=self.runner,
        )

    def open(self) -> Bench:
        """Open the service."""
        self.service.open()
        return self

    def close(self) -> StopReport:
        """Close the service, as the end of `start` does."""
        return self.service.close()

    def crash(self) -> None:
        """End the service as SIGKILL would, and make a new one on what is on disk."""
        self.storage.failure = None
        self.storage.database.close()
        self.make()

    # --- what arrives

    def deliver(self, body: bytes, *, is_redelivered: bool = False) -> int:
        """Put a delivery into the inbox and return its tag."""
        self._tags += 1
        delivery = Delivery(queue="client-service", body=body, is_redelivered=is_redelivered, tag=self._tags)
        self.service._inbox.put(delivery)
        return self._tags

    def launch(self, message_id: str, **facts: Any) -> int:
        """Deliver a launch; see `launch_body`."""
        return self.deliver(launch_body(message_id, now=self.clock.now(), **facts))

    def ask(self, *message_ids: str, wait: bool = False, reply_to: str = REPLIES) -> int:
        """Deliver a question for outcomes."""
        return self.deliver(message_body(Message.ASK, reply_to=reply_to, ids=list(message_ids), wait=wait))

    def stop(self, grace_s: float | None = None) -> None:
        """Put a Stop into the inbox."""
        self.service._inbox.put(Stop(grace_s=grace_s))

    # --- turns

    def turn(self) -> list[Call]:
        """Do one turn with whatever is in the inbox, without time passing; return what was called."""
        before = len(self.calls)
        self.service.step(None)
        return self.calls[before:]

    def settle_down(self, turns_max: int = 50) -> None:
        """Do turns, without time passing, until nothing is to be done now."""
        for _ in range(turns_max):
            self.turn()
            wait_s = self.service.wait_s()
            if self.service._inbox.empty() and (wait_s is None or wait_s > 0):
                return
        raise AssertionError(f"still busy after {turns_max} turns")

    def wait(self, *, seconds: float) -> None:
        """Let time pass, in the steps that the service itself wants, doing a turn at each and at every event."""
        until = self.elapsed_s + seconds
        for _ in range(10_000):
            if self.service.has_events():
                self.turn()
                continue
            wait_s = self.service.wait_s()
            left_s = until - self.elapsed_s
            if wait_s is None or wait_s > left_s:
                self.clock.advance(seconds=left_s)
                return
            self.doze()
            self.turn()
        raise AssertionError("the service never sleeps")

    def doze(self) -> None:
        """Let time pass as long as the service wants to wait, and not a rounding of its floats less."""
        self.clock.advance(seconds=self.service.wait_s() or 0.0)
        if 0 < (self.service.wait_s() or 0.0) < MICROSECOND_S:
            self.clock.advance(seconds=MICROSECOND_S)

    def run(self) -> StopReport:
        """Do what `start` does until the service is done, time jumping as it pleases; then close it."""
        for _ in range(10_000):
            if self.is_done:
                return self.close()
            self.service.step(self.clock.wait_for(self.service._inbox, self.service.wait_s()))
        raise AssertionError("the service never stops")

    @property
    def elapsed_s(self) -> float:
        """How much time has passed since the bench was made."""
        return (self.clock.monotonic_us() - self._began_us) / 1e6

    @property
    def is_done(self) -> bool:
        """Whether the loop of `start` would have ended."""
        return self.service._stopping.phase is Phase.DONE

    @property
    def error(self) -> BaseException | None:
        """What `start` would raise."""
        return self.service._error

    # --- what came of it

    def names(self, calls: Iterable[Call] | None = None) -> list[str]:
        """Return the names of calls, in order."""
        return [name for name, _ in (self.calls if calls is None else calls)]

    def facts(self, name: str) -> list[Any]:
        """Return what the calls of this name were about, in order."""
        return [fact for one, fact in self.calls if one == name]

    def answers(self, message_id: str | None = None, queue: str | None = None) -> list[dict[str, Any]]:
        """Return the arguments of the answers that were published, to one launch, to one queue, or all."""
        return [
            fields["arguments"]
            for one in self.transport.waiting
            for fields in map(json.loads, bundles.cut(one.body))
            if message_id in (None, fields["id"]) and queue in (None, one.queue)
        ]

    def outcomes(self, message_id: str) -> list[Outcome]:
        """Return the outcomes that were told of a launch."""
        told = [
            envelope.parse(body, bytes_max=10**7) for one in self.transport.waiting for body in bundles.cut(one.body)
        ]
        heard = [answers.outcome_of(message) for message in told if message.message_id == message_id]
        return [outcome for outcome in heard if outcome is not None]

    def codes(self, message_id: str) -> list[str]:
        """Return the codes that were told of a launch, in order."""
        return [one["code"] for one in self.answers(message_id) if "code" in one]

    def status(self, message_id: str) -> TaskStatus | None:
        """Return where a task is, as the database has it."""
        state = self.storage.database.find(message_id)
        return None if state is None else state.status


def work(*args: Any) -> Any:
    """Stand for a task; no double ever calls it."""
    return args


PACKED = payload.pack(work, (), {})


def launch_body(  # noqa: PLR0913 - the facts of a launch
    message_id: str,
    *,
    now: datetime = EPOCH,
    delay_s: float | None = None,
    hard: bool = False,
    lifetime_s: float | None = None,
    enable_overdue: bool = False,
    reply_to: str = REPLIES,
    client: str = "shop",
    max_starts: int = 1,
    takes_bundles: bool = False,
) -> bytes:
    """Return the message of a launch, as a client makes it."""
    launch = launches.envelope_of(
        PACKED,
        message_id=message_id,
        client=client,
        reply_to=reply_to,
        issued_at=now,
        run_at=None if delay_s is None else now + timedelta(seconds=delay_s),
        is_hard=hard,
        lifetime_s=lifetime_s,
        is_overdue_enabled=enable_overdue,
        max_starts=max_starts,
        takes_bundles=takes_bundles,
    )
    return envelope.build(launch)


def message_body(
    kind: Message,
    *,
    message_id: str = "m",
    client: str = "shop",
    reply_to: str = REPLIES,
    takes_bundles: bool = False,
    **arguments: Any,
) -> bytes:
    """Return any message."""
    return envelope.build(
        envelope.Envelope(
            message_id=message_id,
            client=client,
            kind=kind,
            issued_at=datetime(2026, 1, 1, tzinfo=UTC),
            reply_to=reply_to,
            takes_bundles=takes_bundles,
            arguments=arguments,
        )
    )
