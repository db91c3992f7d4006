"""How a client hears: outcomes and answers by message id, waited for in threads and in asyncio programs."""

from __future__ import annotations

from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from schedulergodx import config, redirection
from schedulergodx.client import failures
from schedulergodx.client.consumer import Waiting
from schedulergodx.client.waiting import call_soon, wait
from schedulergodx.errors import InvalidParameter, ResultTimeout, SchedulerError
from schedulergodx.utils.abstractions import AbstractionCore
from schedulergodx.utils.id_generators import refuse_after_harness
from schedulergodx.utils.message import answers, envelope
from schedulergodx.utils.message.kinds import MessageDisassemble

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from schedulergodx.client.connection import Connection
    from schedulergodx.client.consumer import Heard
    from schedulergodx.client.places import Connections
    from schedulergodx.rules.lifecycle import Outcome
    from schedulergodx.utils.abstractions import Clock


class Hearing(AbstractionCore):
    """The half of a client that hears; the other half, `Client`, launches, and says what stands here as fields."""

    name: str
    _address: str
    _clock: Clock
    _connections: Connections

    def result(self, message_id: str, timeout_s: float | None = None) -> Any:
        """Wait for a task, also another client's, and return what its function returned; see `MessageId.result`."""
        return failures.value_of(self._wait_for(message_id, timeout_s))

    async def async_result(self, message_id: str) -> Any:
        """As `result`, in an asyncio program, without a timeout of its own (use `asyncio.timeout`)."""
        return failures.value_of(await self._async_wait_for(message_id))

    def outcome(self, message_id: str) -> Outcome | None:
        """Return how a launch ended, or None while nothing has been heard. Does not wait.

        For a launch of another client, or one long ago, the service is asked, so that a later call has it.

        Raises:
            Closed: the client is closed, and heard nothing before.
            BrokerError: no answers can be received.
        """
        message_id = _checked_id(message_id)
        connection = self._current()
        outcome = connection.answers.get(message_id)
        if outcome is None:
            connection.answers.raise_if_ended()
            if not connection.answers.is_known(message_id):
                connection.ask([message_id])
            if (test := redirection.active()) is not None:
                test.looking(message_id)
        return outcome

    def get_response(self, message_id: str) -> MessageDisassemble | None:
        """Return the answer to a launch, or None when it is not here yet. Does not wait; see `outcome`."""
        outcome = self.outcome(message_id)
        return None if outcome is None else self._response(outcome)

    def sync_await_response(self, message_id: str, timeout_s: float | None = None) -> MessageDisassemble:
        """Wait for the answer to a launch, whatever it says.

        Args:
            message_id: which launch.
            timeout_s: seconds to wait at most; None waits as long as it takes.

        Raises:
            ResultTimeout: there was none in time. The task goes on.
            UnknownMessageId: the service has no such task.
        """
        return self._response(self._wait_for(message_id, timeout_s))

    async def async_get_response(self, message_id: str, heartbeat: float = 0.2) -> MessageDisassemble:  # noqa: ARG002
        """As `sync_await_response`, in an asyncio program. `heartbeat` is accepted as in 1.0.0: nothing polls now."""
        return self._response(await self._async_wait_for(message_id))

    get_responce = get_response
    sync_await_responce = sync_await_response
    async_get_responce = async_get_response

    def _response(self, outcome: Outcome) -> MessageDisassemble:
        message = answers.answer(outcome, client=self.name)
        arguments = message.arguments
        if outcome.report.result is not None:
            arguments["result"] = failures.value_of(outcome)
        return MessageDisassemble({"id": outcome.message_id, "client": self.name, "type": message.kind}, arguments)

    def _wait_for(self, message_id: str, timeout_s: float | None) -> Outcome:
        if timeout_s is not None:
            config.seconds("timeout_s", timeout_s)
        message_id = _checked_id(message_id)
        connection = self._current()
        if (outcome := connection.answers.get(message_id)) is not None:
            return outcome
        inbox: SimpleQueue[Heard] = SimpleQueue()
        on_heard = inbox.put
        try:
            self._listen(connection, message_id, on_heard)
            heard = wait(self._clock, inbox, timeout_s)
        finally:
            connection.answers.stop_waiting(message_id, on_heard)
        if heard is None:
            raise ResultTimeout(
                f"no outcome of {message_id} within {timeout_s:g} s. The task is not touched by this: it may run, or "
                f"wait for its moment, for room in the service, or for a service on queue {self.rmq_publisher_que!r} "
                f"of {self._address}; the service's log tells.",
                message_id=message_id,
                waited_s=timeout_s or 0.0,
            )
        return _outcome(heard)

    async def _async_wait_for(self, message_id: str) -> Outcome:
        import asyncio  # noqa: PLC0415 - only for those who use it, and they have it: it is half of our import time

        message_id = _checked_id(message_id)
        connection = self._current()
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[Heard] = loop.create_future()
        on_heard = partial(call_soon, loop, heard)
        try:
            self._listen(connection, message_id, on_heard)
            return _outcome(await heard)
        finally:
            connection.answers.stop_waiting(message_id, on_heard)

    def _listen(self, connection: Connection, message_id: str, on_heard: Callable[[Heard], None]) -> None:
        if connection.answers.wait(message_id, on_heard) is Waiting.MUST_ASK:
            connection.ask([message_id])

    def _current(self) -> Connection:
        return self._connections.current()


def _checked_id(message_id: object) -> str:
    """Return an id that can be asked for. Another one has no task, and a question about it would have no answer.

    Raises:
        InvalidParameter: it can be no id.
        UnknownMessageId: it was launched in a test harness that is closed.
    """
    if not envelope.is_message_id(message_id):
        raise InvalidParameter(
            f"message_id must be a printable text of 1 to {envelope.MESSAGE_ID_BYTES_MAX} bytes, as launch() returns "
            f"it, got {message_id!r:.100}"
        )
    refuse_after_harness(message_id)
    return str(message_id)


def _outcome(heard: Heard) -> Outcome:
    if isinstance(heard, SchedulerError):
        raise heard.with_traceback(None)  # one error may wake many: each begins its own traceback
    return heard
