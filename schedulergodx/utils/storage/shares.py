"""Due tasks of several clients that find too little room: one that floods does not hold up another one's single task.

While there is room for all that is due, or only one client waits, the earliest tasks start, and nothing here costs more
than one query. Else each client has the same share, of its own earliest tasks; what a client does not use goes to the
earliest of all others. `rules.shares` divides.
"""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from schedulergodx.rules.shares import Turns, divide
from schedulergodx.utils.storage import queries, rows

if TYPE_CHECKING:
    from collections.abc import Collection

    from schedulergodx.utils.storage.connection import Connection, Row

CLIENTS_MAX = 100
"""Clients that are looked at for one division. With more of them, the others come next."""


class Shares:
    """Divides what is due among clients, soft and hard tasks apart."""

    def __init__(self) -> None:
        self.turns = {False: Turns(), True: Turns()}

    def divided(self, connection: Connection, found: list[Row], moment: int, *, is_hard: bool, limit: int) -> list[Row]:
        """Return what may start of the tasks that are due at `moment`, in the order in which it should.

        Args:
            connection: sees all that waits.
            found: the earliest due tasks, as rows of `DUE`, at most `limit`.
            moment: what was due then, in microseconds.
            is_hard: of which kind they are.
            limit: how many may start.
        """
        if len(found) < limit:
            return found
        turns = self.turns[is_hard]
        clients = self._waiting(connection, turns.after, moment, is_hard=is_hard)
        if len(clients) < 2:  # noqa: PLR2004 - nobody else waits
            return found
        chosen = self._in_turns(connection, clients, moment, is_hard=is_hard, limit=limit)
        for row in found:
            if len(chosen) == limit:
                break
            chosen.setdefault(rows.task_number(row), row)
        return list(chosen.values())

    def of_others(
        self, connection: Connection, without: Collection[str], moment: int, *, is_hard: bool, limit: int
    ) -> list[Row]:
        """Return the same of all clients but those `without`. What one of them does not use is left."""
        waiting = self._waiting(connection, self.turns[is_hard].after, moment, is_hard=is_hard)
        clients = [client for client in waiting if client not in without]
        if not clients:
            return []
        return list(self._in_turns(connection, clients, moment, is_hard=is_hard, limit=limit).values())

    def _in_turns(
        self, connection: Connection, clients: list[str], moment: int, *, is_hard: bool, limit: int
    ) -> dict[int, Row]:
        """Return the share of each client, one task of each after the other, by the numbers of the tasks."""
        shares = divide(limit, self.turns[is_hard].order(clients, limit))
        of_each = [
            connection.rows(queries.DUE_OF_CLIENT, (is_hard, client, moment, share)) for client, share in shares.items()
        ]
        in_turns = chain.from_iterable(zip_longest(*of_each))
        return {rows.task_number(row): row for row in in_turns if row is not None}

    def _waiting(self, connection: Connection, after: str, moment: int, *, is_hard: bool) -> list[str]:
        """Return the clients with due tasks, by name, those after `after` first."""
        clients = self._clients(connection, after, moment, is_hard=is_hard)
        if after and len(clients) < CLIENTS_MAX:
            others = self._clients(connection, "", moment, is_hard=is_hard)
            clients += [client for client in others if client <= after]
        return clients[:CLIENTS_MAX]

    def _clients(self, connection: Connection, after: str, moment: int, *, is_hard: bool) -> list[str]:
        found = connection.rows(queries.CLIENTS_WAITING, (is_hard, after, moment, CLIENTS_MAX))
        return [client for (client,) in found]
