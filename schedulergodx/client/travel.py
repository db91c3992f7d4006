"""Clients that came to this process with a task: one for each description, few of them connected at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, TypeAlias

from schedulergodx import forks

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.client.core import Client
    from schedulergodx.client.places import Connections

Facts: TypeAlias = tuple[tuple[str, Any], ...]

CLIENTS_MAX = 1000
"""Clients that are kept; the one that arrived longest ago goes first."""
CONNECTED_MAX = 8
"""Of these, how many stay connected while nobody uses them."""


class Travelled:
    """The clients that arrived in this process. Safe from any thread."""

    def __init__(self, clients_max: int = CLIENTS_MAX, connected_max: int = CONNECTED_MAX) -> None:
        self._lock = threading.Lock()
        self._clients_max = clients_max
        self._connected_max = connected_max
        self._clients: OrderedDict[Facts, Client] = OrderedDict()
        self._connected: dict[Connections, None] = {}
        forks.renew(self)

    def renew_in_fork(self) -> None:
        """Make the lock anew."""
        self._lock = threading.Lock()

    def arrive(self, facts: Facts, make: Callable[[], Client]) -> Client:
        """Return the client that these facts describe; one serves all tasks that bring it."""
        with self._lock:
            client = self._clients.get(facts)
            if client is None:
                client = self._clients[facts] = make()
                if len(self._clients) > self._clients_max:
                    self._clients.popitem(last=False)
            self._clients.move_to_end(facts)
            return client

    def connected(self, connections: Connections) -> None:
        """Note a new connection, and let those rest that nobody has used for the longest time."""
        with self._lock:
            self._connected[connections] = None
            others = sorted(self._connected.keys() - {connections}, key=lambda one: one.used_at_s)
        surplus = len(others) + 1 - self._connected_max
        for one in others:
            if surplus > 0 and one.rest():
                surplus -= 1
                with self._lock:
                    self._connected.pop(one, None)


travelled = Travelled()
