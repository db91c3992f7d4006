"""`schedulergodx backup`: a consistent copy of a service's database, which may be running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx.cli.exits import BACKUP_EXITS, EXIT_OK
from schedulergodx.cli.settings import DB, database
from schedulergodx.cli.texts import add_command, exits_text, printable, write
from schedulergodx.clock import SystemClock
from schedulergodx.utils.storage.backup import backup
from schedulergodx.utils.storage.reader import reader

if TYPE_CHECKING:
    import argparse

SETTINGS = (DB,)
_RESTORING = """\
  Stop the service; move its database, -wal and -shm away; put the copy there;
  start the service with --accept-older-database. What was accepted after the
  copy is not in it, and what ran after it may run again."""
_EXAMPLES = "  schedulergodx backup /backups/tasks-$(date +%F).db --db tasks.db"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "backup",
        "copy a service's database, also while it runs, and check the copy",
        {"restoring": _RESTORING, "exit codes": exits_text(BACKUP_EXITS), "examples": _EXAMPLES},
    )
    parser.add_argument("file", metavar="FILE", type=database, help="the copy; there must be nothing yet")
    DB.add_to(parser)
    parser.set_defaults(run=run, settings=SETTINGS, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Make a backup. Raises StorageError."""
    copy = backup(arguments.db, arguments.file, now=SystemClock().now())
    with reader(copy) as view:
        tasks = sum(view.counts().values())
    write(printable(f"{copy}: {tasks} tasks, {copy.stat().st_size} bytes, checked"))
    return EXIT_OK
