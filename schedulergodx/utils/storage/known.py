"""What is known of a database without asking it, since nobody else writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from schedulergodx.utils.storage.functions import Functions
from schedulergodx.utils.storage.moments import OLDEST_END, OLDEST_FORGOTTEN, Ahead, Oldest

if TYPE_CHECKING:
    from schedulergodx.utils.storage.connection import Connection

WAITING = "SELECT count(*) FROM tasks WHERE status = 0"
LAST_TASK = "SELECT coalesce(max(number), 0) FROM tasks"
LAST_REPLY = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'"


Digest: TypeAlias = tuple[bytes | None, bool]
"""Of the launch that an id belongs to, or None, and whether that one was pruned."""
UNKNOWN: Digest = (None, False)


@dataclass(slots=True)
class Claim:
    """A task that was found due, and is WORK once it was started: what its end needs of its row.

    Attributes:
        run_at, started_at: in microseconds.
        is_watched: whether the outcome goes to somebody beside `reply_to`.
        has_ended: in the transaction that is open.
    """

    number: int
    run_at: int
    client: str
    reply_to: str
    is_watched: bool
    is_hard: bool
    started_at: int = 0
    has_ended: bool = False

    @property
    def order(self) -> tuple[int, int]:
        """What due tasks are sorted by: the moment, then the order in which they were stored."""
        return self.run_at, self.number


class Known:
    """Facts that are right as long as no transaction fails; then `forget` them.

    Attributes:
        functions: those that travel by value.
        ahead: the next moments of what is written and waits, of soft and of hard tasks (`is_hard`).
        oldest_end, oldest_forgotten: what may be pruned first.
    """

    def __init__(self) -> None:
        self.functions = Functions()
        self.ahead = {is_hard: Ahead(is_hard=is_hard) for is_hard in (False, True)}
        self.oldest_end = Oldest(OLDEST_END)
        self.oldest_forgotten = Oldest(OLDEST_FORGOTTEN)
        self.forget()

    def forget(self) -> None:
        """Ask the database again for everything."""
        self.functions.forget()
        self.oldest_end.forget()
        self.oldest_forgotten.forget()
        self.forget_earliest()
        self.digests: dict[str, Digest] = {}  # of ids that were looked up in the transaction that is open
        self.due: dict[str, Claim] = {}  # what `due` found last in the transaction that is open
        self.claims: dict[str, Claim] = {}  # in WORK
        self._waiting: int | None = None
        self._last_task: int | None = None
        self._last_reply: int | None = None

    def end_transaction(self) -> None:
        """Forget what holds within one transaction."""
        self.digests, self.due = {}, {}

    def next_task(self, connection: Connection) -> int:
        """Return the number of a new task."""
        if self._last_task is None:
            self._last_task = int(connection.value(LAST_TASK))
        self._last_task += 1
        return self._last_task

    def next_reply(self, connection: Connection) -> int:
        """Return the number of a new answer, which is never given to another one."""
        if self._last_reply is None:
            self._last_reply = int(connection.value(LAST_REPLY))
        self._last_reply += 1
        return self._last_reply

    # Of what waits: how many there are, and in `ahead` the earliest moments, for which a service looks at every turn.

    def count_waiting(self, connection: Connection) -> int:
        """Return how many tasks wait."""
        if self._waiting is None:
            self._waiting = int(connection.value(WAITING))
        return self._waiting

    def add_waiting(self, count: int) -> None:
        """Note that so many more wait, or fewer."""
        if self._waiting is not None:
            self._waiting += count

    def forget_earliest(self) -> None:
        """Note that what is the earliest may have changed."""
        for ahead in self.ahead.values():
            ahead.forget()
