"""Programs in processes of their own, whose lines can be waited for."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

WAIT_S = 30.0
"""Longest wait for a line or an end: what takes longer on a busy machine is broken."""
_OURS = ("SCHEDULERGODX_", "PYTHONPATH", "PYTHONWARNINGS", "PYTEST_")


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a program: this process's, without what would configure this library, and `changes`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return kept | {"PYTHONUNBUFFERED": "1"} | dict(changes or {})


class Program:
    """A Python program that runs until its block ends; it is killed then, if it has not ended by itself.

    Args:
        arguments: of the interpreter, e.g. a script and what it takes.
        cwd: the folder that it runs in.
        env: changes to the environment.
    """

    def __init__(self, *arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
        )
        self.pid = self._process.pid
        self._lines: list[str] = []
        self._is_at_end = False
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, name=f"lines of {self.pid}", daemon=True)
        self._reader.start()

    @property
    def lines(self) -> list[str]:
        """What it wrote until now, to standard output and standard error."""
        with self._changed:
            return list(self._lines)

    def matching(self, pattern: str) -> list[str]:
        """Return the lines until now in which `pattern`, a regular expression, is found."""
        return [line for line in self.lines if re.search(pattern, line)]

    def wait_for_line(self, pattern: str, *, count: int = 1, timeout_s: float = WAIT_S) -> str:
        """Wait until `pattern` is found in so many lines; return the last of them."""
        self._wait(lambda: len(self.matching(pattern)) >= count, f"{count} lines with {pattern!r}", timeout_s)
        return self.matching(pattern)[count - 1]

    def wait(self, timeout_s: float = WAIT_S) -> int:
        """Wait for its end and return its exit code."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not ended within {timeout_s} s; it wrote:\n{self.text}") from None
        self._reader.join(timeout_s)
        return code

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = WAIT_S) -> int:
        """Ask it to end by a signal, and return its exit code."""
        self._process.send_signal(number)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """End it as the system would."""
        self._process.kill()
        self.wait()

    @property
    def text(self) -> str:
        """All lines, as one text."""
        return "\n".join(self.lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.kill()
        self._reader.join(WAIT_S)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._is_at_end = True
            self._changed.notify_all()

    def _wait(self, is_there: Callable[[], bool], what: str, timeout_s: float) -> None:
        with self._changed:  # a Condition's lock is re-entrant
            self._changed.wait_for(lambda: is_there() or self._is_at_end, timeout_s)
            if not is_there():
                ended = "ended" if self._is_at_end else f"took more than {timeout_s} s"
                raise AssertionError(f"no {what}: the program {ended}; it wrote:\n{self.text}")
