"""The tables, as numbered migrations: data, no logic. `docs/storage.md` explains every column.

Moments are whole microseconds since 1970-01-01T00:00:00 UTC. Statuses are the numbers of `TaskStatus`. SQLite is never
asked for the time: every moment is handed in, so that a test's clock is the database's clock too.
"""

from __future__ import annotations

APPLICATION_ID = 0x53474458
"""`SGDX` in ASCII, in the header of every database of ours: another program's file is recognised by its absence."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # Each start of a service, so that a row tells which of them started it.
        """
        CREATE TABLE epochs (
            epoch    INTEGER PRIMARY KEY,
            owner    TEXT    NOT NULL,
            began_at INTEGER NOT NULL
        ) STRICT
        """,
        # The functions that travel by value, each once, however many tasks use it.
        """
        CREATE TABLE functions (
            number INTEGER PRIMARY KEY,
            digest BLOB    NOT NULL UNIQUE,
            body   BLOB    NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE tasks (
            number             INTEGER PRIMARY KEY,
            message_id         TEXT    NOT NULL UNIQUE,
            status             INTEGER NOT NULL CHECK (status BETWEEN 0 AND 6),
            is_hard            INTEGER NOT NULL CHECK (is_hard IN (0, 1)),
            run_at             INTEGER NOT NULL,
            is_delayed         INTEGER NOT NULL CHECK (is_delayed IN (0, 1)),
            is_overdue_enabled INTEGER NOT NULL CHECK (is_overdue_enabled IN (0, 1)),
            lifetime_s         REAL,
            issued_at          INTEGER NOT NULL,
            stored_at          INTEGER NOT NULL,
            started_at         INTEGER,
            ended_at           INTEGER,
            starts             INTEGER NOT NULL DEFAULT 0,
            epoch              INTEGER REFERENCES epochs,
            owner              TEXT,
            client             TEXT    NOT NULL,
            reply_to           TEXT    NOT NULL,
            name               TEXT    NOT NULL,
            digest             BLOB    NOT NULL,
            function           INTEGER REFERENCES functions,
            reference          TEXT    NOT NULL,
            code_digest        TEXT    NOT NULL,
            python             TEXT    NOT NULL,
            code               TEXT,
            result             TEXT,
            exception_type     TEXT    NOT NULL DEFAULT '',
            message            TEXT    NOT NULL DEFAULT '',
            traceback          TEXT    NOT NULL DEFAULT '',
            CHECK ((ended_at IS NULL) = (status IN (0, 1))),
            CHECK ((code IS NULL) = (ended_at IS NULL))
        ) STRICT
        """,
        # Apart from `tasks`, since every step of a task rewrites its row, and arguments may be megabytes.
        """
        CREATE TABLE arguments (
            task     INTEGER PRIMARY KEY REFERENCES tasks ON DELETE CASCADE,
            body     BLOB    NOT NULL,
            by_value BLOB
        ) STRICT
        """,
        # Only what waits is in here, so that the next due tasks are found in one place among millions of rows.
        "CREATE INDEX tasks_due ON tasks (is_hard, run_at) WHERE status = 0",
        "CREATE INDEX tasks_by_status ON tasks (status)",
        "CREATE INDEX tasks_ended ON tasks (ended_at) WHERE ended_at IS NOT NULL",
        "CREATE INDEX tasks_by_function ON tasks (function)",
        """
        CREATE TABLE watchers (
            task  INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
            queue TEXT    NOT NULL,
            PRIMARY KEY (task, queue)
        ) STRICT, WITHOUT ROWID
        """,
        # AUTOINCREMENT: a number is never given twice, or a service that sent up to one would miss its second bearer.
        """
        CREATE TABLE outbox (
            number     INTEGER PRIMARY KEY AUTOINCREMENT,
            queue      TEXT    NOT NULL,
            message_id TEXT    NOT NULL,
            body       BLOB    NOT NULL
        ) STRICT
        """,
    ),
    (
        # What is left of a pruned task: enough to know a late duplicate of its launch.
        """
        CREATE TABLE forgotten (
            message_id TEXT    PRIMARY KEY,
            digest     BLOB    NOT NULL,
            ended_at   INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID
        """,
        "CREATE INDEX forgotten_ended ON forgotten (ended_at)",
        "ALTER TABLE outbox ADD COLUMN added_at INTEGER NOT NULL DEFAULT 0",
        # Of the answers that are there nobody knows; they are not older than the latest moment that is known.
        """
        UPDATE outbox SET added_at = max(
            coalesce((SELECT max(began_at) FROM epochs), 0), coalesce((SELECT max(ended_at) FROM tasks), 0)
        )
        """,
        # How many transactions have changed something so far; a file beside the database has the number, too.
        "ALTER TABLE epochs ADD COLUMN changes INTEGER NOT NULL DEFAULT 0",
        # Empty, except in a backup: when that was made.
        "CREATE TABLE copies (made_at INTEGER NOT NULL) STRICT",
    ),
    (
        "ALTER TABLE tasks ADD COLUMN max_starts INTEGER NOT NULL DEFAULT 1 CHECK (max_starts >= 1)",
        # JSON: rarely there, and of interest to nobody but the runner.
        "ALTER TABLE tasks ADD COLUMN limits TEXT",
    ),
    (
        # Who waits at a queue: answers are signed for one client each.
        "ALTER TABLE watchers ADD COLUMN client TEXT NOT NULL DEFAULT ''",
        # The signature of a task's row, with which it is seen that nobody changed it; empty: the service has no keys.
        "ALTER TABLE tasks ADD COLUMN seal TEXT NOT NULL DEFAULT ''",
    ),
    (
        # A thousand clients that are gone leave a thousand queues, each of which is asked for by itself.
        "CREATE INDEX outbox_by_queue ON outbox (queue)",
    ),
    (
        # For the share of each client, when more is due than there is room for.
        "CREATE INDEX tasks_due_by_client ON tasks (is_hard, client, run_at) WHERE status = 0",
    ),
)
"""Entry n leads from schema n to schema n + 1, statement by statement. Never change one that was released: add one."""
