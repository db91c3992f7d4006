"""`DB` against the contract of storages."""

from collections.abc import Callable
from pathlib import Path

import pytest

from schedulergodx.utils.abstractions import Storage
from schedulergodx.utils.storage import DB
from schedulergodx_testing.contracts.storage import StorageContract


class TestSqliteStorage(StorageContract):
    """Runs every test of the contract."""

    @pytest.fixture
    def make_storage(self, tmp_path: Path) -> Callable[[], Storage]:
        return lambda: DB(tmp_path / "tasks.db")
