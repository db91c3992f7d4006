"""`Connections`: a client's connection in each place, which is a process or a test harness."""

from __future__ import annotations

import atexit
import os
import threading
import warnings
import weakref
from typing import TYPE_CHECKING

from schedulergodx import context, forks, redirection
from schedulergodx.transport.aside import call_aside
from schedulergodx.utils.keys.ring import KeyRing
from schedulergodx.utils.keys.source import Keys
from schedulergodx.utils.rmq_property import RmqConnect

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.client.connection import Connection
    from schedulergodx.utils.abstractions import Clock

_CLOSE_AT_EXIT_S = 1.0


class Way:
    """The way to a client's broker. Safe from any thread.

    Attributes:
        broker: what the client was given.
        is_travelled: whether the client came with a task; then its broker is the service's own.
    """

    def __init__(self, broker: str | RmqConnect | None, keys: Keys) -> None:
        self.broker = broker
        self._keys = keys
        self.is_travelled = False

    def here(self) -> str | RmqConnect | None:
        """Return the way to the broker: inside a task the service's own, unless this client names another."""
        running = self._running()
        if running is not None and isinstance(running.broker, (str, RmqConnect)):
            return running.broker
        return self.broker

    def keys(self) -> Keys:
        """Return where the keys come from: inside a task from the service, unless this client names its own."""
        running = self._running()
        if running is not None and isinstance(running.keys, KeyRing) and not self._keys.is_given:
            return Keys(running.keys)
        return self._keys

    def _running(self) -> context.RunningTask | None:
        return context.current_task() if self.is_travelled or self.broker is None else None


class Connections:
    """The connections of one client, each made when it is first needed. Safe from any thread.

    It does not hold the client, so that a client that nobody has any more can be noticed.

    Args:
        make: makes a connection.
        clock: tells how long nobody has used it.
        idle_s: seconds after which `rest` may close an unused one.

    Attributes:
        on_made: called with this object after a connection was made; to be set before the first one is.
        used_at_s: monotonic moment of the last use, where `on_made` is set.
    """

    def __init__(self, make: Callable[[], Connection], clock: Clock, *, idle_s: float) -> None:
        self.on_made: Callable[[Connections], None] | None = None
        self.used_at_s = 0.0
        self._make = make
        self._clock = clock
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._known: dict[tuple[int, int], Connection] = {}
        self._threads: dict[str, threading.Thread] = {}
        forks.renew(self)
        _all.add(self)

    def renew_in_fork(self) -> None:
        """Make the lock anew."""
        self._lock = threading.Lock()

    def current(self) -> Connection:
        """Return the connection of this process: a forked one needs its own, and so does a test harness."""
        here = _here()
        if self.on_made is None and (made := self._known.get(here)) is not None:
            return made  # for good: only one that somebody watches, and so lets rest, is ever taken away again
        with self._lock:
            self.used_at_s = self._clock.monotonic()
            connection = self._known.get(here)
            if connection is not None:
                return connection
            self._known = {place: known for place, known in self._known.items() if place[1] == 0}
            connection = self._known[here] = self._make()
        if self.on_made is not None:
            self.on_made(self)
        return connection

    def threads(self) -> dict[str, threading.Thread]:
        """Return the threads that were ever started, by name."""
        with self._lock:
            for connection in self._known.values():
                self._threads |= connection.threads()
            return dict(self._threads)

    def rest(self) -> bool:
        """Close the connection of this process if nobody uses it; the next use makes another. Return whether it is so.

        Outcomes that it has heard are forgotten; the service is asked for them again. To be called by whoever is told
        by `on_made`: nobody else's use is noted.
        """
        here = _here()
        with self._lock:
            connection = self._known.get(here)
            if connection is None or connection.is_closed:
                return True
            if connection.is_in_use() or self._clock.monotonic() < self.used_at_s + self._idle_s:
                return False
            self._threads |= connection.threads()
            del self._known[here]
        connection.close(_CLOSE_AT_EXIT_S)
        return True

    def open_here(self) -> Connection | None:
        """Return the connection of this process if it is open. Takes no lock: the garbage collector asks, too."""
        connection = self._known.get((os.getpid(), 0))
        return None if connection is None or connection.is_closed or not connection.is_open else connection


_all: weakref.WeakSet[Connections] = weakref.WeakSet()


def let_go(connections: Connections, way: Way, client: str) -> None:
    """Close what a client leaves behind that nobody has any more, and say that it should have been closed."""
    connection = connections.open_here()
    if connection is None:
        return
    call_aside(lambda: connection.close(_CLOSE_AT_EXIT_S))
    if not way.is_travelled:
        warnings.warn(f"unclosed client {client!r}; use close() or a with block", ResourceWarning, stacklevel=2)


def _close_at_exit() -> None:
    for connections in list(_all):
        connection = connections.open_here()
        if connection is not None:
            connection.close(_CLOSE_AT_EXIT_S)


def _here() -> tuple[int, int]:
    return os.getpid(), redirection.generation()


atexit.register(_close_at_exit)
