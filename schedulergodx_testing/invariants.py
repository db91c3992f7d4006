"""What must hold whatever happens: the promises of docs/crash-windows.md, looked up in what a harness has seen."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from schedulergodx.errors import StorageError
from schedulergodx.rules.lifecycle import TaskStatus, may_advance
from schedulergodx.utils.storage.connection import open_reader
from schedulergodx_testing.answered import ids_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schedulergodx.rules.tasks import TaskState
    from schedulergodx_testing.harness import Harness
    from schedulergodx_testing.ledger import TaskRecord
    from schedulergodx_testing.served import Served

Number: TypeAlias = Literal["I1", "I2", "I3", "I4", "I5", "I6"]

PROMISES: dict[Number, str] = {
    "I1": "what `launch()` returned an id for is in a queue, in a database, among the dead letters, or answered",
    "I2": "a task has one row, whose state only moves forward, to one end",
    "I3": "a task starts once, or as often as allowed; not early, not overdue unless allowed, not before it is on disk",
    "I4": "an outcome has a reply that the broker has, or that is in the outbox",
    "I5": "a service goes on, whatever arrives",
    "I6": "a database stays sound",
}
"""The promises, by their numbers. That no secret is shown (I7) cannot be seen here."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise.

    Attributes:
        number: which.
        sentence: what is the case instead.
        message_id: the launch that it concerns, or "".
    """

    number: Number
    sentence: str
    message_id: str = ""

    def __str__(self) -> str:
        """Number, sentence, and what was promised."""
        return f"{self.number}: {self.sentence} (promised: {PROMISES[self.number]})"


def check(harness: Harness, *, is_over: bool = False) -> list[Violation]:
    """Return every promise that does not hold now; to be called by the test, while nothing happens.

    They hold at every moment, also while a service is down. Tasks that were stored before the harness opened, and
    messages that a client sent by `push`, are left out.

    Args:
        harness: an open one.
        is_over: whether everything had the time to end: then each launch whose moment has come must have ended, with
            its reply out of the outbox.
    """
    tasks = {served: served.tasks() for served in harness.services}
    found = list(_launches(harness, [row for rows in tasks.values() for row in rows], is_over=is_over))
    for served, rows in tasks.items():
        found += _rows(served, rows)
        found += _starts(served)
        found += _replies(served, set(harness.broker.queues) if is_over else None)
        found += _service(harness, served, is_over=is_over)
        found += _database(served)
    return found


def require(harness: Harness, *, is_over: bool = False) -> None:
    """Assert that every promise holds, as `check` does.

    Raises:
        AssertionError: with what does not, and the timeline.
    """
    found = check(harness, is_over=is_over)
    if found:
        raise AssertionError("\n".join([*map(str, found), "", str(harness.timeline)]))


def _launches(harness: Harness, rows: list[TaskState], *, is_over: bool) -> Iterator[Violation]:
    """I1, for each launch whose client heard that the broker has it."""
    waiting = {
        message_id
        for queue in harness.broker.queues.values()
        for message in (*queue.ready, *queue.unacked)
        for message_id in ids_of(message)
    }
    now = harness.clock.now()
    states = {row.message_id: row for row in rows}
    ledgers = [served.ledger for served in harness.services]
    for message_id, client in harness.ledger.confirmed.items():
        if any(ledger.is_pruned(message_id) for ledger in ledgers):
            continue
        state = states.get(message_id)
        if state is None and message_id not in waiting:
            yield Violation("I1", f"a launch of client {client!r} is nowhere any more", message_id)
        elif is_over and state is not None and state.outcome is None and state.run_at <= now:
            yield Violation("I1", f"a launch of client {client!r} stays {state.status.name} for ever", message_id)


def _rows(served: Served, all_rows: list[TaskState]) -> Iterator[Violation]:
    """I2, for each task that was ever stored."""
    rows = {row.message_id: row for row in all_rows}
    if len(rows) != len(all_rows):
        for message_id, count in Counter(row.message_id for row in all_rows).items():
            if count > 1:
                yield Violation("I2", f"a task has {count} rows in {served.path.name}", message_id)
    for message_id, record in served.ledger.tasks.items():
        steps = list(zip(record.statuses, record.statuses[1:], strict=False))
        again = record.unbegun if record.task.max_starts == 1 else len(steps)
        forgotten = record.forgotten
        for before, after in steps:
            if forgotten and before.is_ended and after is TaskStatus.WAITING:
                forgotten -= 1
                continue
            again -= (before, after) == (TaskStatus.WORK, TaskStatus.WAITING)
            if not may_advance(before, after) or again < 0:
                yield Violation("I2", f"a task went from {before.name} to {after.name}", message_id)
        row = rows.get(message_id)
        if row is None and not served.ledger.is_pruned(message_id):
            yield Violation("I2", f"a task was stored in {served.path.name}, and its row is gone", message_id)
        elif row is not None and row.status is not record.statuses[-1]:
            was = record.statuses[-1].name
            yield Violation("I2", f"a task is {row.status.name}, and {was} was committed", message_id)


def _starts(served: Served) -> Iterator[Violation]:
    """I3, for each run that was started."""
    ledger, grace_s = served.ledger, served.actor.service.limits.overdue_grace_s
    for message_id in ledger.early_starts:
        yield Violation("I3", "a task was started that is not stored", message_id)
    for message_id, record in ledger.tasks.items():
        if len(record.starts) > record.task.max_starts:
            moments = ", ".join(f"{moment:%H:%M:%S}" for moment in record.starts)
            yield Violation("I3", f"a task was started {len(record.starts)} times: {moments}", message_id)
        if record.denied:
            yield Violation("I3", "a task was put back as if it had not begun, and it had", message_id)
        claims = record.statuses.count(TaskStatus.WORK)
        if len(record.starts) > claims:
            yield Violation(
                "I3", f"a task was started {len(record.starts)} times, and {claims} starts are on disk", message_id
            )
        if record.late_starts:
            yield Violation("I3", "a task was started after its end was told", message_id)
        if any(moment < record.task.run_at for moment in record.starts):
            yield Violation("I3", f"a task was started before its moment, {record.task.run_at}", message_id)
        if record.starts and record.task.is_delayed and not record.task.is_overdue_enabled:
            first = next(iter(record.counted_starts), record.starts[0])  # a further start is no overdue one
            late_s = (first - record.task.run_at).total_seconds()
            if late_s > grace_s:
                yield Violation("I3", f"a task was started {late_s:g} s late, and was to be skipped then", message_id)


def _replies(served: Served, queues: set[str] | None) -> Iterator[Violation]:
    """I4, for each task that has ended and whose client waits for it; `queues`: those there are, when all is over."""
    ledger = served.ledger
    waiting = {(reply.queue, reply.message_id) for reply in ledger.outbox.values()}
    for message_id, record in ledger.tasks.items():
        if not record.outcomes or not record.task.reply_to:
            continue
        reply = (record.task.reply_to, message_id)
        if reply not in waiting and reply not in ledger.told:
            ended = _ended(record)
            yield Violation("I4", f"{ended}, and its reply is neither with the broker nor in the outbox", message_id)
        elif queues is not None and served.is_up and reply[0] in queues and reply not in ledger.told:
            yield Violation("I4", f"{_ended(record)}, and its reply stays in the outbox for ever", message_id)


def _ended(record: TaskRecord) -> str:
    return f"a task ended as {record.outcomes[-1].status.name}"


def _service(harness: Harness, served: Served, *, is_over: bool) -> Iterator[Violation]:
    """I5, for each service that is up."""
    if not served.is_up or served.is_to_stop:
        return
    if served.actor.service.is_done:
        yield Violation("I5", f"service {served.name!r} has stopped by itself")
    elif is_over:
        for queue in harness.broker.queues.values():
            left = (*queue.ready, *queue.unacked) if served.name in queue.consumers else ()
            for message in left:
                yield Violation("I5", f"service {served.name!r} does not take a message", message.message_id)


def _database(served: Served) -> Iterator[Violation]:
    """I6, for each database."""
    try:
        with closing(open_reader(served.path.resolve())) as connection:
            said = " ".join(str(connection.value("PRAGMA integrity_check(1)")).split())
    except StorageError as error:
        said = str(error)
    if said != "ok":
        yield Violation("I6", f"the database {served.path.name} is not sound: {said}")
