"""`QueueFile`: the queues in one SQLite file. All SQL of the transport is here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from schedulergodx.transport.sqlite.connection import FileConnection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from schedulergodx.utils.abstractions import QueueSpec


class Taken(NamedTuple):
    """A message that was handed to an owner."""

    position: int
    body: bytes
    deliveries: int


class QueueFile(FileConnection):
    """An open queue file. One thread uses it.

    What changes it belongs between `begin` and `commit`. Every method may raise `sqlite3.Error`; then `rollback`.
    """

    # --- Queues

    def declare(self, queue: QueueSpec, *, now_s: float) -> bool:
        """Make sure that `queue` exists, and its dead letters. Return False if it exists with other arguments."""
        if queue.has_dead_letters:
            self._add_queue(queue.dead_letter_name, None, has_dead_letters=False, now_s=now_s)
        self._add_queue(queue.name, queue.expires_after_s, has_dead_letters=queue.has_dead_letters, now_s=now_s)
        row = self._execute(
            "SELECT expires_after_s, has_dead_letters FROM queue WHERE name = ?", (queue.name,)
        ).fetchone()
        return bool(row == (queue.expires_after_s, queue.has_dead_letters))

    def _add_queue(self, name: str, expires_after_s: float | None, *, has_dead_letters: bool, now_s: float) -> None:
        self._execute(
            "INSERT INTO queue (name, expires_after_s, has_dead_letters, unused_since_s) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET unused_since_s = excluded.unused_since_s "
            "WHERE expires_after_s IS NOT NULL",
            (name, expires_after_s, has_dead_letters, now_s),
        )

    def delete_queue(self, name: str) -> None:
        """Delete a queue, its messages and its consumers."""
        self._execute("DELETE FROM queue WHERE name = ?", (name,))

    def expired_queues(self, *, now_s: float) -> list[str]:
        """Return the queues that were without a consumer for too long."""
        rows = self._execute(
            "SELECT name FROM queue WHERE expires_after_s IS NOT NULL AND unused_since_s + expires_after_s <= ? "
            "AND NOT EXISTS (SELECT 1 FROM consumer WHERE consumer.queue_id = queue.queue_id)",
            (now_s,),
        ).fetchall()
        return [name for (name,) in rows]

    # --- Messages

    def add(self, queue: str, message_id: str, body: bytes) -> bool:
        """Put a message at the end of a queue. Return False if there is no such queue."""
        cursor = self._execute(
            "INSERT INTO message (queue_id, message_id, body) SELECT queue_id, ?, ? FROM queue WHERE name = ?",
            (message_id, body, queue),
        )
        return cursor.rowcount > 0

    def has_ready(self, queue: str) -> bool:
        """Return whether a message waits in the queue."""
        return self._is_true(
            "SELECT EXISTS (SELECT 1 FROM message JOIN queue USING (queue_id) WHERE name = ? AND owner_id IS NULL)",
            queue,
        )

    def take(self, queue: str, owner_id: str, limit: int) -> list[Taken]:
        """Hand at most `limit` messages, the first in line, to an owner."""
        rows = self._execute(
            "UPDATE message SET owner_id = ?, deliveries = deliveries + 1 WHERE position IN ("
            "  SELECT position FROM message WHERE queue_id = (SELECT queue_id FROM queue WHERE name = ?)"
            "  AND owner_id IS NULL ORDER BY position LIMIT ?"
            ") RETURNING position, body, deliveries",
            (owner_id, queue, limit),
        ).fetchall()
        return sorted(map(Taken._make, rows), key=lambda taken: taken.position)

    def remove(self, positions: Iterable[int], owner_id: str) -> None:
        """Forget messages that `owner_id` has."""
        self._opened.executemany(
            "DELETE FROM message WHERE position = ? AND owner_id = ?",
            [(position, owner_id) for position in positions],
        )

    def give_back(self, positions: Iterable[int], owner_id: str) -> None:
        """Let messages that `owner_id` has wait again, each in its place."""
        self._opened.executemany(
            "UPDATE message SET owner_id = NULL WHERE position = ? AND owner_id = ?",
            [(position, owner_id) for position in positions],
        )

    def bury(self, position: int, owner_id: str, *, dead_queue: str, reason: str, now_s: float) -> None:
        """Move a message that `owner_id` has to the end of `dead_queue`, which is made if it is missing."""
        self._add_queue(dead_queue, None, has_dead_letters=False, now_s=now_s)
        self._execute(
            "INSERT INTO message (queue_id, message_id, reason, body) "
            "SELECT (SELECT queue_id FROM queue WHERE name = ?), message_id, ?, body FROM message "
            "WHERE position = ? AND owner_id = ?",
            (dead_queue, reason, position, owner_id),
        )
        self.remove([position], owner_id)

    # --- Owners and consumers

    def add_owner(self, owner_id: str, description: str) -> None:
        """Make an owner known; `description` tells people who it is."""
        self._execute(
            "INSERT INTO owner (owner_id, description) VALUES (?, ?) ON CONFLICT DO NOTHING", (owner_id, description)
        )

    def owners(self) -> list[str]:
        """Return the ids of all owners."""
        return [owner_id for (owner_id,) in self._execute("SELECT owner_id FROM owner").fetchall()]

    def remove_owner(self, owner_id: str, *, now_s: float) -> None:
        """Forget an owner: it consumes no more, and what it has waits again, each in its place."""
        self.remove_consumers(owner_id, now_s=now_s)
        self._execute("DELETE FROM owner WHERE owner_id = ?", (owner_id,))

    def consumer_in_the_way(self, queue: str, owner_id: str, *, is_exclusive: bool) -> str | None:
        """Return the description of another owner because of which `owner_id` cannot consume, or None."""
        row = self._execute(
            "SELECT description FROM consumer JOIN owner USING (owner_id) JOIN queue USING (queue_id) "
            "WHERE name = ? AND owner_id != ? AND (is_exclusive OR ?) LIMIT 1",
            (queue, owner_id, is_exclusive),
        ).fetchone()
        return None if row is None else str(row[0])

    def add_consumer(self, queue: str, owner_id: str, *, is_exclusive: bool) -> None:
        """Note that an owner consumes from a queue, so that it does not expire."""
        self._execute(
            "INSERT OR REPLACE INTO consumer (queue_id, owner_id, is_exclusive) "
            "SELECT queue_id, ?, ? FROM queue WHERE name = ?",
            (owner_id, is_exclusive, queue),
        )

    def is_consumer(self, queue: str, owner_id: str) -> bool:
        """Return whether the owner still counts as a consumer of the queue; not so once the queue was deleted."""
        return self._is_true(
            "SELECT EXISTS (SELECT 1 FROM consumer JOIN queue USING (queue_id) WHERE name = ? AND owner_id = ?)",
            queue,
            owner_id,
        )

    def remove_consumers(self, owner_id: str, *, now_s: float) -> None:
        """Note that an owner consumes no more; the time to expiry begins."""
        self._execute(
            "UPDATE queue SET unused_since_s = ? WHERE queue_id IN (SELECT queue_id FROM consumer WHERE owner_id = ?)",
            (now_s, owner_id),
        )
        self._execute("DELETE FROM consumer WHERE owner_id = ?", (owner_id,))

    def _is_true(self, sql: str, *parameters: str) -> bool:
        return bool(self._execute(sql, parameters).fetchone()[0])
