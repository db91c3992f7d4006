"""The service's way to the fork server: start it, hand tasks to it, start another one when it has died."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys

SEND_TIMEOUT_S = 5.0
"""How long the service may wait for a fork server that does not read; it reads at once unless it was stopped."""

_CODE = (
    "import json, sys; facts = json.loads(sys.argv[1]); sys.argv[1:] = []; sys.path[:] = facts.pop('path'); "
    "from schedulergodx.service.runner.forkserver import main; main(**facts)"
)


class ForkServerLink:
    """One fork server at a time, started when it is needed. The service's loop uses it, from one thread."""

    def __init__(self, grace_s: float, output_bytes_max: int) -> None:
        self._grace_s = grace_s
        self._output_bytes_max = output_bytes_max
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the fork server, or None while there is none."""
        return None if self._process is None else self._process.pid

    @property
    def is_there(self) -> bool:
        """Whether a fork server was started, and lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start a fork server unless one lives; it gets ready by itself. Raises OSError."""
        if self._process is not None and self._process.poll() is not None:
            self.close(timeout_s=0.0)
        if self._process is not None:
            return
        own, its = socket.socketpair()
        with its:
            facts = {
                "control": its.fileno(),
                "service": os.getpid(),
                "grace_s": self._grace_s,
                "output_bytes_max": self._output_bytes_max,
                "path": sys.path,
            }
            command = [sys.executable, *_interpreter_options(), "-c", _CODE, json.dumps(facts)]
            try:
                # A session of its own: Ctrl-C at the terminal is for the service alone.
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                    command, stdin=subprocess.DEVNULL, pass_fds=[its.fileno()], start_new_session=True
                )
            except BaseException:
                own.close()
                raise
        own.settimeout(SEND_TIMEOUT_S)
        self._control = own

    def send(self, channel: socket.socket, pipe: socket.socket) -> None:
        """Have a task started between these ends, by a new fork server if the old one has died. Raises OSError."""
        self.start()
        try:
            self._send(channel, pipe)
        except OSError:
            self.close(timeout_s=0.0)
            self.start()
            self._send(channel, pipe)

    def _send(self, channel: socket.socket, pipe: socket.socket) -> None:
        if self._control is None:
            raise OSError("the fork server is not there")
        socket.send_fds(self._control, [b"+"], [channel.fileno(), pipe.fileno()])

    def close(self, timeout_s: float) -> None:
        """Let the fork server end, which it does when its socket closes, and wait so long for it before killing it."""
        control, process, self._control, self._process = self._control, self._process, None, None
        if control is not None:
            control.close()
        if process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
            return
        process.kill()
        process.wait()


def _interpreter_options() -> list[str]:
    """Return the options that make another interpreter read, compile and warn as this one does."""
    flags = sys.flags
    options = ["-O"] * flags.optimize
    options += [option for option, is_on in (("-I", flags.isolated), ("-E", flags.ignore_environment)) if is_on]
    options += [f"-W{option}" for option in sys.warnoptions]
    for name, value in sys._xoptions.items():  # noqa: SLF001 - documented by CPython under this name
        options.append(f"-X{name}" if value is True else f"-X{name}={value}")
    return options
