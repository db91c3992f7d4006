"""A service process with a key file: renewed by SIGHUP while it runs, and nothing secret for others to see."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schedulergodx import Client, KeyRing
from schedulergodx.utils.keys.files import replace_key_file, write_key_file
from schedulergodx.utils.keys.ring import new_key

WAIT_S = 60


@pytest.mark.slow
def test_a_key_is_renewed_in_a_service_process_and_nothing_of_it_is_seen(tmp_path: Path) -> None:
    """SIGHUP has the file read again; the log, the command line and the modes of the files give nothing away."""
    keys, old, new = tmp_path / "keys", new_key(), new_key()
    write_key_file(keys, KeyRing([old]))
    url = f"sqlite:///{tmp_path / 'queue.db'}"
    command = [sys.executable, "-m", "schedulergodx", "service", "--db", str(tmp_path / "tasks.db")]
    environment = os.environ | {"SCHEDULERGODX_URL": url, "SCHEDULERGODX_KEY_FILE": str(keys)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            log = [process.stderr.readline()]
            with Client(name="shop", url=url, keys=KeyRing([old]), task_lifetime=30) as client:
                assert client.task(len).launch("planted-argument").result(timeout_s=WAIT_S) == 16
            replace_key_file(keys, KeyRing([new]))
            process.send_signal(signal.SIGHUP)
            while "the keys were read again" not in log[-1]:
                log.append(process.stderr.readline())
                assert log[-1], "it ended"
            with Client(name="shop", url=url, keys=KeyRing([new]), hard_task_lifetime=30) as client:
                hard = client.task(os.getpid, hard=True).launch()
                assert hard.result(timeout_s=WAIT_S) != process.pid
            seen = Path(f"/proc/{process.pid}/cmdline").read_text() if Path("/proc").is_dir() else ""
            modes = {path.name: path.stat().st_mode & 0o077 for path in tmp_path.iterdir()}
        finally:
            process.terminate()
        log.append(process.stderr.read())
    seen += "".join(log)
    for secret in (old.line().split()[1], new.line().split()[1], "planted-argument"):
        assert secret not in seen
    assert process.returncode == 0
    assert modes == dict.fromkeys(modes, 0)
