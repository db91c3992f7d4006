"""The service: one loop around one inbox, and the parts that it needs. It decides nothing itself, starts no thread."""

from __future__ import annotations

import os
import socket
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING

from schedulergodx import redirection
from schedulergodx import transport as transports
from schedulergodx.clock import CurrentClock, SystemClock
from schedulergodx.config import (
    QueueType,
    ServiceLimits,
    flag,
    is_quorum,
    iterator,
    party_name,
    printable_name,
    queue_name,
    seconds,
)
from schedulergodx.errors import (
    Closed,
    DatabaseInUse,
    InvalidParameter,
    SchedulerError,
)
from schedulergodx.rules.limits import TaskLimits
from schedulergodx.service.admission import ACCEPTED, Admission
from schedulergodx.service.consumer import Consumer
from schedulergodx.service.ends import Ends
from schedulergodx.service.health import Health
from schedulergodx.service.health_file import HealthFile
from schedulergodx.service.loop import Loop
from schedulergodx.service.outcomes import Outcomes
from schedulergodx.service.pruning import Pruner
from schedulergodx.service.publisher import Publisher
from schedulergodx.service.runner import LocalRunner
from schedulergodx.service.runner.threads import abandoned_max
from schedulergodx.service.runs import Runs
from schedulergodx.service.signals import on_stop_signal
from schedulergodx.service.standby import Standby
from schedulergodx.service.stopping import Phase, Stopping, StopReport
from schedulergodx.service.storage_pause import StoragePause
from schedulergodx.service.takers import Takers
from schedulergodx.service.turn import Turn
from schedulergodx.service.wall_watch import WallWatch
from schedulergodx.utils.abstractions import (
    Clock,
    QueueSpec,
    ReadKeys,
    Runner,
    ServiceEvent,
    Stop,
    Storage,
    Transport,
)
from schedulergodx.utils.id_generators import ulid_generator
from schedulergodx.utils.keys.access import Access
from schedulergodx.utils.keys.policy import check_keys, warn_of_unsigned
from schedulergodx.utils.keys.source import Keys
from schedulergodx.utils.logger import CoreLogger, LoggerConstructor
from schedulergodx.utils.message import bundles
from schedulergodx.utils.message.seals import Seals
from schedulergodx.utils.message.signature import Signatures
from schedulergodx.utils.storage import DB

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Self

    from schedulergodx.service.admission import Accepted
    from schedulergodx.utils.keys.source import KeySource
    from schedulergodx.utils.rmq_property import RmqConnect

_RESULT_ROOM_BYTES = 64 * 1024  # of a message, for everything beside the result


class Service(Loop):
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
        standby: wait while another service takes from the queue, or holds the database, instead of refusing to
            start; take over within seconds when that one ends, however it does.
        queue_type: `classic`, or `quorum` for a queue that survives the loss of a node of a RabbitMQ cluster; its
            clients must say the same, else `QueueMismatch` tells. It means nothing to other brokers.
        keys: what messages are signed with: the path of a key file, or a `KeyRing`; None: what `SCHEDULERGODX_KEYS` or
            `SCHEDULERGODX_KEY_FILE` says, if anything. A key file is read again at SIGHUP, and by `reload_keys()`.
        allow_unsigned: start without keys although other machines reach the broker, and take unsigned messages
            although there are keys. Then whoever reaches the broker can run code here.
        accept: what is run. `{"ref"}`: only the functions of `tasks`, launched with `by="name"`; nothing is unpickled.
            By default whatever is sent.
        tasks: these functions, or tasks; each is found by its name in its module.
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
        standby: bool = False,
        queue_type: QueueType = "classic",
        keys: KeySource | None = None,
        allow_unsigned: bool = False,
        accept: Collection[Accepted] = ACCEPTED,
        tasks: Iterable[Callable[..., Any]] = (),
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
        self._is_standby = flag("standby", standby)
        self._is_quorum = is_quorum("queue_type", queue_type)
        self.keys = Keys(keys)
        self._allow_unsigned = flag("allow_unsigned", allow_unsigned)
        seals = Seals(self.keys.ring, allow_unsigned=self._allow_unsigned)
        self._admission = Admission(seals, accept=accept, tasks=tasks)
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
        self._turned_at: float | None = None
        self._waiting: int | None = None
        self._is_closed = False
        self._stopping = Stopping(
            self._clock, stop_grace_s=self.limits.stop_grace_s, reply_flush_s=self.limits.reply_flush_s
        )
        self._standby: Standby | None = None
        self._pause = StoragePause(self._clock, self._log_lines)
        self._retained: list[ServiceEvent] = []
        self._deliveries = deque()
        self._ends = Ends(self._client_of)
        self._interrupted: list[str] = []
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
            KeysRefused: the keys cannot be used, or there are none although other machines reach the broker.
            StorageError: the database cannot be used, or another service holds it, and this one is no standby.
                Nothing was taken from the queue.
            QueueInUse: another service takes from the queue, and this one is no standby.
            BrokerRefused: wrong password, virtual host or permission.
            Closed: this service was started before; make a new one.
        """
        if redirection.active() is not None:
            raise SchedulerError(
                f"service {self.name!r} cannot be started for real while a test harness is open: the harness runs one "
                "(scheduler.service), and scheduler.new_service() makes more"
            )
        reread = None if self.keys.path is None else self.reload_keys
        with on_stop_signal(lambda: self._inbox.put(Stop()), on_hangup=reread):
            self.open()
            file = HealthFile(self._storage.path, self._log_lines) if isinstance(self._storage, DB) else None
            try:
                while not self.is_done:
                    if file is not None and self._standby is None:  # before that, the file is another service's
                        file.beat(self.health)
                    self.step(self._clock.wait_for(self._inbox, self.wait_s()))
            finally:
                report = self.close()
                if file is not None and self._standby is None:
                    file.remove()
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

    def health(self) -> Health:
        """Return what the service knows about itself. From any thread, at any time; it waits for nothing.

        A service that `start` runs also writes it into a file beside its database, for `schedulergodx health`.
        """
        now = self._clock.now()
        if self._standby is not None and not self._is_closed:
            return Health(service=self.name, at=now, phase="standby")
        if self._resources is None:
            return Health(service=self.name, at=now, phase="done" if self._is_closed else "new")
        turned_at = self._turned_at
        return Health(
            service=self.name,
            at=now,
            phase=self._stopping.phase.value,
            turned_s_ago=None if turned_at is None else SystemClock().monotonic() - turned_at,
            consuming=self._transport.consuming(),
            publishing=self._transport.status(),
            storage_error=str(self._pause.error or ""),
            running=len(self._runs.running),
            waiting=self._waiting,
            abandoned=self._runner.abandoned(),
            abandoned_max=abandoned_max(self.limits.threads),
        )

    def reload_keys(self) -> None:
        """Have the keys read again, and return at once. From any thread, and from a signal handler.

        The log says what came of it. If the keys cannot be used, those that were read before stay.
        """
        self._inbox.put(ReadKeys())

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

        A standby that finds the database in use has not taken it then: its `step` tries again.

        Raises what `start` says. Nothing is left open then.
        """
        if self._is_started:
            raise Closed(f"service {self.name!r} was started before; a service starts once: make a new one")
        self._is_started = True
        self._check_keys()
        try:
            self._take_over()
        except DatabaseInUse as error:
            if not self._is_standby:
                raise
            self._standby = Standby(self._clock)
            self._log_lines.info("service %s stands by: %s", self.name, error)

    def step(self, event: ServiceEvent | None) -> None:
        """Do one turn with `event` and whatever else is in the inbox. Only one thread may step."""
        if self._standby is None:
            super().step(event)
            return
        events = self._take(event)
        if any(isinstance(one, Stop) for one in events):
            self._stopping.phase = Phase.DONE
        elif self._standby.is_time():
            with suppress(DatabaseInUse):
                self._take_over()
                self._standby = None

    def wait_s(self) -> float | None:
        """Return the seconds until the next turn is due without an event, or None."""
        return super().wait_s() if self._standby is None else self._standby.wait_s()

    def _take_over(self) -> None:
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
            broker=Access(broker, self.keys.ring),
            result_bytes_max=limits.message_bytes_max - _RESULT_ROOM_BYTES,
            limits=TaskLimits(**limits.of_tasks),
            output_bytes_max=limits.task_output_bytes_max,
        )
        resources.callback(self._runner.close)
        logger = self._log_lines
        signatures = Signatures(
            self.keys.ring, queue=self._request_queue, clock=clock, allow_unsigned=self._allow_unsigned
        )
        outcomes = Outcomes(self._storage, signatures)
        takers = Takers()
        self._consumer = Consumer(
            self._storage,
            outcomes,
            signatures,
            self._admission,
            takers,
            message_bytes_max=limits.message_bytes_max,
            max_age_s=limits.max_age_s,
        )
        self._publisher = Publisher(
            self._storage,
            self._transport,
            clock,
            logger,
            takers,
            in_flight_max=limits.replies_in_flight_max,
            keep_replies_s=limits.keep_replies_s,
            bundle_bytes_max=min(bundles.BYTES_MAX, limits.message_bytes_max),
            on_settled=self._inbox.put,
        )
        self._runs = Runs(
            self._storage,
            self._runner,
            clock,
            outcomes,
            self._admission,
            logger,
            self._ends,
            overdue_grace_s=limits.overdue_grace_s,
            abandoned_max=abandoned_max(limits.threads),
        )
        self._pruner = Pruner(self._storage, clock, limits)
        self._wall = WallWatch(clock, logger)

    def _client_of(self, message_id: str) -> str:
        return self._runs.client_of(message_id)

    def _check_keys(self) -> None:
        ring = self.keys.ring()
        if ring is not None:
            ring.signing(self._clock.now())
        if redirection.active() is None:  # what passes in a test harness leaves no process
            who, broker, allow_unsigned = (
                f"service {self.name!r}",
                transports.address(self._target),
                self._allow_unsigned,
            )
            is_local = transports.is_local(self._target)
            check_keys(ring, who=who, broker=broker, is_local=is_local, allow_unsigned=allow_unsigned)
            warn_of_unsigned(ring, who=who, broker=broker, allow_unsigned=allow_unsigned, logger=self._log_lines)

    def _connect(self) -> None:
        turn = Turn(now=self._clock.now(), moment=self._clock.monotonic())
        with self._storage.transaction():
            # Their answers are in the outbox, like those that an earlier service left there.
            self._runs.report_interrupted(turn, now=turn.now)
            self._count_waiting()
        self._log(turn)
        self._runner.listen(self._inbox.put)
        self._transport.listen(self._inbox.put)
        queue = QueueSpec(name=self._request_queue, has_dead_letters=True, is_quorum=self._is_quorum)
        self._transport.consume(queue, prefetch=self.limits.prefetch, is_exclusive=True, is_standby=self._is_standby)
        self._log_lines.info("service %s takes tasks from queue %s", self.name, self._request_queue)

    def close(self) -> StopReport:
        """Kill what still runs, disconnect, and let go of the database. Closing twice does nothing."""
        resources, self._resources = self._resources, None
        self._is_closed = self._is_closed or resources is not None or self._standby is not None
        if resources is not None:
            with resources:
                self._report = StopReport(
                    interrupted=tuple(self._interrupted), unsent_replies=self._publisher.count_unsent()
                )
        return self._report


def _limits(limits: ServiceLimits | None, **given: int | None) -> ServiceLimits:
    return replace(limits or ServiceLimits(), **{name: value for name, value in given.items() if value is not None})


def _database(db: DB | str | Path | None) -> DB:
    if isinstance(db, DB):
        return db
    return DB() if db is None else DB(db)
