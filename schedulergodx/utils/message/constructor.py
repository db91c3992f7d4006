"""`MessageConstructor` of 1.0.0: messages as dictionaries, for `client.push`."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from schedulergodx.clock import CurrentClock
from schedulergodx.config import delay as checked_delay
from schedulergodx.config import lifetime as checked_lifetime
from schedulergodx.config import printable_name
from schedulergodx.errors import MessageRejected
from schedulergodx.utils.message import launches, payload
from schedulergodx.utils.message.envelope import MESSAGE_ID_BYTES_MAX, moment_text
from schedulergodx.utils.message.kinds import Message, MessageDisassemble, MessageErrorStatus, Seconds, Serializable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


class MessageConstructor:
    """Makes messages to push, and takes messages apart. All methods are static and safe from any thread.

    Those that make one raise `InvalidParameter` when its id or client is no printable text.
    """

    @staticmethod
    def serialization(object: object) -> str:  # noqa: A002 - the name of 1.0.0
        """Return anything that can be pickled as base64 of its pickle."""
        return base64.b64encode(payload.dumps(object)).decode("ascii")

    @staticmethod
    def deserialization(object: Serializable) -> Any:  # noqa: A002 - the name of 1.0.0
        """Unpickle what `serialization` gave. This runs code of whoever made it: never use it on strangers' data."""
        return payload.loads(base64.b64decode(object))

    @staticmethod
    def bulk_deserialization(*args: Serializable) -> Iterator[Any]:
        """Unpickle several; see `deserialization`."""
        return map(MessageConstructor.deserialization, args)

    @staticmethod
    def initialization(id: str, client: str, **arguments: Any) -> dict[str, Any]:  # noqa: A002 - the name of 1.0.0
        """Return the greeting of a client of 1.0.0. A service answers it with OK; nothing depends on it any more."""
        return _message(id, client, Message.INITIALIZATION, arguments)

    @staticmethod
    def info(id: str, client: str, **arguments: Any) -> dict[str, Any]:  # noqa: A002 - the name of 1.0.0
        """Return a message that the service only logs the arrival of."""
        return _message(id, client, Message.INFO, arguments)

    @staticmethod
    def error(id: str, client: str, error: MessageErrorStatus, message: str) -> dict[str, Any]:  # noqa: A002 - 1.0.0
        """Return an error message, as a service answers with."""
        return _message(id, client, Message.ERROR, {"error_code": error.value, "message": message})

    @staticmethod
    def task(  # noqa: PLR0913, PLR0917 - the parameters of 1.0.0
        id: str,  # noqa: A002 - the name of 1.0.0
        client: str,
        lifetime: Seconds | None,
        func: Callable[..., Any],
        func_args: Iterable[Any],
        func_kwargs: Mapping[str, Any],
        delay: Seconds | None = None,
        hard: bool = False,
    ) -> dict[str, Any]:
        """Return a launch of `func`, to be sent by `client.push`. `@client.task` is the easier way.

        Raises:
            InvalidParameter: `delay` or `lifetime` is no number of seconds, or the id or client no printable text.
            TaskNotSerializable: `func` or an argument cannot be pickled.
        """
        _check_names(id, client)
        now = CurrentClock().now()
        delay_s = checked_delay(delay)
        envelope = launches.envelope_of(
            payload.pack(func, tuple(func_args), func_kwargs),
            message_id=id,
            client=client,
            reply_to="",
            issued_at=now,
            run_at=None if delay_s is None else now + timedelta(seconds=delay_s),
            is_hard=bool(hard),
            lifetime_s=checked_lifetime("lifetime", lifetime),
            is_overdue_enabled=False,
        )
        head = {"issued_at": moment_text(now), "python": envelope.python, "cloudpickle": envelope.cloudpickle}
        return _message(id, client, Message.TASK, envelope.arguments) | head

    @staticmethod
    def disassemble(message: Mapping[str, Any] | Serializable) -> MessageDisassemble:
        """Take a message apart, a dictionary or its JSON.

        Raises:
            MessageRejected: it is no message.
        """
        try:
            fields = json.loads(message) if isinstance(message, (str, bytes, bytearray)) else message
            metadata = {"id": fields["id"], "client": fields["client"], "type": Message(fields["type"])}
            return MessageDisassemble(metadata, fields["arguments"])
        except (ValueError, KeyError, TypeError) as error:
            raise MessageRejected(f"not a message: {type(error).__name__}: {error}") from error


def _check_names(message_id: object, client: object) -> None:
    """Refuse what a service would put to the dead letters. Raises InvalidParameter."""
    printable_name("id", message_id, bytes_max=MESSAGE_ID_BYTES_MAX)
    printable_name("client", client)


def _message(message_id: str, client: str, kind: Message, arguments: dict[str, Any]) -> dict[str, Any]:
    _check_names(message_id, client)
    return {"id": message_id, "client": client, "type": kind.value, "arguments": arguments}
