"""One thread that watches the sockets of all hard tasks."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "schedulergodx-processes"


class Reader:
    """Calls what is ready to be read or written, what it was asked to call, and `on_turn` after each round.

    `on_turn` returns how many seconds may pass before the next round, or None. `start`, `call` and `stop` may be used
    from any thread, the rest only from what the reader calls.
    """

    def __init__(self, on_turn: Callable[[], float | None]) -> None:
        self._on_turn = on_turn
        self._selector = selectors.DefaultSelector()
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        try:
            self._waking, self._woken = socket.socketpair()
        except OSError:
            self._selector.close()
            raise
        for end in (self._waking, self._woken):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, (self._woken, self._wake))
        self._is_stopping = False
        self.thread = threading.Thread(target=self._run, name=NAME, daemon=True)

    def start(self) -> None:
        """Start the thread. Raises RuntimeError when the system has none left."""
        try:
            self.thread.start()
        except RuntimeError:
            self._close()
            raise

    def call(self, action: Callable[[], None]) -> None:
        """Have `action` called by the thread, soon."""
        self._calls.put(action)
        with contextlib.suppress(BlockingIOError):  # it is full, so the thread will wake up anyway
            self._waking.send(b"+")

    def stop(self) -> None:
        """End the thread, after the calls that were asked for before."""
        self.call(self._stop)

    def watch(self, end: socket.socket, action: Callable[[], None], *, is_writing: bool = False) -> None:
        """Call `action` whenever `end` can be read, or also written."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if is_writing else 0)
        if end in self._selector.get_map():
            self._selector.modify(end, events, (end, action))
        else:
            self._selector.register(end, events, (end, action))

    def forget(self, end: socket.socket) -> None:
        """Watch `end` no more, and close it. Doing so twice does nothing."""
        if end.fileno() != -1:
            with contextlib.suppress(KeyError):
                self._selector.unregister(end)
            end.close()

    def _run(self) -> None:
        timeout_s: float | None = None
        while not self._is_stopping:
            for key, _ in self._selector.select(timeout_s):
                watched, action = key.data
                if watched.fileno() != -1:  # an earlier call of this round may have forgotten it
                    action()
            timeout_s = self._on_turn()
        self._close()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        with contextlib.suppress(Empty):
            while True:
                self._calls.get_nowait()()

    def _stop(self) -> None:
        self._is_stopping = True

    def _close(self) -> None:
        self._selector.close()
        self._woken.close()
        self._waking.close()
