"""Who gets how much of too little room: each client the same, and what cannot be divided in turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def divide(room: int, clients: Sequence[str]) -> dict[str, int]:
    """Return how many tasks each client may start, at most `room` in all; a client that may start none is left out.

    Args:
        room: how many tasks may start; at least 1.
        clients: those who want to start some, in the order of their turns; at least one.
    """
    each, left = divmod(room, len(clients))
    return {client: each + (place < left) for place, client in enumerate(clients) if each or place < left}


class Turns:
    """Knows after whom the turns of clients go on. In memory only: a service that starts again begins anew."""

    def __init__(self) -> None:
        self.after = ""
        self._owed: dict[str, None] = {}

    def owe(self, client: str) -> None:
        """Note that a task of `client` was to start, and could not: it comes first next time."""
        self._owed[client] = None

    def order(self, clients: Iterable[str], room: int) -> list[str]:
        """Return clients in the order of their turns: those who are owed one, then the others as they are given.

        Args:
            clients: those who want to start a task, the one whose turn it is first; at least one.
            room: how many tasks may start.
        """
        waiting = dict.fromkeys(clients)
        owed = [client for client in self._owed if client in waiting]
        self._owed.clear()
        others = [client for client in waiting if client not in owed]
        left = room % len(waiting) - len(owed)  # those of the others who have one more than those after them
        if left > 0:
            self.after = others[left - 1]
        return owed + others
