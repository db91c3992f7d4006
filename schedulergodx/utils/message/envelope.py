"""The envelope of every message: JSON that is read strictly, and refused with a reason.

A message may come from anyone who reaches the queue, so nothing is assumed: not the encoding, not the depth, not the
type of any field. Whatever is wrong becomes one `MessageRejected` whose `reason` stands in `docs/protocol.md`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from schedulergodx.config import NAME_BYTES_MAX, QUEUE_NAME_BYTES_MAX, printable_name
from schedulergodx.errors import InvalidParameter, MessageRejected
from schedulergodx.utils.message.kinds import Message

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
VERSION = 1
MESSAGE_ID_BYTES_MAX = 100
_REPLY_QUEUE_BYTES_MAX = QUEUE_NAME_BYTES_MAX + NAME_BYTES_MAX + 30
_VERSION_BYTES_MAX = 40
_FIELDS = {"v", "id", "client", "type", "issued_at", "reply_to", "bundles", "python", "cloudpickle", "arguments"}


@dataclass(kw_only=True, slots=True)
class Envelope:
    """One message, read and checked down to its `arguments`, which belong to its type.

    Attributes:
        message_id: what it is about: the launch, or the message itself.
        client: name of the client that sent it, or that it answers.
        kind: what it is for.
        issued_at: when it was sent, aware UTC, or None (messages of programs that leave it out).
        reply_to: queue for an answer, or "".
        takes_bundles: whether whoever takes from that queue reads `bundles`.
        python, cloudpickle: versions of the sender, or "".
        arguments: the rest, not checked yet.
        unknown_fields: how many fields were passed over, since this version does not know them.
    """

    message_id: str
    client: str
    kind: Message
    issued_at: datetime | None = None
    reply_to: str = ""
    takes_bundles: bool = False
    python: str = ""
    cloudpickle: str = ""
    arguments: dict[str, Any] = field(repr=False)
    unknown_fields: int = 0


def build(envelope: Envelope) -> bytes:
    """Return the message as bytes."""
    fields: dict[str, Any] = {
        "v": VERSION,
        "id": envelope.message_id,
        "client": envelope.client,
        "type": envelope.kind.value,
    }
    if envelope.issued_at is not None:
        fields["issued_at"] = moment_text(envelope.issued_at)
    for name in ("reply_to", "python", "cloudpickle"):
        if value := getattr(envelope, name):
            fields[name] = value
    if envelope.takes_bundles:
        fields["bundles"] = True
    fields["arguments"] = envelope.arguments
    return _encoder.encode(fields).encode()


def parse(body: bytes, *, bytes_max: int) -> Envelope:
    """Read a message.

    Raises:
        MessageRejected: with reason TOO_LARGE, BAD_ENCODING, BAD_JSON, BAD_MESSAGE, UNKNOWN_VERSION or UNKNOWN_TYPE.
    """
    check_size(body, bytes_max=bytes_max)
    return read(body)


def read(body: bytes) -> Envelope:
    """Read a message whose size was looked at; raises as `parse` does."""
    fields = _json_object(body)
    client, kind, reply_to, takes_bundles, python, cloudpickle = _said(fields)
    return Envelope(
        message_id=name_field(fields, "id", bytes_max=MESSAGE_ID_BYTES_MAX),
        client=client,
        kind=kind,
        issued_at=optional_moment_field(fields, "issued_at"),
        reply_to=reply_to,
        takes_bundles=takes_bundles,
        python=python,
        cloudpickle=cloudpickle,
        arguments=object_field(fields, "arguments"),
        unknown_fields=0 if fields.keys() <= _FIELDS else len(fields.keys() - _FIELDS),
    )


def read_once(*names: str, kept: int) -> Callable[[Callable[[dict[str, Any]], T]], Callable[[dict[str, Any]], T]]:
    """Have what a function makes of these fields of a message kept, for so many different values of theirs.

    For fields in which hundreds of messages say the same. A refusal is not kept, nor what is made of lists and objects.
    """
    missing = (_MISSING,) * len(names)

    def decorate(read: Callable[[dict[str, Any]], T]) -> Callable[[dict[str, Any]], T]:
        @lru_cache(maxsize=kept, typed=True)  # 1 is not `true`
        def read_values(*values: object) -> T:
            return read({name: value for name, value in zip(names, values, strict=True) if value is not _MISSING})

        def read_fields(fields: dict[str, Any]) -> T:
            try:
                return read_values(*map(fields.get, names, missing))
            except TypeError:  # a list or an object
                return read(fields)

        return read_fields

    return decorate


def check_size(message: bytes, *, bytes_max: int) -> None:
    """Raise MessageRejected, with reason TOO_LARGE, for a message that is too large to be looked at."""
    if len(message) > bytes_max:
        raise MessageRejected(f"the message has {len(message)} bytes, {bytes_max} are allowed", reason="TOO_LARGE")


def bad(name: str, expected: str, value: object) -> MessageRejected:
    """Return the refusal of a field: its name, what it should be, and the type that it has."""
    found = "missing" if value is _MISSING else _shown(value)
    return MessageRejected(f"field {name!r} must be {expected}, but is {found}")


def name_field(fields: dict[str, Any], name: str, *, bytes_max: int) -> str:
    """Return a field that is a printable text. Raises MessageRejected."""
    value = fields.get(name, _MISSING)
    try:
        return printable_name(name, value, bytes_max=bytes_max)
    except InvalidParameter:
        raise bad(name, f"a printable text of 1 to {bytes_max} bytes", value) from None


def optional_name_field(fields: dict[str, Any], name: str, *, bytes_max: int) -> str:
    """Return a field that is a printable text; "" when it is missing, null or empty. Raises MessageRejected."""
    value = fields.get(name)
    if value is None or value == "":
        return ""
    return name_field(fields, name, bytes_max=bytes_max)


def object_field(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a field that is a JSON object. Raises MessageRejected."""
    value = fields.get(name, _MISSING)
    if type(value) is not dict:
        raise bad(name, "an object", value)
    return value


def flag_field(fields: dict[str, Any], name: str, *, default: bool) -> bool:
    """Return a field that is true or false; `default` when it is missing. Raises MessageRejected."""
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise bad(name, "true or false", value)
    return value


def optional_moment_field(fields: dict[str, Any], name: str) -> datetime | None:
    """Return a field that is a moment, ISO 8601 with an offset, in UTC; None when it is missing or null.

    Raises:
        MessageRejected: it is something else.
    """
    value = fields.get(name)
    if value is None:
        return None
    try:
        return (_known_moment if len(value) <= _MOMENT_CHARACTERS_KEPT else _moment)(value)
    except (ValueError, OverflowError, TypeError):
        raise bad(name, "a moment in ISO 8601 with an offset, e.g. '2026-01-31T12:00:00.000000Z'", value) from None


def written(value: object) -> str:
    """Return JSON data as text, as it stands in messages."""
    return _encoder.encode(value)


def moment_text(moment: datetime) -> str:
    """Return an aware moment as messages have it, in UTC with microseconds."""
    # Kept by the moment in UTC: in other zones two of one hour, before and after a change of clocks, count as equal.
    return _utc_text(_in_utc(moment))


def new_moment_text(moment: datetime) -> str:
    """Return the same of a moment that is asked for once, or again and again while a test's clock stands at it."""
    global _last_text  # noqa: PLW0603 - both of it are exchanged together, so any thread may do that
    known, text = _last_text
    if known is not moment:
        text = _text(_in_utc(moment))
        _last_text = (moment, text)
    return text


_last_text: tuple[datetime | None, str] = (None, "")


def _text(moment: datetime) -> str:
    return f"{moment.isoformat(timespec='microseconds')[:-_OFFSET_CHARACTERS]}Z"


_utc_text = lru_cache(maxsize=1024)(_text)  # the answers of one turn have the moments of that turn
_OFFSET_CHARACTERS = len("+00:00")


def is_message_id(value: object) -> bool:
    """Return whether `value` can be the id of a message."""
    try:
        printable_name("id", value, bytes_max=MESSAGE_ID_BYTES_MAX)
    except InvalidParameter:
        return False
    return True


def is_whole(value: object) -> bool:
    """Return whether `value` is a whole number; `true` is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no offset")
    return _in_utc(moment)


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


_known_moment = lru_cache(maxsize=1024)(_moment)  # as of `moment_text`: what is written together is read together
_MOMENT_CHARACTERS_KEPT = 40  # Python reads any number of digits, and whoever sends them has them kept


def _kind(fields: dict[str, Any]) -> Message:
    value = fields.get("type", _MISSING)
    if not is_whole(value):
        raise bad("type", "a whole number", value)
    try:
        return Message(value)
    except ValueError:
        known = ", ".join(f"{kind.value} ({kind.name})" for kind in Message)
        raise MessageRejected(f"type {_shown(value)} is unknown; known are {known}", reason="UNKNOWN_TYPE") from None


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MessageRejected(f"not UTF-8: {error.reason} at byte {error.start}", reason="BAD_ENCODING") from None
    if text.startswith("\ufeff") or "\x00" in text:
        raise MessageRejected("begins with a byte order mark, or holds a NUL", reason="BAD_ENCODING")
    try:
        fields = _decoded(text)
    except RecursionError:
        raise MessageRejected("nested too deeply", reason="BAD_JSON") from None
    except ValueError as error:
        raise MessageRejected(f"not JSON as it should be: {error}", reason="BAD_JSON") from None
    if not isinstance(fields, dict):
        raise MessageRejected(f"a message must be a JSON object, this is {_shown(fields)}")
    return fields


def _decoded(text: str) -> Any:
    """Return what `_decoder.decode` does, which looks for white space around it: our messages have none."""
    if text.startswith("{"):
        value, end = _decoder.raw_decode(text)
        if end == len(text):
            return value
    return _decoder.decode(text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return fields


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is beyond what a float holds")
    return number


_INT_DIGITS_MAX = 100


def _short_int(text: str) -> int:
    if len(text) <= _INT_DIGITS_MAX:
        return int(text)
    digits = len(text.lstrip("-"))
    if digits > _INT_DIGITS_MAX:
        raise ValueError(f"a number has {digits} digits")
    return int(text)


def _shown(value: object) -> str:
    """Show a wrong value without showing what may be a secret: its type, and a short number."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (int, float)):
        return f"the number {value!r:.20}"
    if isinstance(value, str):
        return "a text"
    return "a list" if isinstance(value, list) else "an object"


# Made once: to make them takes as long as to use them. Any thread may use them.
_encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_decoder = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_short_int
)


class _Missing:
    """Stands for a field that is not there."""


_MISSING = _Missing()


@read_once("v", "client", "type", "reply_to", "bundles", "python", "cloudpickle", kept=1024)
def _said(fields: dict[str, Any]) -> tuple[str, Message, str, bool, str, str]:
    """Return what is the same in all messages of one kind and client.

    That is: who speaks, of what, where an answer goes and whether in bundles, and the versions of the sender.
    """
    version = fields.get("v", VERSION)
    if not is_whole(version) or version != VERSION:
        raise MessageRejected(f"v is {_shown(version)}, this program speaks {VERSION}", reason="UNKNOWN_VERSION")
    return (
        name_field(fields, "client", bytes_max=NAME_BYTES_MAX),
        _kind(fields),
        optional_name_field(fields, "reply_to", bytes_max=_REPLY_QUEUE_BYTES_MAX),
        flag_field(fields, "bundles", default=False),
        optional_name_field(fields, "python", bytes_max=_VERSION_BYTES_MAX),
        optional_name_field(fields, "cloudpickle", bytes_max=_VERSION_BYTES_MAX),
    )
