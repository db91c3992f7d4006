"""The queries of a service's database, each named for what it finds."""

from __future__ import annotations

from schedulergodx.utils.storage import rows

# `status = 0` stands in the text, not among the parameters: only so does SQLite use the index of what waits.
DUE = (
    f"SELECT {rows.SPEC_COLUMNS} FROM tasks JOIN arguments ON task = tasks.number "  # noqa: S608 - constants
    "WHERE status = 0 AND is_hard = ? AND run_at <= ? ORDER BY run_at, tasks.number LIMIT ?"
)
DUE_OF_CLIENT = (
    f"SELECT {rows.SPEC_COLUMNS} FROM tasks JOIN arguments ON task = tasks.number "  # noqa: S608 - constants
    "WHERE status = 0 AND is_hard = ? AND client = ? AND run_at <= ? ORDER BY run_at, tasks.number LIMIT ?"
)
# From one client to the next in the index, whatever the number of their tasks: SQLite has no scan that skips by itself.
CLIENTS_WAITING = (
    "WITH RECURSIVE waiting(client) AS ("
    "SELECT min(client) FROM tasks WHERE status = 0 AND is_hard = ?1 AND client > ?2 UNION ALL "
    "SELECT (SELECT min(client) FROM tasks WHERE status = 0 AND is_hard = ?1 AND client > waiting.client) "
    "FROM waiting WHERE waiting.client IS NOT NULL LIMIT ?4"
    ") SELECT client FROM waiting WHERE "
    "(SELECT min(run_at) FROM tasks WHERE status = 0 AND is_hard = ?1 AND client = waiting.client) <= ?3"
)
KNOWN_ONE = (
    "SELECT message_id, digest, 0 FROM tasks WHERE message_id = ?1 UNION ALL "
    "SELECT message_id, digest, 1 FROM forgotten WHERE message_id = ?1"
)
KNOWN_ALL = (
    "SELECT message_id, digest, 0 FROM tasks WHERE message_id IN (SELECT value FROM json_each(?1)) UNION ALL "
    "SELECT message_id, digest, 1 FROM forgotten WHERE message_id IN (SELECT value FROM json_each(?1))"
)
PRUNABLE = "SELECT number, function FROM tasks WHERE ended_at < ? ORDER BY ended_at LIMIT ?"
FORGET = "INSERT INTO forgotten (message_id, digest, ended_at) SELECT message_id, digest, ended_at FROM tasks "
PRUNABLE_IDS = "SELECT message_id FROM forgotten WHERE ended_at < ? ORDER BY ended_at LIMIT ?"
OLD_REPLIES = "SELECT number, message_id FROM outbox WHERE queue = ? AND added_at < ? ORDER BY number LIMIT ?"
# Sizes are added up first, for which no body is read: there may be a thousand of 8 MiB.
_REPLIES = (
    "SELECT number, queue, message_id, body FROM outbox WHERE {which} AND number <= ("
    "SELECT max(number) FROM (SELECT number, sum(size) OVER (ORDER BY number) - size AS bytes_before FROM ("
    "SELECT number, length(body) AS size FROM outbox WHERE {which} ORDER BY number LIMIT ?2"
    ")) WHERE ?3 IS NULL OR bytes_before < ?3) ORDER BY number"
)
REPLIES = _REPLIES.format(which="number > ?1")
REPLIES_TO = _REPLIES.format(which="queue = ?4 AND number > ?1")
REPLY_QUEUES = (
    "WITH RECURSIVE queues(queue) AS ("
    "SELECT min(queue) FROM outbox WHERE queue > ?1 UNION ALL "
    "SELECT (SELECT min(queue) FROM outbox WHERE queue > queues.queue) FROM queues WHERE queues.queue IS NOT NULL "
    "LIMIT ?2) SELECT queue FROM queues WHERE queue IS NOT NULL"
)
COUNT_REPLIES = "SELECT count(*) FROM outbox WHERE queue NOT IN (SELECT value FROM json_each(?))"
WATCHERS = (
    "SELECT reply_to, tasks.client, queue, watchers.client FROM tasks LEFT JOIN watchers ON task = tasks.number "
    "WHERE message_id = ? ORDER BY queue"
)
INTERRUPTED = "SELECT message_id FROM tasks WHERE status = 1 AND epoch < ? ORDER BY number"
STEP = "SELECT number, status, run_at, started_at FROM tasks WHERE message_id = ?"
WAITING_CLAIM = (
    "SELECT number, run_at, function, message_id, client, reply_to, is_hard, "
    "EXISTS (SELECT 1 FROM watchers WHERE task = tasks.number) "
    "FROM tasks WHERE message_id = ? AND status = 0"
)
CLAIM = "SELECT is_hard, epoch, began_at FROM tasks JOIN epochs USING (epoch) WHERE message_id = ?"
