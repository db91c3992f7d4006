"""The processes of a soak: services and clients, started, killed and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from schedulergodx.service.health_file import health_path

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
END_S = 90.0
"""For a process that was asked to end. What takes longer is killed, and the soak has failed."""


class Process:
    """One program at a time, under one name; its output goes into one file."""

    def __init__(
        self,
        name: str,
        folder: Path,
        arguments: list[str],
        env: Mapping[str, str] | None = None,
        *,
        leaves: Path | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._leaves = leaves
        self._arguments = arguments
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SCHEDULERGODX_")}
        self._env = kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.is_running:
            return
        if self._leaves is not None:  # when it is killed; it is not to be taken for that of the new one
            self._leaves.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *self._arguments],
                cwd=self.log.parent,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def send(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self._process is not None and self.is_running:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it as the system would."""
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(END_S)

    def stop(self) -> int:
        """Ask it to end and return its exit code; one that does not end in time is killed."""
        self.send(signal.SIGTERM)
        if self._process is None:
            return 0
        try:
            return self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL

    def tail(self, lines: int = 15) -> str:
        """Return the last lines that it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


def service(folder: Path, url: str, request_queue: str, *, defect: str = "") -> Process:
    """Return the service; with a defect it is one that has that mistake in it, to see it found."""
    module = ["-m", "tests.soak.defective", defect] if defect else ["-m", "schedulergodx"]
    database = folder / "tasks.db"
    options = ["service", "--db", str(database), "--request-queue", request_queue, "--stop-grace", "10"]
    env = {"SCHEDULERGODX_URL": url}
    return Process("service", folder, [*module, *options], env, leaves=health_path(database))


def client(folder: Path, number: int, facts: Mapping[str, object]) -> Process:
    """Return a client; each start of it goes on with other random choices, since its seed is its moment's."""
    name = f"client-{number}"
    return Process(name, folder, ["-m", "tests.soak.client", json.dumps({**facts, "name": name})])
