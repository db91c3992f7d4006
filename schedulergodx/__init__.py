"""Send Python functions to a service that runs them now or later, and answers.

`Client` launches, `Service` stores and runs; between them is RabbitMQ, or one file. See README.md.
"""

from importlib.metadata import PackageNotFoundError, version

from schedulergodx.client.core import Client
from schedulergodx.client.task import Task
from schedulergodx.context import RunningTask, current_task
from schedulergodx.errors import (
    BatchFailed,
    BrokerBlocked,
    BrokerError,
    BrokerRefused,
    BrokerUnavailable,
    Closed,
    DatabaseBusy,
    DatabaseDamaged,
    DatabaseFull,
    DatabaseInUse,
    DatabaseNotWritable,
    DatabaseUnsupported,
    DuplicateMessageId,
    HardNotSupported,
    InvalidParameter,
    LaunchRefused,
    LaunchUncertain,
    MessageRejected,
    MessageTooLarge,
    QueueFull,
    QueueInUse,
    QueueMismatch,
    QueueMissing,
    ResultTimeout,
    ResultUnserializable,
    SchedulerError,
    StorageError,
    TaskCancelled,
    TaskFailed,
    TaskInterrupted,
    TaskKilled,
    TaskNotImportable,
    TaskNotSerializable,
    TaskOverdue,
    TaskRaised,
    TaskRefused,
    TaskTimedOut,
    UnknownMessageId,
)
from schedulergodx.rules.lifecycle import Code, Outcome, TaskStatus
from schedulergodx.service.core import Service
from schedulergodx.utils.id_generators import MessageId

try:
    __version__ = version("schedulergodx")
except PackageNotFoundError:  # a checkout on the path that was never installed
    __version__ = "0+unknown"

__all__ = [
    "BatchFailed",
    "BrokerBlocked",
    "BrokerError",
    "BrokerRefused",
    "BrokerUnavailable",
    "Client",
    "Closed",
    "Code",
    "DatabaseBusy",
    "DatabaseDamaged",
    "DatabaseFull",
    "DatabaseInUse",
    "DatabaseNotWritable",
    "DatabaseUnsupported",
    "DuplicateMessageId",
    "HardNotSupported",
    "InvalidParameter",
    "LaunchRefused",
    "LaunchUncertain",
    "MessageId",
    "MessageRejected",
    "MessageTooLarge",
    "Outcome",
    "QueueFull",
    "QueueInUse",
    "QueueMismatch",
    "QueueMissing",
    "ResultTimeout",
    "ResultUnserializable",
    "RunningTask",
    "SchedulerError",
    "Service",
    "StorageError",
    "Task",
    "TaskCancelled",
    "TaskFailed",
    "TaskInterrupted",
    "TaskKilled",
    "TaskNotImportable",
    "TaskNotSerializable",
    "TaskOverdue",
    "TaskRaised",
    "TaskRefused",
    "TaskStatus",
    "TaskTimedOut",
    "UnknownMessageId",
    "__version__",
    "current_task",
]
