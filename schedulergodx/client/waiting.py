"""Waiting for what the transport's threads tell, and the errors for what they did not tell in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from schedulergodx.errors import BrokerBlocked, BrokerError, BrokerRefused, BrokerUnavailable, LaunchUncertain
from schedulergodx.utils.abstractions import ConnectionState

if TYPE_CHECKING:
    import asyncio
    from queue import SimpleQueue

    from schedulergodx.utils.abstractions import Clock, Outgoing, Transport

T = TypeVar("T")


def wait(clock: Clock, inbox: SimpleQueue[T], timeout_s: float | None) -> T | None:
    """Return the next thing in `inbox`, or None after `timeout_s` seconds; None waits as long as it takes."""
    deadline = None if timeout_s is None else clock.monotonic() + timeout_s
    left_s = timeout_s
    while True:
        heard = clock.wait_for(inbox, left_s)
        if heard is not None or (left_s is not None and left_s <= 0):
            return heard
        left_s = None if deadline is None else deadline - clock.monotonic()


def call_soon(loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], value: T) -> None:
    """Set the result of a future of `loop`, from any thread; nothing, if it is done or its loop has ended."""

    def settle() -> None:
        if not future.done():
            future.set_result(value)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed: nobody waits any more
        return


def gave_up(transport: Transport, outgoing: Outgoing, waited_s: float) -> BrokerError:
    """Return the error for a launch that was withdrawn, since the broker did not confirm it in time."""
    status = transport.status()
    message_id, broker = outgoing.message_id, status.broker
    reason = f"; the last reason: {status.reason}" if status.reason else ""
    if outgoing.was_sent:
        return LaunchUncertain(
            f"launch {message_id} was sent, but {broker} did not confirm it within {waited_s:g} s{reason}. It perhaps "
            f"has it: client.launch_again({message_id!r}) sends it once more and cannot make it run twice.",
            message_id=message_id,
            broker=broker,
        )
    if status.state is ConnectionState.BLOCKED:
        return BrokerBlocked(
            f"launch {message_id} was not sent: {broker} took no messages for {waited_s:g} s (memory or disk alarm, or "
            f"a full disk){reason}. Make room there, then launch again.",
            message_id=message_id,
            broker=broker,
        )
    attempts = f"and {status.attempts} attempts{reason}" if status.attempts else f"and did not answer at all{reason}"
    return BrokerUnavailable(
        f"launch {message_id} was not sent: {broker} was not reached within {waited_s:g} s {attempts}. Is the broker "
        "running, and is this its address?",
        message_id=message_id,
        broker=broker,
        attempts=status.attempts,
        waited_s=waited_s,
    )


def named(error: BrokerError, message_id: str) -> BrokerError:
    """Return `error`, with the launch that it is about in it."""
    if error.message_id == message_id and message_id in str(error):
        return error
    kind = type(error)
    said = f"launch {message_id}: {error}"
    if isinstance(error, BrokerRefused):
        said += " Nothing was sent." if said.endswith((".", "?")) else ". Nothing was sent."
    about = kind(said, message_id=message_id, broker=error.broker)
    about.__cause__ = error.__cause__
    return about
