"""Send Python functions to a service that runs them now or later, and answers.

`Client` launches, `Service` stores and runs; between them is RabbitMQ, or one file. See README.md.
"""

from typing import TYPE_CHECKING

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
    DatabaseOutdated,
    DatabaseUnsupported,
    DuplicateMessageId,
    HardNotSupported,
    InvalidParameter,
    KeysRefused,
    LaunchRefused,
    LaunchUncertain,
    MessageRejected,
    MessageTooLarge,
    OutcomePruned,
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
from schedulergodx.lazy import importer

if TYPE_CHECKING:
    from schedulergodx import client as client
    from schedulergodx import service as service
    from schedulergodx import utils as utils
    from schedulergodx.client.core import Client
    from schedulergodx.client.task import Task
    from schedulergodx.context import RunningTask, TaskOverrun, current_task
    from schedulergodx.rules.lifecycle import Code, Outcome, TaskStatus
    from schedulergodx.service.core import Service
    from schedulergodx.utils.id_generators import MessageId
    from schedulergodx.utils.keys.ring import KeyRing
    from schedulergodx.version import __version__
else:
    # Quick to import: who only sends loads no service, and the command line soon knows what Ctrl-C means.
    __getattr__ = importer(
        __name__,
        {
            "Client": "schedulergodx.client.core",
            "Code": "schedulergodx.rules.lifecycle",
            "KeyRing": "schedulergodx.utils.keys.ring",
            "MessageId": "schedulergodx.utils.id_generators",
            "Outcome": "schedulergodx.rules.lifecycle",
            "RunningTask": "schedulergodx.context",
            "Service": "schedulergodx.service.core",
            "Task": "schedulergodx.client.task",
            "TaskStatus": "schedulergodx.rules.lifecycle",
            "__version__": "schedulergodx.version",
            "client": "schedulergodx.client",
            "TaskOverrun": "schedulergodx.context",
            "current_task": "schedulergodx.context",
            "service": "schedulergodx.service",
            "utils": "schedulergodx.utils",
        },
    )

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
    "DatabaseOutdated",
    "DatabaseUnsupported",
    "DuplicateMessageId",
    "HardNotSupported",
    "InvalidParameter",
    "KeyRing",
    "KeysRefused",
    "LaunchRefused",
    "LaunchUncertain",
    "MessageId",
    "MessageRejected",
    "MessageTooLarge",
    "Outcome",
    "OutcomePruned",
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
    "TaskOverrun",
    "TaskRaised",
    "TaskRefused",
    "TaskStatus",
    "TaskTimedOut",
    "UnknownMessageId",
    "__version__",
    "current_task",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
