"""The command line: `schedulergodx service`, `tasks`, `show` and `demo`. Only here is logging configured."""

from __future__ import annotations

import argparse
import io
import os
import sys
from typing import TYPE_CHECKING

import schedulergodx
from schedulergodx.cli import demo, look, service, settings
from schedulergodx.cli.exits import EXIT_INTERRUPTED, EXIT_OK, exit_code
from schedulergodx.cli.texts import complain
from schedulergodx.errors import SchedulerError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; each command's help names the codes. Call it from the main thread.

    An error of this library is one line on stderr. `argv` None means the arguments of the program.

    Raises:
        SystemExit: with 2 for wrong usage, and with 0 for `--help` and `--version`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name or a traceback may hold what the terminal cannot show; that is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    arguments = _parse(argv)
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except SchedulerError as error:
        complain(str(error))
        return exit_code(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever reads has seen enough, e.g. `| head`. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    return code


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="schedulergodx",
        description="Send Python functions to a service that runs them now or later, and answers.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"schedulergodx {schedulergodx.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (service, look, demo):
        command.add_to(commands)
    arguments = parser.parse_args(argv)
    try:
        settings.fill(arguments, arguments.settings)
    except argparse.ArgumentTypeError as error:
        arguments.parser.error(str(error))
    return arguments
