"""The kinds of messages and their numbers, as in 1.0.0: they are on the wire and in old databases."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from schedulergodx.rules.lifecycle import Code

Serializable: TypeAlias = str | bytes | bytearray
Seconds: TypeAlias = float


class Message(Enum):
    """What a message is for."""

    INITIALIZATION = 0
    INFO = 1
    ERROR = 2
    TASK = 3
    ASK = 4


class MessageInfoStatus(Enum):
    """What an INFO answer says."""

    OK = 0


class MessageErrorStatus(Enum):
    """What an ERROR answer says. `TASK_TIMEOT_ERROR` is the spelling of 1.0.0."""

    BAD_INITIALIZATION = 0
    INCORRECT_TYPE = 1
    UNREGISTERED_CLIENT = 2
    INVALID_TASK = 3
    ERROR_IN_TASK = 4
    TASK_TIMEOUT_ERROR = 5
    TASK_TIMEOT_ERROR = 5  # noqa: PIE796 - an alias on purpose
    TASK_EXITED = 6
    TASK_KILLED = 7
    TASK_INTERRUPTED = 8
    TASK_NOT_IMPORTABLE = 9
    PYTHON_MISMATCH = 10
    BAD_PAYLOAD = 11
    HARD_NOT_SUPPORTED = 12
    OVERDUE_SKIPPED = 13
    CANCELLED = 14
    DUPLICATE_ID = 15
    UNKNOWN_ID = 16
    OUTCOME_PRUNED = 17
    STALE = 18
    NOT_ALLOWED = 19
    TAMPERED = 20


class MessageDisassemble(NamedTuple):
    """A message taken apart.

    Attributes:
        metadata: `id`, `client` and `type` (a `Message`).
        arguments: what it says; of an outcome: see `docs/protocol.md`.
    """

    metadata: dict[str, Any]
    arguments: dict[str, Any]


def error_status(code: Code) -> MessageErrorStatus:
    """Return the number that goes with `code` in an ERROR answer. Raises KeyError for the codes of COMPLETED."""
    return MessageErrorStatus.TASK_TIMEOUT_ERROR if code is Code.TASK_TIMEOUT else MessageErrorStatus[code.name]
