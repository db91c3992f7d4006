"""The tables of the queue file, as numbered migrations. Data, no logic.

Times are seconds since 1970. `message.position` is the place in line: it grows for ever, so a message that goes back
to its queue is where it was, and a tag of a delivery never means another message later.
"""

APPLICATION_ID = 0x53474451
"""Marks a file as ours: `SGDQ` in ASCII."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE queue (
            queue_id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            expires_after_s REAL,
            has_dead_letters INTEGER NOT NULL,
            unused_since_s REAL NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE owner (
            owner_id TEXT NOT NULL PRIMARY KEY,
            description TEXT NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE consumer (
            queue_id INTEGER NOT NULL REFERENCES queue ON DELETE CASCADE,
            owner_id TEXT NOT NULL REFERENCES owner ON DELETE CASCADE,
            is_exclusive INTEGER NOT NULL,
            PRIMARY KEY (queue_id, owner_id)
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX consumer_owner ON consumer (owner_id)",
        # owner_id: who has it and has not acked it, or NULL while it waits. reason: why it is a dead letter, or ''.
        """
        CREATE TABLE message (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            queue_id INTEGER NOT NULL REFERENCES queue ON DELETE CASCADE,
            owner_id TEXT REFERENCES owner ON DELETE SET NULL,
            deliveries INTEGER NOT NULL DEFAULT 0,
            message_id TEXT NOT NULL,
            reason TEXT NOT NULL DEFAULT '',
            body BLOB NOT NULL
        ) STRICT
        """,
        "CREATE INDEX message_line ON message (queue_id, owner_id, position)",
        "CREATE INDEX message_owner ON message (owner_id) WHERE owner_id IS NOT NULL",
    ),
)
"""Step n brings a file from version n to n + 1 (`user_version`). Steps are added, never changed."""
