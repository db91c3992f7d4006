"""A way to the broker as its user knows it: its state, and what else is known about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ConnectionState(Enum):
    """The states of a connection. CONNECTING: not up yet. RECOVERING: was up, is coming back by itself.

    BLOCKED: up, but the broker takes no messages for now. REFUSED: trying again cannot help. CLOSED: by us.
    """

    CONNECTING = "connecting"
    UP = "up"
    BLOCKED = "blocked"
    RECOVERING = "recovering"
    REFUSED = "refused"
    CLOSED = "closed"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConnectionStatus:
    """What is known about a way to the broker.

    Attributes:
        state: see `ConnectionState`.
        broker: the address without its password, e.g. `amqp://guest@localhost:5672/`.
        attempts: connection attempts since the last success.
        reason: text of the last failure, or "".
    """

    state: ConnectionState
    broker: str
    attempts: int = 0
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsumingStatus:
    """What is known about the way in: whether anything would be delivered.

    Attributes:
        connection: of the connection that consumes.
        is_consuming: whether the broker has said that it delivers, from every queue that is to be consumed.
        is_waiting: whether a queue is in use, and this transport waits until its owner is gone.
        answered_s_ago: seconds since the broker last answered on what consumes, a round trip that is made again and
            again while nothing else happens; None: not since the last loss.
    """

    connection: ConnectionStatus
    is_consuming: bool
    is_waiting: bool = False
    answered_s_ago: float | None = None
