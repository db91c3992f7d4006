"""`schedulergodx service`: run a service until it is asked to stop."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from typing import TYPE_CHECKING

import schedulergodx
from schedulergodx import transport as transports
from schedulergodx.cli.exits import EXIT_OK, EXIT_UNFINISHED, SERVICE_EXITS
from schedulergodx.cli.settings import SERVICE_SETTINGS
from schedulergodx.cli.texts import add_command, complain, exits_text
from schedulergodx.config import ServiceLimits
from schedulergodx.service.admission import ACCEPTED
from schedulergodx.service.core import Service
from schedulergodx.utils.keys.source import KEY_FILE_VARIABLE, KEYS_VARIABLE
from schedulergodx.utils.logger import LINE_FORMAT
from schedulergodx.utils.storage import DB

if TYPE_CHECKING:
    from schedulergodx.service.stopping import StopReport

_SIGNALS = """\
  SIGTERM, Ctrl-C   stop: take no more, let running tasks end within the grace,
                    send the last answers, leave
  a second one      end at once; what ran counts as interrupted at the next start
  SIGHUP            read the key file again, where there is one"""
_EXAMPLES = """\
  schedulergodx service
  schedulergodx service --url sqlite:///queues.db --db tasks.db
  SCHEDULERGODX_URL=amqp://me:secret@rabbit.example/ schedulergodx service"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "service",
        "run a service: it stores tasks, runs them, and answers",
        {"signals": _SIGNALS, "exit codes": exits_text(SERVICE_EXITS), "examples": _EXAMPLES},
    )
    for setting in SERVICE_SETTINGS:
        setting.add_to(parser)
    parser.add_argument(
        "--keys",
        metavar="FILE",
        help="the key file that messages are signed with, read again at SIGHUP; `schedulergodx keys new` makes one "
        f"[{KEY_FILE_VARIABLE}, or the keys themselves in {KEYS_VARIABLE}; default: none]",
    )
    parser.add_argument(
        "--only",
        action="append",
        type=_function,
        metavar="MODULE:FUNCTION",
        help='run this function alone, launched by its name (by="name"), and unpickle nothing; may be given several '
        "times",
    )
    parser.add_argument(
        "--accept-older-database",
        action="store_true",
        help="open the database even though it is an older one than was here, or a backup: what was accepted since "
        "then stays lost, and what has run since then may run again; to be said once",
    )
    parser.set_defaults(run=run, settings=SERVICE_SETTINGS, parser=parser)


def _function(text: str) -> object:
    """Return the function that the operator names. Raises argparse.ArgumentTypeError."""
    module, _, names = text.partition(":")
    try:
        found: object = importlib.import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
    except (ImportError, ValueError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f"{text[:100]!r} is no MODULE:FUNCTION to be had here: {error}") from error
    return found


def run(arguments: argparse.Namespace) -> int:
    """Run the service and return how it ended. It logs to stderr.

    Raises:
        SchedulerError: it could not start, or cannot go on.
    """
    logging.basicConfig(stream=sys.stderr, level=arguments.log_level, format=LINE_FORMAT)
    service = Service(
        name=arguments.name,
        db=DB(arguments.db, accepts_older=arguments.accept_older_database),
        url=arguments.url,
        request_queue=arguments.request_queue,
        threads=arguments.threads,
        processes=arguments.processes,
        standby=arguments.standby,
        queue_type=arguments.queue_type,
        keys=arguments.keys,
        allow_unsigned=arguments.allow_unsigned,
        accept={"ref"} if arguments.only else ACCEPTED,
        tasks=arguments.only or (),
        limits=ServiceLimits(stop_grace_s=arguments.stop_grace),
    )
    complain(
        f"{schedulergodx.__version__}, process {os.getpid()}: service {arguments.name!r} takes tasks from queue "
        f"{arguments.request_queue!r} of {transports.address(arguments.url)} into {arguments.db}; "
        "Ctrl-C or SIGTERM stops it"
    )
    return conclude(service.start())


def conclude(report: StopReport) -> int:
    """Say what was not handed over, if anything, and return the exit code."""
    if report.is_clean:
        return EXIT_OK
    if report.interrupted:
        complain(f"{len(report.interrupted)} tasks were interrupted: {', '.join(report.interrupted)}")
    if report.unsent_replies:
        complain(f"{report.unsent_replies} answers were not sent; they go out at the next start")
    return EXIT_UNFINISHED
