"""`Worker`: the I/O thread of the SQLite transport."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import sqlite3
import threading
from collections import deque
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from schedulergodx import forks
from schedulergodx.errors import BrokerError, BrokerRefused, BrokerUnavailable, LaunchUncertain, StorageError
from schedulergodx.transport.sqlite.owners import Owners
from schedulergodx.transport.sqlite.queue_file import QueueFile, explain, is_busy
from schedulergodx.transport.sqlite.turn import Ledger, Turn
from schedulergodx.utils.abstractions import (
    ConnectionChanged,
    ConnectionState,
    ConnectionStatus,
    ConsumeFailed,
    ConsumingStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from schedulergodx.transport.sqlite.outbox import Outbox
    from schedulergodx.transport.sqlite.turn import Consumer
    from schedulergodx.utils.abstractions import Clock, Outgoing, TransportEvent

logger = logging.getLogger(__name__)

TurnCommand: TypeAlias = "Callable[[Turn], None]"
LedgerCommand: TypeAlias = "Callable[[Ledger], None]"

POLL_S = 0.01
POLL_LEAST_S = 0.000_2
POLL_SHARE = 20
"""How often a consumer looks for messages of other processes: after a twentieth of the time since something happened.

An answer rarely comes alone, and soon after the launch, if soon; who looks too often is in the way of those who write.
"""
ACKS_WAIT_S = 0.005
"""How long acks wait for something to be written with: until they are, no more than that may come again."""
SWEEP_S = 0.5
"""How often dead owners and expired queues are looked for."""
RETRY_MAX_S = 1.0
"""Longest pause between two attempts at a file that cannot be used at the moment."""
TURN_COMMANDS_MAX = 1000
TURN_BYTES_MAX = 16 * 1024 * 1024
"""Bounds of one transaction, so that other processes get their turn."""
LOG_LEVELS = {ConnectionState.UP: logging.INFO, ConnectionState.CLOSED: logging.INFO}
"""Of the line that tells a state; the others are warnings."""
HOPELESS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.ENOTSUP}
"""What the system answers when the place is wrong; anything else may pass."""


class Command(NamedTuple):
    """One order to the I/O thread: `at_once` changes what it knows, `in_turn` the file, which `can_wait`."""

    in_turn: TurnCommand | None = None
    at_once: LedgerCommand | None = None
    can_wait: bool = False


class Worker:
    """Takes commands and commits all that are there together; polls for messages while it has consumers.

    `put`, `abandon` and the attributes are for any thread; the rest happens in the I/O thread, which ends after
    `leave`, or soon after `abandon`.
    """

    def __init__(self, path: Path, *, name: str, clock: Clock, outbox: Outbox) -> None:
        broker = f"sqlite:///{path}"
        self._path = path
        self._clock = clock
        self._outbox = outbox
        self._commands: SimpleQueue[Command] = SimpleQueue()
        self._backlog: deque[TurnCommand] = deque()
        self._write_at_s = float("inf")
        self._file: QueueFile | None = None
        self._owners = Owners(path)
        self._ledger = Ledger(broker=broker, description=f"{name} (pid {os.getpid()} on {socket.gethostname()})")
        self._roles: list[bool] = []
        self._is_leaving = False
        self._is_abandoned = False
        self._is_dirty = False
        self._has_been_up = False
        self._failures = 0
        self._swept_at_s = float("-inf")
        self._active_at_s = float("-inf")
        self._looked_at_s: float | None = None
        self._state_lock = threading.Lock()
        self.on_event: Callable[[TransportEvent], None] = lambda _event: None
        self.status = ConnectionStatus(state=ConnectionState.CONNECTING, broker=broker)
        self.thread = threading.Thread(target=self._run, name=f"{name}-sqlite", daemon=True)

    def consuming(self) -> ConsumingStatus:
        """Return whether the file gives this process what comes, and when it was last looked at."""
        consumers = list(self._ledger.consumers.values())
        is_consuming = bool(consumers) and all(consumer.is_joined for consumer in consumers)
        looked_at_s = self._looked_at_s  # asked for last: whoever has joined has looked
        return ConsumingStatus(
            connection=self.status,
            is_consuming=is_consuming,
            is_waiting=any(not consumer.is_joined for consumer in consumers),
            answered_s_ago=None if looked_at_s is None else self._clock.monotonic() - looked_at_s,
        )

    def put(
        self, in_turn: TurnCommand | None = None, *, at_once: LedgerCommand | None = None, can_wait: bool = False
    ) -> None:
        """Have a command carried out, after those before it."""
        self._commands.put(Command(in_turn, at_once, can_wait))

    def use(self, *, is_consuming: bool) -> None:
        """Have the connection's states told for this use too."""

        def begin(_ledger: Ledger) -> None:
            if is_consuming not in self._roles:
                self._roles.append(is_consuming)
                self.on_event(ConnectionChanged(status=self.status, is_consuming=is_consuming))

        self.put(at_once=begin)

    def leave(self) -> None:
        """End after everything that was put before."""

        def begin(ledger: Ledger) -> None:
            ledger.consumers.clear()
            self._is_leaving = True

        self.put(Turn.leave, at_once=begin)

    def abandon(self) -> None:
        """Settle what is not settled, tell that it is over, and end as soon as possible."""
        self._is_abandoned = True
        self.put()
        self._outbox.settle_all(self._closed_error)
        self._set_state(ConnectionState.CLOSED)
        self.on_event = lambda _event: None

    # --- The loop

    def _run(self) -> None:
        while not self._is_abandoned and (self._backlog or not self._is_leaving):
            self._collect()
            if not self._is_abandoned:
                with forks.sqlite_gate:
                    self._step()
        with forks.sqlite_gate:
            self._forget_file()
        self._set_state(ConnectionState.CLOSED)

    def _collect(self) -> None:
        """Take in commands; return at the latest when it is time to look at the file again."""
        command = self._clock.wait_for(self._commands, self._pause_s())
        while command is not None:
            if command.at_once is not None:
                command.at_once(self._ledger)
            if command.in_turn is not None:
                self._backlog.append(command.in_turn)
                self._hurry(ACKS_WAIT_S if command.can_wait else 0.0)
            self._is_dirty = True
            if len(self._backlog) >= TURN_COMMANDS_MAX:
                break
            command = self._next_command()

    def _hurry(self, within_s: float) -> None:
        """Have the backlog written within so many seconds, or earlier, if that was asked for."""
        self._write_at_s = min(self._write_at_s, self._clock.monotonic() + within_s)

    def _is_time_to_write(self) -> bool:
        """Return whether the backlog is to be written now: acks may wait, but not for room for more deliveries."""
        if not self._backlog:
            return False
        is_full = any(consumer.unacked >= consumer.prefetch for consumer in self._ledger.consumers.values())
        return is_full or self._is_leaving or self._clock.monotonic() >= self._write_at_s

    def _next_command(self) -> Command | None:
        try:
            return self._commands.get_nowait()
        except Empty:
            return None

    def _pause_s(self) -> float | None:
        """Return how long to wait for commands; None: until there are some."""
        if self._failures:
            return float(min(0.02 * 2.0 ** min(self._failures, 10), RETRY_MAX_S))
        if self._is_leaving or self._is_time_to_write():
            return 0.0
        now_s = self._clock.monotonic()
        write_s = self._write_at_s - now_s if self._backlog else None
        if not self._ledger.consumers:
            return write_s
        poll_s = max(POLL_LEAST_S, min(POLL_S, (now_s - self._active_at_s) / POLL_SHARE))
        return poll_s if write_s is None else min(write_s, poll_s)

    def _step(self) -> None:
        """Look at the file and do one turn if there is a reason to; turn what fails into states."""
        if not self._backlog and not self._ledger.consumers:
            self._failures = 0
            return
        try:
            file = self._opened()
            is_sweeping = self._is_time_to_sweep()
            dead = self._owners.find_dead(file.owners()) if is_sweeping else {}
            try:
                if self._is_time_to_write() or dead or (is_sweeping and file.expired_queues(now_s=self._now_s())):
                    self._turn(file, dead)
                elif self._has_work(file):
                    self._turn(file, {})
            finally:
                self._owners.bury(dead)
            self._failures = 0
            self._looked_at_s = self._clock.monotonic()
            self._set_state(ConnectionState.UP)
        except (StorageError, sqlite3.Error, OSError) as error:
            self._handle(error)
        except Exception as error:
            logger.exception("unexpected error at %s; it is opened again", self._ledger.broker)
            self._forget_file()
            self._try_later(error)

    def _opened(self) -> QueueFile:
        """Return the file, opened if it is not, or if another one is at its path now."""
        if self._file is not None and self._file.is_replaced():
            self._forget_file()
            self._set_state(ConnectionState.RECOVERING, "the queue file was removed or replaced")
        if self._file is None:
            self._file = QueueFile(self._path, self._clock)
            self._backlog.appendleft(Turn.declare_all)
            self._hurry(0.0)
        if self._ledger.consumers:
            self._owners.enter(self._ledger.description)
            self._ledger.owner_id = self._owners.owner_id
        return self._file

    def _forget_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
        self._looked_at_s = None
        self._owners.leave()
        self._ledger.forget_file()
        self._is_dirty = True
        self._swept_at_s = float("-inf")  # whom we were is dead now, to be found by ourselves too

    def _is_time_to_sweep(self) -> bool:
        now_s = self._clock.monotonic()
        if now_s < self._swept_at_s + SWEEP_S:
            return False
        self._swept_at_s = now_s
        return True

    def _has_work(self, file: QueueFile) -> bool:
        """Return whether a consumer could join or get something: found out by reading, to keep no writer waiting."""
        self._is_dirty = file.has_changed() or self._is_dirty
        now_s = self._clock.monotonic()
        for consumer in self._ledger.consumers.values():
            if consumer.is_impatient(now_s) or (self._is_dirty and self._has_work_for(consumer, file)):
                return True
        self._is_dirty = False
        return False

    def _has_work_for(self, consumer: Consumer, file: QueueFile) -> bool:
        name, owner_id = consumer.spec.name, self._ledger.owner_id
        if not consumer.is_joined:
            return file.consumer_in_the_way(name, owner_id, is_exclusive=consumer.is_exclusive) is None
        has_room = consumer.unacked < consumer.prefetch
        return (has_room and file.has_ready(name)) or not file.is_consumer(name, owner_id)

    def _turn(self, file: QueueFile, dead: Iterable[str]) -> None:
        """Carry out the backlog in one transaction, bounded; all of it is in the backlog again if that fails."""
        turn = Turn(file, self._ledger, self._outbox, now_s=self._now_s(), monotonic_s=self._clock.monotonic())
        done: list[TurnCommand] = []
        is_committing = False
        try:
            file.begin()
            turn.sweep(dead)
            while self._backlog and turn.size_bytes < TURN_BYTES_MAX:
                done.append(self._backlog.popleft())
                done[-1](turn)
            turn.take()
            is_committing = True
            file.commit()
        except BaseException as error:
            self._backlog.extendleft(reversed(done))
            with contextlib.suppress(sqlite3.Error):
                file.rollback()
            if not is_committing or is_busy(error):
                turn.after_rollback()
            else:
                # Perhaps it was committed, and messages are ours that we do not know of: begin anew as another owner.
                self._forget_file()
            raise
        self._is_dirty = False
        if not self._backlog:
            self._write_at_s = float("inf")
        self._active_at_s = self._looked_at_s = self._clock.monotonic()
        self._set_state(ConnectionState.UP)
        for event in turn.after_commit():
            self.on_event(event)

    def _now_s(self) -> float:
        return self._clock.now().timestamp()

    # --- What fails

    def _handle(self, error: StorageError | sqlite3.Error | OSError) -> None:
        """Refuse what trying again cannot change, and try the rest again later."""
        if self._file is not None and self._file.is_replaced():
            self._try_later(error)  # by opening it again
        elif isinstance(error, sqlite3.Error) and (refusal := explain(error, self._path)) is not None:
            self._refuse(refusal)
        elif isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in HOPELESS):
            self._refuse(error)
        else:
            self._try_later(error)

    def _try_later(self, error: Exception) -> None:
        """Keep everything. A file that others use for one long wait is not worth a word."""
        self._failures += 1
        self._is_dirty = True
        if self._failures == 1 and is_busy(error):
            return
        state = ConnectionState.BLOCKED if self._has_been_up else ConnectionState.CONNECTING
        self._set_state(state, f"{error} ({type(error).__name__})")

    def _refuse(self, error: Exception) -> None:
        """Answer everything with `error`; the next publish or consume tries once more."""
        self._forget_file()
        self._failures = 0
        self._backlog.clear()
        self._write_at_s = float("inf")
        self._set_state(ConnectionState.REFUSED, str(error))
        self._outbox.settle_all(lambda outgoing: self._refused(error, outgoing.message_id))
        names = list(self._ledger.consumers)
        self._ledger.consumers.clear()
        for name in names:
            self.on_event(ConsumeFailed(queue=name, error=self._refused(error)))

    def _refused(self, error: Exception, message_id: str | None = None) -> BrokerRefused:
        refused = BrokerRefused(str(error), message_id=message_id, broker=self._ledger.broker)
        refused.__cause__ = error
        return refused

    def _closed_error(self, outgoing: Outgoing) -> BrokerError:
        facts = f"the transport to {self._ledger.broker} was closed before the message was confirmed"
        if outgoing.was_sent:
            return LaunchUncertain(
                f"{facts}; perhaps it is there", message_id=outgoing.message_id, broker=self._ledger.broker
            )
        return BrokerUnavailable(
            f"{facts}; it was not sent", message_id=outgoing.message_id, broker=self._ledger.broker
        )

    def _set_state(self, state: ConnectionState, reason: str = "") -> None:
        with self._state_lock:
            before = self.status.state
            if before is ConnectionState.CLOSED:
                return
            self.status = ConnectionStatus(
                state=state, broker=self._ledger.broker, attempts=self._failures, reason=reason
            )
        self._has_been_up = self._has_been_up or state is ConnectionState.UP
        if state is not before:
            said = f"{state.value} ({reason})" if reason else state.value
            logger.log(LOG_LEVELS.get(state, logging.WARNING), "%s: %s", self._ledger.broker, said)
            for is_consuming in self._roles:
                self.on_event(ConnectionChanged(status=self.status, is_consuming=is_consuming))
