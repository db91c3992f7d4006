"""The command line: `schedulergodx service`, `health`, `tasks` and others. Only here is logging configured."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import TYPE_CHECKING

from schedulergodx.errors import SchedulerError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import TextIO

__all__ = ["main"]

_STDERR = 2
_LEAVE_S = 5.0
"""For what a command's tasks have left behind, after the command is done."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; each command's help names the codes. Call it from the main thread.

    An error of this library is one line on stderr. `argv` None means the arguments of the program, which is to end
    after that: should something keep it from ending, it is ended after a few seconds.

    Raises:
        SystemExit: with 2 for wrong usage, and with 0 for `--help` and `--version`.
    """
    code = _run(argv)
    if argv is None:
        _let_go_of_streams()
        _leave_soon(code)
    return code


def _run(argv: Sequence[str] | None) -> int:
    _keep_standard_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name or a traceback may hold what the terminal cannot show; that is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = _parse(argv)
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except SchedulerError as error:
        from schedulergodx.cli import exits, texts  # noqa: PLC0415 - see _parse

        texts.complain(str(error))
        return exits.exit_code(error)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever reads has seen enough, e.g. `| head`. Python would complain once more when it flushes at the end.
        _point_nowhere(sys.stdout)
        return 0
    return code


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    import argparse  # noqa: PLC0415 - all of this takes a while, in which Ctrl-C shall end it as it does later

    import schedulergodx  # noqa: PLC0415
    from schedulergodx.cli import backup, demo, health, keys, look, service, settings  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        prog="schedulergodx",
        description="Send Python functions to a service that runs them now or later, and answers.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"schedulergodx {schedulergodx.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (service, health, look, backup, keys, demo):
        command.add_to(commands)
    arguments = parser.parse_args(argv)
    try:
        settings.fill(arguments, arguments.settings)
    except argparse.ArgumentTypeError as error:
        arguments.parser.error(str(error))
    return arguments


def _keep_standard_streams() -> None:
    """Open what was closed when the program was started: else a socket or a file becomes stderr, and gets its lines."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: PTH123, SIM115 - for the rest of the program
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: PTH123, SIM115


def _let_go_of_streams() -> None:
    """Forget what a full disk did not take: Python would try it again at the end, and make the exit code 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _point_nowhere(stream)


def _point_nowhere(stream: TextIO) -> None:
    """Let what is left in a stream's buffer go to the null device."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _leave_soon(code: int) -> None:
    """End the process after a while: Python waits for threads and processes that a task started, as long as they run.

    An alarm needs no thread, and interrupts every wait of the main one.
    """
    if not hasattr(signal, "setitimer"):
        return

    def leave(_number: int, _frame: object) -> None:
        os.write(2, b"schedulergodx: ended without waiting longer for threads or processes that a task has started\n")
        os._exit(code)

    signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, _LEAVE_S)
