"""`Link`: one connection to the broker in one thread, made when it is needed and kept up until it is closed."""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from schedulergodx.transport.rabbitmq.backoff import PAUSE_MAX_S, PAUSE_MIN_S, pause_s
from schedulergodx.transport.rabbitmq.errors import is_refusal, reason_text
from schedulergodx.transport.rabbitmq.quiet import quiet, quiet_loop
from schedulergodx.transport.rabbitmq.wire import WireConnection
from schedulergodx.utils.abstractions import ConnectionState, ConnectionStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    import pika
    from pika.adapters.select_connection import IOLoop, _Timeout

logger = logging.getLogger("schedulergodx.transport")

COMMANDS_PER_TURN_MAX = 1000
"""Commands taken before the socket is looked at again."""
STEADY_S = 5.0
"""A connection that lives so long was a success: the next pause is a short one again."""
CUT_S = 0.5
"""For a connection that was cut to be told as ended, before the thread goes without it."""

_LOG_LEVELS = {
    ConnectionState.BLOCKED: logging.WARNING,
    ConnectionState.RECOVERING: logging.WARNING,
    ConnectionState.REFUSED: logging.ERROR,
}


class LinkUser(Protocol):
    """What a link serves. It calls everything here in its own thread."""

    def on_up(self, connection: WireConnection) -> None:
        """Begin: the connection is open."""

    def on_down(self) -> None:
        """Forget every channel: the connection is gone."""

    def on_refused(self, reason: str) -> None:
        """Give up what waits: the broker refuses us."""

    def is_wanting(self) -> bool:
        """Return whether anything waits for a connection."""

    def pump(self) -> None:
        """Do what has become possible: something was asked for, or the broker takes messages again."""


class Link:
    """Keeps one connection up in one thread. Every method without another word may be called from any thread."""

    def __init__(  # noqa: PLR0913 - each is a fact of its own
        self,
        *,
        title: str,
        address: str,
        thread_name: str,
        parameters: pika.ConnectionParameters,
        user: LinkUser,
        on_change: Callable[[ConnectionStatus], None],
    ) -> None:
        self._title = title
        self._parameters = parameters
        self._user = user
        self._on_change = on_change
        self._thread_name = thread_name
        self._lock = threading.Lock()
        self._commands: deque[Callable[[], None]] = deque()
        self._is_wake_pending = False
        self._is_closing = False
        self._loop: IOLoop | None = None
        self._connection: WireConnection | None = None
        self._timers: dict[object, _Timeout] = {}
        self._failures = 0
        self._has_told_failure = False
        self.thread: threading.Thread | None = None
        self.status = ConnectionStatus(state=ConnectionState.CONNECTING, broker=address)

    # --- For any thread

    def start(self) -> None:
        """Begin to connect, unless that was done before or the link is closed."""
        if self.thread is None:
            with self._lock:
                self._start_once()

    def call(self, command: Callable[[], None]) -> bool:
        """Have `command` called in the thread, after those before it. Returns False if the link is not running."""
        if self._loop is None:
            return False
        self._commands.append(command)
        self.wake()
        return True

    def wake(self) -> None:
        """Have `pump` called in the thread. Many calls together cost one wake-up."""
        # Set before the loop is told and cleared before commands are taken, so that none is left behind.
        if not self._is_wake_pending and (loop := self._loop) is not None:
            self._is_wake_pending = True
            with quiet():
                loop.add_callback_threadsafe(self._turn)

    def wait_for_commands(self, timeout_s: float) -> None:
        """Wait at most `timeout_s` seconds until the commands so far were called. Nothing happens in its own thread."""
        if self._loop is not None and self.thread is not threading.current_thread():
            are_done = threading.Event()
            self.call(are_done.set)
            are_done.wait(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Disconnect in order, by force after `timeout_s` seconds, and wait for the thread to end."""
        with self._lock:
            self._is_closing = True
            thread = self.thread
        if thread is None:
            # Who has never used this connection need not hear that it is closed.
            self.status = replace(self.status, state=ConnectionState.CLOSED)
            return
        self.call(lambda: self._begin_close(timeout_s))
        if thread is not threading.current_thread():
            thread.join(timeout_s + 2 * CUT_S)

    @property
    def is_up(self) -> bool:
        """Whether the connection is open, blocked or not."""
        return self.status.state in (ConnectionState.UP, ConnectionState.BLOCKED)

    # --- For the link's own thread

    @property
    def is_blocked(self) -> bool:
        """Whether the broker takes no messages."""
        return self.status.state is ConnectionState.BLOCKED

    @property
    def connection(self) -> WireConnection | None:
        """The open connection, or None."""
        return self._connection if self._connection is not None and self._connection.is_open else None

    def later(self, delay_s: float, call: Callable[[], None]) -> object:
        """Call `call` after `delay_s` seconds, unless the connection is lost or `cancel` is called before that."""
        token = object()

        def ring() -> None:
            del self._timers[token]
            call()

        self._timers[token] = self._running_loop().call_later(delay_s, ring)
        return token

    def cancel(self, timer: object) -> None:
        """Take back a `later`; nothing happens when it has rung."""
        if (timeout := self._timers.pop(timer, None)) is not None:
            self._running_loop().remove_timeout(timeout)

    def cut(self, reason: str) -> None:
        """Drop the connection and make another one."""
        if self._connection is not None:
            self._connection.cut(reason)

    def _start_once(self) -> None:
        if self.thread is None and not self._is_closing:
            self._loop = quiet_loop()
            # A daemon: a program that forgets to close its client must be able to end.
            thread = threading.Thread(target=self._run, name=self._thread_name, daemon=True)
            thread.start()
            self.thread = thread

    def _running_loop(self) -> IOLoop:
        assert self._loop is not None, "only the thread of the loop comes here"  # noqa: S101 - for the type checker
        return self._loop

    def _run(self) -> None:
        with quiet():
            self._serve()

    def _serve(self) -> None:
        loop = self._running_loop()
        self._connect()
        while True:
            try:
                loop.start()
                break
            except Exception:
                # Nothing may end this thread but close: whoever waits for it would wait for ever.
                logger.exception("%s: an error inside the connection; making another one", self._title)
                self._repair()
        self._loop = None
        loop.close()

    def _repair(self) -> None:
        self._is_wake_pending = False
        self.wake()
        if self._connection is None or self._connection.is_closed:
            self.later(PAUSE_MAX_S, self._connect)
        else:
            with suppress(Exception):
                self._connection.cut("error inside the connection")

    def _turn(self) -> None:
        self._is_wake_pending = False
        for _ in range(min(len(self._commands), COMMANDS_PER_TURN_MAX)):
            self._commands.popleft()()
        if self._commands:
            self.wake()
        if self.status.state is ConnectionState.REFUSED and not self._is_closing and self._user.is_wanting():
            self._set_state(ConnectionState.CONNECTING)
            self.later(PAUSE_MIN_S, self._connect)
        self._user.pump()

    # --- The connection's life

    def _connect(self) -> None:
        self._connection = WireConnection(
            self._parameters, self._running_loop(), on_open=self._on_open, on_end=self._on_end
        )

    def _on_open(self, connection: WireConnection) -> None:
        if self._is_closing:
            return
        connection.add_on_connection_blocked_callback(lambda _connection, _frame: self._on_blocked(is_blocked=True))
        connection.add_on_connection_unblocked_callback(lambda _connection, _frame: self._on_blocked(is_blocked=False))
        self._has_told_failure = False
        self._set_state(ConnectionState.UP)
        self.later(STEADY_S, self._forget_failures)
        self._user.on_up(connection)

    def _forget_failures(self) -> None:
        self._failures = 0

    def _on_blocked(self, *, is_blocked: bool) -> None:
        self._set_state(ConnectionState.BLOCKED if is_blocked else ConnectionState.UP)
        self._user.pump()

    def _on_end(self, connection: WireConnection, error: BaseException) -> None:
        if connection is not self._connection:
            return
        was_up = self.is_up
        self._connection = None
        for timer in list(self._timers):
            self.cancel(timer)
        self._user.on_down()
        if self._is_closing:
            self._finish()
        elif not was_up and is_refusal(error):
            self._refuse(error)
        else:
            self._try_again(error, was_up=was_up)

    def _refuse(self, error: BaseException) -> None:
        reason = reason_text(error)
        self._failures = 0
        self._set_state(ConnectionState.REFUSED, attempts=self.status.attempts + 1, reason=reason)
        self._user.on_refused(reason)
        self.wake()  # something may have come while all that waited was given up

    def _try_again(self, error: BaseException, *, was_up: bool) -> None:
        self._failures += 1
        reason = reason_text(error)
        state = ConnectionState.RECOVERING if was_up else self.status.state
        if not was_up and not self._has_told_failure and state is ConnectionState.CONNECTING:
            self._has_told_failure = True
            logger.warning(
                "%s to %s: not reached (%s); trying until it is there", self._title, self.status.broker, reason
            )
        self._set_state(state, attempts=0 if was_up else self.status.attempts + 1, reason=reason)
        self.later(pause_s(self._failures, random.random()), self._connect)

    def _set_state(self, state: ConnectionState, *, attempts: int = 0, reason: str = "") -> None:
        is_new = state is not self.status.state
        self.status = ConnectionStatus(state=state, broker=self.status.broker, attempts=attempts, reason=reason)
        if is_new:
            level = _LOG_LEVELS.get(state, logging.INFO)
            logger.log(level, "%s to %s: %s%s", self._title, self.status.broker, state.value, reason and f" ({reason})")
            self._on_change(self.status)

    # --- Its end

    def _begin_close(self, timeout_s: float) -> None:
        connection = self._connection
        if connection is None or connection.is_closed:
            self._finish()
            return
        loop = self._running_loop()
        loop.call_later(timeout_s, lambda: connection.cut("closed by us, without an answer of the broker in time"))
        loop.call_later(timeout_s + CUT_S, self._finish)
        if self.is_blocked:
            # A broker under alarm does not read, so it would never answer.
            connection.cut("closed by us while the broker takes nothing")
        elif connection.is_open:
            connection.close()
        else:
            # pika 1.4 raises an AssertionError in its own callbacks when `close` meets a handshake.
            connection.cut("closed by us before it was open")

    def _finish(self) -> None:
        self._set_state(ConnectionState.CLOSED)
        self._running_loop().stop()
