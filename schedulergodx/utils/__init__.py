"""What both halves share, under the module names of 1.0.0. Code of this library imports the modules, not this."""

from typing import TYPE_CHECKING

from schedulergodx.lazy import importer

if TYPE_CHECKING:
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
else:
    # Importing any module of this package imports the package first, and shall not import all of them.
    __getattr__ = importer(
        __name__,
        {
            "AbstractionConnectClass": "schedulergodx.utils.abstractions",
            "AbstractionCore": "schedulergodx.utils.abstractions",
            "DB": "schedulergodx.utils.storage",
            "LoggerConstructor": "schedulergodx.utils.logger",
            "Message": "schedulergodx.utils.message",
            "MessageConstructor": "schedulergodx.utils.message",
            "MessageDisassemble": "schedulergodx.utils.message",
            "MessageErrorStatus": "schedulergodx.utils.message",
            "MessageId": "schedulergodx.utils.id_generators",
            "MessageInfoStatus": "schedulergodx.utils.message",
            "RmqConnect": "schedulergodx.utils.rmq_property",
            "RmqSettings": "schedulergodx.utils.rmq_property",
            "Seconds": "schedulergodx.utils.message",
            "Serializable": "schedulergodx.utils.message",
            "TaskStatus": "schedulergodx.utils.storage",
            "autoincrement": "schedulergodx.utils.id_generators",
            "rmq_default_settings": "schedulergodx.utils.rmq_property",
            "ulid_generator": "schedulergodx.utils.id_generators",
        },
    )

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


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
