"""`Link`: one connection of a transport to a broker in memory, made when it is needed and kept up until closed."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from schedulergodx.utils.abstractions import ConnectionChanged, ConnectionState, ConnectionStatus
from schedulergodx_testing.memory.stepper import Lane, Timer

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.utils.abstractions import TransportEvent
    from schedulergodx_testing.memory.hub import Hub

logger = logging.getLogger("schedulergodx.transport")

PAUSE_MIN_S = 0.1
PAUSE_MAX_S = 10.0
STEADY_S = 5.0
"""A connection that lives so long was a success: the next pause is a short one again."""
_PAUSE_STEPS = 1000


class Connection:
    """One established connection, as the broker sees it.

    Attributes:
        is_open: whether the broker still has it. Its link hears of the end later.
        is_half_open: whether nothing gets through, which neither side has noticed yet.
    """

    __slots__ = ("is_half_open", "is_open", "link", "opened_at_s")

    def __init__(self, link: Link, opened_at_s: float) -> None:
        self.link = link
        self.opened_at_s = opened_at_s
        self.is_open = True
        self.is_half_open = False


class Link:
    """Connects, notices losses, connects again. The lock of the broker guards it.

    What travels is in two lanes, one for each direction; `control` is what the program hears of the connection itself.
    """

    is_consuming = False

    def __init__(self, hub: Hub, transport: str, emit: Callable[[TransportEvent], None]) -> None:
        self.hub = hub
        self.transport = transport
        self.emit = emit
        self.status = ConnectionStatus(state=ConnectionState.CONNECTING, broker=hub.address)
        self.connection: Connection | None = None
        self.is_started = False
        self.is_closed = False
        self.is_killed = False
        self._stepper = hub.stepper
        self._log = hub.stepper.log
        self._failures = 0
        self._pause: Timer | None = None
        self._news: deque[Callable[[], None]] = deque()
        self._outgoing: deque[tuple[Callable[[Any], None], Any]] = deque()
        self.control = Lane(hub.stepper, self._hear)
        self.outbound = Lane(hub.stepper, self._send)
        self.inbound = Lane(hub.stepper, self._receive)

    # --- What a kind of link does

    def on_up(self) -> None:
        """Begin: the connection is open."""
        raise NotImplementedError

    def on_cut(self, connection: Connection) -> None:
        """The broker has lost the connection: it takes back what was out. The program does not know yet."""
        raise NotImplementedError

    def on_down(self) -> None:
        """The program hears that the connection is gone."""
        raise NotImplementedError

    def on_refused(self, reason: str) -> None:
        """Give up what waits: the broker refuses us."""
        raise NotImplementedError

    def on_vanished(self, what: Any) -> None:
        """Something was sent over a half-open connection: it will never arrive."""

    def receive(self) -> None:
        """Let the next thing arrive at the program. There is one, and it is still counted in the lane."""
        raise NotImplementedError

    # --- For the transport

    def start(self) -> None:
        """Begin to connect, if that was not begun; try again, if the broker refused us before."""
        if self.is_closed:
            return
        if not self.is_started:
            self.is_started = True
            self._tell(self._connect)
        elif self.status.state is ConnectionState.REFUSED:
            self._set_state(ConnectionState.CONNECTING)
            self._connect_after(PAUSE_MIN_S)

    def close(self) -> None:
        """Disconnect in order, and tell."""
        if self._end() and self.is_started:
            self._log.add("closed", self.transport, detail=self.title)
            self._set_state(ConnectionState.CLOSED)
        self.status = replace(self.status, state=ConnectionState.CLOSED)

    def kill(self) -> None:
        """End as a killed process ends: the broker notices, and nobody here hears of anything any more."""
        self.is_killed = True
        if self._end() and self.is_started:
            self._log.add("killed", self.transport, detail=self.title)
        self.status = replace(self.status, state=ConnectionState.CLOSED)

    def put(self, arrive: Callable[[Any], None], what: Any) -> None:
        """Send `what`: the broker does `arrive` with it. Without a connection it is lost."""
        if self.is_connected:
            self._outgoing.append((arrive, what))
            self.outbound.add()

    @property
    def title(self) -> str:
        """Which of the two connections of a transport it is."""
        return "consuming" if self.is_consuming else "publishing"

    @property
    def is_up(self) -> bool:
        """Whether the program takes the connection for open, blocked or not."""
        return self.status.state in (ConnectionState.UP, ConnectionState.BLOCKED)

    @property
    def is_connected(self) -> bool:
        """Whether the broker takes the connection for open."""
        return self.connection is not None and self.connection.is_open

    @property
    def lanes(self) -> list[Lane]:
        """All its lanes."""
        return [self.control, self.outbound, self.inbound]

    # --- For the broker

    def cut(self, reason: str) -> bool:
        """Lose the connection: for the broker at once, for the program when it hears of it. False: there was none."""
        connection = self.connection
        if connection is None or not connection.is_open:
            return False
        self._log.add("connection lost", self.transport, detail=f"{self.title}: {reason}")
        self._drop(connection)
        self._tell(lambda: self._on_lost(connection, reason))
        return True

    def half_open(self, heartbeat_s: float) -> bool:
        """Let nothing through until both sides miss heartbeats. False: there is no connection."""
        connection = self.connection
        if connection is None or not connection.is_open or connection.is_half_open:
            return False
        connection.is_half_open = True
        self.inbound.halt()
        self._stepper.after(heartbeat_s, lambda: self._miss_heartbeats(connection))
        return True

    def hold_up(self, lane: Lane, delay_s: float) -> None:
        """Delay what travels in a lane by so many seconds."""
        halt = lane.halt()
        self._stepper.after(delay_s, lambda: lane.resume(halt))

    # --- Its life

    def _connect(self) -> None:
        self._pause = None
        if self.is_closed:
            return
        if self.hub.refusal:
            self._refuse(self.hub.refusal)
        elif self.hub.is_away:
            self._log.add("connection failed", self.transport, detail=self.title)
            self._try_again("Connection refused", was_up=False)
        else:
            self._log.add("connected", self.transport, detail=self.title)
            self.connection = Connection(self, self._stepper.clock.monotonic())
            self._set_state(ConnectionState.UP)
            self.on_up()

    def _miss_heartbeats(self, connection: Connection) -> None:
        if connection is self.connection:
            self.cut("missed heartbeats from client, timeout")

    def _on_lost(self, connection: Connection, reason: str) -> None:
        if connection is not self.connection:
            return
        self.connection = None
        if self._stepper.clock.monotonic() - connection.opened_at_s >= STEADY_S:
            self._failures = 0
        self.on_down()
        self._try_again(reason, was_up=True)

    def _refuse(self, reason: str) -> None:
        self._log.add("connection refused", self.transport, detail=f"{self.title}: {reason}")
        self._failures = 0
        self._set_state(ConnectionState.REFUSED, attempts=self.status.attempts + 1, reason=reason)
        self.on_refused(reason)

    def _try_again(self, reason: str, *, was_up: bool) -> None:
        self._failures += 1
        state = ConnectionState.RECOVERING if was_up else self.status.state
        self._set_state(state, attempts=0 if was_up else self.status.attempts + 1, reason=reason)
        # As the transport over RabbitMQ: doubled up to a bound, up to half of it taken away by chance.
        full_s = min(PAUSE_MAX_S, PAUSE_MIN_S * 2.0 ** min(self._failures - 1, 30))
        jitter = self._stepper.choose(_PAUSE_STEPS) / _PAUSE_STEPS
        self._connect_after(max(PAUSE_MIN_S / 2, full_s * (1.0 - jitter / 2)))

    def _connect_after(self, pause_s: float) -> None:
        self._pause = self._stepper.after(pause_s, self._connect)

    def _end(self) -> bool:
        """Let go of the connection. False: that was done before."""
        if self.is_closed:
            return False
        self.is_closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._news.clear()
        self.control.clear()
        if self.connection is not None and self.connection.is_open:
            self._drop(self.connection)
        return True

    def _drop(self, connection: Connection) -> None:
        connection.is_open = False
        self.on_cut(connection)
        for lane in (self.outbound, self.inbound):
            lane.clear()
        self._outgoing.clear()
        self.hub.store.disown(connection)

    def _set_state(self, state: ConnectionState, *, attempts: int = 0, reason: str = "") -> None:
        is_new = state is not self.status.state
        self.status = ConnectionStatus(state=state, broker=self.hub.address, attempts=attempts, reason=reason)
        if is_new:
            logger.info("%s connection to %s: %s %s", self.title, self.hub.address, state.value, reason)
            self.emit(ConnectionChanged(status=self.status, is_consuming=self.is_consuming))

    # --- What travels

    def _tell(self, news: Callable[[], None]) -> None:
        self._news.append(news)
        self.control.add()

    def _hear(self) -> None:
        news = self._news.popleft()
        self.control.take()
        news()

    def _send(self) -> None:
        faults = self.hub.faults
        faults.operations += 1
        if faults.is_cutting and faults.cuts_now(self):
            return
        arrive, what = self._outgoing.popleft()
        self.outbound.take()
        if self.connection is not None and self.connection.is_half_open:
            self.on_vanished(what)
        else:
            arrive(what)

    def _receive(self) -> None:
        faults = self.hub.faults
        faults.operations += 1
        if faults.is_cutting and faults.cuts_now(self):
            return
        self.receive()
