"""`Pump`: the thread of a broker in memory that steps by itself, or none."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx_testing.memory.stepper import Stepper
    from schedulergodx_testing.memory.transport import MemoryTransport

JOIN_S = 5.0
"""For the thread to end, once it is told to."""


class Pump:
    """Steps in a thread of its own, from the first use of any transport until the last one is closed."""

    def __init__(self, stepper: Stepper, name: str, *, is_automatic: bool) -> None:
        self._stepper = stepper
        self._name = name
        self._is_automatic = is_automatic
        self._users: list[MemoryTransport] = []
        self._thread: threading.Thread | None = None
        self._stop: list[bool] = []
        if is_automatic:
            stepper.changed = threading.Condition(stepper.lock)

    @property
    def is_stepped_by_this_thread(self) -> bool:
        """Whether nobody steps unless the calling thread does."""
        return not self._is_automatic or self._thread is threading.current_thread() or self._thread is None

    def enter(self, user: MemoryTransport) -> list[threading.Thread]:
        """Step for `user` from now on. Return the thread, if there is one. Under the lock."""
        if not self._is_automatic:
            return []
        if user not in self._users:
            self._users.append(user)
        if self._thread is None:
            stop: list[bool] = []
            self._stop = stop
            # A daemon: a program that forgets to close its client must be able to end.
            self._thread = threading.Thread(target=self._run, args=(stop,), name=self._name, daemon=True)
            self._thread.start()
        return [self._thread]

    def leave(self, user: MemoryTransport) -> None:
        """Step no more for `user`; end with the last one, and wait for that unless it is the thread that asks."""
        with self._stepper.lock:
            if user in self._users:
                self._users.remove(user)
            if self._users or self._thread is None:
                return
            thread, self._thread = self._thread, None
            self._stop.append(True)
            self._stepper.notify()
        if thread is not threading.current_thread():
            thread.join(JOIN_S)

    def wait_until(self, is_finished: Callable[[], bool], timeout_s: float) -> None:
        """Wait at most `timeout_s` seconds until `is_finished`, with every call made that came before."""
        changed = self._stepper.changed
        if changed is None:
            return
        clock = self._stepper.clock
        end_s = clock.monotonic() + timeout_s
        while True:
            with changed:
                changed.wait_for(is_finished, max(0.0, end_s - clock.monotonic()))
            # A call that is being made may lead to more: an ack after the confirm of a dead letter.
            with self._stepper.standing_still(max(0.0, end_s - clock.monotonic())), self._stepper.lock:
                if is_finished() or clock.monotonic() >= end_s:
                    return

    def _run(self, stop: list[bool]) -> None:
        changed = self._stepper.changed
        while changed is not None:
            with changed:
                while not stop and not self._stepper.is_ready():
                    changed.wait(self._pause_s())
                if stop:
                    return
            with suppress(Exception):  # what programs raise is logged where it is called
                self._stepper.step()

    def _pause_s(self) -> float | None:
        moment_s = self._stepper.next_timer()
        return None if moment_s is None else max(0.0, moment_s - self._stepper.clock.monotonic())
