"""Real programs that are killed at a moment of one's choice: the windows of docs/crash-windows.md, with SIGKILL.

A harness kills virtual programs at their calls through the seams. Here the same calls are watched in a process of its
own, over a real broker and with real threads, and the process ends at one of them, as by `kill -9`.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, NoReturn

from schedulergodx import transport as transports
from schedulergodx.client import Client
from schedulergodx.errors import InvalidParameter
from schedulergodx.service import Service
from schedulergodx.utils.abstractions import Delivery
from schedulergodx.utils.storage import DB
from schedulergodx_testing.calls import Calls
from schedulergodx_testing.crashing import CrashPoint, crash_point
from schedulergodx_testing.seams import CHANGE_OF, TRANSPORT_CALLS, Watched, WatchedStorage, has_changed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from schedulergodx.errors import BrokerError
    from schedulergodx.utils.abstractions import Clock, Outgoing, TransportEvent
    from schedulergodx_testing.calls import When

_numbers = itertools.count(1)
_POINTS: dict[str, tuple[str, When, str]] = {
    "W2": ("client.confirm", "before", ""),
    "W7": ("storage.commit", "after", "add"),
    "W8": ("storage.commit", "after", "start"),
    "transport.hear": ("transport.hear", "before", ""),
}
"""What is another moment here than in a harness.

W2: the broker has the message for certain, and the client has not heard of it. W7, W8: the task, or its claim, is on
disk, and nothing was done after that. `transport.hear`: the service gets a delivery, and has begun nothing with it.
"""


class RealProgram:
    """This process, as one service or client over a real broker, that is killed at one of its calls.

    For a process that a test has started: it ends without a word, and its files stay as SIGKILL leaves them.

    Args:
        point: a window (`"W5"`), or a call through a seam (`"storage.commit"`, `"transport.hear"`); "": none, the
            program is watched and lives.
        when: "before" or "after" the call; None: as the window says, or before.
        n: at the how manieth.

    Attributes:
        calls: every call so far.
        heard: every message that came, in order.

    Raises:
        InvalidParameter: there is no such point.
        HarnessError: it is a window that is none of a program: W3 of the broker, W14 and W16 of disks, W15 of an
                operator.
    """

    def __init__(self, point: str = "", *, when: When | None = None, n: int = 1) -> None:
        self.calls = Calls()
        self.heard: list[Delivery] = []
        self._seam = ""
        self._lock = threading.RLock()  # a hook may look at the calls
        self._changes: set[str] = set()
        if point == "W3":
            raise InvalidParameter("W3 is a window of the broker: kill that one, e.g. by LocalRabbitMQ.kill()")
        if point:
            self.calls.hooks.append(_armed(point, when, n).hook)

    def service(self, *, url: str, db: str | Path, **parameters: Any) -> Service:
        """Return the service that this process is, with parameters as for `Service`; `start()` it."""
        return Service(url=self._watched_url(url, "transport"), storage=WatchedStorage(DB(db), self), **parameters)

    def client(self, *, url: str, **parameters: Any) -> Client:
        """Return the client that this process is, with parameters as for `Client`."""
        return Client(url=self._watched_url(url, "client"), **parameters)

    def die(self, _why: str) -> NoReturn:
        """End this process, here and now."""
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()  # the signal may reach another thread first
        raise SystemExit  # never

    # --- as who is told of calls

    def watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return `real`, counted; it dies before or after it if this is where."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            number = self.begin(name)
            if name.endswith(".publish"):
                self._hear_confirm(args[0])
            result = real(*args, **kwargs)
            if name in CHANGE_OF and has_changed(result):
                self._changes.add(CHANGE_OF[name])
            self.end(number)
            return result

        return watched

    def before(self, name: str) -> int:
        """Count one end of a transaction, and die before it if this is where."""
        if name == "storage.commit":
            return self.begin(name, frozenset(self._changes))
        self._changes.clear()
        return self.begin(name)

    def after(self, _name: str, number: int) -> None:
        """Die after it if this is where."""
        self.end(number)

    def begin(self, name: str, changes: frozenset[str] = frozenset()) -> int:
        """Count a call of any of this program's threads, and die before it if this is where."""
        with self._lock:
            return self.calls.begin(name, self._seam, self, changes)

    def end(self, number: int) -> None:
        """Die after a call if this is where."""
        with self._lock:
            self.calls.end(number, self)

    # --- its parts

    def _watched_url(self, url: str, seam: str) -> str:
        """Have `connect` make watched transports, for the URL that this returns."""
        self._seam = seam
        scheme = f"watched{next(_numbers)}+{url.partition(':')[0]}"

        def connect(_target: transports.Target, *, name: str, clock: Clock | None) -> Any:
            return _WatchedTransport(transports.connect_really(url, name=name, clock=clock), self, seam)

        transports.register(scheme, connect)
        return f"{scheme}:{url.partition(':')[2]}"

    def _hear_confirm(self, outgoing: Outgoing) -> None:
        settled = outgoing.on_settled

        def on_settled(sent: Outgoing, error: BrokerError | None) -> None:
            number = self.begin(f"{self._seam}.confirm")
            settled(sent, error)
            self.end(number)

        outgoing.on_settled = on_settled


class _WatchedTransport(Watched):
    """A `Transport` whose calls and deliveries are watched."""

    def __init__(self, inner: Any, program: RealProgram, seam: str) -> None:
        super().__init__(inner, seam, TRANSPORT_CALLS, program)
        self._program = program
        self._seam = seam

    def listen(self, on_event: Callable[[TransportEvent], None]) -> None:
        """Hand every event on; a delivery is a call."""

        def hear(event: TransportEvent) -> None:
            if not isinstance(event, Delivery):
                on_event(event)
                return
            self._program.heard.append(event)
            number = self._program.begin(f"{self._seam}.hear")
            on_event(event)
            self._program.end(number)

        self.inner.listen(hear)


def _armed(point: str, when: When | None, n: int) -> CrashPoint:
    if when is None and point in _POINTS:
        call, edge, change = _POINTS[point]
        return CrashPoint(call, edge, n, change, "", point)
    return crash_point(point, when=when, n=n)
