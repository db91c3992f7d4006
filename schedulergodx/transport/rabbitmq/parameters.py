"""From `RmqConnect` to what pika wants."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pika

from schedulergodx.errors import InvalidParameter

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from schedulergodx.utils.rmq_property import RmqConnect

HEARTBEAT_S = 60
BLOCKED_TIMEOUT_S = 300


def connection_parameters(connect: RmqConnect, name: str) -> pika.ConnectionParameters:
    """Return parameters of a connection that the broker lists under `name`.

    Every key of `connect.rmq_parameters` is passed on; what it does not say is set to the house's values.

    Raises:
        InvalidParameter: pika knows no such parameter, or not with this value.
    """
    given: dict[str, Any] = dict(connect.rmq_parameters)
    properties = {"product": "SchedulerGodX", "connection_name": name, **(given.pop("client_properties", None) or {})}
    if connect.uses_tls and given.get("ssl_options") is None:
        given["ssl_options"] = pika.SSLOptions(ssl.create_default_context(), str(given.get("host", "localhost")))
    user, password = connect.rmq_credentials
    defaults: dict[str, Any] = {
        "heartbeat": HEARTBEAT_S,
        "blocked_connection_timeout": BLOCKED_TIMEOUT_S,
        "credentials": pika.PlainCredentials(user, password),
    }
    try:
        return pika.ConnectionParameters(**{**defaults, **given, "client_properties": properties})
    except (TypeError, ValueError) as error:
        raise InvalidParameter(f"rmq_parameters cannot be used: {error}") from None


def blocking_channel(connect: RmqConnect, queue: str) -> BlockingChannel:
    """Connect, declare a durable `queue` and return a channel. Raises what pika raises."""
    channel = pika.BlockingConnection(connection_parameters(connect, "schedulergodx channel")).channel()
    channel.queue_declare(queue, durable=True)
    return channel
