"""The ways to a broker: `connect` chooses one by its URL. The one place that names the production kinds.

| URL | transport |
|---|---|
| `amqp://user:password@host:port/vhost`, `amqps://…` | RabbitMQ |
| `sqlite:///relative/path`, `sqlite:////absolute/path` | one file, for the processes of one machine |
| `memory://…` | within one process, from `schedulergodx_testing` |

Every function here may be called from any thread.
"""

from __future__ import annotations

import os
import sys
import threading
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import unquote, urlsplit

from schedulergodx import redirection
from schedulergodx.errors import InvalidParameter
from schedulergodx.utils.rmq_property import RmqConnect, rmq_default_settings

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from schedulergodx.utils.abstractions import Clock, Transport

Target: TypeAlias = str | RmqConnect

URL_VARIABLE = "SCHEDULERGODX_URL"
"""Environment variable with the URL for whoever names none."""
RABBITMQ_SCHEMES = ("amqp", "amqps")
SQLITE_SCHEME = "sqlite"
MEMORY_SCHEME = "memory"
TESTING_PACKAGE = "schedulergodx_testing"
"""Provides `memory://`. Never imported here."""


class Factory(Protocol):
    """Makes a transport for a target, without connecting it yet; `clock` None means the system's."""

    def __call__(self, target: Target, /, *, name: str, clock: Clock | None) -> Transport:
        """Return a new transport."""


_lock = threading.Lock()
_registered: dict[str, Factory] = {}


def connect(target: Target | None, *, name: str, clock: Clock | None = None) -> Transport:
    """Return a transport to `target`. It connects at its first use, so a wrong place is told then.

    While a test harness is open, the transport is its own, whatever the target; see `schedulergodx.redirection`.

    Args:
        target: a URL, or where a RabbitMQ is; None means the URL in `SCHEDULERGODX_URL`, else RabbitMQ on localhost.
        name: who connects, for threads and for the broker's administration.
        clock: the system's, if None.

    Raises:
        InvalidParameter: there is no such kind of URL, or it is malformed. The message shows no password.
    """
    resolved = resolve(target)
    if (test := redirection.active()) is None:
        return connect_really(resolved, name=name, clock=clock)
    _factory(resolved)  # refuses what would fail in production
    return test.connect(resolved, name=name)


def connect_really(target: Target | None, *, name: str, clock: Clock | None = None) -> Transport:
    """As `connect`, also while a test harness is open: this is how a harness itself reaches a real broker."""
    resolved = resolve(target)
    return _factory(resolved)(resolved, name=name, clock=clock)


def address(target: Target | None) -> str:
    """Return where `connect` would go, without password: it may be shown and logged. Raises InvalidParameter."""
    resolved = resolve(target)
    _factory(resolved)
    if isinstance(resolved, RmqConnect):
        return resolved.address
    url = _split(resolved)
    if url.scheme in RABBITMQ_SCHEMES:
        return RmqConnect.from_url(resolved).address
    if url.scheme == SQLITE_SCHEME:
        return f"sqlite:///{_sqlite_path(url).absolute()}"
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def register(scheme: str, factory: Factory) -> None:
    """Have `connect` use `factory` for URLs of `scheme`, instead of an earlier one for it.

    Raises:
        InvalidParameter: the scheme is one of production, which keeps its meaning.
    """
    if scheme in (*RABBITMQ_SCHEMES, SQLITE_SCHEME):
        raise InvalidParameter(f"{scheme}:// is a production transport and cannot be replaced")
    with _lock:
        _registered[scheme] = factory


def is_of_this_machine(target: Target | None) -> bool:
    """Return whether both ends of a transport to `target` are on this machine. Raises InvalidParameter."""
    resolved = resolve(target)
    return not isinstance(resolved, RmqConnect) and _split(resolved).scheme not in RABBITMQ_SCHEMES


def is_local(target: Target | None) -> bool:
    """Return whether only this machine reaches the broker of `target`, as far as its address tells.

    That is so for one file, for `memory://`, for a RabbitMQ at a loopback address, and while a test harness is open.
    Raises InvalidParameter.
    """
    if redirection.active() is not None or is_of_this_machine(target):
        return True
    resolved = resolve(target)
    connect = resolved if isinstance(resolved, RmqConnect) else RmqConnect.from_url(resolved)
    host = str(connect.rmq_parameters["host"])
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return host.lower() == "localhost"


def resolve(target: Target | None) -> Target:
    """Return `target`, or what None stands for: the URL in `SCHEDULERGODX_URL`, else RabbitMQ on localhost."""
    if target is None:
        return os.environ.get(URL_VARIABLE) or RmqConnect(*rmq_default_settings)
    return target


def _factory(target: Target) -> Factory:
    """Return what makes transports for `target`. Raises InvalidParameter."""
    if isinstance(target, RmqConnect):
        return _rabbitmq
    url = _split(target)
    if url.scheme in RABBITMQ_SCHEMES:
        RmqConnect.from_url(target)
        return _rabbitmq
    if url.scheme == SQLITE_SCHEME:
        _sqlite_path(url)
        return _sqlite
    testing = sys.modules.get(TESTING_PACKAGE)
    if url.scheme == MEMORY_SCHEME and url.scheme not in _registered and testing is not None:
        # Whoever imported that package registers here only now: it must not load this library in every pytest run.
        testing.register_memory()
    with _lock:
        if factory := _registered.get(url.scheme):
            return factory
        known = sorted({*RABBITMQ_SCHEMES, SQLITE_SCHEME, *_registered})
    if url.scheme == MEMORY_SCHEME:
        raise InvalidParameter(f"memory:// is for tests: import {TESTING_PACKAGE} first, which provides it")
    raise InvalidParameter(f"the URL of a broker begins with {', '.join(f'{scheme}://' for scheme in known)}")


def _rabbitmq(target: Target, /, *, name: str, clock: Clock | None) -> Transport:
    from schedulergodx.transport.rabbitmq import RabbitMQTransport  # noqa: PLC0415 - pika is slow to import

    where = target if isinstance(target, RmqConnect) else RmqConnect.from_url(target)
    return RabbitMQTransport(where, name=name, clock=clock)


def _sqlite(target: Target, /, *, name: str, clock: Clock | None) -> Transport:
    from schedulergodx.transport.sqlite import SqliteTransport  # noqa: PLC0415 - only who uses it needs sqlite3

    return SqliteTransport(_sqlite_path(_split(str(target))), name=name, clock=clock)


def _split(target: object) -> SplitResult:
    if not isinstance(target, str):
        raise InvalidParameter(f"the broker must be a URL or an RmqConnect, got {type(target).__name__}")
    try:
        return urlsplit(target)
    except ValueError:  # its text may hold the password
        raise InvalidParameter("the URL of the broker is malformed; percent-encode special characters in it") from None


def _sqlite_path(url: SplitResult) -> Path:
    if url.netloc or url.query or url.fragment or len(url.path) <= 1:
        raise InvalidParameter(
            "the URL of a queue file is sqlite:///relative/path or sqlite:////absolute/path, without anything else; "
            "write ? and # in it as %3F and %23"
        )
    return Path(unquote(url.path[1:]))
