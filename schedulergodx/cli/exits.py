"""The exit codes of every command, and the words for them in the help and the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx.errors import BrokerError, InvalidParameter, SchedulerError, StorageError
from schedulergodx.service.signals import EXIT_KILLED

if TYPE_CHECKING:
    from collections.abc import Mapping

EXIT_OK = 0  # done; a service: stopped when asked, and everything handed over
EXIT_UNHEALTHY = 1  # only of `health`: what a container's probe takes for "not well"
EXIT_USAGE = 2  # a wrong option, value or environment variable; argparse's own code
EXIT_BROKER = 3  # the broker refused, the queue is in use, or (demo) the broker was not reached
EXIT_STORAGE = 4  # the database cannot be used; the message names the file and the reason
EXIT_UNFINISHED = 5  # a service: stopped when asked, but some tasks were interrupted, or some answers not sent
EXIT_UNKNOWN_ID = 6  # the database has no task of this id
EXIT_FAILED = 7  # a demo whose outcomes are not the expected ones; any command: an error that has no code of its own
EXIT_INTERRUPTED = 130  # Ctrl-C, as shells know it: 128 and the number of SIGINT

SERVICE_EXITS: Mapping[int, str] = {
    EXIT_OK: "stopped when asked, and everything was handed over",
    EXIT_KILLED: "ended at once by a second signal",
    EXIT_USAGE: "wrong usage: an option, a value or an environment variable",
    EXIT_BROKER: "the broker refused, or another service takes from the queue",
    EXIT_STORAGE: "the database cannot be used",
    EXIT_UNFINISHED: "stopped when asked; some tasks were interrupted, or answers not sent",
    EXIT_FAILED: "any other error; the last line tells",
}
LOOK_EXITS: Mapping[int, str] = {
    EXIT_OK: "shown",
    EXIT_USAGE: "wrong usage: an option, a value or an environment variable",
    EXIT_STORAGE: "the database cannot be read",
}
BACKUP_EXITS: Mapping[int, str] = {
    EXIT_OK: "copied and checked",
    EXIT_USAGE: "wrong usage: an option, a value or an environment variable",
    EXIT_STORAGE: "not copied: the last line says why; nothing is left of the copy",
}
SHOW_EXITS: Mapping[int, str] = {**LOOK_EXITS, EXIT_UNKNOWN_ID: "the database has no task of this id"}
KEYS_EXITS: Mapping[int, str] = {
    EXIT_OK: "done",
    EXIT_USAGE: "wrong usage, or the file cannot be used; nothing was changed",
}
HEALTH_EXITS: Mapping[int, str] = {
    EXIT_OK: "healthy",
    EXIT_UNHEALTHY: "not healthy, or no service runs; the line tells",
    EXIT_USAGE: "wrong usage: an option, a value or an environment variable",
}
DEMO_EXITS: Mapping[int, str] = {
    EXIT_OK: "every task ended as expected",
    EXIT_FAILED: "some task did not, or the service ended early",
    EXIT_USAGE: "wrong usage",
    EXIT_BROKER: "the broker was not reached, or it refused",
    EXIT_INTERRUPTED: "stopped by Ctrl-C or SIGTERM; nothing is left behind",
}


def exit_code(error: SchedulerError) -> int:
    """Return the exit code for a command that ended with `error`."""
    match error:
        case InvalidParameter():
            return EXIT_USAGE
        case BrokerError():
            return EXIT_BROKER
        case StorageError():
            return EXIT_STORAGE
        case _:
            return EXIT_FAILED
