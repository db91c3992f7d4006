"""`DB`: the `Storage` of a service in one SQLite file, written by one connection."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack, contextmanager
from heapq import merge
from typing import TYPE_CHECKING

from schedulergodx.errors import Closed
from schedulergodx.rules.lifecycle import TaskStatus, may_advance
from schedulergodx.utils.abstractions import Added, Reply
from schedulergodx.utils.storage import queries, reader, rows
from schedulergodx.utils.storage.connection import open_writer
from schedulergodx.utils.storage.files import Identity, check_folder, database_path, let_go, resolved, take
from schedulergodx.utils.storage.known import UNKNOWN, Claim, Known
from schedulergodx.utils.storage.marker import Marker, Progress, changes_of, check_newest, check_there
from schedulergodx.utils.storage.marks import Begun, Marks
from schedulergodx.utils.storage.pending import Pending
from schedulergodx.utils.storage.shares import Shares
from schedulergodx.utils.storage.surroundings import boot_id, network_kind

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path

    from schedulergodx.rules.lifecycle import Outcome, Report
    from schedulergodx.utils.abstractions import TaskSpec, TaskState
    from schedulergodx.utils.storage.connection import Connection
    from schedulergodx.utils.storage.known import Digest

logger = logging.getLogger("schedulergodx.storage")

DEFAULT_URL = "sqlite:///SchedulerGodX.db"


class DB:
    """Tasks, outcomes and the outbox in one SQLite file. Making one touches no file; `open` does.

    One thread at a time may use it. The methods are those of `utils.abstractions.Storage`, whose docstrings hold here;
    what is said below is what only a file has. A change outside `transaction()` raises RuntimeError and changes
    nothing; every call before `open` or after `close` raises Closed.

    Args:
        path: a path, or `sqlite:///relative.db`, or `sqlite:////absolute.db`.
        service_db: accepted since 1.0.0 had it; it has no meaning any more.
        accepts_older: open it even though it is an older one than was here, or a backup: what was accepted since then
            stays lost, and what has run since then may run again. To be said once, not always.

    Raises:
        InvalidParameter: `path` names no file.
    """

    def __init__(
        self, path: str | os.PathLike[str] = DEFAULT_URL, service_db: bool = False, *, accepts_older: bool = False
    ) -> None:
        self.path: Path = database_path(path)
        self.accepts_older = accepts_older
        self.service_db = service_db
        self._resources = ExitStack()
        self._connection: Connection | None = None
        self._owner = ""
        self._epoch = 0
        self._began_at = 0
        self._changes = 0
        self._known = Known()
        self._pending = Pending()
        self._shares = Shares()
        self._left: Begun | None = None
        self._to_release: list[str] = []

    def __repr__(self) -> str:
        return f"DB({str(self.path)!r})"

    def open(self, *, owner: str, now: datetime) -> None:
        """Take the database, create or migrate it, and begin a new epoch. Opening an open one raises RuntimeError.

        The file is readable for this user alone. `<path>.lock` beside it is locked until `close`, or until this
        process dies, and names the process, host, owner and moment. `<path>.marker` says how far the database has come,
        `<path>.begun` which of the tasks in WORK have begun.

        Raises what `Storage.open` says, and:
            DatabaseOutdated: it is an older database than was here; nothing was changed.
        """
        if self._connection is not None:
            raise RuntimeError(f"the database {self.path} is open already")
        path = resolved(self.path)
        check_folder(path)
        if (kind := network_kind(path)) is not None:
            logger.warning(
                "the database %s is on a network file system (%s): its log works within one machine only, and locks "
                "may not work at all; use a local disk",
                path,
                kind,
            )
        with ExitStack() as resources:
            lock = take(path, owner=owner, now=now)
            resources.callback(let_go, lock)
            self._marker = Marker(path)
            resources.callback(self._marker.close)
            self._marks = Marks(path, boot=boot_id() if kind is None else "")
            resources.callback(self._marks.close)
            connection = self._open_writer(path)
            resources.callback(connection.close)
            self._begin_epoch(connection, owner, rows.to_microseconds(now))
            self._identity = Identity(path)
            self._connection, self._owner = connection, owner
            self._resources = resources.pop_all()

    def _open_writer(self, path: Path) -> Connection:
        """Open the file, unless it is an older one than was here."""
        marked = self._marker.read()
        # Of a database that may be older than they are, marks tell nothing.
        self._left = self._marks.read() if marked is not None and not self.accepts_older else None
        self._is_marking = False
        if self.accepts_older:
            return open_writer(path)
        if not path.exists():
            check_there(path, marked)
        return open_writer(path, lambda connection, version: check_newest(connection, version, marked))

    def _begin_epoch(self, connection: Connection, owner: str, began_at: int) -> None:
        self._marker.open()
        with connection.transaction():
            self._changes = changes_of(connection)
            self._epoch = connection.insert(
                "INSERT INTO epochs (owner, began_at, changes) VALUES (?, ?, ?)", (owner, began_at, self._changes)
            )
            connection.change("DELETE FROM copies")
        self._began_at = began_at
        self._marker.write(Progress(self._epoch, began_at, self._changes))

    def close(self) -> None:
        """Let go of the file and its lock. An open transaction is rolled back. Closing twice does nothing."""
        self._connection = None
        self._forget()
        self._resources.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all changes of the block together, on disk when it ends; or none, when it raises.

        Once a method has raised a `StorageError` in the block, the block raises it too, even if it was caught.
        """
        connection, changes = self._opened(), self._changes
        connection.expect_no_transaction()
        try:
            with connection.transaction():
                before = connection.changed_rows()
                yield
                self._write_pending()
                if connection.changed_rows() != before:
                    changes += 1
                    connection.change("UPDATE epochs SET changes = ? WHERE epoch = ?", (changes, self._epoch))
                self._identity.check()
        except BaseException:
            self._forget()
            raise
        self._known.end_transaction()
        for message_id in self._to_release:
            self._marks.release(message_id)
            self._known.claims.pop(message_id, None)
        self._to_release.clear()
        if changes != self._changes:
            self._changes = changes
            self._marker.write(Progress(self._epoch, self._began_at, changes))

    def look_up(self, message_ids: Iterable[str]) -> None:
        """Find out together which ids are known, for calls of `add` in this transaction."""
        asked = [one for one in message_ids if one not in self._known.digests]
        if asked:
            self._known.digests |= dict.fromkeys(asked, UNKNOWN) | reader.digests(self._changing(), asked)

    def add(self, task: TaskSpec, *, now: datetime) -> Added:
        """Store `task` as WAITING, unless its id is known."""
        connection = self._changing()
        digest, is_forgotten = self._digest_of(task.message_id)
        if digest is not None:
            if digest != task.digest:
                return Added.CONFLICT
            return Added.FORGOTTEN if is_forgotten else Added.SAME
        function = None if task.function is None else self._known.functions.number_of(connection, task.function)
        number = self._known.next_task(connection)
        self._known.digests[task.message_id] = (task.digest, False)
        claim = rows.new_claim(number, task)
        self._pending.add(claim, task, rows.task(task, claim, function=function, now=now))
        self._known.add_waiting(1)
        return Added.NEW

    def due(self, now: datetime, *, soft_limit: int, hard_limit: int, without: Collection[str] = ()) -> list[TaskSpec]:
        """Return WAITING tasks whose `run_at` has come, the earliest first, at most so many of each kind."""
        moment = rows.to_microseconds(now)
        soft = self._due(moment, without, is_hard=False, limit=soft_limit)
        hard = self._due(moment, without, is_hard=True, limit=hard_limit)
        found = list(merge(soft, hard, key=lambda one: one[0].order)) if soft and hard else soft or hard
        self._known.due = {task.message_id: claim for claim, task in found}
        return [task for _claim, task in found]

    def next_run_at(self, *, is_soft_wanted: bool = True, is_hard_wanted: bool = True) -> datetime | None:
        """Return the earliest `run_at` of all WAITING tasks of the wanted kinds, or None."""
        connection = self._written()
        wanted = [is_hard for is_hard, is_wanted in ((False, is_soft_wanted), (True, is_hard_wanted)) if is_wanted]
        moments = [self._known.ahead[is_hard].earliest(connection) for is_hard in wanted]
        earliest = [moment for moment in moments if moment is not None]
        return rows.to_moment(min(earliest)) if earliest else None

    def start(self, message_id: str, *, now: datetime) -> bool:
        """Make a WAITING task WORK, in this epoch. Returns False, and changes nothing, if it is not WAITING."""
        self._changing()
        started_at = rows.known_microseconds(now)
        claim = self._known.due.pop(message_id, None)
        if claim is None:
            claim = self._waiting_claim(message_id)
        if claim is None:
            return False
        if not self._is_marking:  # not earlier: what an older epoch has left is of use until it is dealt with
            self._is_marking = True
            self._marks.begin(self._epoch, self._began_at)
        claim.started_at = started_at
        is_new = self._pending.start(claim.number, started_at=started_at)
        self._known.claims[message_id] = claim
        self._known.add_waiting(-1)
        if not is_new:
            self._known.ahead[claim.is_hard].remove(claim.run_at)
        return True

    def put_back(self, message_id: str, *, has_run: bool) -> bool:
        """Make a WORK task WAITING again. Returns False, and changes nothing, if it is not WORK."""
        changed = self._changing_now().change(
            "UPDATE tasks SET status = 0, starts = starts - ?1, "
            "started_at = CASE WHEN starts = ?1 THEN NULL ELSE started_at END "
            "WHERE message_id = ?2 AND status = 1",
            (0 if has_run else 1, message_id),
        )
        self._known.forget_earliest()
        self._known.add_waiting(changed)
        claim = self._known.claims.pop(message_id, None)
        if claim is not None and not has_run:
            self._shares.turns[claim.is_hard].owe(claim.client)
        self._to_release.append(message_id)
        return changed == 1

    def finish(self, message_id: str, report: Report, *, now: datetime) -> Outcome | None:
        """Record the outcome of a task that has not ended. Returns None, and changes nothing, if there is none such.

        Raises:
            ValueError: no task may step from where it is to `report.status`; a mistake of the caller.
        """
        claim = self._known.claims.get(message_id)
        kept, ended_at = rows.storable(report), rows.known_microseconds(now)
        if claim is None:
            return self._finish_unclaimed(message_id, kept, ended_at)
        self._changing()
        if claim.has_ended:
            return None
        _check_advance(message_id, TaskStatus.WORK, kept)
        claim.has_ended = True
        self._to_release.append(message_id)
        self._finish(claim.number, kept, ended_at)
        return rows.outcome(message_id, claim.run_at, claim.started_at, ended_at, kept)

    def _finish_unclaimed(self, message_id: str, report: Report, ended_at: int) -> Outcome | None:
        """Record the outcome of a task that was not started here."""
        connection = self._changing_now()
        row = connection.row(queries.STEP, (message_id,))
        if row is None or (status := TaskStatus(row[1])).is_ended:
            return None
        _check_advance(message_id, status, report)
        number, _status, run_at, started_at = row
        if status is TaskStatus.WAITING:
            self._known.forget_earliest()
            self._known.add_waiting(-1)
            self._known.due.pop(message_id, None)
        self._to_release.append(message_id)
        self._finish(number, report, ended_at)
        self._write_pending()  # at once: else it would be found waiting, when somebody asks what is the earliest
        return rows.outcome(message_id, run_at, started_at, ended_at, report)

    def _finish(self, number: int, report: Report, ended_at: int) -> None:
        self._pending.finish(number, report, ended_at=ended_at)
        self._known.oldest_end.note(ended_at)

    def interrupted(self) -> list[str]:
        """Return the ids of tasks that an older epoch left in WORK, the oldest task first."""
        found = self._written().rows(queries.INTERRUPTED, (self._epoch,))
        return [message_id for (message_id,) in found]

    def has_begun(self, message_id: str) -> bool:
        """Return False only if it is certain that an interrupted task had not begun. Hard ones count as begun."""
        left = self._left
        if left is None or left.has(message_id):
            return True
        return self._written().row(queries.CLAIM, (message_id,)) != (0, left.epoch, left.began_at)

    def beginning(self, message_id: str) -> Callable[[], None] | None:
        """Return what a soft task's thread calls just before it enters the function; None: nothing is kept of it."""
        return self._marks.take(message_id)

    def find(self, message_id: str) -> TaskState | None:
        """Return where the task is, or None when it is unknown."""
        return reader.find(self._written(), message_id)

    def is_forgotten(self, message_id: str) -> bool:
        """Return whether a task of this id has ended and was pruned, and its id is still kept."""
        return self._opened().row("SELECT 1 FROM forgotten WHERE message_id = ?", (message_id,)) is not None

    def tasks(self, *, limit: int, statuses: Iterable[TaskStatus] = ()) -> list[TaskState]:
        """Return the newest tasks, the newest first, at most `limit`, of these statuses, or of all."""
        return reader.tasks(self._written(), limit=limit, statuses=statuses)

    def counts(self) -> dict[TaskStatus, int]:
        """Return how many tasks are in each status, zeros included."""
        return reader.counts(self._written())

    def count_waiting(self) -> int:
        """Return how many tasks are WAITING; they are counted once, and their number is kept from then on."""
        return self._known.count_waiting(self._written())

    def add_watcher(self, message_id: str, queue: str, *, client: str) -> None:
        """Have the outcome of a task that has not ended also sent to `queue`, for `client`; else change nothing."""
        if (claim := self._known.claims.get(message_id) or self._known.due.get(message_id)) is not None:
            claim.is_watched = True
        self._changing_now().change(
            "INSERT OR IGNORE INTO watchers (task, queue, client) "
            "SELECT number, ?, ? FROM tasks WHERE message_id = ? AND ended_at IS NULL",
            (queue, client, message_id),
        )

    def watchers(self, message_id: str) -> dict[str, str]:
        """Return the queues to which the outcome goes, each with the client that waits there.

        The task's own `reply_to` comes first, then watchers, no doubles.
        """
        claim = self._known.claims.get(message_id)
        if claim is not None and not claim.is_watched:
            return {claim.reply_to: claim.client} if claim.reply_to else {}
        found = self._written().rows(queries.WATCHERS, (message_id,))
        if not found:
            return {}
        reply_to, launcher, _queue, _client = found[0]
        waiting = {reply_to: launcher} if reply_to else {}
        for _reply_to, _launcher, queue, client in found:
            if queue:
                waiting.setdefault(queue, client)
        return waiting

    def add_reply(self, queue: str, message_id: str, body: bytes, *, now: datetime) -> Reply:
        """Put an answer into the outbox. Its number is never given to another one."""
        number = self._known.next_reply(self._changing())
        self._pending.add_reply((number, queue, message_id, body, rows.known_microseconds(now)))
        return Reply(number=number, queue=queue, message_id=message_id, body=body)

    def replies(self, *, after: int, limit: int, queue: str | None = None, bytes_max: int | None = None) -> list[Reply]:
        """Return replies of the outbox in their order; the last may pass `bytes_max`, and no other body is read."""
        sql, which = (queries.REPLIES, ()) if queue is None else (queries.REPLIES_TO, (queue,))
        found = self._written().rows(sql, (after, limit, bytes_max, *which))
        return [rows.reply(row) for row in found]

    def reply_queues(self, *, after: str, limit: int) -> list[str]:
        """Return the queues of replies in the outbox, by one search in an index for each."""
        return [queue for (queue,) in self._written().rows(queries.REPLY_QUEUES, (after, limit))]

    def count_replies(self, *, without: Collection[str] = ()) -> int:
        """Return how many replies are in the outbox. No body is read for it."""
        count: int = self._written().value(queries.COUNT_REPLIES, (json.dumps(list(without)),))
        return count

    def remove_replies(self, numbers: Iterable[int]) -> None:
        """Take replies out of the outbox; one that is not there is left out."""
        self._changing()
        self._pending.remove_replies(numbers)

    def prune(self, *, ended_before: datetime, limit: int) -> int:
        """Forget at most `limit` tasks that ended before, but their ids. Returns how many.

        Arguments and watchers go with their task, and a function with the last task that uses it. Replies that the
        broker has not confirmed stay in the outbox.
        """
        connection, before = self._changing_now(), rows.to_microseconds(ended_before)
        if not self._known.oldest_end.is_before(connection, before):
            return 0
        pruned = connection.rows(queries.PRUNABLE, (before, limit))
        self._known.oldest_end.forget()
        self._known.oldest_forgotten.forget()
        self._known.digests.clear()
        numbers = [(number,) for number, _function in pruned]
        connection.change_each(f"{queries.FORGET} WHERE number = ?", numbers)
        connection.change_each("DELETE FROM tasks WHERE number = ?", numbers)
        for function in {function for _number, function in pruned if function is not None}:
            if connection.change(
                "DELETE FROM functions WHERE number = ?1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE function = ?1)",
                (function,),
            ):
                self._known.functions.forget()
        return len(pruned)

    def prune_ids(self, *, ended_before: datetime, limit: int) -> int:
        """Forget also the ids of at most `limit` pruned tasks that ended before. Returns how many."""
        connection, before = self._changing_now(), rows.to_microseconds(ended_before)
        if not self._known.oldest_forgotten.is_before(connection, before):
            return 0
        self._known.digests.clear()
        self._known.oldest_forgotten.forget()
        pruned = connection.rows(queries.PRUNABLE_IDS, (before, limit))
        connection.change_each("DELETE FROM forgotten WHERE message_id = ?", pruned)
        return len(pruned)

    def prune_replies(self, queue: str, *, added_before: datetime, limit: int) -> list[str]:
        """Drop at most `limit` replies to `queue` that were added before. Returns their message ids."""
        pruned = self._changing_now().rows(queries.OLD_REPLIES, (queue, rows.to_microseconds(added_before), limit))
        self.remove_replies(number for number, _message_id in pruned)
        return [message_id for _number, message_id in pruned]

    @property
    def is_open(self) -> bool:
        """Whether this object has the database."""
        return self._connection is not None

    @property
    def connection(self) -> Connection:
        """The open connection, for tools and tests that need more of SQLite than a `Storage` has. Raises Closed."""
        return self._opened()

    def _opened(self) -> Connection:
        if self._connection is None:
            raise Closed(f"the database {self.path} is not open: it was closed, or `open` was not called yet")
        return self._connection

    def _changing(self) -> Connection:
        connection = self._opened()
        connection.expect_transaction()
        return connection

    def _changing_now(self) -> Connection:
        """Return the connection for a change that is made at once, and needs all changes before it."""
        connection = self._changing()
        self._write_pending()
        return connection

    def _written(self) -> Connection:
        """Return the connection for a query, which sees all changes before it."""
        connection = self._opened()
        self._write_pending()
        return connection

    def _write_pending(self) -> None:
        if self._pending.is_empty:
            return
        for claim in self._pending.waiting():
            self._known.ahead[claim.is_hard].add(claim.run_at)
        self._pending.write(self._changing(), epoch=self._epoch, owner=self._owner)

    def _forget(self) -> None:
        """Begin anew with the database as it is: what is known may be of a transaction that was undone."""
        self._known.forget()
        self._pending.clear()
        self._to_release.clear()

    def _digest_of(self, message_id: str) -> Digest:
        if message_id not in self._known.digests:
            self.look_up([message_id])
        return self._known.digests[message_id]

    def _due(self, moment: int, without: Collection[str], *, is_hard: bool, limit: int) -> list[tuple[Claim, TaskSpec]]:
        """Return due tasks of one kind, the earliest first; without asking, if only new ones are due."""
        if limit <= 0:
            return []
        # What is new need not be written for that, but what was started would be found waiting.
        connection = self._written() if self._pending.has_started else self._opened()
        earliest = self._known.ahead[is_hard].earliest(connection)
        if earliest is None or earliest > moment:
            new = self._pending.due(moment, is_hard=is_hard, limit=limit, without=without)
            if new is not None:
                return new
        connection = self._written()
        if without:
            chosen = self._shares.of_others(connection, without, moment, is_hard=is_hard, limit=limit)
        else:
            found = connection.rows(queries.DUE, (is_hard, moment, limit))
            if not found:
                self._known.forget_earliest()  # else a row that somebody has deleted is looked for again and again
            chosen = self._shares.divided(connection, found, moment, is_hard=is_hard, limit=limit)
        tasks = reader.specs(connection, self._known.functions, chosen)
        return list(zip(map(rows.claim, chosen), tasks, strict=True))

    def _waiting_claim(self, message_id: str) -> Claim | None:
        """Return a task that waits, but was not found by `due` just now; None: it does not wait."""
        row = self._written().row(queries.WAITING_CLAIM, (message_id,))
        return None if row is None else rows.claim(row)


def _check_advance(message_id: str, status: TaskStatus, report: Report) -> None:
    if not may_advance(status, report.status):
        raise ValueError(f"task {message_id!r} is {status.name}: it cannot become {report.status.name}")
