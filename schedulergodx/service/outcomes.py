"""Recording how a task ended, together with the answers that say so."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from schedulergodx.rules.lifecycle import Code, Report, TaskStatus
from schedulergodx.utils.message import answers, envelope
from schedulergodx.utils.message.envelope import Envelope
from schedulergodx.utils.message.kinds import Message, MessageErrorStatus, MessageInfoStatus
from schedulergodx.utils.message.signature import Direction

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from schedulergodx.rules.lifecycle import Outcome
    from schedulergodx.rules.tasks import TaskState
    from schedulergodx.service.turn import Turn
    from schedulergodx.utils.abstractions import Storage
    from schedulergodx.utils.message.signature import Signatures


class Outcomes:
    """Ends tasks in the storage and puts the answers into the outbox. Used within a transaction of the loop."""

    def __init__(self, storage: Storage, signatures: Signatures) -> None:
        self._storage = storage
        self._signatures = signatures

    def end(self, message_id: str, report: Report, turn: Turn, *, client: str, now: datetime) -> None:
        """Record the outcome of a task and answer everybody who waits for it; nothing if it has ended already.

        `client` launched it; it counts for watchers that an earlier version stored, without a name.
        """
        outcome = self._storage.finish(message_id, report, now=now)
        if outcome is None:
            return
        status, code = outcome.report.status, outcome.report.code
        level = logging.INFO if status is TaskStatus.COMPLETED else logging.WARNING
        # Not `name` and `value`, which are properties in Python, and are asked for at every end.
        turn.say(level, "task ended: %s, %s (message %s)", status._name_, code._value_, message_id)
        for queue, waiting in self._storage.watchers(message_id).items():
            self.tell(outcome, queue, turn, client=waiting or client)

    def tell(self, outcome: Outcome, queue: str, turn: Turn, *, client: str) -> None:
        """Answer with an outcome."""
        body = self._signed(client, answers.message(outcome, client=client))
        turn.replies.append(self._storage.add_reply(queue, outcome.message_id, body, now=turn.now))

    def refuse(  # noqa: PLR0913 - the parts of a message
        self, message_id: str, queue: str, turn: Turn, *, client: str, code: Code, message: str
    ) -> None:
        """Answer that there is no outcome, and why. Nothing is recorded."""
        status = MessageErrorStatus[code.name]
        arguments = {"code": code.value, "error_code": status.value, "message": message}
        self._add(message_id, queue, turn, client=client, kind=Message.ERROR, arguments=arguments)

    def say_status(self, state: TaskState, queue: str, turn: Turn, *, client: str) -> None:
        """Answer where a task is that has not ended."""
        arguments = {"responce": MessageInfoStatus.OK.value, "status": state.status.value}
        self._add(state.message_id, queue, turn, client=client, kind=Message.INFO, arguments=arguments)

    def greet(self, message_id: str, queue: str, turn: Turn, *, client: str) -> None:
        """Answer the greeting of a client."""
        arguments = {"responce": MessageInfoStatus.OK.value}
        self._add(message_id, queue, turn, client=client, kind=Message.INFO, arguments=arguments)

    def _add(  # noqa: PLR0913 - the parts of a message
        self, message_id: str, queue: str, turn: Turn, *, client: str, kind: Message, arguments: Mapping[str, object]
    ) -> None:
        if not queue:
            return
        message = Envelope(message_id=message_id, client=client, kind=kind, arguments=dict(arguments))
        body = self._signed(client, envelope.build(message))
        turn.replies.append(self._storage.add_reply(queue, message_id, body, now=turn.now))

    def _signed(self, client: str, message: bytes) -> bytes:
        return self._signatures.sign(Direction.ANSWER, client, message, is_service=True)
