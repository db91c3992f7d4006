"""A real RabbitMQ as a `Side`: it looks into the transports, and asks the broker, to know when all is at rest."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pika
from pika.exceptions import AMQPError, ChannelClosedByBroker, StreamLostError

from schedulergodx.clock import SystemClock
from schedulergodx.transport.rabbitmq import RabbitMQTransport, subscription
from schedulergodx.utils.abstractions import ConnectionState
from schedulergodx.utils.rmq_property import RmqConnect
from tests.agreement.scene import EXPIRES_AFTER_S, FULL_AT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pika.channel import Channel

    from schedulergodx.transport.rabbitmq.connection import Link
    from schedulergodx_testing.rabbitmq import RabbitMQ
    from tests.agreement.scene import Scene

REST_S = 30.0
"""Bound of every wait. What is waited for takes milliseconds; a broker that restarts takes longer."""
LOOK_AGAIN_S = 0.005
"""How often it is looked again for what nobody tells."""
QUORUM_LOOKS = 10
"""A quorum queue does what it was asked for a moment later, and nothing tells when: so often it must look the same."""
LOCKED = 405


@contextmanager
def impatient() -> Iterator[None]:
    """Shorten the pauses of exclusive consumers in the block: who waits for an owner tries again soon."""
    names = ("OWNER_WAIT_S", "OWNER_AGAIN_WAIT_S", "OWNER_PAUSE_S", "STANDBY_PAUSE_S")
    before = {name: getattr(subscription, name) for name in names}
    for name, value in zip(names, (0.1, 0.1, 0.02, 0.02), strict=True):
        setattr(subscription, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(subscription, name, value)


class RealSide:
    """One virtual host of a running RabbitMQ, for many scenes one after the other."""

    def __init__(self, rabbitmq: RabbitMQ, url: str) -> None:
        self._rabbitmq = rabbitmq
        self._url = url
        self._clock = SystemClock()
        self._channels: set[Channel] = set()
        self.is_alarmed = False
        if rabbitmq.is_controllable:
            rabbitmq.ctl(
                "--vhost", unquote(urlsplit(url).path[1:]), "set_policy", "full", r"\.full$",
                f'{{"max-length": {FULL_AT}, "overflow": "reject-publish"}}', "--apply-to", "queues",
            )  # fmt: skip
        self._connect()

    def _connect(self) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(self._url + "?heartbeat=0"))
        with self._asking("a channel"):
            self._channel = self._connection.channel()

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Cut our own connection when the broker answers nothing in the block: pika would wait without an end."""
        if self._connection.is_closed:
            self._connect()
        wire, is_late = self._connection._impl, False

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            wire._terminate_stream(StreamLostError("cut, since the broker does not answer"))

        # Not the public `call_later`, whose calls are made only while a program processes events.
        timer = wire._adapter_call_later(REST_S, give_up)
        try:
            yield
        except AMQPError as error:
            if is_late:
                raise AssertionError(f"waited {REST_S:g} s for {what}") from error
            raise
        finally:
            wire._adapter_remove_timeout(timer)

    def close(self) -> None:
        """Disconnect."""
        if self.is_alarmed:
            self.block(is_on=False)
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection.is_open:
            with self._asking("a connection to close"):
                self._connection.close()

    def open(self, person: str) -> RabbitMQTransport:
        """Return a new transport."""
        return RabbitMQTransport(RmqConnect.from_url(self._url), name=person)

    def between(self) -> None:
        """Do nothing: threads run as they like."""

    # --- What is known of queues

    def stat(self, name: str) -> list[int] | None:
        """Ask the broker."""
        answer = self._ask(name)
        return answer if isinstance(answer, list) else None

    def _ask(self, name: str) -> list[int] | int:
        with self._asking(f"an answer about {name}"):
            try:
                found = self._channel.queue_declare(name, passive=True).method
            except ChannelClosedByBroker as closed:
                self._channel = self._connection.channel()
                return closed.reply_code
            return [found.message_count, found.consumer_count]

    def delete(self, name: str) -> None:
        """Ask the broker: one that keeps the queues of some hundred walks runs out of descriptors."""
        with self._asking(f"{name} to be deleted"):
            self._channel.queue_delete(name)

    def wait_until_expired(self, name: str) -> None:
        """Ask until it is gone; not too often, since whoever asks for a queue keeps it alive."""
        pause = threading.Event()
        self._wait(lambda: pause.wait(1.5 * EXPIRES_AFTER_S) or self.stat(name) is None, f"{name} to expire")

    # --- Rest

    def rest(self, scene: Scene) -> None:
        """Wait until nothing is on its way: connections are up, messages settled, acks and deliveries taken."""
        end_s = self._clock.monotonic() + REST_S
        looks_left = QUORUM_LOOKS if any(map(scene.is_quorum, scene.known)) else 1
        last: object = None
        while True:
            scene.changed.clear()
            look = self._look(scene)
            looks_left = looks_left - 1 if look is not None and (looks_left == 1 or look == last) else looks_left
            last = look
            if not looks_left:
                return
            assert self._clock.monotonic() < end_s, f"not at rest: {self._describe(scene)}"
            scene.changed.wait(LOOK_AGAIN_S)

    def _look(self, scene: Scene) -> object:
        """Return what there is, when nothing seems to be on its way, else None."""
        count = sum(person.count for person in scene.people.values())
        is_at_rest = (
            self._is_settled(scene)
            and self._flush(scene)
            and self._are_consumers_right(scene)
            and self._flush(scene)
            and self._is_settled(scene)
            and count == sum(person.count for person in scene.people.values())
        )
        return (count, [self.stat(scene.long(queue)) for queue in sorted(scene.known)]) if is_at_rest else None

    def _describe(self, scene: Scene) -> str:
        facts = []
        for transport in scene.transports():
            facts.append(f"{transport._publishing.status} {transport._consuming.status}")
            facts.append(f"unsettled {len(transport._publisher._unsettled)}")
            facts += [f"{one.wish} {one.intake}" for one in transport._consumer._wanted()]
        facts += [f"{queue} {self.stat(scene.long(queue))}" for queue in scene.known]
        return "; ".join(facts)

    def _is_settled(self, scene: Scene) -> bool:
        for transport in scene.transports():
            for link in (transport._publishing, transport._consuming):
                link.wait_for_commands(REST_S)
        return all(self._is_publisher_settled(one) and self._is_consumer_settled(one) for one in scene.transports())

    def _is_publisher_settled(self, transport: RabbitMQTransport) -> bool:
        link, publisher = transport._publishing, transport._publisher
        if link.thread is None:
            return True
        if self.is_alarmed and link.status.state is ConnectionState.BLOCKED:
            return True
        return (
            link.status.state is ConnectionState.UP
            and not publisher._unsettled
            and not publisher._undeclared
            and publisher._declaring is None
            and _is_idle(publisher._declarer)
        )

    def _is_consumer_settled(self, transport: RabbitMQTransport) -> bool:
        link, consumer = transport._consuming, transport._consumer
        if link.thread is None:
            return True
        if link.status.state is not ConnectionState.UP or not _is_idle(consumer._declarer):
            waits = [one for one in consumer._wanted() if one.wish.is_standby]
            if link.status.state is not ConnectionState.UP or not waits:
                return False
        current = {one.intake.channel for one in consumer._subscriptions.values() if one.intake is not None}
        self._channels = {channel for channel in self._channels | current if not channel.is_closed}
        if any(channel not in current and channel.connection is link.connection for channel in self._channels):
            return False  # it is being closed
        return all(
            (one.intake is not None and one.intake.is_consuming) or self._stands_by(one) for one in consumer._wanted()
        )

    def _stands_by(self, one: subscription.Subscription) -> bool:
        if not one.wish.is_standby or one.intake is not None or one._is_owner:
            return False
        return self._ask(subscription.owner_queue_name(one.wish.queue.name)) == LOCKED

    def _flush(self, scene: Scene) -> bool:
        """Have every channel that delivers answer something: what came before it has been taken then."""
        waiting = []
        for transport in scene.transports():
            link = transport._consuming
            for one in list(transport._consumer._subscriptions.values()):
                if one.intake is not None and link.is_up:
                    answered = threading.Event()
                    waiting.append((one.intake.channel, answered))
                    link.call(lambda one=one, answered=answered: _ask_channel(one, answered))
        end_s = self._clock.monotonic() + REST_S
        for channel, answered in waiting:
            while not answered.wait(LOOK_AGAIN_S):
                if not channel.is_open:
                    return False
                assert self._clock.monotonic() < end_s, f"waited {REST_S:g} s for an answer on {channel!r}"
        return True

    def _are_consumers_right(self, scene: Scene) -> bool:
        """Whether the broker knows of those consumers that there are, and of no other: losses have been noticed."""
        expected: dict[str, int] = {}
        for transport in scene.transports():
            for one in transport._consumer._wanted():
                name = one.wish.queue.name
                expected[name] = expected.get(name, 0) + (one.intake is not None and one.intake.is_consuming)
        for queue in scene.known:
            name = scene.long(queue)
            found = self.stat(name)
            count = 0 if found is None else found[1]
            # A quorum queue also counts consumers that have stopped and hold messages.
            if count < expected.get(name, 0) or (count > expected.get(name, 0) and not scene.is_quorum(queue)):
                return False
        return True

    # --- What is done to it

    def cut(self, scene: Scene, person: str) -> None:
        """Close both sockets without a word."""
        transport = scene.people[person].transport
        with self._losing([transport._publishing, transport._consuming]) as links:
            for link in links:
                link.call(lambda link=link: link.cut("cut by a test"))

    def restart(self, scene: Scene) -> None:
        """Stop RabbitMQ and start it again; its Erlang node goes on, which saves seconds."""
        links = [link for one in scene.transports() for link in (one._publishing, one._consuming)]
        self._disconnect()
        with self._losing(links):
            self._rabbitmq.evaluate("ok = rabbit:stop(), ok = rabbit:start()")
        self.is_alarmed = False
        self._wait(self._is_reached, "RabbitMQ to take connections")

    def _is_reached(self) -> bool:
        try:
            self._connect()
        except AMQPError:
            return threading.Event().wait(LOOK_AGAIN_S)
        return True

    def block(self, *, is_on: bool) -> None:
        """Raise the memory alarm, or end it."""
        alarm = "{resource_limit, memory, node()}"
        call = f"rabbit_alarm:set_alarm({{{alarm}, []}})" if is_on else f"rabbit_alarm:clear_alarm({alarm})"
        self._rabbitmq.evaluate(f"{call}, rabbit_alarm:get_alarms()")
        self.is_alarmed = is_on

    @contextmanager
    def _losing(self, links: list[Link]) -> Iterator[list[Link]]:
        """Wait at the end of the block until every link that was up has lost its connection."""
        up = [(link, link._connection) for link in links if link.is_up]
        yield [link for link, _ in up]
        pause = threading.Event()
        for link, before in up:
            self._wait(
                lambda link=link, before=before: link._connection is not before or pause.wait(LOOK_AGAIN_S),
                "a connection to be lost",
            )

    def _wait(self, is_so: object, what: str) -> None:
        end_s = self._clock.monotonic() + REST_S
        while not is_so():
            assert self._clock.monotonic() < end_s, f"waited {REST_S:g} s for {what}"


def _is_idle(declarer: object) -> bool:
    return declarer is not None and declarer._current is None and not declarer._jobs


def _ask_channel(one: subscription.Subscription, answered: threading.Event) -> None:
    """Set again the limit that holds already: a question that needs an answer and changes nothing."""
    if one.intake is None or not one.intake.channel.is_open:
        answered.set()
        return
    one.intake.channel.basic_qos(prefetch_count=one.wish.prefetch, callback=lambda _frame: answered.set())
