"""A backup is made while a service works, and put back behind its queue."""

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from schedulergodx import Client
from schedulergodx.cli import exits
from schedulergodx.errors import UnknownMessageId
from tests.acceptance.helpers.functions import add
from tests.acceptance.helpers.programs import Program

pytestmark = pytest.mark.slow

Start = Callable[..., AbstractContextManager[Program]]


@pytest.fixture
def command(tmp_path: Path, url: str) -> Start:
    """Return what runs a command of the library on `tasks.db`, its working folder being the test's."""

    @contextmanager
    def run(name: str, *arguments: str):
        env = {"SCHEDULERGODX_DB": "tasks.db", "SCHEDULERGODX_URL": url}
        with Program("-m", "schedulergodx", name, *arguments, cwd=tmp_path, env=env) as program:
            yield program

    return run


def test_a_restored_backup_is_refused_until_it_is_accepted(command: Start, url: str, tmp_path: Path) -> None:
    """After SIGKILL, the files of the crash replaced by the backup: refused with advice, then taken when told so.

    What was accepted after the backup is then unknown, and what ended before it is still told.
    """
    with Client("tester", url=url) as client:
        launch = client.task(add).launch
        with command("service") as service:
            before = launch(1, 2)
            assert before.result(timeout_s=20) == 3
            with command("backup", "copy.db") as backup:
                assert backup.wait() == exits.EXIT_OK, backup.text()
            after = launch(2, 3)
            assert after.result(timeout_s=20) == 5
            service.kill()
        for name in ("tasks.db", "tasks.db-wal", "tasks.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / "copy.db").rename(tmp_path / "tasks.db")
        with command("service") as service:
            assert service.wait() == exits.EXIT_STORAGE
            assert "--accept-older-database" in service.lines[-1]
        with command("service", "--accept-older-database") as service, Client("other", url=url) as other:
            assert other.result(before, timeout_s=20) == 3
            with pytest.raises(UnknownMessageId):
                other.result(after, timeout_s=20)
            assert launch(3, 4).result(timeout_s=20) == 7
            assert service.stop() == exits.EXIT_OK
