"""The client: makes tasks out of functions, launches them, and hears how they ended."""

from __future__ import annotations

import json
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from schedulergodx import config, system
from schedulergodx import transport as transports
from schedulergodx.client import collecting
from schedulergodx.client.connection import Connection
from schedulergodx.client.hearing import Hearing
from schedulergodx.client.launcher import Launcher
from schedulergodx.client.places import Connections, Way, let_go
from schedulergodx.client.task import ParameterChanges, Task, TaskParameters
from schedulergodx.client.travel import travelled
from schedulergodx.client.trust import Trust
from schedulergodx.clock import CurrentClock
from schedulergodx.errors import (
    Closed,
    HardNotSupported,
    InvalidParameter,
    MessageRejected,
)
from schedulergodx.utils.id_generators import CurrentIds, MessageId
from schedulergodx.utils.keys.source import Keys
from schedulergodx.utils.logger import CoreLogger, LoggerConstructor
from schedulergodx.utils.message import envelope
from schedulergodx.utils.message.kinds import Message

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from contextlib import AbstractContextManager
    from datetime import datetime
    from types import TracebackType
    from typing import Self, Unpack

    from schedulergodx.utils.abstractions import Clock, ConnectionState, ConnectionStatus, ConsumingStatus
    from schedulergodx.utils.keys.source import KeySource
    from schedulergodx.utils.rmq_property import RmqConnect

P = ParamSpec("P")
R = TypeVar("R")

_CLOSE_S = 5.0
_IDLE_S = 1.0
"""How much longer than a launch may take a travelled client stays connected without being used."""


class Client(Hearing):
    """Launches tasks and hears how they ended. Every method may be called from any thread.

    Making one connects to nothing and never waits: it connects at the first launch or question, and again by itself
    after every loss. Several clients, in several processes, may have one name; each gets its own answers. Close it by
    `close()` or a `with` block; the end of the program does it too. One that nobody has any more is closed with a
    `ResourceWarning`.

    Args:
        name: who launches; stands in the service's database and in the name of the queue of answers.
        core_name: stands before each of its log lines.
        rmq_connect: where the RabbitMQ is; `url` is the shorter way to say it. At most one of the two.
        id_generator: yields an id for each launch, never the same twice; by default ULIDs.
        task_lifetime: seconds that a soft task may run, unless it says otherwise; None: without limit.
        hard_task_lifetime: the same for hard tasks.
        enable_overdue: whether tasks that are late by more than the service's grace still run; else they are skipped,
            and the client is told.
        url: the broker: `amqp://…`, `amqps://…` or `sqlite:///…`; None: `SCHEDULERGODX_URL`, or RabbitMQ on localhost.
        request_queue: base name of the queue that the service takes from.
        reply_queue: base name of the queue of answers; `.<name>.<instance>` follows it.
        launch_timeout_s: seconds that a launch waits for the broker.
        reply_expires_s: seconds after which the queue of answers goes, once the client has gone without closing.
        message_bytes_max: a larger launch is refused.
        queue_type: `classic`, or `quorum` for queues that survive the loss of a node of a RabbitMQ cluster; the
            service must say the same, else `QueueMismatch` tells. It means nothing to other brokers.
        keys: what messages are signed with: the path of a key file, or a `KeyRing`; None: what `SCHEDULERGODX_KEYS` or
            `SCHEDULERGODX_KEY_FILE` says, if anything. They are read at the first launch or question.
        allow_unsigned: launch without keys although other machines reach the broker, and take unsigned answers
            although there are keys. Then whoever reaches the broker can run code at the service.
        clock: another kind of clock, for tests.

    Raises:
        InvalidParameter: a parameter is outside its range.
    """

    __schedulergodx_stateless__ = True  # what a run changes in it is no state of the function that holds it

    def __init__(  # noqa: PLR0913, PLR0917 - every one is documented above and optional; the first seven are 1.0.0's
        self,
        name: str = "client",
        core_name: str = "core",
        rmq_connect: RmqConnect | None = None,
        id_generator: Iterator[str] | None = None,
        task_lifetime: float | None = 3,
        hard_task_lifetime: float | None = 10,
        enable_overdue: bool = False,
        *,
        url: str | None = None,
        request_queue: str = "client-service",
        reply_queue: str = "service-client",
        launch_timeout_s: float = 10.0,
        reply_expires_s: float = 3600.0,
        message_bytes_max: int = config.MESSAGE_BYTES_MAX,
        queue_type: config.QueueType = "classic",
        keys: KeySource | None = None,
        allow_unsigned: bool = False,
        clock: Clock | None = None,
    ) -> None:
        if url is not None and rmq_connect is not None:
            raise InvalidParameter("give either url or rmq_connect, not both")
        self.name = config.party_name("name", name)
        self.core_name = config.printable_name("core_name", core_name)
        self.rmq_connect = rmq_connect
        self.id_generator = CurrentIds() if id_generator is None else config.iterator("id_generator", id_generator)
        self.parameters = TaskParameters(
            task_lifetime=task_lifetime, hard_task_lifetime=hard_task_lifetime, enable_overdue=enable_overdue
        )
        self.launch_timeout_s = config.seconds("launch_timeout_s", launch_timeout_s, is_least_allowed=False)
        self._broker = rmq_connect if url is None else url
        self._address = transports.address(self._broker)  # refuses an unknown URL here, where it was written
        self._request_queue = config.queue_name("request_queue", request_queue)
        self._reply_queue = config.queue_name("reply_queue", reply_queue)
        self._reply_expires_s = config.seconds("reply_expires_s", reply_expires_s, least=1.0)
        self._message_bytes_max = config.message_bytes("message_bytes_max", message_bytes_max)
        self._queue_type = queue_type
        self._is_quorum = config.is_quorum("queue_type", queue_type)
        self._clock = clock or CurrentClock()
        self._logger = LoggerConstructor(f"schedulergodx.client.{self.name}", log_level=None)
        self._lines = CoreLogger(self._logger.getLogger(), self.core_name)
        self._launcher = Launcher(
            self.name,
            self.id_generator,
            self._clock,
            self._lines,
            message_bytes_max=self._message_bytes_max,
        )
        self._allow_unsigned = config.flag("allow_unsigned", allow_unsigned)
        self._way = Way(self._broker, Keys(keys))
        self._connections = Connections(
            partial(
                _connection,
                self._way,
                self._clock,
                self._lines,
                allow_unsigned=self._allow_unsigned,
                client=self.name,
                request_queue=self._request_queue,
                reply_queue=self._reply_queue,
                reply_expires_s=self._reply_expires_s,
                launch_timeout_s=self.launch_timeout_s,
                message_bytes_max=self._message_bytes_max,
                is_quorum=self._is_quorum,
            ),
            self._clock,
            idle_s=self.launch_timeout_s + _IDLE_S,
        )
        weakref.finalize(self, let_go, self._connections, self._way, self.name).atexit = False

    @property
    def rmq_publisher_que(self) -> str:
        """Name of the queue that launches go to."""
        return self._request_queue

    @property
    def rmq_consumer_que(self) -> str:
        """Name of the queue that this client's answers come from."""
        return self._current().reply_to

    @property
    def logger(self) -> LoggerConstructor:
        """The logger of this client; see `LoggerConstructor`."""
        return self._logger

    # --- tasks and launches ---------------------------------------------------------------------------------------

    @overload
    def task(
        self, func: Callable[P, Coroutine[Any, Any, R]], /, **changes: Unpack[ParameterChanges]
    ) -> Task[P, Any]: ...

    @overload
    def task(self, func: Callable[P, R], /, **changes: Unpack[ParameterChanges]) -> Task[P, R]: ...

    @overload
    def task(
        self, func: None = None, /, **changes: Unpack[ParameterChanges]
    ) -> Callable[[Callable[P, R]], Task[P, R]]: ...

    def task(self, func: Callable[..., Any] | None = None, /, **changes: Unpack[ParameterChanges]) -> Any:
        """Make a task of a function: `@client.task`, `@client.task(hard=True)`, or `client.task(obj.method)`.

        Raises:
            InvalidParameter: it is not callable, is a task already, or a parameter is outside its range.
            Closed: the client is closed.
        """
        parameters = self.parameters.changed(changes)
        return partial(self._task, parameters=parameters) if func is None else self._task(func, parameters=parameters)

    def _task(self, func: Callable[P, R], *, parameters: TaskParameters) -> Task[P, R]:
        if self._current().is_closed:
            raise Closed(f"client {self.name!r} is closed and makes no more tasks; make a new Client")
        if isinstance(func, Task):
            raise InvalidParameter(f"{func!r} is a task already; options() gives a changed copy of it")
        if not callable(func):
            raise InvalidParameter(f"client.task goes onto a function; this is of type {type(func).__name__}")
        return Task(func, self, parameters)

    def send_launch(
        self, task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, run_at: datetime | None = None
    ) -> MessageId[Any]:
        """Launch a task; `Task.launch` is the way to call this, and tells what is raised."""
        connection = self._open_for(task)
        message_id, body = self._launcher.message(connection, task, args, kwargs, run_at)
        self._send(connection, message_id, body)
        return MessageId(message_id, self)

    async def send_launch_async(
        self, task: Task[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> MessageId[Any]:
        """Launch a task from asyncio; `Task.launch_async` is the way to call this."""
        connection = self._open_for(task)
        message_id, body = self._launcher.message(connection, task, args, kwargs, None)
        try:
            await connection.publisher.send_async(self._request_queue, message_id, body)
        except Closed:
            connection.answers.forget(message_id)
            raise
        return MessageId(message_id, self)

    def launch_again(self, message_id: str) -> MessageId[Any]:
        """Send a launch once more that ended in `LaunchUncertain`. It cannot run twice. Waits, within a batch too.

        Raises:
            InvalidParameter: no launch of this client is uncertain under this id.
            BrokerError, Closed: as for `Task.launch`.
        """
        collecting.refuse_to_launch(f"launch {message_id}")
        connection = self._current()
        body = connection.uncertain.get(message_id)
        if body is None:
            raise InvalidParameter(f"no launch of client {self.name!r} is uncertain under the id {message_id!r}")
        # At once, also within a batch: what is uncertain is kept until it is confirmed.
        connection.publisher.send_alone(self._request_queue, message_id, body)
        connection.uncertain.remove(message_id)
        return MessageId(message_id, self)

    def batch(self) -> AbstractContextManager[None]:
        """Let launches in this block, of this thread or coroutine, travel together, and wait for them at its end.

        Launching many is many times faster so. What the promise "when `launch()` returns, the broker has the task"
        says holds when the block ends: until then, launches may be gathered behind those that are on their way. At
        Ctrl-C these are not sent any more.

        Raises:
            BatchFailed: at the end of the block; some launches failed, and `errors` says which and why.
        """
        return self._current().publisher.batch()

    def push(self, data: Mapping[str, Any], *, delivery_mode: int = 2) -> None:  # noqa: ARG002 - 1.0.0's
        """Send a message of one's own to the service; `MessageConstructor` makes them.

        Where they are missing, the moment and the queue for an answer are filled in. `delivery_mode` is accepted as in
        1.0.0 and means nothing: messages are always kept on disk.

        Raises:
            InvalidParameter: `data` is no JSON object, or a message that the service would refuse.
            BrokerError, Closed: as for `Task.launch`.
        """
        collecting.refuse_to_launch("the message")
        connection = self._current()
        if connection.is_closed:
            raise Closed(f"client {self.name!r} is closed; nothing was sent: make a new Client")
        try:
            own_queue = {"reply_to": connection.reply_to, "bundles": True}
            filled_in = {"issued_at": envelope.moment_text(self._clock.now())} | (
                {} if "reply_to" in data else own_queue
            )
            fields = filled_in | dict(data)
            plain = json.dumps(fields, allow_nan=False, separators=(",", ":")).encode()
        except (TypeError, ValueError) as error:
            raise InvalidParameter(f"push takes a JSON object, such as MessageConstructor makes: {error}") from error
        message_id = str(fields.get("id", ""))
        self._check(plain, message_id)
        body = connection.trust.sign(plain)
        self._launcher.check_size(body, f"message {message_id:.100}")
        is_launch = fields.get("type") == Message.TASK.value
        if is_launch:
            self._launcher.expect(connection, message_id)
        self._send(connection, message_id, body, is_launch=is_launch)

    def _check(self, message: bytes, message_id: str) -> None:
        """Refuse a message of the user's own that the service would refuse."""
        self._launcher.check_size(message, f"message {message_id:.100}")
        try:
            parsed = envelope.parse(message, bytes_max=self._message_bytes_max)
        except MessageRejected as error:
            raise InvalidParameter(f"the service would refuse this message, so it was not sent: {error}") from error
        if parsed.client != self.name and self._way.keys().ring() is not None:
            raise InvalidParameter(
                f"this message names another client than {self.name!r}, who would sign it; it was not sent"
            )

    def _open_for(self, task: Task[..., Any]) -> Connection:
        if collecting.is_collecting():
            collecting.refuse_to_launch(f"task {task.name}")
        connection = self._current()
        if connection.is_closed:
            raise Closed(f"client {self.name!r} is closed; task {task.name} was not sent: make a new Client")
        if task.parameters.hard and transports.is_of_this_machine(self._broker) and not system.can_kill_processes():
            raise HardNotSupported(
                f"task {task.name} is hard, and this system cannot kill processes by group, so no service here can run "
                "it; nothing was sent. Launch it with hard=False, or to a service on Linux or macOS."
            )
        return connection

    def _send(self, connection: Connection, message_id: str, body: bytes, *, is_launch: bool = True) -> None:
        try:
            connection.publisher.send(self._request_queue, message_id, body, is_launch=is_launch)
        except Closed:
            connection.answers.forget(message_id)
            raise

    # --- the connection ---------------------------------------------------------------------------------------------

    @property
    def connection_state(self) -> ConnectionState:
        """The state of the connection that launches go over; CONNECTING also before the first launch or question."""
        return self.connection_status().state

    def connection_status(self) -> ConnectionStatus:
        """Return that state with its facts: the broker, the attempts since the last success, the last reason."""
        return self._current().status()

    def answers_status(self) -> ConsumingStatus:
        """Return the state of what answers come over, with the time of the broker's last answer on it."""
        return self._current().consuming()

    def get_threads(self) -> dict[str, threading.Thread]:
        """Return the threads that this client ever created, by name."""
        return self._connections.threads()

    def get_thread(self, id: str) -> threading.Thread | None:  # noqa: A002 - the name of 1.0.0
        """Return the thread that carries the message `id` of this client, or None if it knows no such message."""
        connection = self._current()
        return connection.publishing_thread() if connection.answers.is_mine(id) else None

    def reload_keys(self) -> None:
        """Read the keys again, as after a change of the key file. From any thread.

        Raises:
            KeysRefused: they cannot be used; those that were read before stay.
        """
        self._current().trust.reload()

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Disconnect, waiting at most `timeout_s` seconds for what is under way. Closing twice does nothing.

        Tasks that were launched go on; their outcomes can be asked for by id, by any client of this service.
        """
        self._current().close(timeout_s)

    def __enter__(self) -> Self:
        """Return the client; the end of the block closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def __repr__(self) -> str:
        """Show who launches, and where to; never a password."""
        return f"<Client {self.name!r} of {self._address}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a description, without password and keys: at the service it launches with the service's own."""
        facts = {
            "name": self.name,
            "core_name": self.core_name,
            "task_lifetime": self.parameters.task_lifetime,
            "hard_task_lifetime": self.parameters.hard_task_lifetime,
            "enable_overdue": self.parameters.enable_overdue,
            "url": None if self._broker is None else self._address,
            "request_queue": self._request_queue,
            "reply_queue": self._reply_queue,
            "launch_timeout_s": self.launch_timeout_s,
            "reply_expires_s": self._reply_expires_s,
            "message_bytes_max": self._message_bytes_max,
            "queue_type": self._queue_type,
            "allow_unsigned": self._allow_unsigned,
        }
        return _arrive, (tuple(facts.items()),)


def _connection(way: Way, clock: Clock, logger: CoreLogger, *, allow_unsigned: bool, **parameters: Any) -> Connection:
    """Return a new connection of a client, with the signatures of its place."""
    client, request_queue = parameters["client"], parameters["request_queue"]
    trust = Trust(way, clock, client=client, request_queue=request_queue, allow_unsigned=allow_unsigned)
    return Connection(way.here, clock, logger, trust=trust, **parameters)


def _arrive(facts: tuple[tuple[str, Any], ...]) -> Client:
    """Return the client of this process that these facts describe; one connection serves all tasks that bring it."""

    def make() -> Client:
        client = Client(**dict(facts))
        client._way.is_travelled = True  # noqa: SLF001 - its own module
        client._connections.on_made = travelled.connected  # noqa: SLF001 - its own module
        return client

    return travelled.arrive(facts, make)
