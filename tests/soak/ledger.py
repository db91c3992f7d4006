"""The ledger of a soak: one SQLite file in which every process writes down what it did, and the questions put to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from schedulergodx.clock import SystemClock
from schedulergodx.utils.id_generators import ulid_generator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

clock = SystemClock()

TABLES = """
CREATE TABLE attempts (id TEXT PRIMARY KEY, client TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE launches (
    id TEXT PRIMARY KEY, said TEXT NOT NULL CHECK (said IN ('confirmed', 'uncertain', 'not sent')), detail TEXT NOT NULL
);
CREATE TABLE plans (id TEXT PRIMARY KEY, kind TEXT NOT NULL, delay_s REAL NOT NULL, at REAL NOT NULL, result TEXT);
CREATE TABLE starts (id TEXT NOT NULL, number INTEGER NOT NULL, pid INTEGER NOT NULL, at REAL NOT NULL);
CREATE TABLE answers (
    id TEXT NOT NULL, code TEXT NOT NULL, result TEXT, how TEXT NOT NULL, PRIMARY KEY (id, code, how)
);
CREATE TABLE acts (at REAL NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL);
"""
"""Nothing is updated but `launches`: whoever is killed leaves what it wrote, and nothing half."""

FINDINGS = {
    "lost: confirmed, and not in the database": """
        SELECT id FROM launches WHERE said = 'confirmed' AND id NOT IN (SELECT message_id FROM service.tasks)""",
    "sent after all: said to be not sent, and in the database": """
        SELECT id FROM launches WHERE said = 'not sent' AND id IN (SELECT message_id FROM service.tasks)""",
    "from nowhere: in the database, and never attempted": """
        SELECT message_id FROM service.tasks WHERE message_id NOT IN (SELECT id FROM attempts)""",
    "started twice: the function was entered more than once": """
        SELECT id FROM starts GROUP BY id HAVING count(*) > 1""",
    "counted twice: the database has more than one start": """
        SELECT message_id FROM service.tasks WHERE starts > 1""",
    "started unstored: the function was entered, and the database knows of no start": """
        SELECT id FROM starts WHERE id NOT IN (SELECT message_id FROM service.tasks WHERE starts > 0)""",
    "started early: before its delay was over": """
        SELECT starts.id FROM starts JOIN plans USING (id) WHERE starts.at < plans.at + plans.delay_s""",
    "without an end: in the database, and not ended": """
        SELECT message_id FROM service.tasks WHERE ended_at IS NULL""",
    "without an answer: in the database, and nobody was told": """
        SELECT message_id FROM service.tasks WHERE message_id NOT IN (SELECT id FROM answers)""",
    "two ends: told in two ways": """
        SELECT id FROM answers GROUP BY id HAVING count(DISTINCT code) > 1""",
    "another end: told otherwise than stored": """
        SELECT id FROM answers JOIN service.tasks ON id = message_id WHERE answers.code IS NOT tasks.code""",
    "a wrong result": """
        SELECT id FROM answers JOIN plans USING (id) WHERE code = 'OK' AND answers.result IS NOT plans.result""",
    "a success without a run": """
        SELECT message_id FROM service.tasks WHERE code = 'OK' AND message_id NOT IN (SELECT id FROM starts)""",
}
"""What must not be: each a query for the ids of which it is so."""

NUMBERS = {
    "attempted": "SELECT count(*) FROM attempts",
    "confirmed": "SELECT count(*) FROM launches WHERE said = 'confirmed'",
    "of them uncertain at first": "SELECT count(*) FROM launches WHERE said = 'confirmed' AND detail != ''",
    "said to be not sent": "SELECT count(*) FROM launches WHERE said = 'not sent'",
    "neither, since the client was killed": "SELECT count(*) FROM attempts WHERE id NOT IN (SELECT id FROM launches)",
    "stored": "SELECT count(*) FROM service.tasks",
    "started": "SELECT count(*) FROM starts",
    "ended": "SELECT count(*) FROM service.tasks WHERE ended_at IS NOT NULL",
    "answered": "SELECT count(DISTINCT id) FROM answers",
    "of them told to who launched": "SELECT count(DISTINCT id) FROM answers WHERE how = 'told'",
    "interrupted": "SELECT count(*) FROM service.tasks WHERE code = 'TASK_INTERRUPTED'",
}


class Ledger:
    """One process's way to the ledger; one thread at a time."""

    def __init__(self, path: Path | str) -> None:
        # No fsync: processes are killed here, the machine is not.
        self._connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")

    def write(self, table: str, *values: Any) -> None:
        """Add a row, unless it is there."""
        marks = ", ".join("?" * len(values))
        self._connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", values)

    def launched(self, message_id: str, said: str, detail: str = "") -> None:
        """Note what came of a launch; the last word counts."""
        self._connection.execute("INSERT OR REPLACE INTO launches VALUES (?, ?, ?)", (message_id, said, detail))

    def attempts(self, client: str) -> Iterator[str]:
        """Give ids for the launches of a client, each written down before it is used."""
        for message_id in ulid_generator():
            self.write("attempts", message_id, client, clock.now().timestamp())
            yield message_id

    def ids(self, query: str) -> list[str]:
        """Return the first column."""
        return [row[0] for row in self._connection.execute(query)]

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def create(path: Path) -> None:
    """Make an empty ledger."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)


@contextmanager
def both(ledger: Path, database: Path) -> Iterator[sqlite3.Connection]:
    """Give the ledger and, as `service`, the database of the service."""
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("ATTACH ? AS service", (str(database),))
        yield connection


def findings(ledger: Path, database: Path) -> dict[str, list[str]]:
    """Return what must not be and is, each with the ids of which it is so."""
    with both(ledger, database) as connection:
        found = {title: [row[0] for row in connection.execute(query)] for title, query in FINDINGS.items()}
    return {title: ids for title, ids in found.items() if ids}


def numbers(ledger: Path, database: Path) -> dict[str, int]:
    """Return how many there are of each."""
    with both(ledger, database) as connection:
        counts = {title: connection.execute(query).fetchone()[0] for title, query in NUMBERS.items()}
        acts = connection.execute("SELECT what, count(*) FROM acts GROUP BY what ORDER BY what").fetchall()
    return counts | {f"act: {what}": count for what, count in acts}


def untold(ledger: Path, database: Path) -> set[str]:
    """Return the ids of stored tasks about which nobody has heard."""
    with both(ledger, database) as connection:
        query = "SELECT message_id FROM service.tasks WHERE message_id NOT IN (SELECT id FROM answers)"
        return {row[0] for row in connection.execute(query)}
