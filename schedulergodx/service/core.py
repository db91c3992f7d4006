"""The service: one loop around one inbox. It decides nothing itself and starts no thread.

Each turn takes all events that are there (bounded), decides, writes everything in one transaction, and only then acks,
answers and starts tasks. So a crash at any moment leaves either nothing of a turn or all of it, and what was not acked
comes again and is recognised by its id.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from schedulergodx import redirection
from schedulergodx import transport as transports
from schedulergodx.clock import CurrentClock
from schedulergodx.config import (
    QueueType,
    ServiceLimits,
    is_quorum,
    iterator,
    party_name,
    printable_name,
    queue_name,
    seconds,
)
from schedulergodx.errors import (
    Closed,
    DatabaseDamaged,
    DatabaseUnsupported,
    InvalidParameter,
    SchedulerError,
    StorageError,
)
from schedulergodx.service.consumer import Consumer
from schedulergodx.service.outcomes import Outcomes
from schedulergodx.service.publisher import Publisher
from schedulergodx.service.runner import LocalRunner
from schedulergodx.service.runner.threads import abandoned_max
from schedulergodx.service.runs import Runs
from schedulergodx.service.signals import on_stop_signal
from schedulergodx.service.stopping import Phase, Stopping, StopReport
from schedulergodx.service.storage_pause import StoragePause
from schedulergodx.service.turn import Turn
from schedulergodx.utils.abstractions import (
    AbstractionCore,
    Clock,
    ConnectionChanged,
    ConnectionState,
    ConsumeFailed,
    Delivery,
    Finished,
    QueueSpec,
    ReplySettled,
    Runner,
    ServiceEvent,
    Stop,
    Storage,
    Transport,
)
from schedulergodx.utils.id_generators import ulid_generator
from schedulergodx.utils.logger import CoreLogger, LoggerConstructor
from schedulergodx.utils.storage import DB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from schedulergodx.utils.rmq_property import RmqConnect

_PRUNE_EVERY_S = 60.0
_PRUNED_AT_ONCE_MAX = 1000
_RESULT_ROOM_BYTES = 64 * 1024  # of a message, for everything beside the result


class Service(AbstractionCore):
    """Takes tasks from a queue, stores them, runs them when they are due, and answers.

    Making one checks the parameters and touches nothing; `start()` does the work until it is told to stop. It needs no
    client, and no broker either: it waits for both, and meanwhile runs what is stored.

    Args:
        name: the service's name, for logs and for whoever finds its database in use.
        core_name: stands before each log line.
        rmq_connect: where the RabbitMQ is; `url` is the shorter way to say it. At most one of the two.
        id_generator: ids for messages of the service itself; kept from 1.0.0.
        db: the database, as a `DB`, a path or a URL `sqlite:///…`; by default `SchedulerGodX.db` in the current folder.
        url: the broker: `amqp://…`, `amqps://…` or `sqlite:///…`; None: `SCHEDULERGODX_URL`, or RabbitMQ on localhost.
        request_queue: base name of the queue that tasks come from.
        reply_queue: base name of the queues that answers go to; kept for symmetry, since each launch names its own.
        threads: soft tasks at a time.
        processes: hard tasks at a time.
        is_standby: wait while another service takes from the queue, instead of refusing to start.
        queue_type: `classic`, or `quorum` for a queue that survives the loss of a node of a RabbitMQ cluster; its
            clients must say the same, else `QueueMismatch` tells. It means nothing to other brokers.
        limits: all further bounds; `threads` and `processes` win over what it says.
        clock, transport, storage, runner: other kinds of the four seams, for tests.

    Raises:
        InvalidParameter: a parameter is outside its range.
    """

    def __init__(  # noqa: PLR0913 - every one is documented above and optional
        self,
        name: str = "service",
        core_name: str = "core",
        rmq_connect: RmqConnect | None = None,
        id_generator: Iterator[str] | None = None,
        db: DB | str | Path | None = None,
        *,
        url: str | None = None,
        request_queue: str = "client-service",
        reply_queue: str = "service-client",
        threads: int | None = None,
        processes: int | None = None,
        is_standby: bool = False,
        queue_type: QueueType = "classic",
        limits: ServiceLimits | None = None,
        clock: Clock | None = None,
        transport: Transport | None = None,
        storage: Storage | None = None,
        runner: Runner | None = None,
    ) -> None:
        if url is not None and rmq_connect is not None:
            raise InvalidParameter("give either url or rmq_connect, not both")
        self.name = party_name("name", name)
        self.core_name = printable_name("core_name", core_name)
        self.rmq_connect = rmq_connect
        self.id_generator = ulid_generator() if id_generator is None else iterator("id_generator", id_generator)
        self.limits = _limits(limits, threads=threads, processes=processes)
        self._request_queue = queue_name("request_queue", request_queue)
        self._reply_queue = queue_name("reply_queue", reply_queue)
        self._is_standby = is_standby
        self._is_quorum = is_quorum("queue_type", queue_type)
        self._logger = LoggerConstructor(f"schedulergodx.service.{self.name}", log_level=None)
        self._log_lines = CoreLogger(self._logger.getLogger(), core_name)
        self._target = rmq_connect if url is None else url
        transports.address(self._target)  # refuses an unknown URL here, where it was written
        self._clock = clock or CurrentClock()
        self._storage = storage or _database(db)
        self._given_transport = transport
        self._given_runner = runner
        self._inbox: SimpleQueue[ServiceEvent] = SimpleQueue()
        self._is_started = False
        self._resources: ExitStack | None = None
        self._error: SchedulerError | None = None
        self._report = StopReport()

    @property
    def rmq_publisher_que(self) -> str:
        """Base name of the queues that answers go to."""
        return self._reply_queue

    @property
    def rmq_consumer_que(self) -> str:
        """Name of the queue that tasks come from."""
        return self._request_queue

    @property
    def logger(self) -> LoggerConstructor:
        """The logger of this service; see `LoggerConstructor`."""
        return self._logger

    def start(self) -> StopReport:
        """Work until SIGTERM, SIGINT or `stop()`, then let running tasks end, and return.

        It blocks. In the main thread it handles the two signals meanwhile; a second one ends the process at once.

        Returns:
            What had not ended within the grace, and what was not handed over.

        Raises:
            StorageError: the database cannot be used, or another service holds it. Nothing was taken from the queue.
            QueueInUse: another service takes from the queue.
            BrokerRefused: wrong password, virtual host or permission.
            Closed: this service was started before; make a new one.
        """
        if redirection.active() is not None:
            raise SchedulerError(
                f"service {self.name!r} cannot be started for real while a test harness is open: the harness runs one "
                "(scheduler.service), and scheduler.new_service() makes more"
            )
        with on_stop_signal(lambda: self._inbox.put(Stop())):
            self.open()
            try:
                while not self.is_done:
                    self.step(self._clock.wait_for(self._inbox, self.wait_s()))
            finally:
                report = self.close()
        if self._error is not None:
            raise self._error
        return report

    def stop(self, grace_s: float | None = None) -> None:
        """Ask the service to stop, and return at once. From any thread, any number of times.

        `grace_s`: seconds for running tasks; None: `limits.stop_grace_s`. Asking again can only shorten it.

        Raises:
            InvalidParameter: `grace_s` is no number of seconds; nothing was asked.
        """
        self._inbox.put(Stop(grace_s=None if grace_s is None else seconds("grace_s", grace_s)))

    def __enter__(self) -> Self:
        """Return the service; the block's end asks it to stop."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ask the service to stop."""
        self.stop()

    # --- the loop, also stepped by hand by a test harness

    def open(self) -> None:
        """Take the database and begin to take from the queue. `start` does this; a harness calls it by itself.

        Raises what `start` says. Nothing is left open then.
        """
        if self._is_started:
            raise Closed(f"service {self.name!r} was started before; a service starts once: make a new one")
        self._is_started = True
        with ExitStack() as resources:
            self._open(resources)
            self._connect()
            self._resources = resources.pop_all()

    def _open(self, resources: ExitStack) -> None:
        clock, limits = self._clock, self.limits
        self._storage.open(owner=f"{self.name}@{socket.gethostname()}:{os.getpid()}", now=clock.now())
        resources.callback(self._storage.close)
        broker = transports.resolve(self._target)
        self._transport = self._given_transport or transports.connect(broker, name=self.name)
        resources.callback(self._transport.close)
        self._runner = self._given_runner or LocalRunner(
            threads=limits.threads,
            processes=limits.processes,
            kill_grace_s=limits.kill_grace_s,
            broker=broker,
            result_bytes_max=limits.message_bytes_max - _RESULT_ROOM_BYTES,
        )
        resources.callback(self._runner.close)
        logger = self._log_lines
        outcomes = Outcomes(self._storage)
        self._consumer = Consumer(self._storage, outcomes, message_bytes_max=limits.message_bytes_max)
        self._publisher = Publisher(
            self._storage,
            self._transport,
            clock,
            logger,
            in_flight_max=limits.replies_in_flight_max,
            on_settled=self._inbox.put,
        )
        self._runs = Runs(
            self._storage,
            self._runner,
            clock,
            outcomes,
            logger,
            overdue_grace_s=limits.overdue_grace_s,
            abandoned_max=abandoned_max(limits.threads),
        )
        self._stopping = Stopping(clock, stop_grace_s=limits.stop_grace_s, reply_flush_s=limits.reply_flush_s)
        self._pause = StoragePause(clock, logger)
        self._retained: list[ServiceEvent] = []
        self._interrupted: list[str] = []
        self._prune_at = clock.monotonic() + _PRUNE_EVERY_S

    def _connect(self) -> None:
        turn = Turn()
        with self._storage.transaction():
            # Their answers are in the outbox, like those that an earlier service left there.
            self._runs.report_interrupted(turn, now=self._clock.now())
        self._log(turn)
        self._runner.listen(self._inbox.put)
        self._transport.listen(self._inbox.put)
        queue = QueueSpec(name=self._request_queue, has_dead_letters=True, is_quorum=self._is_quorum)
        self._transport.consume(queue, prefetch=self.limits.prefetch, is_exclusive=True, is_standby=self._is_standby)
        self._log_lines.info("service %s takes tasks from queue %s", self.name, self._request_queue)

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

    @property
    def is_done(self) -> bool:
        """Whether the service has stopped turning, and waits to be closed."""
        return self._stopping.phase is Phase.DONE

    def has_events(self) -> bool:
        """Return whether an event waits for the next turn."""
        return not self._inbox.empty()

    def wait_s(self) -> float | None:
        """Return the seconds until the next turn is due without an event, or None."""
        if not self._pause.is_on:
            if self._retained:
                return 0.0
            try:
                due_s = self._runs.wait_s(now=self._clock.now(), is_starting=self._stopping.phase is Phase.RUNNING)
            except StorageError as error:
                self._pause.begin(error)
            else:
                # Pruning sets no timer: the clock wakes an idle service at least every 30 s.
                return _earliest(due_s, self._stopping.wait_s(), self._publisher.wait_s())
        return _earliest(self._pause.wait_s(), self._stopping.wait_s())

    def close(self) -> StopReport:
        """Kill what still runs, disconnect, and let go of the database. Closing twice does nothing."""
        resources, self._resources = self._resources, None
        if resources is not None:
            with resources:
                self._report = StopReport(
                    interrupted=tuple(self._interrupted), unsent_replies=self._publisher.count_unsent()
                )
        return self._report

    def _take(self, event: ServiceEvent | None) -> list[ServiceEvent]:
        events, self._retained = self._retained, []
        if event is not None:
            events.append(event)
        # During a pause everything is taken, so that a Stop is seen; what can be there is bounded by the prefetch.
        while self._pause.is_on or len(events) < self.limits.events_per_turn_max:
            try:
                events.append(self._inbox.get_nowait())
            except Empty:
                break
        return events

    def _obey(self, events: list[ServiceEvent]) -> list[ServiceEvent]:
        """Take what needs no database, once, whatever becomes of this turn; return the rest."""
        rest: list[ServiceEvent] = []
        for event in events:
            match event:
                case Stop():
                    self._begin_to_stop(event.grace_s)
                case ConsumeFailed():
                    self._give_up(event.error)
                case ConnectionChanged():
                    pass  # the transport has logged it; what is under way waits for the connection
                case _:
                    rest.append(event)
        return rest

    def _turn(self, events: list[ServiceEvent]) -> None:
        turn = Turn(is_grace_over=self._stopping.is_grace_over)
        try:
            with self._storage.transaction():
                self._decide(events, turn, self._clock.now())
        except StorageError as error:
            self._storage_failed(error, events)
            return
        self._pause.over()
        self._after_commit(turn, [one for one in events if isinstance(one, ReplySettled)])

    def _decide(self, events: list[ServiceEvent], turn: Turn, now: datetime) -> None:
        for event in events:
            match event:
                case Delivery():
                    self._consumer.take(event, turn, now=now)
                case Finished():
                    self._runs.finish(event, turn, now=now)
                case ReplySettled():
                    self._publisher.settle(event, turn)
        self._runs.give_up_overtime(turn, now=now)
        if turn.is_grace_over:
            self._runs.give_up_all(turn, now=now)
        elif self._stopping.phase is Phase.RUNNING:
            self._runs.start_due(turn, now=now)
        if turn.sent:
            self._storage.remove_replies(turn.sent)
        self._prune(now)

    def _log(self, turn: Turn) -> None:
        for level, message, facts in turn.lines:
            self._log_lines.log(level, message, *facts)

    def _after_commit(self, turn: Turn, settled: list[ReplySettled]) -> None:
        self._log(turn)
        if turn.acks:
            self._transport.ack(turn.acks)
        for delivery, reason in turn.rejects:
            self._transport.reject(delivery, reason)
        self._interrupted += turn.interrupted
        self._runs.after_commit(turn)
        self._publisher.after_commit(settled, turn.replies)
        try:
            self._publisher.send_waiting()
        except StorageError as error:
            self._storage_failed(error, [])  # the turn itself is on disk
        self._stopping.advance(is_working=bool(self._runs.running), is_sending=self._is_sending())

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

    def _prune(self, now: datetime) -> None:
        if self._clock.monotonic() < self._prune_at:
            return
        pruned = self._storage.prune(
            ended_before=now - timedelta(seconds=self.limits.keep_outcomes_s), limit=_PRUNED_AT_ONCE_MAX
        )
        # More of them waiting: go on in the next turn, in bites that do not hold up the tasks.
        self._prune_at = self._clock.monotonic() + (0.0 if pruned == _PRUNED_AT_ONCE_MAX else _PRUNE_EVERY_S)


def _earliest(*waits_s: float | None) -> float | None:
    return min((wait_s for wait_s in waits_s if wait_s is not None), default=None)


def _limits(limits: ServiceLimits | None, **given: int | None) -> ServiceLimits:
    return replace(limits or ServiceLimits(), **{name: value for name, value in given.items() if value is not None})


def _database(db: DB | str | Path | None) -> DB:
    if isinstance(db, DB):
        return db
    return DB() if db is None else DB(db)
