"""The SQLite transport does what every transport must do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from schedulergodx.transport.sqlite import SqliteTransport
from schedulergodx.utils.abstractions import Transport
from schedulergodx_testing.contracts.transport import TransportContract


class TestSqliteTransport(TransportContract):
    @pytest.fixture
    def open_transport(self, tmp_path: Path) -> Callable[[], Transport]:
        return lambda: SqliteTransport(tmp_path / "queues.db", name="contract")
