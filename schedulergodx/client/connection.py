"""A client's way to the broker: made when it is first needed, with the answers that come over it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from schedulergodx import transport as transports
from schedulergodx.client.consumer import Answers, Consumer
from schedulergodx.client.publisher import Publisher
from schedulergodx.client.uncertain import Uncertain
from schedulergodx.errors import BrokerError, Closed, LaunchUncertain
from schedulergodx.utils.abstractions import (
    ConnectionState,
    ConnectionStatus,
    ConsumingStatus,
    Delivery,
    Outgoing,
    QueueSpec,
    Transport,
)
from schedulergodx.utils.id_generators import ulid_generator
from schedulergodx.utils.message import bundles, envelope
from schedulergodx.utils.message.kinds import Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.client.trust import Trust
    from schedulergodx.utils.abstractions import Clock
    from schedulergodx.utils.logger import CoreLogger
    from schedulergodx.utils.rmq_property import RmqConnect

_PREFETCH = 1000
_ASKED_AT_ONCE_MAX = 500


class Connection:
    """The transport of one client in one process, its queue of answers, and what is known of its launches.

    Safe from any thread; it connects at the first launch or question.

    Args:
        broker: gives the way to the broker when it is first needed.
        clock: where waiting is done.
        logger: where lines go.
        client: name of the client.
        request_queue: name of the queue that launches go to.
        reply_queue: base name of the queue of answers.
        reply_expires_s: seconds after which the queue of answers goes without its client.
        launch_timeout_s: seconds that a launch waits for the broker.
        message_bytes_max: the largest answer that is read, and the largest message that is sent.
        is_quorum: whether the queues are quorum queues.
        trust: signs requests and checks answers.
    """

    def __init__(  # noqa: PLR0913 - the client's own parameters
        self,
        broker: Callable[[], str | RmqConnect | None],
        clock: Clock,
        logger: CoreLogger,
        *,
        client: str,
        request_queue: str,
        reply_queue: str,
        reply_expires_s: float,
        launch_timeout_s: float,
        message_bytes_max: int,
        is_quorum: bool,
        trust: Trust,
    ) -> None:
        self._ids = ulid_generator()
        self._broker = broker
        self._clock = clock
        self._client = client
        self._requests = QueueSpec(name=request_queue, has_dead_letters=True, is_quorum=is_quorum)
        self._replies = QueueSpec(
            name=f"{reply_queue}.{client}.{next(self._ids)}", expires_after_s=reply_expires_s, is_quorum=is_quorum
        )
        self._lock = threading.Lock()
        self._transport: Transport | None = None
        self._is_closed = False
        self.trust = trust
        self.answers = Answers()
        self.uncertain = Uncertain()
        self.publisher = Publisher(
            self.transport,
            clock,
            timeout_s=launch_timeout_s,
            on_failed=self._launch_failed,
            bundle_bytes_max=min(bundles.LAUNCHES_BYTES_MAX, message_bytes_max),
        )
        self._consumer = Consumer(
            self.answers, logger, message_bytes_max=message_bytes_max, trust=trust, ack=self._ack, ask=self.ask
        )

    @property
    def reply_to(self) -> str:
        """Name of the queue of answers."""
        return self._replies.name

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    @property
    def is_open(self) -> bool:
        """Whether anything was sent or asked over it yet."""
        return self._transport is not None

    def is_in_use(self) -> bool:
        """Return whether somebody waits for an answer, or may want to send an uncertain launch once more."""
        return self.answers.has_waiters() or self.uncertain.has_any()

    def transport(self) -> Transport:
        """Return the transport, made and told to listen for answers if this is the first time.

        The queues are declared before anything is sent, so that an answer always finds its queue.

        Raises:
            Closed: this connection was closed.
        """
        transport = self._transport
        if transport is not None and not self._is_closed:
            return transport  # without the lock, which could not keep somebody from closing it a moment later either
        with self._lock:
            if self._is_closed:
                raise Closed(f"client {self._client!r} is closed; nothing was sent: make a new Client")
            if self._transport is None:
                transport = transports.connect(self._broker(), name=self._client)
                transport.listen(self._consumer.on_event)
                transport.declare(self._replies)
                transport.declare(self._requests)
                transport.consume(self._replies, prefetch=_PREFETCH)
                self._transport = transport
            return self._transport

    def status(self) -> ConnectionStatus:
        """Return the state of the way out; CONNECTING also before anything was sent."""
        transport = self._transport
        if transport is not None:
            return transport.status()
        state = ConnectionState.CLOSED if self._is_closed else ConnectionState.CONNECTING
        return ConnectionStatus(state=state, broker=transports.address(self._broker()))

    def consuming(self) -> ConsumingStatus:
        """Return the state of the way in, over which answers come."""
        transport = self._transport
        if transport is not None:
            return transport.consuming()
        return ConsumingStatus(connection=self.status(), is_consuming=False)

    def threads(self) -> dict[str, threading.Thread]:
        """Return the threads that were ever started, by name."""
        return {} if self._transport is None else dict(self._transport.threads())

    def publishing_thread(self) -> threading.Thread | None:
        """Return the thread that sends launches, or None before the first one."""
        threads = self.threads()
        return next(
            (thread for name, thread in threads.items() if "publish" in name), next(iter(threads.values()), None)
        )

    def ask(self, message_ids: list[str]) -> None:
        """Ask the service for outcomes, to be told when they are there. Does not wait.

        Raises:
            Closed: this connection was closed.
            KeysRefused: the keys cannot be used; nothing was sent.
        """
        bites = [
            message_ids[first : first + _ASKED_AT_ONCE_MAX] for first in range(0, len(message_ids), _ASKED_AT_ONCE_MAX)
        ]
        questions = [self._question(bite) for bite in bites]
        self.answers.asked(message_ids)
        for outgoing in questions:
            self.transport().publish(outgoing)

    def _question(self, message_ids: list[str]) -> Outgoing:
        question = envelope.Envelope(
            message_id=next(self._ids),
            client=self._client,
            kind=Message.ASK,
            issued_at=self._clock.now(),
            reply_to=self.reply_to,
            takes_bundles=True,
            arguments={"ids": message_ids, "wait": True},
        )

        def settled(_: Outgoing, error: BrokerError | None) -> None:
            if error is not None:
                self.answers.fail(message_ids, error)

        return Outgoing(
            queue=self._requests.name,
            body=self.trust.sign(envelope.build(question)),
            message_id=question.message_id,
            on_settled=settled,
        )

    def close(self, timeout_s: float) -> None:
        """Disconnect; whoever waits for an answer gets `Closed`. Closing twice does nothing."""
        with self._lock:
            self._is_closed = True
            transport = self._transport
        if transport is not None:
            transport.delete_queue(self.reply_to)
            transport.close(timeout_s)
        self.answers.end(
            Closed(
                f"client {self._client!r} is closed and hears no answers any more; ask for the outcome by its id, with "
                "another client"
            )
        )

    def _ack(self, delivery: Delivery) -> None:
        if self._transport is not None:  # it delivers only after it was made
            self._transport.ack([delivery])

    def _launch_failed(self, outgoing: Outgoing, error: BrokerError) -> None:
        if not isinstance(error, LaunchUncertain):
            self.answers.fail([outgoing.message_id], error)
            return
        self.uncertain.add(outgoing.message_id, outgoing.body)
