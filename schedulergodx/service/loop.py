"""The loop: one turn after another. It takes what has happened, decides, writes it all down, and only then acts.

Each turn takes all events that are there (bounded), decides, writes everything in one transaction, and only then acks,
answers and starts tasks. So a crash at any moment leaves either nothing of a turn or all of it, and what was not acked
comes again and is recognised by its id. W1 to W16, in comments, are the windows of docs/crash-windows.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx.clock import SystemClock
from schedulergodx.errors import DatabaseDamaged, DatabaseUnsupported, KeysRefused, SchedulerError, StorageError
from schedulergodx.service.stopping import Phase, Stopping
from schedulergodx.service.turn import Turn
from schedulergodx.utils.abstractions import (
    AbstractionCore,
    Clock,
    ConnectionChanged,
    ConnectionState,
    ConsumeFailed,
    ConsumeResumed,
    Delivery,
    Finished,
    ReadKeys,
    ReplySettled,
    ServiceEvent,
    Stop,
    Storage,
    Transport,
)
from schedulergodx.utils.message import bundles

if TYPE_CHECKING:
    from collections import deque
    from datetime import datetime
    from queue import SimpleQueue

    from schedulergodx.config import ServiceLimits
    from schedulergodx.service.consumer import Consumer
    from schedulergodx.service.ends import Ends
    from schedulergodx.service.pruning import Pruner
    from schedulergodx.service.publisher import Publisher
    from schedulergodx.service.runs import Runs
    from schedulergodx.service.storage_pause import StoragePause
    from schedulergodx.service.wall_watch import WallWatch
    from schedulergodx.utils.keys.source import Keys
    from schedulergodx.utils.logger import CoreLogger

_system = SystemClock()
LAUNCHES_TOGETHER, LAUNCHES_BEHIND = 200, 100
"""What a turn stores at most, beside ends; and while more is due than finds room, so that quick tasks catch up.

So many quick ones can start in the turn that stores them, and need not be read from the database for it.
"""
LAUNCH_BYTES_MAX = 1024 * 1024
"""With so many bytes of launches a turn takes no more of them: one may be 8 MiB."""
COUNT_EVERY_S = 60.0
"""How often the tasks that wait are counted, for whoever asks for the service's health."""


class Loop(AbstractionCore):
    """What a service does from its opening to its close. `Service` makes the parts that stand here as fields."""

    name: str
    limits: ServiceLimits
    _clock: Clock
    _storage: Storage
    _transport: Transport
    _log_lines: CoreLogger
    _inbox: SimpleQueue[ServiceEvent]
    _consumer: Consumer
    _publisher: Publisher
    _runs: Runs
    _stopping: Stopping
    _pause: StoragePause
    _retained: list[ServiceEvent]
    _deliveries: deque[Delivery]
    _ends: Ends
    _interrupted: list[str]
    _pruner: Pruner
    _wall: WallWatch
    _count_at: float
    _turned_at: float | None
    _waiting: int | None
    keys: Keys
    _error: SchedulerError | None

    def step(self, event: ServiceEvent | None) -> None:
        """Do one turn with `event` and whatever else is in the inbox. Only one thread may step."""
        events = self._obey(self._take(event))
        if self._pause.is_on:
            self._retained = events
        else:
            self._turn(events)
        if self._pause.error is not None:
            self._runs.kill_overtime(ended={one.message_id for one in self._retained if isinstance(one, Finished)})
            self._stop_without_storage(self._pause.error)
        self._turned_at = _system.monotonic()

    @property
    def is_done(self) -> bool:
        """Whether the service has stopped turning, and waits to be closed."""
        return self._stopping.phase is Phase.DONE

    def has_events(self) -> bool:
        """Return whether an event waits for the next turn."""
        return not self._inbox.empty() or (bool(self._deliveries or self._ends) and not self._pause.is_on)

    def wait_s(self) -> float | None:
        """Return the seconds until the next turn is due without an event, or None."""
        if not self._pause.is_on:
            if self._retained or self._deliveries or self._ends:
                return 0.0
            try:
                due_s = self._runs.wait_s(now=self._clock.now(), is_starting=self._stopping.phase is Phase.RUNNING)
            except StorageError as error:
                self._pause.begin(error)
            else:
                return _earliest(due_s, self._stopping.wait_s(), self._publisher.wait_s(), self._pruner.wait_s())
        return _earliest(self._pause.wait_s(), self._stopping.wait_s())

    def _take(self, event: ServiceEvent | None) -> list[ServiceEvent]:
        """Return what this turn is about: what has happened here first, then as many deliveries as there is room for.

        A delivery may be a bundle, which counts as the messages in it. So the end of a run never waits for the
        thousands of launches that may have come before it. During a pause deliveries and ends stay behind: what else
        there is has to be seen, a Stop above all. All that can be there is bounded: by the prefetch, and by what runs.
        """
        events, self._retained = self._retained, []
        has_failed = bool(events)  # then it is done again, and no larger
        room = self.limits.events_per_turn_max - sum(map(_weight, events))
        while event is not None or room > 0 or self._pause.is_on:
            if event is None:
                if self._inbox.empty():  # nobody else takes from it
                    break
                event = self._inbox.get_nowait()
            if isinstance(event, Delivery):
                self._deliveries.append(event)
            elif isinstance(event, Finished):
                self._ends.add(event)
            else:
                events.append(event)
                room -= 1
            event = None
        if self._ends and not has_failed and not self._pause.is_on:
            taken = self._ends.take(max(1, room))
            events += taken
            room -= len(taken)
        if self._deliveries:  # not so of a standby, which has no runs either
            room = min(room, LAUNCHES_BEHIND if self._runs.is_behind else LAUNCHES_TOGETHER)
        is_any, bytes_left = False, LAUNCH_BYTES_MAX
        while self._deliveries and not has_failed and not self._pause.is_on:
            weight = bundles.count(self._deliveries[0].body)
            if is_any and (weight > room or bytes_left <= 0):
                break
            delivery = self._deliveries.popleft()
            events.append(delivery)
            room -= weight
            bytes_left -= len(delivery.body)
            is_any = True
        return events

    def _obey(self, events: list[ServiceEvent]) -> list[ServiceEvent]:
        """Take what needs no database, once, whatever becomes of this turn; return the rest."""
        rest: list[ServiceEvent] = []
        for event in events:
            match event:
                case Finished() | Delivery() | ReplySettled():  # the many first
                    rest.append(event)
                case Stop():
                    self._begin_to_stop(event.grace_s)
                case ReadKeys():
                    self._read_keys()
                case ConsumeFailed():
                    self._give_up(event.error)
                case ConnectionChanged() | ConsumeResumed():
                    pass  # the transport has logged it; what is under way waits for the connection
        return rest

    def _read_keys(self) -> None:
        try:
            ring = self.keys.reload()
        except KeysRefused as error:
            self._log_lines.error("the keys were not read again, and stay as they were: %s", error)
        else:
            self._log_lines.info("the keys were read again: %r", ring)

    def _turn(self, events: list[ServiceEvent]) -> None:
        turn = Turn(
            now=self._clock.now(),
            moment=self._clock.monotonic(),
            is_grace_over=self._stopping.is_grace_over,
            log_level=self._log_lines.getEffectiveLevel(),
        )
        self._wall.look(turn.now, turn.moment)
        events = self._publisher.quietly_settled() + events
        if turn.is_grace_over:
            events += self._ends.take_all()  # before all that still runs is given up
        try:
            with self._storage.transaction():  # before its commit: W4, W9, W11; after it: W13
                self._decide(events, turn, turn.now)
        except StorageError as error:
            self._storage_failed(error, events)
            return
        self._pause.over()
        self._after_commit(turn, [one for one in events if isinstance(one, ReplySettled)])

    def _decide(self, events: list[ServiceEvent], turn: Turn, now: datetime) -> None:
        self._consumer.take([event for event in events if isinstance(event, Delivery)], turn, now=now)
        for event in events:
            match event:
                case Finished():
                    self._runs.finish(event, turn, now=now)
                case ReplySettled():
                    self._publisher.settle(event, turn)
        self._runs.put_back(turn)
        self._runs.give_up_overtime(turn, now=now)
        if turn.is_grace_over:
            self._runs.give_up_all(turn, now=now)
        elif self._stopping.phase is Phase.RUNNING:
            self._runs.start_due(turn, now=now)
        if turn.sent:
            self._storage.remove_replies(turn.sent)
        self._pruner.prune(turn)
        if turn.moment >= self._count_at:
            self._count_waiting()

    def _count_waiting(self) -> None:
        self._waiting = self._storage.count_waiting()
        self._count_at = self._clock.monotonic() + COUNT_EVERY_S

    def _log(self, turn: Turn) -> None:
        for level, message, facts in turn.lines:
            self._log_lines.log(level, message, *facts)

    def _after_commit(self, turn: Turn, settled: list[ReplySettled]) -> None:
        self._log(turn)
        if turn.acks:
            self._transport.ack(turn.acks)  # before: W5; after: W6
        for delivery, reason in turn.rejects:
            self._transport.reject(delivery, reason)
        self._interrupted += turn.interrupted
        self._runs.after_commit(turn)
        self._publisher.after_commit(settled, turn.replies)
        try:
            self._publisher.send_waiting()
        except StorageError as error:
            self._storage_failed(error, [])  # the turn itself is on disk
        if self._stopping.phase is not Phase.RUNNING:
            self._stopping.advance(is_working=not self._runs.are_over, is_sending=self._is_sending())

    def _is_sending(self) -> bool:
        """Whether an answer is left that the broker may take soon."""
        status = self._transport.status()
        # The first answer opens the connection for answers: then it is being made, and has not failed yet.
        is_coming = status.state is ConnectionState.CONNECTING and not status.reason
        is_there = is_coming or status.state in {ConnectionState.UP, ConnectionState.BLOCKED}
        return is_there and not self._publisher.is_empty

    def _begin_to_stop(self, grace_s: float | None) -> None:
        if self._stopping.phase is Phase.RUNNING:
            running = len(self._runs.running)
            self._log_lines.info("service %s stops: takes no more; %d tasks run", self.name, running)
            self._transport.stop_consuming()
            self._runs.take_back()
            self._publisher.hurry()
        self._stopping.drain(grace_s)

    def _give_up(self, error: SchedulerError) -> None:
        # The error itself is raised at the end; the transport has told what it knows.
        self._log_lines.error("service %s cannot go on (%s)", self.name, type(error).__name__)
        self._error = self._error or error
        self._begin_to_stop(None)

    def _storage_failed(self, error: StorageError, events: list[ServiceEvent]) -> None:
        """Keep the events, which nobody has acked, and try the whole turn again after a pause."""
        self._retained = events
        if isinstance(error, (DatabaseDamaged, DatabaseUnsupported)):
            self._log_lines.critical("service %s stops without acking: %s", self.name, error)
            self._error = error
            self._stopping.phase = Phase.DONE
        else:
            self._pause.begin(error)

    def _stop_without_storage(self, error: StorageError) -> None:
        """End a stop that the database holds up, unless it may still be written within the time that there is.

        What is not stored stays with the broker, and what runs is reported at the next start.
        """
        phase = self._stopping.phase
        if phase in {Phase.RUNNING, Phase.DONE}:
            return
        is_worth_waiting = self._runs.running if phase is Phase.DRAINING else self._publisher.in_flight
        if not is_worth_waiting or self._stopping.is_over:
            self._interrupted += self._runs.running
            self._error = self._error or error
            self._stopping.phase = Phase.DONE


def _weight(event: ServiceEvent) -> int:
    """Return for how many events of a turn one counts."""
    return bundles.count(event.body) if isinstance(event, Delivery) else 1


def _earliest(*waits_s: float | None) -> float | None:
    return min((wait_s for wait_s in waits_s if wait_s is not None), default=None)
