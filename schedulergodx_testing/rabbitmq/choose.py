"""Which RabbitMQ the tests get: a given one, one in a container, a private node, or a reason why none."""

import os
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from schedulergodx_testing.rabbitmq.broker import NotControllable, RabbitMQ, RabbitMQUnavailable
from schedulergodx_testing.rabbitmq.container import SchedulerRabbitMQ, default_image, why_no_container
from schedulergodx_testing.rabbitmq.node import LocalRabbitMQ

URL_VARIABLE: Final = "SCHEDULERGODX_TEST_AMQP_URL"
_DEFAULT_PORTS: Final = {"amqp": 5672, "amqps": 5671}


class GivenRabbitMQ(RabbitMQ):
    """A RabbitMQ that somebody else runs, known by its URL: usable, but every helper raises NotControllable.

    Entering and closing it do nothing to it.

    Raises:
        RabbitMQUnavailable: the URL is not an `amqp://` one with a host.
    """

    is_controllable = False

    def __init__(self, url: str) -> None:
        super().__init__()
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            # Not the URL itself: it may hold a password, and this text ends in logs.
            raise RabbitMQUnavailable(f"{URL_VARIABLE} is not of the form amqp://user:password@host:port/vhost")
        self._url = url
        self._host, self._port = parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]
        self.user = unquote(parts.username or self.user)
        self.password = unquote(parts.password or self.password)

    @property
    def host(self) -> str:
        """The host of the URL."""
        return self._host

    @property
    def port(self) -> int:
        """The port of the URL; when it names none, 5672, or 5671 with TLS."""
        return self._port

    @property
    def url(self) -> str:
        """The URL as it was given."""
        return self._url

    def start(self) -> None:
        """Do nothing: it is expected to run."""

    def stop(self) -> None:
        """Raise NotControllable."""
        raise self._refusal("stop")

    def kill(self) -> None:
        """Raise NotControllable."""
        raise self._refusal("kill")

    def pause(self) -> None:
        """Raise NotControllable."""
        raise self._refusal("pause")

    def unpause(self) -> None:
        """Raise NotControllable."""
        raise self._refusal("unpause")

    def heal(self) -> None:
        """Do nothing: no helper can have changed it."""

    def ctl(self, *arguments: str) -> str:
        """Raise NotControllable."""
        raise self._refusal(f"rabbitmqctl {arguments[0]}" if arguments else "rabbitmqctl")

    def _refusal(self, action: str) -> NotControllable:
        return NotControllable(
            f"cannot {action} the RabbitMQ of {URL_VARIABLE}: it belongs to somebody else; "
            "unset it to use a container or a private node"
        )

    def _erl_call(self, expression: str) -> tuple[int, str, str]:
        raise self._refusal(f"evaluate {expression}")

    def _start(self) -> None:
        raise self._refusal("start")

    _stop = _kill = _pause = _unpause = _raise_if_dead = _start

    def _close(self) -> None:
        pass


def open_container() -> RabbitMQ:
    """Return a RabbitMQ in a container, not started.

    Raises:
        RabbitMQUnavailable: no testcontainers, no Docker daemon, or no image; the message is short.
    """
    reason = why_no_container()
    if reason is not None:
        raise RabbitMQUnavailable(reason)
    return SchedulerRabbitMQ()


def find_rabbitmq(
    environment: Mapping[str, str] | None = None,
    *,
    container: Callable[[], RabbitMQ] = open_container,
    local: Callable[[], RabbitMQ] = LocalRabbitMQ,
) -> RabbitMQ:
    """Return the first RabbitMQ that can be had, not started.

    The order: the URL in SCHEDULERGODX_TEST_AMQP_URL, Docker through testcontainers, a `rabbitmq-server`
    of this machine. None as `environment` means that of the process; `container` and `local` each return
    a broker or raise RabbitMQUnavailable with their reason.

    Raises:
        RabbitMQUnavailable: none of the three, in one line that names them and what is missing; or the
            given URL is no AMQP URL: a wrong setting is told, never replaced by another broker.
    """
    url = (os.environ if environment is None else environment).get(URL_VARIABLE)
    if url:
        return GivenRabbitMQ(url)
    reasons = []
    for way in (container, local):
        try:
            return way()
        except RabbitMQUnavailable as error:
            reasons.append(str(error))
    raise RabbitMQUnavailable(
        f"no RabbitMQ for these tests: set {URL_VARIABLE}, or start Docker with the image {default_image()} "
        f"({reasons[0]}), or install rabbitmq-server ({reasons[1]})"
    )


class RabbitMQPool:
    """The brokers of one test session: each started when first asked for, and at most once.

    The one that any test may use is the one in the container, when there is one: not two of a kind.
    A failure is remembered too, so that a missing daemon is waited for once and not by every test.
    """

    def __init__(self, find: Callable[..., RabbitMQ] = find_rabbitmq) -> None:
        self._find = find
        self._container: RabbitMQ | RabbitMQUnavailable | None = None
        self._any: RabbitMQ | RabbitMQUnavailable | None = None

    def any(self) -> RabbitMQ:
        """Return a running broker of whichever kind can be had.

        Raises:
            RabbitMQUnavailable: as `find_rabbitmq()` does.
        """
        if self._any is None:
            self._any = _opened(lambda: self._find(container=self.container))
        return _unless_unavailable(self._any)

    def container(self) -> RabbitMQ:
        """Return a running broker in a container.

        Raises:
            RabbitMQUnavailable: as `open_container()` does.
        """
        if self._container is None:
            self._container = _opened(open_container)
        return _unless_unavailable(self._container)

    def close(self) -> None:
        """End and remove every broker that was started here."""
        for broker in (self._any, self._container):
            if isinstance(broker, RabbitMQ):
                broker.close()


def _opened(find: Callable[[], RabbitMQ]) -> RabbitMQ | RabbitMQUnavailable:
    try:
        return find().__enter__()
    except RabbitMQUnavailable as error:
        return error


def _unless_unavailable(broker: RabbitMQ | RabbitMQUnavailable) -> RabbitMQ:
    if isinstance(broker, RabbitMQUnavailable):
        raise broker
    return broker
