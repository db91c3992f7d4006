"""Every error of SchedulerGodX, in one tree.

```
SchedulerError
├── InvalidParameter        a parameter is outside its stated range; nothing happened (also a ValueError)
│   └── KeysRefused           the keys cannot be used, or there are none where there must be
├── Closed                  the client, service or transport was closed before this call
├── LaunchRefused           the client refused to send; nothing was sent
│   ├── TaskNotSerializable   .variable cannot be pickled
│   ├── MessageTooLarge       .size_bytes above .limit_bytes
│   ├── DuplicateMessageId    the id generator repeated itself
│   └── HardNotSupported      processes cannot be killed on this system
├── BrokerError             what the broker, or the way to it, did; `.message_id` names the launch, if one was going on
│   ├── BrokerUnavailable     not reached in time; nothing was sent
│   ├── BrokerBlocked         reached, but it takes nothing at the moment (memory or disk alarm); nothing was sent
│   ├── BrokerRefused         wrong password, virtual host or permission; trying again cannot help
│   ├── QueueMissing          the queue does not exist; nothing was kept
│   ├── QueueFull             the queue refuses more; nothing was kept
│   ├── QueueMismatch         the queue exists with other arguments
│   ├── QueueInUse            another service takes from this queue
│   └── LaunchUncertain       sent, but not confirmed in time: perhaps kept
├── BatchFailed             some launches of a batch were not confirmed; `.errors` by message id
├── ResultTimeout           the wait ended before the task did; the task goes on (also a TimeoutError)
├── ResultUnserializable    the task completed, but its result is not JSON data; `.representation`
├── UnknownMessageId        the service has no task with this id
│   └── OutcomePruned         it had one, which has ended; its outcome was kept for its time and is forgotten
├── TaskFailed              how the task ended: `.code`, `.exception_type`, `.message`, `.traceback`
│   ├── TaskRaised            the function raised
│   ├── TaskTimedOut          it overran its lifetime
│   ├── TaskOverdue           it was late and its client wants late tasks skipped
│   ├── TaskKilled            its process ended without a report
│   ├── TaskInterrupted       the service ended while it ran: it may have done part of its work
│   ├── TaskCancelled         it was cancelled before it started
│   ├── TaskNotImportable     it travels by reference and the service cannot import it
│   └── TaskRefused           the service could not accept or load it
├── MessageRejected         a message breaks the protocol: `.reason`
└── StorageError            the database at `.path`
    ├── DatabaseNotWritable   folder or file missing, read-only, or not a file
    ├── DatabaseUnsupported   not ours: another format, another application, a newer schema
    ├── DatabaseOutdated      an older one than was here: a backup, or without its write-ahead log
    ├── DatabaseInUse         another service holds it: `.pid`, `.host`, `.since`
    ├── DatabaseBusy          locked for longer than the wait
    ├── DatabaseFull          the disk is full
    └── DatabaseDamaged       corrupt, or replaced while open
```

Each error keeps its facts as attributes and survives pickling. Messages say what happened, to what, and what to do
next; they never hold a password, a key or an argument's value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class SchedulerError(Exception):
    """The base of every error that this library raises on purpose."""


class InvalidParameter(SchedulerError, ValueError):
    """A parameter is outside its stated range. Nothing happened."""


class KeysRefused(InvalidParameter):
    """The keys for signing cannot be used, or there are none where there must be. Nothing happened."""


class Closed(SchedulerError):
    """The object was closed before this call. Nothing happened."""


class LaunchRefused(SchedulerError):
    """The client refused to send. Nothing was sent."""


class TaskNotSerializable(LaunchRefused):
    """The function or an argument cannot be pickled. Nothing was sent.

    Attributes:
        variable: what cannot be pickled, e.g. `argument 'stream'` or `global 'lock'`.
    """

    def __init__(self, message: str, *, variable: str = "") -> None:
        super().__init__(message)
        self.variable = variable


class MessageTooLarge(LaunchRefused):
    """The message is above the limit. Nothing was sent."""

    def __init__(self, message: str, *, size_bytes: int = 0, limit_bytes: int = 0) -> None:
        super().__init__(message)
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class DuplicateMessageId(LaunchRefused):
    """The id generator gave an id that this client used already. Nothing was sent."""

    def __init__(self, message: str, *, message_id: str = "") -> None:
        super().__init__(message)
        self.message_id = message_id


class HardNotSupported(LaunchRefused):
    """This system cannot run hard tasks, since it cannot kill processes by group. Nothing was sent."""


class BrokerError(SchedulerError):
    """What the broker, or the way to it, did.

    Attributes:
        message_id: the launch that was going on, or None.
        broker: address of the broker without its password.
    """

    def __init__(self, message: str, *, message_id: str | None = None, broker: str = "") -> None:
        super().__init__(message)
        self.message_id = message_id
        self.broker = broker


class BrokerUnavailable(BrokerError):
    """The broker was not reached in time. Nothing was sent.

    Attributes:
        attempts: connection attempts since the last success.
        waited_s: seconds that the caller waited.
    """

    def __init__(
        self,
        message: str,
        *,
        message_id: str | None = None,
        broker: str = "",
        attempts: int = 0,
        waited_s: float = 0.0,
    ) -> None:
        super().__init__(message, message_id=message_id, broker=broker)
        self.attempts = attempts
        self.waited_s = waited_s


class BrokerBlocked(BrokerError):
    """The broker takes nothing at the moment (memory or disk alarm). Nothing was sent."""


class BrokerRefused(BrokerError):
    """The broker refused: password, virtual host or permission. Trying again cannot help."""


class QueueMissing(BrokerError):
    """The queue does not exist, so the broker did not keep the message."""


class QueueFull(BrokerError):
    """The queue refuses more messages; this one was not kept. Try again later."""


class QueueMismatch(BrokerError):
    """The queue exists with other arguments than those asked for."""


class QueueInUse(BrokerError):
    """Another service takes from this queue."""


class LaunchUncertain(BrokerError):
    """The message was sent but not confirmed in time: the broker perhaps has it.

    Launching again under `message_id` cannot make it run twice.
    """


class BatchFailed(SchedulerError):
    """Some launches of a batch were not confirmed; the others were.

    Attributes:
        errors: the error of each launch that failed, by message id.
    """

    def __init__(self, message: str, *, errors: Mapping[str, BrokerError] | None = None) -> None:
        super().__init__(message)
        self.errors = dict(errors or {})


class ResultTimeout(SchedulerError, TimeoutError):
    """The wait ended before the task did. The task is not touched by this."""

    def __init__(self, message: str, *, message_id: str = "", waited_s: float = 0.0) -> None:
        super().__init__(message)
        self.message_id = message_id
        self.waited_s = waited_s


class ResultUnserializable(SchedulerError):
    """The task completed, but its result could not be sent as JSON data. It is not run again.

    Attributes:
        code: `RESULT_UNSERIALIZABLE` or `RESULT_TOO_LARGE`.
        representation: a shortened `repr` of the result.
    """

    def __init__(self, message: str, *, message_id: str = "", code: str = "", representation: str = "") -> None:
        super().__init__(message)
        self.message_id = message_id
        self.code = code
        self.representation = representation


class UnknownMessageId(SchedulerError):
    """The service has no task with this id: never stored, or stored and forgotten so long ago that nobody knows.

    In a program that is tested also: it was launched in a test harness that is closed.
    """

    def __init__(self, message: str, *, message_id: str = "") -> None:
        super().__init__(message)
        self.message_id = message_id


class OutcomePruned(UnknownMessageId):
    """The task with this id has ended, and its outcome, kept for its time, is forgotten. It does not run again."""


class TaskFailed(SchedulerError):
    """The task ended without a result.

    Attributes:
        message_id: which launch.
        code: the reason, e.g. `ERROR_IN_TASK` or `TASK_TIMEOUT`.
        exception_type: qualified name of what the function raised, or "".
        message: the exception's text, or a sentence about what happened.
        traceback: the traceback as text, or "".
    """

    def __init__(  # noqa: PLR0913 - each is a fact of its own
        self,
        text: str,
        *,
        message_id: str = "",
        code: str = "",
        exception_type: str = "",
        message: str = "",
        traceback: str = "",
    ) -> None:
        super().__init__(text)
        self.message_id = message_id
        self.code = code
        self.exception_type = exception_type
        self.message = message
        self.traceback = traceback


class TaskRaised(TaskFailed):
    """The function raised an exception."""


class TaskTimedOut(TaskFailed):
    """The task overran its lifetime. A hard one was killed; the thread of a soft one may still run."""


class TaskOverdue(TaskFailed):
    """The task was late, and its client wants late tasks skipped. It did not run."""


class TaskKilled(TaskFailed):
    """The process of the hard task ended without a report."""


class TaskInterrupted(TaskFailed):
    """The service ended while the task ran. It may have done part of its work."""


class TaskCancelled(TaskFailed):
    """The task was cancelled before it started."""


class TaskNotImportable(TaskFailed):
    """The task travels by reference, and the service cannot import its module. It did not run."""


class TaskRefused(TaskFailed):
    """The service could not accept or load the task. It did not run."""


class MessageRejected(SchedulerError):
    """A message breaks the protocol.

    Attributes:
        reason: one of the reasons in `docs/protocol.md`, e.g. `BAD_MESSAGE`.
    """

    def __init__(self, message: str, *, reason: str = "BAD_MESSAGE") -> None:
        super().__init__(message)
        self.reason = reason


class StorageError(SchedulerError):
    """The database cannot be used as asked.

    Attributes:
        path: the database file.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class DatabaseNotWritable(StorageError):
    """The folder or file is missing, read-only, or not a file."""


class DatabaseUnsupported(StorageError):
    """The file is not ours: another format, another application, or a newer schema."""


class DatabaseOutdated(StorageError):
    """The database is an older one than was here: tasks are missing in it, and others would run again.

    A backup was restored, or the write-ahead log was removed. Nothing was changed; the message says how to accept it.
    """


class DatabaseInUse(StorageError):
    """Another service holds the database.

    Attributes:
        pid: process id of the holder, or 0 when it could not be read.
        host: its host name.
        since: when it took the database, or None when it could not be read.
    """

    def __init__(
        self,
        message: str,
        *,
        path: str = "",
        pid: int = 0,
        host: str = "",
        since: datetime | None = None,
    ) -> None:
        super().__init__(message, path=path)
        self.pid = pid
        self.host = host
        self.since = since


class DatabaseBusy(StorageError):
    """Another program kept the database locked for longer than the wait. Nothing was changed."""


class DatabaseFull(StorageError):
    """The disk, or a quota, is full. Nothing was changed."""


class DatabaseDamaged(StorageError):
    """The database is corrupt, or was removed or replaced while it was open."""
