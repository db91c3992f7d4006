"""Messages between client and service: envelopes, launches, answers, and what travels inside them."""

from schedulergodx.utils.id_generators import MessageId
from schedulergodx.utils.message.constructor import MessageConstructor
from schedulergodx.utils.message.kinds import (
    Message,
    MessageDisassemble,
    MessageErrorStatus,
    MessageInfoStatus,
    Seconds,
    Serializable,
)

__all__ = [
    "Message",
    "MessageConstructor",
    "MessageDisassemble",
    "MessageErrorStatus",
    "MessageId",
    "MessageInfoStatus",
    "Seconds",
    "Serializable",
]
