"""What both halves share, under the module names of 1.0.0. Code of this library imports the modules, not this."""

from schedulergodx.utils.abstractions import AbstractionConnectClass, AbstractionCore
from schedulergodx.utils.id_generators import MessageId, autoincrement, ulid_generator
from schedulergodx.utils.logger import LoggerConstructor
from schedulergodx.utils.message import (
    Message,
    MessageConstructor,
    MessageDisassemble,
    MessageErrorStatus,
    MessageInfoStatus,
    Seconds,
    Serializable,
)
from schedulergodx.utils.rmq_property import RmqConnect, RmqSettings, rmq_default_settings
from schedulergodx.utils.storage import DB, TaskStatus

__all__ = [
    "DB",
    "AbstractionConnectClass",
    "AbstractionCore",
    "LoggerConstructor",
    "Message",
    "MessageConstructor",
    "MessageDisassemble",
    "MessageErrorStatus",
    "MessageId",
    "MessageInfoStatus",
    "RmqConnect",
    "RmqSettings",
    "Seconds",
    "Serializable",
    "TaskStatus",
    "autoincrement",
    "rmq_default_settings",
    "ulid_generator",
]
