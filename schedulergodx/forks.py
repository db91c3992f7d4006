"""What `fork` does to this process, put right: locks without their holders, and SQLite without its threads.

A fork copies the locks that other threads hold at that moment, and not the threads: nobody would ever release them. So
whoever has such locks makes them anew in the child (`renew`). SQLite keeps its own state of files and locks for the
whole process, and the child gets that too: it is sound only while no thread is within SQLite. So those threads say when
they are (`sqlite_gate`), and a fork waits until none is.

There is no lock order to keep: a fork takes none of the locks that `renew` is about.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

REST_MAX_S = 5.0
"""How long a fork waits for the threads within SQLite; one of them may be waiting for the very thread that forks."""


class Renewable(Protocol):
    """Something with a lock, or with a state that a fork must not share."""

    def renew_in_fork(self) -> None:
        """Make locks anew. Called in the child of a fork, where no other thread is."""


class SqliteGate:
    """A `with` block around everything that enters SQLite. Safe from any thread; may be nested."""

    def __init__(self, *, is_sound: bool = True) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._depths: dict[int, int] = {}
        self._forks = 0
        self._is_at_rest = is_sound
        self.is_sound = is_sound
        """False in a child that was forked while a thread was within SQLite: it must not be entered."""

    def __enter__(self) -> None:
        """Enter; waits while a fork is going on."""
        me = threading.get_ident()
        with self._lock:
            while self._forks and me not in self._depths:
                self._changed.wait()
            self._depths[me] = self._depths.get(me, 0) + 1

    def __exit__(self, *_: object) -> None:
        """Leave."""
        me = threading.get_ident()
        with self._lock:
            self._depths[me] -= 1
            if not self._depths[me]:
                del self._depths[me]
                if self._forks:  # else nobody waits for it
                    self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in, and wait until all others have left. Before a fork."""
        me = threading.get_ident()
        with self._changed:
            self._forks += 1
            if self._forks == 1:  # else another thread forks as well, and has waited
                self._is_at_rest = False
            self._changed.wait_for(lambda: self._depths.keys() <= {me}, REST_MAX_S)
            self._is_at_rest = self.is_sound and not self._depths

    def open(self) -> None:
        """Let everybody in again. After a fork, in the parent."""
        with self._changed:
            self._forks = max(0, self._forks - 1)
            self._changed.notify_all()

    def renew_in_fork(self) -> None:
        """Begin anew in the child, where nobody is within SQLite but those who are lost there."""
        SqliteGate.__init__(self, is_sound=self._is_at_rest)


sqlite_gate = SqliteGate()
"""The one of this process."""
_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()
_functions: list[Callable[[], None]] = []


def renew(thing: Renewable) -> None:
    """Have `thing.renew_in_fork()` called in the child of every fork, as long as it is there."""
    _renewables.add(thing)


def call_in_fork(function: Callable[[], None]) -> None:
    """Have a function of a module called in the child of every fork."""
    _functions.append(function)


def _in_child() -> None:
    sqlite_gate.renew_in_fork()
    for function in _functions:
        function()
    for thing in list(_renewables):
        thing.renew_in_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=sqlite_gate.close, after_in_parent=sqlite_gate.open, after_in_child=_in_child)
