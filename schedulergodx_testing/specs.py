"""Ready tasks for tests of runners and storages, without a client and a message."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from schedulergodx.rules.tasks import TaskSpec
from schedulergodx.utils.message import payload
from schedulergodx.utils.message.seals import Verified, from_own_service

if TYPE_CHECKING:
    from collections.abc import Callable

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_numbers = itertools.count(1)


def make_task(
    function: Callable[..., Any],
    *args: Any,
    is_hard: bool = False,
    by: payload.Travel = "value",
    message_id: str | None = None,
    **kwargs: Any,
) -> Verified:
    """Return the task that calls `function(*args, **kwargs)`, with a new id unless `message_id` gives one.

    It is due since `EPOCH` and has no lifetime; use `changed` for the rest. Raises TaskNotSerializable.
    """
    packed = payload.pack(function, args, kwargs, by=by)
    return from_own_service(
        TaskSpec(
            message_id=message_id or f"task-{next(_numbers)}",
            client="tester",
            reply_to="replies",
            name=packed.name,
            digest=hashlib.sha256(packed.arguments).digest(),
            function=packed.function,
            reference=packed.reference,
            code_digest=packed.code_digest,
            arguments=packed.arguments,
            arguments_by_value=packed.arguments_by_value,
            python=payload.PYTHON_VERSION,
            is_hard=is_hard,
            lifetime_s=None,
            issued_at=EPOCH,
            run_at=EPOCH,
            is_delayed=False,
            is_overdue_enabled=True,
        )
    )


def changed(task: TaskSpec, **changes: Any) -> Verified:
    """Return a copy of a task with `changes`; a verified one cannot be changed by itself."""
    facts = {field.name: getattr(task, field.name) for field in fields(TaskSpec)}
    return from_own_service(TaskSpec(**(facts | changes)))
