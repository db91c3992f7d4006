"""Many launches that travel together and wait for their confirms together."""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from schedulergodx.client.waiting import gave_up, named, wait
from schedulergodx.errors import BrokerError, BrokerUnavailable
from schedulergodx.utils.abstractions import Outgoing
from schedulergodx.utils.message import bundles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from schedulergodx.utils.abstractions import Clock, Transport

IN_FLIGHT_MAX = 5000
"""Launches of one batch that may be unconfirmed at a time; further ones wait."""
_Launch: TypeAlias = tuple[str, bytes]
"""The id and the message of a launch."""


class _Group(NamedTuple):
    """One message of the broker, and the launches in it: a bundle of them, or a single one as it is."""

    outgoing: Outgoing
    launches: Sequence[_Launch]
    transport: Transport


class Batch:
    """The launches of one `client.batch()` block. Safe from any thread; confirms come from the transport's threads.

    They travel in bundles, and none is kept waiting for others to come: while nothing of the batch is under way, a
    launch is sent at once. Behind it they are gathered, until there are enough of them for a bundle, or what is under
    way is settled, or the block ends. So a batch has large bundles exactly when it is faster than the broker.
    """

    def __init__(
        self,
        transport: Callable[[], Transport],
        clock: Clock,
        *,
        timeout_s: float,
        bundle_bytes_max: int,
        on_failed: Callable[[Outgoing, BrokerError], None],
    ) -> None:
        self.count = 0
        self.is_open = True
        self._transport = transport
        self._clock = clock
        self._timeout_s = timeout_s
        self._on_failed = on_failed
        self._errors: dict[str, BrokerError] = {}
        self._signs: SimpleQueue[bool] = SimpleQueue()
        # Nobody calls a transport while he holds this: it calls back, also from threads that hold locks of its own.
        self._lock = threading.Lock()
        self._unsettled = 0
        self._bundle_bytes_max = bundle_bytes_max
        self._gathered: list[_Launch] = []
        self._gathered_bytes = bundles.FRAME_BYTES
        self._gathered_for: tuple[Transport, str] | None = None
        self._ready: deque[_Group] = deque()
        self._in_flight: dict[Outgoing, _Group] = {}
        self._is_publishing = False
        self._is_over = False

    def send(self, queue: str, message_id: str, body: bytes, *, is_launch: bool = True) -> None:
        """Send without waiting for the confirm, unless too many are waited for already.

        What is no launch travels by itself, in its place among the others.

        Raises:
            BrokerError: too many are waited for, and none of them was confirmed within the timeout; nothing was sent.
            Closed: nothing was sent.
        """
        transport, launch = self._transport(), (message_id, body)
        while self._unsettled >= IN_FLIGHT_MAX:
            if not self._is_progressing():
                outgoing = self._outgoing(queue, [launch])
                error = gave_up(transport, outgoing, self._timeout_s)
                self._on_failed(outgoing, error)
                raise error
        more = len(body) + bundles.LENGTH_BYTES
        with self._lock:
            if self._gathered and (
                self._gathered_bytes + more > self._bundle_bytes_max
                or self._gathered_for != (transport, queue)
                or not is_launch
            ):
                self._end_group()
            self._gathered.append(launch)
            self._gathered_bytes += more
            self._gathered_for = (transport, queue)
            self._unsettled += 1
            self.count += 1
            is_full = len(self._gathered) == bundles.MESSAGES_MAX
            if is_full or not is_launch or not self._is_under_way() or not self.is_open:
                self._end_group()
        if self._ready:
            self._publish_ready(launch)

    def finish(self, *, is_interrupted: bool = False) -> dict[str, BrokerError]:
        """Wait until all are settled, as long as there is some progress in each timeout; return what failed.

        What is not settled then, or when this is interrupted, is withdrawn. With `is_interrupted`, what is not sent
        yet is not sent any more.
        """
        try:
            with self._lock:
                self.is_open = False
                self._end_group()
                unsent = self._take_ready() if is_interrupted else ()
            self._give_up(unsent)
            self._publish_ready()
            while self._unsettled > 0 and self._is_progressing():
                pass
        finally:
            self._withdraw_rest()
        while self._unsettled > 0 and self._is_progressing():  # settled a moment ago: their callbacks are on the way
            pass
        return self._errors

    def _withdraw_rest(self) -> None:
        with self._lock:
            self._is_over = True
            self._end_group()
            in_flight, unsent = list(self._in_flight.values()), self._take_ready()
        withdrawn = [group for group in in_flight if group.transport.withdraw(group.outgoing)]
        with self._lock:
            for group in withdrawn:
                self._in_flight.pop(group.outgoing, None)
        self._give_up([*withdrawn, *unsent])

    def _is_progressing(self) -> bool:
        """Wait for a sign that something was settled; False when there was none within the timeout."""
        return wait(self._clock, self._signs, self._timeout_s) is not None

    # --- Under the lock

    def _is_under_way(self) -> bool:
        """Whether something will be settled, after which what is gathered is sent."""
        return bool(self._in_flight or self._ready)

    def _end_group(self) -> None:
        """Make one message of what is gathered, ready to be published."""
        if self._gathered and self._gathered_for is not None:
            transport, queue = self._gathered_for
            launches, self._gathered, self._gathered_bytes = self._gathered, [], bundles.FRAME_BYTES
            self._ready.append(_Group(self._outgoing(queue, launches), launches, transport))

    def _take_ready(self) -> Sequence[_Group]:
        """Take away what is ready and not published yet."""
        ready, self._ready = self._ready, deque()
        return ready

    def _take_apart(self, group: _Group) -> None:
        """Have launches sent one by one that the broker refused together: it may be one of them, or their size."""
        self._bundle_bytes_max = bundles.smaller(self._bundle_bytes_max, len(group.outgoing.body))
        queue, transport = group.outgoing.queue, group.transport
        singles = [_Group(self._outgoing(queue, [launch]), [launch], transport) for launch in group.launches]
        self._ready.extendleft(reversed(singles))

    # --- Publishing

    def _publish_ready(self, mine: _Launch | None = None) -> None:
        """Publish what is ready, in its order, unless another thread is at it: then that one does.

        Raises:
            Exception: what the transport raised for the message that `mine` is in; that launch counts for nothing.
        """
        while (group := self._next()) is not None:
            try:
                group.transport.publish(group.outgoing)  # before: W1; after: W2
            except Exception as error:
                self._not_taken(group, error, mine)
                if mine is not None and mine in group.launches:
                    raise
            except BaseException:
                # Nobody knows how far it came: what was not sent by now will not be, and else it is uncertain.
                group.transport.withdraw(group.outgoing)
                with self._lock:
                    known = self._in_flight.pop(group.outgoing, None)
                self._give_up([] if known is None else [known])
                raise
            finally:
                self._is_publishing = False

    def _next(self) -> _Group | None:
        with self._lock:
            if self._is_publishing or not self._ready:
                return None
            self._is_publishing = True
            group = self._ready.popleft()
            self._in_flight[group.outgoing] = group
            return group

    def _not_taken(self, group: _Group, error: Exception, mine: _Launch | None) -> None:
        """Count a message that the transport did not take, as one that is closed does; `mine` hears it otherwise."""
        with self._lock:
            if self._in_flight.pop(group.outgoing, None) is None:
                return  # settled before it raised
            others = [launch for launch in group.launches if launch is not mine]
            self.count -= len(group.launches) - len(others)
            self._unsettled -= len(group.launches) - len(others)
        for message_id, body in others:
            why = error if isinstance(error, BrokerError) else _unsent(group, message_id, error)
            self._fail(self._single(group, message_id, body), why)
        self._forget(len(others))

    # --- What became of them

    def _settled(self, outgoing: Outgoing, error: BrokerError | None) -> None:
        with self._lock:
            group = self._in_flight.pop(outgoing, None)
            if group is None:
                return  # given up already
            is_taken_apart = type(error) is BrokerError and len(group.launches) > 1 and not self._is_over
            if is_taken_apart:
                self._take_apart(group)
        if not is_taken_apart:
            if error is not None:
                for message_id, body in group.launches:
                    self._fail(self._single(group, message_id, body), error)
            self._forget(len(group.launches))
        self._publish_ready()

    def _give_up(self, groups: Iterable[_Group]) -> None:
        for group in groups:
            for message_id, body in group.launches:
                single = self._single(group, message_id, body)
                self._fail(single, gave_up(group.transport, single, self._timeout_s))
            self._forget(len(group.launches))

    def _fail(self, outgoing: Outgoing, error: BrokerError) -> None:
        error = named(error, outgoing.message_id)
        self._errors[outgoing.message_id] = error
        self._on_failed(outgoing, error)

    def _forget(self, count: int) -> None:
        """Note that so many launches are settled; with the last one under way, what was gathered behind it goes out."""
        with self._lock:
            self._unsettled -= count
            if not self._is_under_way() and not self._is_over:
                self._end_group()
        self._signs.put(True)

    def _outgoing(self, queue: str, launches: Sequence[_Launch]) -> Outgoing:
        message_id, body = launches[0]
        if more := len(launches) - 1:
            message_id, body = f"{message_id} +{more}", bundles.join([body for _, body in launches])
        return Outgoing(queue=queue, body=body, message_id=message_id, on_settled=self._settled)

    def _single(self, group: _Group, message_id: str, body: bytes) -> Outgoing:
        """Return one launch of a message as it is told to others: by itself."""
        if len(group.launches) == 1:
            return group.outgoing
        sent = group.outgoing
        return Outgoing(
            queue=sent.queue, body=body, message_id=message_id, on_settled=self._settled, was_sent=sent.was_sent
        )


def _unsent(group: _Group, message_id: str, error: Exception) -> BrokerError:
    unsent = BrokerUnavailable(
        f"launch {message_id} was not sent: {error}", message_id=message_id, broker=group.transport.status().broker
    )
    unsent.__cause__ = error
    return unsent
