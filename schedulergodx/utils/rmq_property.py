"""Where a RabbitMQ is: `RmqSettings`, `RmqConnect`, `rmq_default_settings`, and URLs of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from schedulergodx.errors import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    "cafile": str,
    "certfile": str,
    "keyfile": str,
}
TLS_FILES = ("cafile", "certfile", "keyfile")
"""Parameters of ours, beside those of pika: files in PEM format."""


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
    """Where a RabbitMQ is and who one is there. Making one connects to nothing and opens no file.

    With TLS the broker's certificate and the name in it are always checked; nothing switches that off.

    Args:
        rmq_parameters: keyword arguments of `pika.ConnectionParameters`, without `credentials`; and, with TLS, paths
            of files in PEM format: `cafile`, whose certificates are trusted instead of the system's, and `certfile`
            and `keyfile`, which show the broker who we are (the key may be in `certfile` too).
        rmq_credentials: user and password.
        uses_tls: speak TLS (`amqps`).

    Raises:
        InvalidParameter: one of them is of a wrong type, or there are files for TLS without TLS.
    """

    def __init__(
        self, rmq_parameters: Mapping[str, Any], rmq_credentials: Sequence[str], *, uses_tls: bool = False
    ) -> None:
        self.rmq_parameters = {**rmq_default_settings.parametrs, **_parameters(rmq_parameters)}
        self.rmq_credentials = _credentials(rmq_credentials)
        self.uses_tls = uses_tls
        if not uses_tls and (unused := [name for name in TLS_FILES if name in rmq_parameters]):
            raise InvalidParameter(f"{unused[0]} is for TLS: use amqps://, or RmqConnect(…, uses_tls=True)")

    @classmethod
    def from_url(cls, url: str) -> RmqConnect:
        """Read `amqp://user:password@host:port/vhost?heartbeat=60`, or `amqps://…?cafile=/etc/ssl/broker-ca.pem`.

        A path that is missing, or only `/`, is the virtual host `/`; another one is percent-encoded.

        Raises:
            InvalidParameter: it is no such URL. The message does not show the password.
        """
        try:
            parts = urlsplit(url)
        except ValueError:  # its text may hold the password, here and below
            raise InvalidParameter(
                "the URL of the broker is malformed; percent-encode special characters in it"
            ) from None
        try:
            port = parts.port
        except ValueError:
            raise InvalidParameter(
                "the port of the broker URL is not a number from 0 to 65535; is a special character in user or "
                "password, such as / ? #, not percent-encoded?"
            ) from None
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
        host = str(parameters["host"])
        host = f"[{host}]" if ":" in host else host  # IPv6
        return f"{scheme}://{user}@{host}:{parameters['port']}/{virtual_host}"

    def __repr__(self) -> str:
        """Show where, never the password."""
        return f"RmqConnect({self.address!r})"

    def get_channel(self, queue: str) -> BlockingChannel:
        """Connect, declare a durable `queue` and return a pika channel: for programs of 1.0.0 that did so.

        Nothing of this library uses it. Raises what pika raises.
        """
        from schedulergodx.transport.rabbitmq.parameters import blocking_channel  # noqa: PLC0415 - pika's only home

        return blocking_channel(self, queue)


def _parameters(given: object) -> dict[str, Any]:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InvalidParameter("rmq_parameters must be a dictionary such as {'host': 'localhost'}")
    return dict(given)


def _credentials(given: object) -> tuple[str, str]:
    """Return user and password. Raises InvalidParameter, which shows neither."""
    pair = tuple(given) if isinstance(given, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(text, str) for text in pair):  # noqa: PLR2004 - a pair
        raise InvalidParameter("rmq_credentials must be a user and a password: ('guest', 'guest')")
    return pair
