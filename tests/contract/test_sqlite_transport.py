"""The SQLite transport does what every transport must do."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from schedulergodx.transport.sqlite import SqliteTransport
from schedulergodx.utils.abstractions import QueueSpec, Transport
from schedulergodx_testing.contracts.transport import TransportContract

DEAD_LETTERS = (
    "SELECT body, message_id, reason FROM message JOIN queue USING (queue_id) WHERE name = ? ORDER BY position"
)


class TestSqliteTransport(TransportContract):
    # No broker that could restart, no connections, and a file grows for as long as the disk lets it.
    capabilities = frozenset({"block", "dead_letters"})

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "queues.db"

    @pytest.fixture
    def open_transport(self, path: Path) -> Callable[[], Transport]:
        return lambda: SqliteTransport(path, name="contract")

    @pytest.fixture
    def block(self, path: Path) -> Iterator[Callable[[bool], None]]:
        """Keep everybody from writing to the file, as another process does that writes for long."""
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            yield lambda is_on: other.execute("BEGIN IMMEDIATE" if is_on else "ROLLBACK")

    @pytest.fixture
    def dead_letters(self, path: Path) -> Callable[[QueueSpec], list[tuple[bytes, str, str]]]:
        def read(queue: QueueSpec) -> list[tuple[bytes, str, str]]:
            with closing(sqlite3.connect(path)) as file:
                return file.execute(DEAD_LETTERS, (queue.dead_letter_name,)).fetchall()

        return read
