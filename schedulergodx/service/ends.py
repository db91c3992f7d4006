"""Ends of runs, from when they are told until they are recorded: each client has its share of what a turn writes."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from schedulergodx.utils.abstractions import Finished

TURN_BYTES_MAX = 512 * 1024
"""What one turn of the loop records, in bytes of what the runs brought; one that is larger may come on top of it."""
CLIENT_BYTES_MAX = 4 * 1024 * 1024
"""A client of whose runs more than that waits to be recorded starts nothing."""
ALL_BYTES_MAX = 64 * 1024 * 1024
"""When more than that waits in all, nobody does."""
BYTES_LEAST = 512
"""As much counts an end that brought nothing: a row is written for it, too, and an answer."""


class Ends:
    """Takes ends as they come, and gives each turn those that it records. Only the loop's thread uses it.

    Where a turn has room for all, it gets them in the order in which they came. Else each client has the same share of
    the room, what one does not use is for the others, and a client's own ends keep their order. In every second turn
    one more comes on top, whatever its size, of the client whose turn it is. So what is small waits for one large end
    at most, and what is large for one of each other client.

    Args:
        client_of: tells who launched a run, by its id; "" if its end will not be recorded.
    """

    def __init__(self, client_of: Callable[[str], str]) -> None:
        self._client_of = client_of
        self._new: list[Finished] = []  # since the last turn
        self._waiting: dict[str, deque[tuple[int, Finished]]] = {}  # by client, in the order of their turns
        self._bytes: dict[str, int] = {}
        self._ids: set[str] = set()
        self._is_next_on_top = False

    def add(self, end: Finished) -> None:
        """Take one more."""
        self._new.append(end)

    def __bool__(self) -> bool:
        """Whether there are some."""
        return bool(self._new or self._waiting)

    def __contains__(self, message_id: object) -> bool:
        """Whether the end of this run waits for a later turn."""
        self._sort()
        return message_id in self._ids

    def crowded(self) -> Collection[str] | None:
        """Return the clients that start nothing, since too much of theirs waits; None: nobody does."""
        if not self._bytes:
            return ()
        if sum(self._bytes.values()) > ALL_BYTES_MAX:
            return None
        return [client for client, size in self._bytes.items() if size > CLIENT_BYTES_MAX]

    def take(self, count_max: int) -> list[Finished]:
        """Return those that are to be recorded now, at most `count_max`, which is 1 at least."""
        if not self._waiting and len(self._new) <= count_max and sum(map(_size, self._new)) <= TURN_BYTES_MAX:
            taken, self._new, self._is_next_on_top = self._new, [], False
            return taken
        self._sort()
        is_one_on_top, self._is_next_on_top = self._is_next_on_top, not self._is_next_on_top
        taken = self._shared(count_max - is_one_on_top)
        if is_one_on_top and self._waiting:
            client = next(iter(self._waiting))
            taken.append(self._first_of(client))
            if client in self._waiting:
                self._waiting[client] = self._waiting.pop(client)
        return taken

    def take_all(self) -> list[Finished]:
        """Return all of them."""
        self._sort()
        return [self._first_of(client) for client in list(self._waiting) for _ in list(self._waiting[client])]

    def _shared(self, count_max: int) -> list[Finished]:
        """Take what fits the shares of the clients; who has least comes first, and leaves the others more."""
        taken: list[Finished] = []
        room = TURN_BYTES_MAX
        clients = sorted(self._waiting, key=self._bytes.__getitem__)
        for place, client in enumerate(clients):
            share = room // (len(clients) - place)
            ends = self._waiting[client]
            while ends and len(taken) < count_max and (size := ends[0][0]) <= share:
                share -= size
                room -= size
                taken.append(self._first_of(client))
        return taken

    def _sort(self) -> None:
        for end in self._new:
            client = self._client_of(end.message_id)
            size = _size(end) if client else BYTES_LEAST
            self._waiting.setdefault(client, deque()).append((size, end))
            self._bytes[client] = self._bytes.get(client, 0) + size
            self._ids.add(end.message_id)
        self._new.clear()

    def _first_of(self, client: str) -> Finished:
        size, end = self._waiting[client].popleft()
        self._bytes[client] -= size
        self._ids.discard(end.message_id)
        if not self._waiting[client]:
            del self._waiting[client], self._bytes[client]
        return end


def _size(end: Finished) -> int:
    report = end.report
    return BYTES_LEAST + len(report.result or "") + len(report.message) + len(report.traceback)
