"""A launch as a message: TASK out of a packed function, and back into the `TaskSpec` that a service stores."""

from __future__ import annotations

import base64
import binascii
import hashlib
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from schedulergodx.config import LIMIT_RANGES, STARTS_MAX, lifetime
from schedulergodx.errors import InvalidParameter, MessageRejected
from schedulergodx.rules.limits import NO_LIMITS, TaskLimits
from schedulergodx.rules.tasks import TaskSpec
from schedulergodx.utils.keys.ring import behind_length
from schedulergodx.utils.message.envelope import (
    VERSION,
    Envelope,
    bad,
    flag_field,
    moment_text,
    name_field,
    new_moment_text,
    optional_moment_field,
    optional_name_field,
    read_once,
    written,
)
from schedulergodx.utils.message.kinds import Message
from schedulergodx.utils.message.payload import CLOUDPICKLE_VERSION, PYTHON_VERSION, Packed, is_data

if TYPE_CHECKING:
    from datetime import datetime

_TEXT_BYTES_MAX = 1000
_KEPT_BYTES_MAX = 64 * 1024


def envelope_of(  # noqa: PLR0913 - each is a fact of the launch
    packed: Packed,
    *,
    message_id: str,
    client: str,
    reply_to: str,
    issued_at: datetime,
    run_at: datetime | None,
    is_hard: bool,
    lifetime_s: float | None,
    is_overdue_enabled: bool,
    max_starts: int = 1,
    limits: TaskLimits = NO_LIMITS,
    takes_bundles: bool = False,
) -> Envelope:
    """Return the TASK message of a launch. `run_at` None means at once; such a task is never overdue."""
    arguments: dict[str, Any] = {
        "name": packed.name,
        "function": _function_text(packed.function),
        "reference": packed.reference,
        "code_digest": packed.code_digest,
        "args": None if is_data(packed.arguments) else _base64(packed.arguments),
        "args_by_value": _base64(packed.arguments_by_value),
        "run_at": None if run_at is None else moment_text(run_at),
        "hard": is_hard,
        "lifetime_s": lifetime_s,
        "enable_overdue": is_overdue_enabled,
    }
    arguments |= _extras(max_starts, limits)
    if is_data(packed.arguments):
        arguments["args_json"] = packed.arguments.decode("ascii")
    return Envelope(
        message_id=message_id,
        client=client,
        kind=Message.TASK,
        issued_at=issued_at,
        reply_to=reply_to,
        takes_bundles=takes_bundles,
        python=PYTHON_VERSION,
        cloudpickle=CLOUDPICKLE_VERSION,
        arguments=arguments,
    )


def message_of(  # noqa: PLR0913 - each is a fact of the launch
    packed: Packed,
    *,
    message_id: str,
    client: str,
    reply_to: str,
    issued_at: datetime,
    run_at: datetime | None,
    is_hard: bool,
    lifetime_s: float | None,
    is_overdue_enabled: bool,
    max_starts: int = 1,
    limits: TaskLimits = NO_LIMITS,
) -> bytes:
    """Return the message of a launch whose client takes bundles: what `envelope.build` makes of `envelope_of`.

    Most of it is the same in all launches of a task, and made once. It takes a quarter of the time.
    """
    is_small = packed.function is None or len(packed.function) <= _KEPT_BYTES_MAX
    function = (_known_function_fields if is_small else _function_fields)(
        packed.name, packed.function, packed.reference, packed.code_digest
    )
    data = packed.arguments
    is_text = is_data(data)
    arguments = "null" if is_text else f'"{binascii.b2a_base64(data, newline=False).decode()}"'
    by_value = packed.arguments_by_value
    by_value_text = "null" if by_value is None else f'"{base64.b64encode(by_value).decode()}"'
    run_at_text = "null" if run_at is None else f'"{moment_text(run_at)}"'
    how = _how_fields(is_hard, lifetime_s, is_overdue_enabled, max_starts, None if limits is NO_LIMITS else limits)
    tail = f',"args_json":{quoted(data.decode("ascii"))}' if is_text else ""
    return (
        f'{{"v":{VERSION},"id":{quoted(message_id)},"client":{quoted(client)},"type":{_TASK},'
        f'"issued_at":"{new_moment_text(issued_at)}"{_reply_fields(reply_to)},"arguments":{{{function},"args":{arguments},'
        f'"args_by_value":{by_value_text},"run_at":{run_at_text},{how}{tail}}}}}'
    ).encode()


_TASK = Message.TASK.value  # once: it is a property, and takes longer than what is around it


@lru_cache(maxsize=256)
def _reply_fields(reply_to: str) -> str:
    """Return the JSON of the fields between the moment of a launch and its arguments."""
    fields = {"reply_to": reply_to} if reply_to else {}
    return "," + _inside(fields | {"python": PYTHON_VERSION, "cloudpickle": CLOUDPICKLE_VERSION, "bundles": True})


def _function_fields(name: str, function: bytes | None, reference: str, code_digest: str) -> str:
    """Return the JSON of the fields of a launch that say what is called."""
    return _inside({"name": name, "function": _base64(function), "reference": reference, "code_digest": code_digest})


_known_function_fields = lru_cache(maxsize=64)(_function_fields)


@lru_cache(maxsize=256, typed=True)  # 3 and 3.0 are written differently
def _how_fields(
    is_hard: bool,
    lifetime_s: float | None,
    is_overdue_enabled: bool,
    max_starts: int,
    limits: TaskLimits | None,
) -> str:
    """Return the JSON of the fields of a launch that say how it runs."""
    fields: dict[str, Any] = {"hard": is_hard, "lifetime_s": lifetime_s, "enable_overdue": is_overdue_enabled}
    return _inside(fields | _extras(max_starts, limits or NO_LIMITS))


def _extras(max_starts: int, limits: TaskLimits) -> dict[str, Any]:
    """Return fields only where they say something: a service of an earlier version passes them over."""
    extras: dict[str, Any] = {} if max_starts == 1 else {"max_starts": max_starts}
    return extras | ({"limits": given} if limits is not NO_LIMITS and (given := limits.given()) else {})


def _inside(fields: dict[str, Any]) -> str:
    return written(fields)[1:-1]


def task_of(envelope: Envelope, *, received_at: datetime) -> TaskSpec:
    """Read a TASK message. Nothing of it is unpickled.

    Raises:
        MessageRejected: a field is missing or of the wrong type; the message names it.
    """
    fields = envelope.arguments
    name, function, reference, code_digest, called = _called(fields)
    arguments = _arguments_field(fields)
    arguments_by_value = _bytes_field(fields, "args_by_value", is_optional=True)
    issued_at = envelope.issued_at or received_at
    run_at = optional_moment_field(fields, "run_at")
    is_hard, lifetime_s, is_overdue_enabled, max_starts, how = _how(fields)
    limits = _limits_field(fields)
    by_whom_and_when = (_client_fact(envelope.client), _fact(issued_at))
    with_what_and_when = (behind_length(arguments), _NONE_FACT if run_at is None else _fact(run_at))
    bounds = () if limits is NO_LIMITS else map(_fact, limits.given().items())
    return TaskSpec(
        message_id=envelope.message_id,
        client=envelope.client,
        reply_to=envelope.reply_to,
        name=name,
        digest=_digest(*by_whom_and_when, called, *with_what_and_when, how, *bounds),
        function=function,
        reference=reference,
        code_digest=code_digest,
        arguments=arguments,
        arguments_by_value=arguments_by_value,
        python=envelope.python,
        is_hard=is_hard,
        lifetime_s=lifetime_s,
        issued_at=issued_at,
        run_at=issued_at if run_at is None else run_at,
        is_delayed=run_at is not None,
        is_overdue_enabled=is_overdue_enabled,
        max_starts=max_starts,
        limits=limits,
    )


def _digest(*facts: bytes) -> bytes:
    """Hash what makes a launch what it is: the same id with other facts is another launch, and refused.

    What is as it always was is left out, so that a launch has the same digest in every version.
    """
    return hashlib.sha256(b"".join(facts)).digest()


def _fact(fact: object) -> bytes:
    """Return a fact of a launch so that two lists of them never give the same bytes."""
    return behind_length(fact if isinstance(fact, bytes) else repr(fact).encode())


_client_fact = lru_cache(maxsize=256)(_fact)
_NONE_FACT = _fact(None)


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")


_known_base64 = lru_cache(maxsize=64)(_base64)


def _function_text(function: bytes | None) -> str | None:
    """Return it as base64; a small one is sent many times, and encoded once."""
    return _base64(function) if function is not None and len(function) > _KEPT_BYTES_MAX else _known_base64(function)


def _called(fields: dict[str, Any]) -> tuple[str, bytes | None, str, str, bytes]:
    """Return what is called: name, function, reference and hash of its code; of a small function, read once.

    And the facts among them that go into the digest of a launch.
    """
    function = fields.get("function")
    is_large = isinstance(function, str) and len(function) > _KEPT_BYTES_MAX
    return (_read_called if is_large else _known_called)(fields)


def _read_called(fields: dict[str, Any]) -> tuple[str, bytes | None, str, str, bytes]:
    function, reference = _bytes_field(fields, "function", is_optional=True), _reference_field(fields)
    if function is None and not reference:
        raise MessageRejected("neither 'function' nor 'reference' is given: there is nothing to run")
    name = name_field(fields, "name", bytes_max=_TEXT_BYTES_MAX)
    code_digest = optional_name_field(fields, "code_digest", bytes_max=_TEXT_BYTES_MAX)
    return name, function, reference, code_digest, _fact(function) + _fact(reference)


_known_called = read_once("name", "function", "reference", "code_digest", kept=64)(_read_called)


@read_once("hard", "lifetime_s", "enable_overdue", "max_starts", kept=256)
def _how(fields: dict[str, Any]) -> tuple[bool, float | None, bool, int, bytes]:
    """Return how it runs: whether in a process, its lifetime, whether also when overdue, and how often.

    And the facts among them that go into the digest of a launch.
    """
    is_hard, lifetime_s = flag_field(fields, "hard", default=False), _lifetime_field(fields)
    is_overdue_enabled, max_starts = flag_field(fields, "enable_overdue", default=False), _max_starts_field(fields)
    facts = [is_hard, lifetime_s] if max_starts == 1 else [is_hard, lifetime_s, max_starts]
    return is_hard, lifetime_s, is_overdue_enabled, max_starts, b"".join(map(_fact, facts))


def _bytes_field(fields: dict[str, Any], name: str, *, is_optional: bool) -> bytes | None:
    value = fields.get(name)
    if value is None and is_optional:
        return None
    if isinstance(value, str):
        try:
            return binascii.a2b_base64(value, strict_mode=True)  # as `b64decode`, but for what that has around it
        except (binascii.Error, ValueError):
            pass
    raise bad(name, "base64" + (" or null" if is_optional else ""), value)


def _arguments_field(fields: dict[str, Any]) -> bytes:
    data = fields.get("args_json")
    if data is None:
        pickled = _bytes_field(fields, "args", is_optional=False) or b""
        if is_data(pickled):
            raise bad("args", "a pickle", fields["args"])
        return pickled
    if not isinstance(data, str) or not data.isascii() or not is_data(data.encode()):
        raise bad("args_json", "a text of JSON that begins with {", data)
    if fields.get("args") is not None:
        raise bad("args", "null, where args_json is given", fields["args"])
    return data.encode()


def _reference_field(fields: dict[str, Any]) -> str:
    reference = optional_name_field(fields, "reference", bytes_max=_TEXT_BYTES_MAX)
    if reference and not _is_reference(reference):
        raise bad("reference", "'module:qualname'", reference)
    return reference


@lru_cache(maxsize=1024)
def _is_reference(text: str) -> bool:
    module, _, qualname = text.partition(":")
    return all(part.isidentifier() for part in (*module.split("."), *qualname.split(".")))


def _lifetime_field(fields: dict[str, Any]) -> float | None:
    value = fields.get("lifetime_s")
    try:
        return lifetime("lifetime_s", value)
    except InvalidParameter as error:
        raise MessageRejected(f"field 'lifetime_s' is wrong: {error}") from None


def _max_starts_field(fields: dict[str, Any]) -> int:
    value = fields.get("max_starts", 1)
    return _whole_number("max_starts", value, least=1, most=STARTS_MAX)


def _limits_field(fields: dict[str, Any]) -> TaskLimits:
    value = fields.get("limits")
    if value is None:
        return NO_LIMITS
    if not isinstance(value, dict):
        raise bad("limits", "an object or null", value)
    bounds = {name: value[name] for name in LIMIT_RANGES if value.get(name) is not None}
    for name, bound in bounds.items():  # unknown ones are passed over, as unknown fields are
        least, most = LIMIT_RANGES[name]
        _whole_number(f"limits.{name}", bound, least=least, most=most)
    return TaskLimits(**bounds) if bounds else NO_LIMITS


def _whole_number(name: str, value: object, *, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise bad(name, f"a whole number from {least} to {most}", value)
    return value
