"""The demo's service: `schedulergodx service` in a process of its own, which goes when the demo goes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from schedulergodx.transport import URL_VARIABLE
from schedulergodx.utils.keys.source import KEYS_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from schedulergodx.utils.keys.ring import KeyRing

STOP_GRACE_S = 1.0
"""For tasks that still run when the service is asked to stop."""
STOP_S = 8.0
"""For the whole of the stop; then the process is killed."""
_TAIL_LINES = 12


class ServiceProcess:
    """A context manager: entering starts the service, leaving stops it, by force if it does not stop when asked.

    Args:
        url: the broker; it travels in the environment, since everybody can read command lines.
        request_queue: the queue that it takes from.
        keys: what its messages are signed with; they travel as the URL does.
        folder: for its database and its log; the folder exists, and outlives the process.
    """

    def __init__(self, *, url: str, request_queue: str, keys: KeyRing, folder: Path) -> None:
        self.db = folder / "tasks.db"
        self._log = folder / "service.log"
        self._url = url
        self._request_queue = request_queue
        self._keys = keys
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        # What is set for the user's own services is not meant for this one.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SCHEDULERGODX_")}
        command = [sys.executable, "-m", "schedulergodx", "service", "--name", "demo"]
        command += ["--db", str(self.db), "--request-queue", self._request_queue, "--stop-grace", str(STOP_GRACE_S)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                command,
                env=environment | {URL_VARIABLE: self._url, KEYS_VARIABLE: self._keys.text()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C of the terminal is for the demo, which then asks the service to stop.
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id, or 0 before the start."""
        return 0 if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, or None while it runs."""
        return None if self._process is None else self._process.poll()

    def stop(self) -> int:
        """Ask it to stop, wait, and return its exit code. Stopping twice does nothing more."""
        process = self._process
        if process is None:
            return 0
        try:
            if process.poll() is None:
                process.terminate()
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        except BaseException:  # a second Ctrl-C: not even now may the process be left behind
            process.kill()
            process.wait()
            raise

    def log_tail(self) -> list[str]:
        """Return the last lines that it wrote."""
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
