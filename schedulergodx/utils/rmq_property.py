"""Where a RabbitMQ is: `RmqSettings`, `RmqConnect`, `rmq_default_settings`, and URLs of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from schedulergodx.errors import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pika.adapters.blocking_connection import BlockingChannel

AMQP_PORT = 5672
AMQPS_PORT = 5671

_URL_PARAMETERS = {
    "heartbeat": int,
    "blocked_connection_timeout": float,
    "socket_timeout": float,
    "stack_timeout": float,
    "connection_attempts": int,
    "retry_delay": float,
    "frame_max": int,
    "channel_max": int,
    "locale": str,
}


class RmqSettings(NamedTuple):
    """Parameters and credentials of a RabbitMQ. `parametrs` is spelled as in 1.0.0; `parameters` is the same."""

    parametrs: Mapping[str, Any]
    credentials: Sequence[str]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The connection parameters: host, port, virtual_host, heartbeat and so on."""
        return self.parametrs

    def __repr__(self) -> str:
        """Show everything but the password."""
        return f"RmqSettings(parametrs={dict(self.parametrs)!r}, credentials=({self.credentials[0]!r}, '***'))"


rmq_default_settings = RmqSettings(
    {
        "host": "localhost",
        "port": AMQP_PORT,
        "virtual_host": "/",
        "heartbeat": 60,
        "blocked_connection_timeout": 300,
    },
    ("guest", "guest"),
)


class RmqConnect:
    """Where a RabbitMQ is and who one is there. Making one connects to nothing.

    Args:
        rmq_parameters: keyword arguments of `pika.ConnectionParameters`, without `credentials`.
        rmq_credentials: user and password.
        uses_tls: speak TLS (`amqps`), with the system's certificates.
    """

    def __init__(
        self, rmq_parameters: Mapping[str, Any], rmq_credentials: Sequence[str], *, uses_tls: bool = False
    ) -> None:
        self.rmq_parameters = {**rmq_default_settings.parametrs, **rmq_parameters}
        if len(rmq_credentials) != 2:  # noqa: PLR2004 - a pair
            raise InvalidParameter("rmq_credentials must be a user and a password: ('guest', 'guest')")
        self.rmq_credentials = tuple(rmq_credentials)
        self.uses_tls = uses_tls

    @classmethod
    def from_url(cls, url: str) -> RmqConnect:
        """Read `amqp://user:password@host:port/vhost?heartbeat=60`, or `amqps://…`.

        A path that is missing, or only `/`, is the virtual host `/`; another one is percent-encoded.

        Raises:
            InvalidParameter: it is no such URL. The message does not show the password.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise InvalidParameter(f"the port of the broker URL is not a number from 0 to 65535: {error}") from None
        if parts.scheme not in {"amqp", "amqps"}:
            raise InvalidParameter(f"the URL of a RabbitMQ begins with amqp:// or amqps://, not {parts.scheme}://")
        uses_tls = parts.scheme == "amqps"
        parameters: dict[str, Any] = {
            "host": parts.hostname or "localhost",
            "port": port or (AMQPS_PORT if uses_tls else AMQP_PORT),
            "virtual_host": unquote(parts.path[1:]) or "/",
        }
        for key, value in parse_qsl(parts.query, keep_blank_values=True):
            if key not in _URL_PARAMETERS:
                known = ", ".join(sorted(_URL_PARAMETERS))
                raise InvalidParameter(f"the broker URL has an unknown parameter {key!r}; known are: {known}")
            try:
                parameters[key] = _URL_PARAMETERS[key](value)
            except ValueError:
                raise InvalidParameter(f"the broker URL's {key} must be a number, got {value!r}") from None
        user, password = rmq_default_settings.credentials
        return cls(
            parameters,
            (unquote(parts.username) if parts.username else user, unquote(parts.password or password)),
            uses_tls=uses_tls,
        )

    @property
    def address(self) -> str:
        """The URL without the password: it may be shown and logged."""
        parameters = self.rmq_parameters
        scheme = "amqps" if self.uses_tls else "amqp"
        virtual_host = "" if parameters["virtual_host"] == "/" else quote(str(parameters["virtual_host"]), safe="")
        user = quote(self.rmq_credentials[0], safe="")
        return f"{scheme}://{user}@{parameters['host']}:{parameters['port']}/{virtual_host}"

    def __repr__(self) -> str:
        """Show where, never the password."""
        return f"RmqConnect({self.address!r})"

    def get_channel(self, queue: str) -> BlockingChannel:
        """Connect, declare a durable `queue` and return a pika channel: for programs of 1.0.0 that did so.

        Nothing of this library uses it. Raises what pika raises.
        """
        from schedulergodx.transport.rabbitmq.parameters import blocking_channel  # noqa: PLC0415 - pika's only home

        return blocking_channel(self, queue)
