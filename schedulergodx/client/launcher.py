"""From a task and its arguments to the message that launches it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from schedulergodx import redirection
from schedulergodx.errors import DuplicateMessageId, InvalidParameter, MessageTooLarge
from schedulergodx.utils.message import envelope, launches, payload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schedulergodx.client.connection import Connection
    from schedulergodx.client.task import Task
    from schedulergodx.utils.abstractions import Clock
    from schedulergodx.utils.logger import CoreLogger


class Launcher:
    """Makes the messages of one client's launches. Safe from any thread, if the id generator is."""

    def __init__(
        self, client: str, ids: Iterator[str], clock: Clock, logger: CoreLogger, *, message_bytes_max: int
    ) -> None:
        self._client = client
        self._ids = ids
        self._clock = clock
        self._logger = logger
        self._message_bytes_max = message_bytes_max

    def message(
        self,
        connection: Connection,
        task: Task[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        run_at: datetime | None,
    ) -> tuple[str, bytes]:
        """Return the id and the message of a launch, now expected by `connection`.

        Raises:
            TaskNotSerializable, MessageTooLarge, DuplicateMessageId, KeysRefused, InvalidParameter: nothing may be
                sent.
        """
        parameters = task.parameters
        packed = payload.pack(task.func, args, kwargs, by=parameters.by, by_value_modules=parameters.by_value_modules)
        message_id = self._next_id()
        now = self._clock.now()
        if run_at is None and parameters.delay is not None:
            run_at = now + timedelta(seconds=parameters.delay)
        launch = launches.message_of(
            packed,
            message_id=message_id,
            client=self._client,
            reply_to=connection.reply_to,
            issued_at=now,
            run_at=run_at,
            is_hard=parameters.hard,
            lifetime_s=parameters.lifetime_s,
            is_overdue_enabled=parameters.enable_overdue,
            max_starts=parameters.starts_that_count,
            limits=parameters.limits,
        )
        body = connection.trust.sign(launch)
        self.check_size(body, f"task {packed.name}")
        self.expect(connection, message_id)
        if (test := redirection.active()) is not None:
            test.launching(
                redirection.Launching(
                    message_id=message_id,
                    client=self._client,
                    function=task.func,
                    name=packed.name,
                    arguments=packed.arguments,
                    delay_s=None if run_at is None else (run_at - now).total_seconds(),
                    run_at=run_at,
                    is_hard=parameters.hard,
                    lifetime_s=parameters.lifetime_s,
                )
            )
        self._logger.debug("launch of task %s (message %s)", packed.name, message_id)
        return message_id, body

    def _next_id(self) -> str:
        message_id = next(self._ids, None)
        if not envelope.is_message_id(message_id):
            raise InvalidParameter(
                f"the id generator of client {self._client!r} must yield printable texts of 1 to "
                f"{envelope.MESSAGE_ID_BYTES_MAX} bytes, got {message_id!r:.100}; nothing was sent"
            )
        return str(message_id)

    def check_size(self, body: bytes, what: str) -> None:
        """Raise MessageTooLarge for a message above the limit; `what` names it."""
        if len(body) > self._message_bytes_max:
            raise MessageTooLarge(
                f"{what} makes a message of {len(body)} bytes, and {self._message_bytes_max} are allowed; nothing was "
                "sent. Put the data somewhere and send where it is.",
                size_bytes=len(body),
                limit_bytes=self._message_bytes_max,
            )

    def expect(self, connection: Connection, message_id: str) -> None:
        """Note that an answer will come. Raises DuplicateMessageId when the id is known already."""
        if not connection.answers.expect(message_id):
            raise DuplicateMessageId(
                f"the id generator of client {self._client!r} repeats itself: {message_id!r} belongs to an earlier "
                "launch; nothing was sent",
                message_id=message_id,
            )
