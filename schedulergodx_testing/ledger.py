"""What services and clients have done through their seams, as far as promises are about it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from schedulergodx.errors import QueueMissing
from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.rules.tasks import Added
from schedulergodx_testing.answered import ids_of
from schedulergodx_testing.seams import has_changed

if TYPE_CHECKING:
    from datetime import datetime

    from schedulergodx.errors import BrokerError
    from schedulergodx.rules.lifecycle import Outcome
    from schedulergodx.rules.tasks import TaskSpec
    from schedulergodx.utils.abstractions import Outgoing, Reply


@dataclass(slots=True)
class TaskRecord:
    """What happened to one task in one database, as far as it was committed.

    Attributes:
        task: as it was stored.
        statuses: the states that it came into, in order.
        outcomes: the ends that were recorded; there should be at most one for each time that it was stored as new.
        starts: when its run began, each time.
        counted_starts: when each start was decided that counts on disk, whether its run then began or was prevented
            by a crash.
        late_starts: how many of them came after an end was on disk.
        unbegun: how many claims were put back before their run began.
        denied: how many claims were put back as if their run had not begun, though it had.
        forgotten: how often it was stored as new once its id was kept long enough.
    """

    task: TaskSpec
    statuses: list[TaskStatus] = field(default_factory=lambda: [TaskStatus.WAITING])
    outcomes: list[Outcome] = field(default_factory=list)
    starts: list[datetime] = field(default_factory=list)
    counted_starts: list[datetime] = field(default_factory=list)
    late_starts: int = 0
    unbegun: int = 0
    denied: int = 0
    forgotten: int = 0


class DatabaseLedger:
    """The facts of one database, over all services that ran on it.

    Attributes:
        tasks: each task that was ever stored, by id.
        early_starts: tasks whose run was started although they were not stored, and when.
        outbox: replies that were put in and not taken out, by number.
        bundles: the ids in each bundle of replies that was sent, by its queue and its own id.
        told: (queue, id) of each reply that the broker has confirmed, that nobody can get, or whose time is over.
        pruned_before: outcomes older than this may be gone; None: none was pruned.
        forgotten_before: ids of tasks that ended before this may be forgotten; None: none was.
    """

    def __init__(self) -> None:
        self.tasks: dict[str, TaskRecord] = {}
        self.early_starts: dict[str, list[datetime]] = defaultdict(list)
        self.outbox: dict[int, Reply] = {}
        self.bundles: dict[tuple[str, str], tuple[str, ...]] = {}
        self.told: set[tuple[str, str]] = set()
        self.pruned_before: datetime | None = None
        self.forgotten_before: datetime | None = None
        self._pending: list[tuple[str, tuple[Any, ...], dict[str, Any], Any]] = []

    def begin(self) -> None:
        """A transaction begins; what an earlier one left unfinished never happened."""
        self._pending.clear()

    def change(self, call: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """A call has changed something, which counts once it is committed."""
        self._pending.append((call, args, kwargs, result))

    @property
    def changes(self) -> frozenset[str]:
        """The calls of the open transaction that have changed something."""
        return frozenset([call for call, _args, _kwargs, result in self._pending if has_changed(result)])

    def commit(self) -> None:
        """What the transaction has changed is kept."""
        for call, args, kwargs, result in self._pending:
            if (note := _NOTES.get(call)) is not None:
                note(self, args, kwargs, result)
        self._pending.clear()

    def run(self, task: TaskSpec, now: datetime) -> None:
        """A run begins."""
        record = self.tasks.get(task.message_id)
        if record is None:
            self.early_starts[task.message_id].append(now)
        else:
            record.starts.append(now)
            record.late_starts += bool(record.outcomes)

    def sent(self, outgoing: Outgoing) -> None:
        """A reply, or a bundle of them, is given to the broker."""
        ids = ids_of(outgoing)
        if len(ids) > 1:
            self.bundles[outgoing.queue, outgoing.message_id] = ids

    def settled(self, outgoing: Outgoing, error: BrokerError | None) -> None:
        """The broker has a reply, or has no place for it."""
        if error is None or isinstance(error, QueueMissing):
            queue, message_id = outgoing.queue, outgoing.message_id
            self.told.update((queue, one) for one in self.bundles.get((queue, message_id), (message_id,)))

    def is_pruned(self, message_id: str) -> bool:
        """Return whether a task ended so long ago that its row may be gone."""
        return self._has_ended_before(self.pruned_before, message_id)

    def _has_ended_before(self, moment: datetime | None, message_id: str) -> bool:
        record = self.tasks.get(message_id)
        if record is None or moment is None:
            return False
        return any(one.ended_at is not None and one.ended_at < moment for one in record.outcomes)

    def _add(self, args: tuple[Any, ...], _kwargs: dict[str, Any], result: Any) -> None:
        if result is not Added.NEW:
            return
        message_id = args[0].message_id
        record = self.tasks.get(message_id)
        if record is None:
            record = self.tasks[message_id] = TaskRecord(args[0])
            record.starts += self.early_starts.pop(message_id, [])
        else:
            record.forgotten += self._has_ended_before(self.forgotten_before, message_id)
            record.statuses.append(TaskStatus.WAITING)

    def _start(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if result and args[0] in self.tasks:
            self.tasks[args[0]].statuses.append(TaskStatus.WORK)
            self.tasks[args[0]].counted_starts.append(kwargs["now"])

    def _put_back(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if not result or args[0] not in self.tasks:
            return
        record = self.tasks[args[0]]
        if not kwargs["has_run"]:
            has_begun = record.statuses.count(TaskStatus.WORK) <= len(record.starts) + record.unbegun
            record.denied += has_begun
            record.unbegun += not has_begun
            record.counted_starts.pop()
        record.statuses.append(TaskStatus.WAITING)

    def _finish(self, args: tuple[Any, ...], _kwargs: dict[str, Any], result: Any) -> None:
        if result is not None and args[0] in self.tasks:
            self.tasks[args[0]].statuses.append(result.status)
            self.tasks[args[0]].outcomes.append(result)

    def _add_reply(self, _args: tuple[Any, ...], _kwargs: dict[str, Any], result: Any) -> None:
        self.outbox[result.number] = result

    def _remove_replies(self, args: tuple[Any, ...], _kwargs: dict[str, Any], _result: Any) -> None:
        for number in args[0]:
            self.outbox.pop(number, None)

    def _prune_replies(self, args: tuple[Any, ...], _kwargs: dict[str, Any], result: Any) -> None:
        dropped = {(args[0], message_id) for message_id in result}
        self.told |= dropped
        self.outbox = {number: one for number, one in self.outbox.items() if (one.queue, one.message_id) not in dropped}

    def _prune(self, _args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if result:
            self.pruned_before = max(kwargs["ended_before"], self.pruned_before or kwargs["ended_before"])

    def _prune_ids(self, _args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if result:
            self.forgotten_before = max(kwargs["ended_before"], self.forgotten_before or kwargs["ended_before"])


_NOTES = {
    "add": DatabaseLedger._add,  # noqa: SLF001 - its own module
    "start": DatabaseLedger._start,  # noqa: SLF001
    "put_back": DatabaseLedger._put_back,  # noqa: SLF001
    "finish": DatabaseLedger._finish,  # noqa: SLF001
    "add_reply": DatabaseLedger._add_reply,  # noqa: SLF001
    "remove_replies": DatabaseLedger._remove_replies,  # noqa: SLF001
    "prune": DatabaseLedger._prune,  # noqa: SLF001
    "prune_ids": DatabaseLedger._prune_ids,  # noqa: SLF001
    "prune_replies": DatabaseLedger._prune_replies,  # noqa: SLF001
}
"""Who takes note of a call; of the others none is taken, since nothing is promised about them."""


class Ledger:
    """All facts of a harness.

    Attributes:
        confirmed: ids of launches whose client heard that the broker has them, and the name of the client.
        bundles: the ids in each bundle of launches that was sent, by its queue and its own id.
        databases: what happened in each database, by its path.
    """

    def __init__(self) -> None:
        self.confirmed: dict[str, str] = {}
        self.bundles: dict[tuple[str, str], tuple[str, ...]] = {}
        self.databases: dict[str, DatabaseLedger] = defaultdict(DatabaseLedger)

    def sent(self, outgoing: Outgoing) -> None:
        """A launch, or a bundle of them, is given to the broker."""
        ids = ids_of(outgoing)
        if len(ids) > 1:
            self.bundles[outgoing.queue, outgoing.message_id] = ids

    def ids_in(self, queue: str, message_id: str) -> tuple[str, ...]:
        """Return which launches a message is about, by what it is known by to the broker."""
        sent = (queue, message_id)
        ids = self.bundles.get(sent)
        if ids is None:
            for ledger in self.databases.values():
                ids = ledger.bundles.get(sent, ids)
        return (message_id,) if ids is None else ids
