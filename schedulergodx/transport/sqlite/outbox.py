"""`Outbox`: what was published and is not settled yet."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from schedulergodx.errors import BrokerError
    from schedulergodx.utils.abstractions import Outgoing


class Outbox:
    """Messages between `publish` and their settlement. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[Outgoing, None] = {}

    def add(self, outgoing: Outgoing) -> None:
        """Take a message in."""
        with self._lock:
            self._waiting[outgoing] = None

    def withdraw(self, outgoing: Outgoing) -> bool:
        """Take a message out unsettled. Return False if it is not in here: it was settled or never published."""
        with self._lock:
            return self._waiting.pop(outgoing, self) is None

    def mark_sent(self, outgoing: Outgoing) -> bool:
        """Note that the message is written from now on. Return False if it is not wanted any more."""
        with self._lock:
            if outgoing not in self._waiting:
                return False
            outgoing.was_sent = True
            return True

    def mark_unsent(self, messages: Iterable[Outgoing]) -> None:
        """Note that what was written has certainly been undone."""
        with self._lock:
            for outgoing in messages:
                if outgoing in self._waiting:
                    outgoing.was_sent = False

    def settle(self, outgoing: Outgoing, error: BrokerError | None) -> None:
        """Tell the sender, unless the message was withdrawn."""
        if self.withdraw(outgoing):
            outgoing.on_settled(outgoing, error)

    def settle_all(self, error_of: Callable[[Outgoing], BrokerError]) -> None:
        """Settle everything with an error each."""
        with self._lock:
            waiting = list(self._waiting)
        for outgoing in waiting:
            self.settle(outgoing, error_of(outgoing))
