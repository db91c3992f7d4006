"""From `RmqConnect` to what pika wants."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pika

from schedulergodx.errors import InvalidParameter
from schedulergodx.utils.rmq_property import TLS_FILES

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from schedulergodx.utils.rmq_property import RmqConnect

HEARTBEAT_S = 60
BLOCKED_TIMEOUT_S = 300
FRAME_BYTES_MIN = 8192


def connection_parameters(connect: RmqConnect, name: str) -> pika.ConnectionParameters:
    """Return parameters of a connection that the broker lists under `name`.

    Every key of `connect.rmq_parameters` is passed on; what it does not say is set to the house's values.

    Raises:
        InvalidParameter: pika knows no such parameter, or not with this value; or TLS would check no certificate, or
            a file for it cannot be read.
    """
    given: dict[str, Any] = dict(connect.rmq_parameters)
    files = {name: given.pop(name, None) for name in TLS_FILES}
    properties = {"product": "SchedulerGodX", "connection_name": name, **(given.pop("client_properties", None) or {})}
    if given.get("ssl_options") is not None:
        _check_that_it_verifies(given["ssl_options"])
    elif connect.uses_tls:
        given["ssl_options"] = pika.SSLOptions(tls_context(**files), str(given.get("host", "localhost")))
    user, password = connect.rmq_credentials
    defaults: dict[str, Any] = {
        "heartbeat": HEARTBEAT_S,
        "blocked_connection_timeout": BLOCKED_TIMEOUT_S,
        "credentials": pika.PlainCredentials(user, password),
    }
    try:
        parameters = pika.ConnectionParameters(**{**defaults, **given, "client_properties": properties})
    except (TypeError, ValueError) as error:
        raise InvalidParameter(f"rmq_parameters cannot be used: {error}") from None
    if parameters.frame_max < FRAME_BYTES_MIN:
        raise InvalidParameter(
            f"frame_max must be at least {FRAME_BYTES_MIN}, got {parameters.frame_max}: RabbitMQ from 4.1 on closes "
            "connections with smaller frames"
        )
    return parameters


def tls_context(cafile: str | None, certfile: str | None, keyfile: str | None) -> ssl.SSLContext:
    """Return a context that checks the broker's certificate against `cafile`, or the system's if None.

    Raises:
        InvalidParameter: a file cannot be read, or is not what it should be; the message names it.
    """
    if keyfile is not None and certfile is None:
        raise InvalidParameter("keyfile is the key of a certificate: give certfile too")
    try:
        context = ssl.create_default_context(cafile=cafile)
    except (OSError, ValueError) as error:
        raise InvalidParameter(f"cafile {cafile!r} cannot be used: {_said(error)}") from None
    if certfile is not None:
        try:
            # An empty password instead of a question on the terminal, where a service would wait for ever.
            context.load_cert_chain(certfile, keyfile, password="")
        except (OSError, ValueError) as error:
            raise InvalidParameter(
                f"certfile {certfile!r} with keyfile {keyfile!r} cannot be used: {_said(error)}"
            ) from None
    return context


def _said(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _check_that_it_verifies(options: Any) -> None:
    """Refuse options of pika with which anybody could stand between us and the broker, and read the password."""
    context, name = getattr(options, "context", None), getattr(options, "server_hostname", None)
    if isinstance(context, ssl.SSLContext) and not (
        context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname and name
    ):
        raise InvalidParameter(
            "ssl_options would not check the broker's certificate, so anybody in between could read the password; "
            "use ssl.create_default_context() and a server_hostname, or cafile for a certificate of your own"
        )


def blocking_channel(connect: RmqConnect, queue: str) -> BlockingChannel:
    """Connect, declare a durable `queue` and return a channel. Raises what pika raises."""
    channel = pika.BlockingConnection(connection_parameters(connect, "schedulergodx channel")).channel()
    channel.queue_declare(queue, durable=True)
    return channel
