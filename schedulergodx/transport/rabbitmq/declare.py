"""`Declarer`: declares and deletes queues, one after the other."""

from __future__ import annotations

import logging
import re
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pika.exceptions import ChannelClosedByBroker

from schedulergodx.transport.rabbitmq.errors import ACCESS_REFUSED, PRECONDITION_FAILED, code_and_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pika.channel import Channel

    from schedulergodx.transport.rabbitmq.wire import WireConnection
    from schedulergodx.utils.abstractions import QueueSpec

    Done = Callable[[BaseException | None], None]

logger = logging.getLogger("schedulergodx.transport")

EXPIRES_MAX_MS = 2**32 - 1
"""RabbitMQ knows no longer life of a queue than seven weeks."""

_CURRENT_ARGUMENT = re.compile(
    r"inequivalent arg 'x-dead-letter-routing-key' .* but current is the value '(?P<value>.*?)(?:' of type .*|\.\.\.)?$"
)
DELIVERY_LIMIT = "x-delivery-limit"
LIMITS_SINCE = 4
"""From this version on, what came back to a quorum queue 20 times is dropped, unless the queue is made with -1.

To versions before it, which know no limit unless they are told one, -1 would mean to drop it the first time.
"""


def queue_arguments(queue: QueueSpec, *, version: int = LIMITS_SINCE) -> dict[str, Any]:
    """Return the arguments with which `queue` is declared to a RabbitMQ of that (major) version."""
    arguments = _type_arguments(queue, version)
    if queue.expires_after_s is not None:
        arguments["x-expires"] = min(EXPIRES_MAX_MS, max(1, round(queue.expires_after_s * 1000)))
    if queue.has_dead_letters:
        arguments["x-dead-letter-exchange"] = ""
        arguments["x-dead-letter-routing-key"] = queue.dead_letter_name
    return arguments


def dead_letter_arguments(queue: QueueSpec, *, version: int = LIMITS_SINCE) -> dict[str, Any]:
    """Return the arguments with which the queue for the dead letters of `queue` is declared."""
    return _type_arguments(queue, version)


def _type_arguments(queue: QueueSpec, version: int) -> dict[str, Any]:
    # Named always: a virtual host may have another type by default.
    if not queue.is_quorum:
        return {"x-queue-type": "classic"}
    return {"x-queue-type": "quorum"} | ({DELIVERY_LIMIT: -1} if version >= LIMITS_SINCE else {})


_OWNER_ARGUMENTS = {"x-queue-type": "classic", "x-expires": EXPIRES_MAX_MS, "x-dead-letter-exchange": ""}
"""Of the queue that says who owns another one, apart from what it says."""


def major_version(server_properties: Mapping[str, Any] | None) -> int:
    """Return the first number of the version that a broker names, or 0 if it names none that is known."""
    version = (server_properties or {}).get("version")
    text = version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version)
    first = text.partition(".")[0]
    return int(first) if first.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class _Job:
    """One question to the broker: `ask` sends it, `done` gets None or the error for which the channel was closed."""

    ask: Callable[[Channel, Callable[[object], None]], object]
    done: Done


class Declarer:
    """Works on a channel of its own, since the broker closes the channel on which something is refused.

    For the thread of the connection only. When the connection is lost, no `done` that is still owed is called.
    """

    def __init__(self, connection: WireConnection) -> None:
        self._connection = connection
        self._channel: Channel | None = None
        self._jobs: deque[_Job] = deque()
        self._current: _Job | None = None

    def declare(self, queue: QueueSpec, done: Done) -> None:
        """Declare `queue`, durable, and its dead letters before it; then call `done` with None or the error."""
        version = major_version(self._connection.server_properties)
        arguments = queue_arguments(queue, version=version)
        if queue.has_dead_letters:
            self._declare(
                queue.dead_letter_name,
                dead_letter_arguments(queue, version=version),
                lambda error: done(error) if error else self._declare(queue.name, arguments, done),
            )
        else:
            self._declare(queue.name, arguments, done)

    def own(self, name: str, done: Done) -> None:
        """Declare a queue that belongs to this connection and goes with it; only one connection can."""
        # Of the classic type by name: a virtual host may have another one by default, which cannot be exclusive.
        arguments = {"x-queue-type": "classic"}
        self._add(
            lambda channel, ok: channel.queue_declare(name, exclusive=True, arguments=arguments, callback=ok), done
        )

    def say_owner(self, name: str, text: str) -> None:
        """Leave `text` at the broker for whoever asks by `ask_owner`, in place of what an earlier owner left.

        It is an argument of an empty queue: nothing has to be published for it, so a broker under alarm, which reads
        nothing from those who publish, does not stop this connection.
        """
        self.delete(name)
        self._add(
            lambda channel, ok: channel.queue_declare(
                name, durable=True, arguments=_OWNER_ARGUMENTS | {"x-dead-letter-routing-key": text}, callback=ok
            ),
            lambda _error: None,
        )

    def ask_owner(self, name: str, done: Callable[[str], None]) -> None:
        """Call `done` with what the owner has left by `say_owner`, or with "" if that cannot be known.

        The broker tells an argument to whoever declares the queue without it, in 255 bytes with all around it.
        """

        def on_answer(error: BaseException | None) -> None:
            if error is None:  # there was none, and we have made it
                self.delete(name)
            found = None if error is None else _CURRENT_ARGUMENT.search(code_and_text(error)[1])
            done(found["value"] if found else "")

        self._add(
            lambda channel, ok: channel.queue_declare(name, durable=True, arguments=_OWNER_ARGUMENTS, callback=ok),
            on_answer,
        )

    def delete(self, name: str) -> None:
        """Delete a queue; nothing happens if it does not exist, or may not be deleted."""
        self._add(lambda channel, ok: channel.queue_delete(name, callback=ok), lambda _error: None)

    def _declare(self, name: str, arguments: dict[str, Any], done: Done) -> None:
        self._add(
            lambda channel, ok: channel.queue_declare(name, durable=True, arguments=arguments, callback=ok),
            partial(self._check_refusal, name, arguments, done),
        )

    def _check_refusal(self, name: str, arguments: dict[str, Any], done: Done, error: BaseException | None) -> None:
        code, text = (0, "") if error is None else code_and_text(error)
        if code == ACCESS_REFUSED:
            # Who may not create queues can still use one that somebody else has made.
            self._add(lambda channel, ok: channel.queue_declare(name, passive=True, callback=ok), done)
        elif code == PRECONDITION_FAILED and f"'{DELIVERY_LIMIT}'" in text and DELIVERY_LIMIT in arguments:
            logger.warning(
                "queue %r was made without %s=-1, by a RabbitMQ before 4.0 or by somebody else: a message that comes "
                "back to it too often becomes a dead letter; drain it and delete it, and it is made anew",
                name,
                DELIVERY_LIMIT,
            )
            self._declare(name, {key: value for key, value in arguments.items() if key != DELIVERY_LIMIT}, done)
        else:
            done(error)

    def _add(self, ask: Callable[[Channel, Callable[[object], None]], object], done: Done) -> None:
        self._jobs.append(_Job(ask, done))
        self._next()

    def _next(self) -> None:
        if self._current is not None or not self._jobs or not self._connection.is_open:
            return
        if self._channel is None:
            self._channel = self._connection.channel(on_open_callback=lambda _channel: self._next())
            self._channel.add_on_close_callback(self._on_channel_closed)
        elif self._channel.is_open:
            job = self._current = self._jobs.popleft()
            try:
                job.ask(self._channel, lambda _frame: self._end(None))
            except Exception as error:  # noqa: BLE001 - e.g. a name too long for AMQP: nothing was sent
                self._end(error)

    def _end(self, error: BaseException | None) -> None:
        job, self._current = self._current, None
        if job is not None:
            job.done(error)
        self._next()

    def _on_channel_closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self._channel = None
        if isinstance(reason, ChannelClosedByBroker):
            self._end(reason)
        else:
            self._current = None
            self._jobs.clear()
