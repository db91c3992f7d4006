"""`memory://name`: brokers in memory that every part of one process finds by name."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from schedulergodx.errors import InvalidParameter
from schedulergodx_testing.memory.broker import MemoryBroker

if TYPE_CHECKING:
    from schedulergodx.transport import Target
    from schedulergodx.utils.abstractions import Clock
    from schedulergodx_testing.memory.transport import MemoryTransport

_lock = threading.Lock()
_brokers: dict[str, MemoryBroker] = {}


def named_broker(name: str) -> MemoryBroker:
    """Return the broker behind `memory://<name>`, which steps by itself. It is made when it is first asked for."""
    with _lock:
        if name not in _brokers:
            _brokers[name] = MemoryBroker(is_automatic=True, name=name)
        return _brokers[name]


def forget_named_broker(name: str) -> None:
    """Close the broker behind `memory://<name>` and drop all that is in it. Nothing happens if there is none."""
    with _lock:
        broker = _brokers.pop(name, None)
    if broker is not None:
        broker.close()


def connect(target: Target, /, *, name: str, clock: Clock | None = None) -> MemoryTransport:  # noqa: ARG001 - below
    """Return a transport to the named broker of a `memory://` URL, as `schedulergodx.transport.connect` asks for.

    The broker goes by the system's clock, since programs with different ones may share it.

    Raises:
        InvalidParameter: the URL names no broker.
    """
    if isinstance(target, str):
        url = urlsplit(target)
        # Without user and password, as for other brokers: the name is shown.
        if broker := f"{url.netloc.rpartition('@')[2]}{url.path}".strip("/"):
            return named_broker(broker).transport(name)
    raise InvalidParameter("the URL of a broker in memory is memory://name")
