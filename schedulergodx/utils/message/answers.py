"""Outcomes as messages, there and back: INFO for a completed task, ERROR for every other end."""

from __future__ import annotations

import json
from typing import Any

from schedulergodx.errors import MessageRejected
from schedulergodx.rules.lifecycle import Code, Outcome, Report, TaskStatus
from schedulergodx.utils.message.envelope import Envelope, bad, moment_field, moment_text
from schedulergodx.utils.message.kinds import Message, MessageInfoStatus, error_status


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


def outcome_of(envelope: Envelope) -> Outcome | None:
    """Read an answer; None when it tells of no end (another INFO).

    Raises:
        MessageRejected: a field is missing or of the wrong type.
    """
    fields = envelope.arguments
    if envelope.kind not in {Message.INFO, Message.ERROR} or "code" not in fields:
        return None
    try:
        code = Code(fields["code"])
    except ValueError:
        raise bad("code", "a code that this version knows", fields["code"]) from None
    is_completed = envelope.kind is Message.INFO
    has_result = is_completed and code is Code.OK
    report = Report(
        code=code,
        result=json.dumps(fields.get("result"), separators=(",", ":")) if has_result else None,
        exception_type=_text(fields, "exception_type"),
        message=_text(fields, "representation" if is_completed else "message"),
        traceback=_text(fields, "traceback"),
    )
    if (report.status is TaskStatus.COMPLETED) is not is_completed:
        raise MessageRejected(f"code {code.value} does not go with a message of type {envelope.kind.name}")
    moments = {
        name: None if fields.get(name) is None else moment_field(fields, name)
        for name in ("run_at", "started_at", "ended_at")
    }
    return Outcome(message_id=envelope.message_id, report=report, **moments)


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str):
        raise bad(name, "a text", value)
    return value
