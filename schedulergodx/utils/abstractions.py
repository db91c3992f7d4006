"""The four seams: `Transport`, `Clock`, `Storage`, `Runner`, and what passes through them.

Each is a small protocol in this project's own words (task, delivery, reply), never in those of AMQP or SQL. Each has
one production kind, one test kind and one contract suite in `schedulergodx_testing.contracts`. `AbstractionCore` and
`AbstractionConnectClass`, from `utils.bases`, are the bases of 1.0.0, which had them here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from schedulergodx.rules.connections import ConnectionState, ConnectionStatus, ConsumingStatus
from schedulergodx.rules.lifecycle import Ending
from schedulergodx.rules.tasks import Added, TaskSpec, TaskState
from schedulergodx.utils.bases import AbstractionConnectClass, AbstractionCore

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime
    from queue import SimpleQueue

    from schedulergodx.errors import BrokerError
    from schedulergodx.rules.lifecycle import Outcome, Report, TaskStatus
    from schedulergodx.utils.message.seals import Verified

__all__ = [
    "AbstractionConnectClass",
    "AbstractionCore",
    "Added",
    "Capacity",
    "Clock",
    "ConnectionChanged",
    "ConnectionState",
    "ConnectionStatus",
    "ConsumeFailed",
    "ConsumeResumed",
    "ConsumingStatus",
    "Delivery",
    "Ending",
    "Finished",
    "Outgoing",
    "QueueSpec",
    "ReadKeys",
    "Reply",
    "ReplySettled",
    "Runner",
    "ServiceEvent",
    "Stop",
    "Storage",
    "TaskSpec",
    "TaskState",
    "Transport",
    "TransportEvent",
]

T = TypeVar("T")


# --- Clock -----------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Time, and the waiting itself. Every method may be called from any thread."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC: when a task is due. It may jump."""

    def monotonic(self) -> float:
        """Return seconds that never go back: how long a task has run."""

    def wait_for(self, inbox: SimpleQueue[T], timeout_s: float | None) -> T | None:
        """Return the next thing in `inbox`, or None when `timeout_s` seconds went by without one.

        With None, and with long timeouts, it may also return None earlier: callers look at the clock and wait again.
        """


# --- Transport -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueSpec:
    """A durable queue as this library declares it.

    Attributes:
        name: at most 255 bytes of UTF-8.
        expires_after_s: the queue goes, with all that is in it, after so many seconds without a consumer; None: never.
        has_dead_letters: whether `<name>.dead` exists beside it, for what is rejected.
        is_quorum: replicated over the nodes of a cluster, where the broker can do that.
    """

    name: str
    expires_after_s: float | None = None
    has_dead_letters: bool = False
    is_quorum: bool = False

    @property
    def dead_letter_name(self) -> str:
        """Name of the queue for what is rejected."""
        return f"{self.name}.dead"

    @property
    def dead_letters(self) -> QueueSpec:
        """The queue for what is rejected."""
        return QueueSpec(name=self.dead_letter_name, is_quorum=self.is_quorum)


@dataclass(eq=False, kw_only=True, slots=True)
class Outgoing:
    """One message on its way to the broker.

    Attributes:
        queue: name of the queue; it must exist.
        body: the message.
        message_id: travels beside the body, for an operator's eyes; of a bundle the first one, and how many more.
        on_settled: called once, from a thread of the transport, with the message and None when the broker has it on
            disk, or with the error that says why it has not. It must return quickly and raise nothing.
            Not called after `Transport.withdraw`.
        was_sent: whether bytes of it may have reached the broker. Set by the transport.
    """

    queue: str
    body: bytes = field(repr=False)
    message_id: str
    on_settled: Callable[[Outgoing, BrokerError | None], None]
    was_sent: bool = False


@dataclass(eq=False, kw_only=True, slots=True)
class Delivery:
    """One message that the broker handed over and has not forgotten yet.

    Attributes:
        queue: where it comes from.
        body: the message.
        is_redelivered: whether the broker has handed it out before.
        tag: what the transport knows it by; means nothing to anyone else.
    """

    queue: str
    body: bytes = field(repr=False)
    is_redelivered: bool
    tag: object


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionChanged:
    """An event: the connection that consumes (`is_consuming`) or publishes came into a state."""

    status: ConnectionStatus
    is_consuming: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsumeFailed:
    """An event: consuming from a queue has ended for good, and `error` says why (refused, in use, mismatch)."""

    queue: str
    error: BrokerError


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsumeResumed:
    """An event: a queue was gone under its consumer, with what was in it; it was made anew, and is consumed again."""

    queue: str


TransportEvent: TypeAlias = Delivery | ConnectionChanged | ConsumeFailed | ConsumeResumed


class Transport(Protocol):
    """One program's way to a broker. Every method may be called from any thread; none but `close` waits.

    It connects by itself at the first `publish` or `consume`, and again after every loss, with growing pauses; what
    was declared is declared again, what was consumed is consumed again, and what was not confirmed is sent again.
    """

    def listen(self, on_event: Callable[[TransportEvent], None]) -> None:
        """Hand every event to `on_event`, from threads of the transport. Call it once, before anything else.

        `on_event` must return quickly and raise nothing.
        """

    def declare(self, queue: QueueSpec) -> None:
        """Make sure that `queue` exists before anything that is published later, now and after each reconnect."""

    def publish(self, outgoing: Outgoing) -> None:
        """Send `outgoing`; its `on_settled` tells how that went. Messages from one thread keep their order.

        While the broker is away, `outgoing` waits without limit: the caller decides how long, by `withdraw`.

        Raises:
            Closed: the transport was closed; `on_settled` will not be called.
        """

    def withdraw(self, outgoing: Outgoing) -> bool:
        """Give up on `outgoing`: it will not be sent (again).

        Returns:
            False when it was settled already; else True, and then `outgoing.was_sent` tells whether the broker may
            have it nevertheless.
        """

    def consume(self, queue: QueueSpec, *, prefetch: int, is_exclusive: bool = False, is_standby: bool = False) -> None:
        """Declare `queue` and have its messages delivered as events, at most `prefetch` of them unacked at a time.

        `is_exclusive`: at most one transport consumes so from a queue. Another one gets `ConsumeFailed` with
        `QueueInUse` after a few seconds, or, with `is_standby`, waits until the first one is gone.
        """

    def stop_consuming(self) -> None:
        """Ask for no more deliveries. Those handed over may still be acked. Calling it twice does nothing."""

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Let the broker forget `deliveries`; one that is acked already, or whose connection is lost, is left out."""

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Move `delivery` to the dead letters of its queue, with `reason` beside it. It is never lost on the way."""

    def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Put `deliveries` back where they were in their queue; they will be delivered again."""

    def delete_queue(self, name: str) -> None:
        """Delete a queue with all that is in it, if it exists and the connection is up; else do nothing."""

    def status(self) -> ConnectionStatus:
        """Return the state of the connection that publishes, or of the only one."""

    def consuming(self) -> ConsumingStatus:
        """Return the state of what consumes. An open connection that delivers nothing is seen here."""

    def threads(self) -> Mapping[str, threading.Thread]:
        """Return the threads that this transport ever started, by name."""

    def close(self, timeout_s: float = 5.0) -> None:
        """Give unacked deliveries back, wait at most `timeout_s` seconds for what is under way, and disconnect.

        What is not confirmed by then is settled with an error. Closing twice does nothing.
        """


# --- Storage ---------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class Reply:
    """An answer in the outbox, until the broker has it.

    Attributes:
        number: its place in the outbox, growing.
        queue: where to.
        message_id: which launch it answers.
        body: the message.
    """

    number: int
    queue: str
    message_id: str
    body: bytes = field(repr=False)


class Storage(Protocol):
    """Tasks, outcomes and outgoing replies, kept for good. One thread uses it: the service's loop.

    Every change happens inside `transaction()`; nothing of it is kept unless the block ends without an error.
    Every method, and the end of the block, may raise a `StorageError`, and then nothing was changed.
    """

    def open(self, *, owner: str, now: datetime) -> None:
        """Take the database for `owner`, create or migrate it, and begin a new epoch.

        Raises:
            DatabaseInUse: another service holds it.
            DatabaseNotWritable, DatabaseUnsupported, DatabaseDamaged: it cannot be used; nothing was changed.
        """

    def transaction(self) -> AbstractContextManager[None]:
        """Keep all changes of the block together, on disk when it ends; or none, when it raises."""

    def look_up(self, message_ids: Iterable[str]) -> None:
        """Find out together which ids are known, so that `add`, in this transaction, need not ask for each of them."""

    def add(self, task: TaskSpec, *, now: datetime) -> Added:
        """Store `task` as WAITING, unless its id is known."""

    def due(self, now: datetime, *, soft_limit: int, hard_limit: int, without: Collection[str] = ()) -> list[TaskSpec]:
        """Return due WAITING tasks, earliest first, so many of each kind; of more, shares of clients but `without`."""

    def next_run_at(self, *, is_soft_wanted: bool = True, is_hard_wanted: bool = True) -> datetime | None:
        """Return the earliest `run_at` of all WAITING tasks of the wanted kinds, or None."""

    def start(self, message_id: str, *, now: datetime) -> bool:
        """Make a WAITING task WORK, in this epoch. Returns False, and changes nothing, if it is not WAITING."""

    def put_back(self, message_id: str, *, has_run: bool) -> bool:
        """Make a WORK task WAITING again. Returns False, and changes nothing, if it is not WORK.

        Unless it `has_run`, its last start does not count, as if it had never been.
        """

    def finish(self, message_id: str, report: Report, *, now: datetime) -> Outcome | None:
        """Record the outcome of a task that has not ended. Returns None, and changes nothing, if there is none such."""

    def beginning(self, message_id: str) -> Callable[[], None] | None:
        """Return what notes, called by a soft task's thread, that it begins, or raises OSError; None: nothing can."""

    def interrupted(self) -> list[str]:
        """Return the ids of tasks that an older epoch left in WORK."""

    def has_begun(self, message_id: str) -> bool:
        """Return whether such a task may have begun: False only if it is certain that it had not."""

    def find(self, message_id: str) -> TaskState | None:
        """Return where the task is, or None when it is unknown."""

    def is_forgotten(self, message_id: str) -> bool:
        """Return whether a task of this id has ended and was pruned, and its id is still kept."""

    def tasks(self, *, limit: int, statuses: Iterable[TaskStatus] = ()) -> list[TaskState]:
        """Return the newest tasks, at most `limit`, of these statuses, or of all."""

    def counts(self) -> dict[TaskStatus, int]:
        """Return how many tasks are in each status."""

    def count_waiting(self) -> int:
        """Return how many tasks are WAITING, at little cost however many there are."""

    def add_watcher(self, message_id: str, queue: str, *, client: str) -> None:
        """Have the outcome of a task that has not ended also sent to `queue`, where `client` waits for it."""

    def watchers(self, message_id: str) -> dict[str, str]:
        """Return the queues to which the outcome goes, each with the client that waits there.

        The task's own `reply_to` comes first, then those of watchers.
        """

    def add_reply(self, queue: str, message_id: str, body: bytes, *, now: datetime) -> Reply:
        """Put an answer into the outbox."""

    def replies(self, *, after: int, limit: int, queue: str | None = None, bytes_max: int | None = None) -> list[Reply]:
        """Return the replies above `after`, to all queues or one, until they are `limit` or have `bytes_max` bytes."""

    def reply_queues(self, *, after: str, limit: int) -> list[str]:
        """Return the queues of the replies in the outbox, each once, at most `limit`, sorted, from `after` on."""

    def count_replies(self, *, without: Collection[str] = ()) -> int:
        """Return how many replies are in the outbox, apart from those to the queues of `without`."""

    def remove_replies(self, numbers: Iterable[int]) -> None:
        """Take replies out of the outbox."""

    def prune(self, *, ended_before: datetime, limit: int) -> int:
        """Forget at most `limit` tasks that ended before, and functions that no task uses. Returns how many tasks.

        Their ids are kept: `add` knows them, and says FORGOTTEN or CONFLICT.
        """

    def prune_ids(self, *, ended_before: datetime, limit: int) -> int:
        """Forget also the ids of at most `limit` pruned tasks that ended before. Returns how many."""

    def prune_replies(self, queue: str, *, added_before: datetime, limit: int) -> list[str]:
        """Drop at most `limit` replies to `queue` that were added before. Returns their message ids."""

    def close(self) -> None:
        """Let go of the database. Closing twice does nothing."""


# --- Runner ----------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class Finished:
    """An event: a run has ended. Comes exactly once for each that was not taken back, also after `Runner.abandon`."""

    message_id: str
    report: Report
    ending: Ending = Ending.ENDED


@dataclass(kw_only=True, slots=True)
class Capacity:
    """How many more runs can start now: `soft` in threads, `hard` in processes."""

    soft: int
    hard: int


class Runner(Protocol):
    """Runs tasks, soft ones in threads and hard ones in killable processes.

    The service's loop calls it from one thread. It decides nothing about time: the loop says when a run is over time.
    """

    @property
    def lead_s(self) -> float:
        """How many seconds before its moment a soft run may be given to `start`; 0: none may."""

    def listen(self, on_finished: Callable[[Finished], None]) -> None:
        """Hand every `Finished` to `on_finished`, from threads of the runner. Call it once, before anything else."""

    def can_run_hard(self) -> bool:
        """Return whether hard tasks can be run, and killed, on this system."""

    def capacity(self, ahead: int = 0) -> Capacity:
        """Return how many more runs can start now; with `ahead`, so many more soft ones, which wait for a thread."""

    def start(
        self,
        task: Verified,
        *,
        start_number: int,
        on_begin: Callable[[], bool] = lambda: True,
        left_s: Callable[[], float] | None = None,
    ) -> None:
        """Start the run of `task`. Never raises for anything in the task: its `Finished` tells.

        A soft one calls `on_begin` in its thread just before it enters the function; it does not run when that returns
        False (NOT_BEGUN) or raises OSError (NOT_STARTED). One that is given ahead of its moment does not begin as long
        as `left_s` returns a number above 0: so many seconds are left.
        """

    def take_back(self) -> list[str]:
        """Give up all soft runs that have not begun, and return their ids. They do not run; no `Finished` comes."""

    def abandon(self, message_id: str) -> None:
        """Stop caring about a run that is over time, or that the service cannot wait for.

        A hard one is killed with its children: first asked (TERM), after the grace forced (KILL). A soft one is asked
        by a `TaskOverrun` in its function, once, and never after that has returned. It cannot be forced: as long as it
        goes on it is counted in `abandoned()`, and replaced, up to a bound, so that others can run.
        """

    def abandoned(self) -> int:
        """Return how many soft runs go on after `abandon`."""

    def threads(self) -> Mapping[str, threading.Thread]:
        """Return the threads that this runner ever started and that still live, by name."""

    def close(self, timeout_s: float = 5.0) -> None:
        """Kill what still runs in processes, end idle threads, and wait at most `timeout_s` seconds for that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stop:
    """An event: stop the service. `grace_s`: seconds for running work; None: the service's own setting."""

    grace_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadKeys:
    """An event: read the keys again."""


@dataclass(kw_only=True, slots=True)
class ReplySettled:
    """An event: replies of the outbox, one, or a bundle for a queue, are all with the broker (`error` None), or not."""

    replies: Sequence[Reply]
    error: BrokerError | None = field(default=None)


ServiceEvent: TypeAlias = TransportEvent | Finished | ReplySettled | ReadKeys | Stop
