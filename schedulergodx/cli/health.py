"""`schedulergodx health`: whether the service of a database does its work, for people and for a container's probe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from schedulergodx.cli.exits import EXIT_OK, EXIT_UNHEALTHY, HEALTH_EXITS
from schedulergodx.cli.settings import DB
from schedulergodx.cli.texts import add_command, exits_text, printable, write
from schedulergodx.service import health_file
from schedulergodx.utils.storage.files import database_path

if TYPE_CHECKING:
    import argparse

    from schedulergodx.service.health import Health

SETTINGS = (DB,)

_PROBES = """\
  A broker that is away makes a service unhealthy, and it recovers by itself: restart it only
  when --alive says that it is stuck.
    Docker       HEALTHCHECK CMD ["schedulergodx", "health"]
    Kubernetes   readinessProbe: schedulergodx health; livenessProbe: schedulergodx health --alive"""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "health",
        "tell whether the service of a database takes, stores and starts tasks",
        {"probes": _PROBES, "exit codes": exits_text(HEALTH_EXITS)},
    )
    DB.add_to(parser)
    parser.add_argument("--alive", action="store_true", help="ask only whether its loop turns, not for broker and disk")
    parser.add_argument("--json", action="store_true", help="write JSON with all that is known")
    parser.set_defaults(run=run, settings=SETTINGS, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Say in one line how it is, and return 0 if it is well."""
    health, said = _look(arguments.db)
    is_well = health is not None and (health.is_alive if arguments.alive else health.is_healthy)
    if arguments.json:
        data = {} if health is None else health_file.facts(health) | {"problems": health.problems}
        write(json.dumps({"is_healthy": is_well, "summary": said} | data, indent=2))
    else:
        word = "alive" if arguments.alive else "healthy"
        write(printable(f"{'' if is_well else 'not '}{word}: {said}"))
    return EXIT_OK if is_well else EXIT_UNHEALTHY


def _look(database: str) -> tuple[Health | None, str]:
    """Return the health of the service, if it can be known, and one line about it."""
    path = health_file.health_path(database_path(database))
    try:
        health = health_file.read(path)
    except (OSError, ValueError) as error:
        return None, f"its health file cannot be read: {error}"
    if health is None:
        return None, f"no service runs with the database {database}, or it is still starting: {path} does not exist"
    return health, health.summary()
