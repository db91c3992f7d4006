"""Launches on their way: sent, confirmed, or given up with an error that says what is certain."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from queue import SimpleQueue
from typing import TYPE_CHECKING

from schedulergodx.client.batch import Batch
from schedulergodx.client.waiting import call_soon, gave_up, named, wait
from schedulergodx.errors import BatchFailed, BrokerError, LaunchRefused
from schedulergodx.utils.abstractions import Outgoing
from schedulergodx.utils.message import bundles

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping

    from schedulergodx.utils.abstractions import Clock, Transport

_NONE: Mapping[Publisher, Batch] = {}
_batches: ContextVar[Mapping[Publisher, Batch]] = ContextVar("schedulergodx_batches", default=_NONE)
"""The open batch of each publisher in this context. One variable for all: Python keeps each for ever."""


class Publisher:
    """Sends launches and knows how each went. Safe from any thread.

    Args:
        transport: gives the transport, connecting it when it is first needed.
        clock: where waiting is done.
        timeout_s: seconds that a launch waits for the broker.
        bundle_bytes_max: the largest bundle of launches.
        on_failed: told each launch that the broker does not have for certain, and why.
    """

    def __init__(
        self,
        transport: Callable[[], Transport],
        clock: Clock,
        *,
        timeout_s: float,
        on_failed: Callable[[Outgoing, BrokerError], None],
        bundle_bytes_max: int = bundles.LAUNCHES_BYTES_MAX,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._timeout_s = timeout_s
        self._bundle_bytes_max = bundle_bytes_max
        self._on_failed = on_failed

    def send(self, queue: str, message_id: str, body: bytes, *, is_launch: bool = True) -> None:
        """Send, and return once the broker has it; within `batch()`, return at once.

        Only launches travel in bundles.

        Raises:
            BrokerError: the broker does not have it, or (`LaunchUncertain`) perhaps has it.
            Closed: nothing was sent.
        """
        batch = self._open_batch()
        if batch is None:
            self.send_alone(queue, message_id, body)
        else:
            batch.send(queue, message_id, body, is_launch=is_launch)

    def send_alone(self, queue: str, message_id: str, body: bytes) -> None:
        """Send, and return once the broker has it, also within `batch()`; raises as `send` does.

        Interrupted (`KeyboardInterrupt`), it withdraws the launch; where that is too late, a note says so.

        Raises:
            LaunchRefused: this is a thread of the transport; nothing was sent.
        """
        settled: SimpleQueue[tuple[BrokerError | None]] = SimpleQueue()
        outgoing = Outgoing(
            queue=queue, body=body, message_id=message_id, on_settled=lambda _, error: settled.put((error,))
        )
        transport = self._transport()
        if threading.current_thread() in transport.threads().values():
            raise LaunchRefused(
                f"launch {message_id} was not sent: this is the thread of the client's own connection, which cannot "
                "wait for itself. The garbage collector may run a `__del__` that launches there: launch elsewhere."
            )
        try:
            transport.publish(outgoing)  # before: W1; after: W2
            heard = wait(self._clock, settled, self._timeout_s)
            if heard is None and not transport.withdraw(outgoing):
                heard = wait(self._clock, settled, self._timeout_s)  # it was settled a moment ago
        except BaseException as error:
            self._withdraw(transport, outgoing, error)
            raise
        self._conclude(outgoing, gave_up(transport, outgoing, self._timeout_s) if heard is None else heard[0])

    async def send_async(self, queue: str, message_id: str, body: bytes) -> None:
        """As `send`, for asyncio: waits on an event of the loop. Cancelling it withdraws the launch, if it can."""
        import asyncio  # noqa: PLC0415 - only for those who use it, and they have it: it is half of our import time

        loop = asyncio.get_running_loop()
        settled: asyncio.Future[BrokerError | None] = loop.create_future()

        def on_settled(_: Outgoing, error: BrokerError | None) -> None:
            call_soon(loop, settled, error)

        outgoing = Outgoing(queue=queue, body=body, message_id=message_id, on_settled=on_settled)
        transport = self._transport()
        try:
            transport.publish(outgoing)  # before: W1; after: W2
            async with asyncio.timeout(self._timeout_s):
                error = await asyncio.shield(settled)
        except TimeoutError:
            error = gave_up(transport, outgoing, self._timeout_s) if transport.withdraw(outgoing) else await settled
        except BaseException as interruption:
            self._withdraw(transport, outgoing, interruption)
            raise
        self._conclude(outgoing, error)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Let launches of this block, in this thread or task, wait for their confirms together at its end."""
        if self._open_batch() is not None:
            yield  # within a batch already: the outer one waits
            return
        batch = Batch(
            self._transport,
            self._clock,
            timeout_s=self._timeout_s,
            bundle_bytes_max=self._bundle_bytes_max,
            on_failed=self._on_failed,
        )
        token = _batches.set({**_batches.get(), self: batch})
        try:
            yield
        except BaseException as error:
            _batches.reset(token)
            if failed := _failed(batch, is_interrupted=isinstance(error, KeyboardInterrupt)):
                error.add_note(f"Besides, of the batch: {failed}")
            raise
        _batches.reset(token)
        if failed := _failed(batch):
            raise failed

    def _open_batch(self) -> Batch | None:
        batch = _batches.get().get(self)
        # A coroutine begun in the block keeps its batch beyond the end.
        return batch if batch is not None and batch.is_open else None

    def _withdraw(self, transport: Transport, outgoing: Outgoing, interruption: BaseException) -> None:
        """Take back what nobody waits for any more, or say that it is too late."""
        transport.withdraw(outgoing)
        self._on_failed(outgoing, gave_up(transport, outgoing, self._timeout_s))
        if outgoing.was_sent:
            interruption.add_note(
                f"Launch {outgoing.message_id} was sent before this, so the task may run; its id tells the outcome."
            )

    def _conclude(self, outgoing: Outgoing, error: BrokerError | None) -> None:
        if error is not None:
            error = named(error, outgoing.message_id)
            self._on_failed(outgoing, error)
            raise error


def _failed(batch: Batch, *, is_interrupted: bool = False) -> BatchFailed | None:
    """Wait for the end of a batch; return the error for what was not confirmed, or None."""
    errors = batch.finish(is_interrupted=is_interrupted)
    if not errors:
        return None
    some = next(iter(errors.values()))
    return BatchFailed(f"{len(errors)} of {batch.count} launches failed; one of them: {some}", errors=errors)
