"""Outcomes as messages, there and back: INFO for a completed task, ERROR for every other end."""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from schedulergodx.errors import MessageRejected
from schedulergodx.rules.lifecycle import Code, Outcome, Report, TaskStatus
from schedulergodx.utils.message import envelope as envelopes
from schedulergodx.utils.message.envelope import (
    Envelope,
    bad,
    moment_text,
    new_moment_text,
    optional_moment_field,
)
from schedulergodx.utils.message.kinds import Message, MessageInfoStatus, error_status

if TYPE_CHECKING:
    from datetime import datetime


def message(outcome: Outcome, *, client: str) -> bytes:
    """Return the bytes of `answer`. Of a result, which is JSON as it stands, nothing is read for that."""
    report = outcome.report
    if report.code is not Code.OK or report.result is None or outcome.run_at is None or outcome.ended_at is None:
        return envelopes.build(answer(outcome, client=client))
    ended_at, run_at = _moment(outcome.ended_at), f'"{new_moment_text(outcome.run_at)}"'
    return (
        f'{_HEAD}{quoted(outcome.message_id)},"client":{quoted(client)},{_KIND}{ended_at},{_ENDED_WELL}{run_at},'
        f'"started_at":{_moment(outcome.started_at)},"ended_at":{ended_at},{_RESULT}{report.result}}}}}'
    ).encode()


# Made once: the value of a member of an Enum is a property, and takes longer than what is around it.
_HEAD = f'{{"v":{envelopes.VERSION},"id":'
_KIND = f'"type":{Message.INFO.value},"issued_at":'
_ENDED_WELL = f'"arguments":{{"status":{TaskStatus.COMPLETED.value},"code":"{Code.OK.value}","run_at":'
_RESULT = f'"responce":{MessageInfoStatus.OK.value},"result":'


def _moment(moment: datetime | None) -> str:
    return "null" if moment is None else f'"{moment_text(moment)}"'


def answer(outcome: Outcome, *, client: str) -> Envelope:
    """Return the message that tells `client` how a launch ended."""
    report = outcome.report
    arguments: dict[str, Any] = {"status": outcome.status.value, "code": outcome.code.value}
    for name in ("run_at", "started_at", "ended_at"):
        moment = getattr(outcome, name)
        arguments[name] = None if moment is None else moment_text(moment)
    if outcome.status is TaskStatus.COMPLETED:
        arguments["responce"] = MessageInfoStatus.OK.value
        arguments["result"] = None if report.result is None else json.loads(report.result)
        if report.message:
            arguments["representation"] = report.message
        kind = Message.INFO
    else:
        arguments["error_code"] = error_status(outcome.code).value
        arguments["message"] = report.message
        arguments["exception_type"] = report.exception_type
        arguments["traceback"] = report.traceback
        kind = Message.ERROR
    return Envelope(
        message_id=outcome.message_id,
        client=client,
        kind=kind,
        issued_at=outcome.ended_at,
        arguments=arguments,
    )


_CODES = {code.value: code for code in Code}  # `Code(value)` takes four times as long


def outcome_of(envelope: Envelope) -> Outcome | None:
    """Read an answer; None when it tells of no end (another INFO).

    Raises:
        MessageRejected: a field is missing or of the wrong type.
    """
    fields = envelope.arguments
    is_completed = envelope.kind is Message.INFO
    if not (is_completed or envelope.kind is Message.ERROR) or "code" not in fields:
        return None
    try:
        code = _CODES[fields["code"]]
    except (KeyError, TypeError):  # or a list, or an object
        raise bad("code", "a code that this version knows", fields["code"]) from None
    has_result = is_completed and code is Code.OK
    report = Report(
        code=code,
        result=envelopes.written(fields.get("result")) if has_result else None,
        exception_type=_text(fields, "exception_type"),
        message=_text(fields, "representation" if is_completed else "message"),
        traceback=_text(fields, "traceback"),
    )
    if (report.status is TaskStatus.COMPLETED) is not is_completed:
        raise MessageRejected(f"code {code.value} does not go with a message of type {envelope.kind.name}")
    return Outcome(
        message_id=envelope.message_id,
        report=report,
        run_at=optional_moment_field(fields, "run_at"),
        started_at=optional_moment_field(fields, "started_at"),
        ended_at=optional_moment_field(fields, "ended_at"),
    )


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if type(value) is not str:
        raise bad(name, "a text", value)
    return value
