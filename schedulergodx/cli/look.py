"""`schedulergodx tasks` and `schedulergodx show`: look into the database of a service, which may be running."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from schedulergodx.cli.exits import EXIT_OK, EXIT_UNKNOWN_ID, LOOK_EXITS, SHOW_EXITS
from schedulergodx.cli.settings import DB, whole_number
from schedulergodx.cli.texts import (
    Column,
    add_command,
    complain,
    exits_text,
    facts_text,
    moment_text,
    printable,
    table,
    write,
)
from schedulergodx.clock import SystemClock
from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.service import health_file
from schedulergodx.utils.message.envelope import moment_text as moment_json
from schedulergodx.utils.storage.files import database_path
from schedulergodx.utils.storage.reader import reader

if TYPE_CHECKING:
    from datetime import datetime

    from schedulergodx.rules.tasks import TaskState

LIMIT = 50
LIMIT_MAX = 1_000_000
SETTINGS = (DB,)

_COLUMNS = (
    Column(title="id"),
    Column(title="status"),
    Column(title="code"),
    Column(title="name", shrinks_to=14),
    Column(title="run at"),
    Column(title="started", drops=2),
    Column(title="ended", drops=1),
    Column(title="client", shrinks_to=8, drops=3),
)
_TASKS_EXAMPLES = """\
  schedulergodx tasks --status error --status overdue
  schedulergodx tasks --json --limit 1000 | jq '.[].name'"""
_SHOW_EXAMPLES = "  schedulergodx show 01M8664H62JXK0N97ZPKAVM73Z --db tasks.db"


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add both commands."""
    tasks = add_command(
        commands,
        "tasks",
        "list the newest tasks in a service's database; never arguments",
        {"exit codes": exits_text(LOOK_EXITS), "examples": _TASKS_EXAMPLES},
    )
    tasks.add_argument(
        "--status",
        action="append",
        type=_status,
        metavar="STATUS",
        help=f"only these; may be given several times: {', '.join(status.name.lower() for status in TaskStatus)}",
    )
    tasks.add_argument(
        "--limit",
        type=partial(whole_number, least=1, most=LIMIT_MAX),
        default=LIMIT,
        metavar="N",
        help=f"how many at most [default: {LIMIT}]",
    )
    tasks.set_defaults(run=run_tasks, settings=SETTINGS, parser=tasks)
    show = add_command(
        commands,
        "show",
        "show all that a service's database has of one task; no arguments",
        {"exit codes": exits_text(SHOW_EXITS), "examples": _SHOW_EXAMPLES},
    )
    show.add_argument("id", metavar="ID", help="the id that launch() returned, as the logs name it")
    show.set_defaults(run=run_show, settings=SETTINGS, parser=show)
    for parser in (tasks, show):
        DB.add_to(parser)
        parser.add_argument("--json", action="store_true", help="write JSON, moments in UTC")


def _status(text: str) -> TaskStatus:
    try:
        return TaskStatus[text.upper()]
    except KeyError:
        known = ", ".join(status.name.lower() for status in TaskStatus)
        raise argparse.ArgumentTypeError(f"one of {known} is needed, got {text[:40]!r}") from None


def run_tasks(arguments: argparse.Namespace) -> int:
    """List tasks. Raises StorageError."""
    with reader(arguments.db) as view:
        states = view.tasks(limit=arguments.limit, statuses=arguments.status or ())
        counts = view.counts()
    if arguments.json:
        write(json.dumps([_listed(state) for state in states], indent=2))
        return EXIT_OK
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    now = SystemClock().now()
    lines, left_out = table(_COLUMNS, [_row(state, now) for state in states], width=width)
    numbers = ", ".join(f"{number} {status.name}" for status, number in counts.items() if number)
    write(*lines)
    write(f"{len(states)} of {sum(counts.values())} tasks{numbers and f' ({numbers})'}; moments are in UTC")
    if abandoned := _abandoned(arguments.db):
        write(f"{abandoned} soft tasks that overran their lifetime still go on in the service; they have ended here")
    if left_out:
        write(f"No room here for {', '.join(left_out)}: a wider terminal, a pipe or --json has them.")
    return EXIT_OK


def _abandoned(database: str) -> int:
    """Return how many runs go on after their outcome, as the service last told; 0 when none runs."""
    try:
        health = health_file.read(health_file.health_path(database_path(database)))
    except (OSError, ValueError):
        return 0
    return 0 if health is None else health.abandoned


def run_show(arguments: argparse.Namespace) -> int:
    """Show one task. Raises StorageError."""
    with reader(arguments.db) as view:
        state = view.find(arguments.id)
    if state is None:
        complain(
            f"{arguments.db} has no task {arguments.id!r}: it was never stored there, or its outcome was kept for its "
            "time and is forgotten"
        )
        return EXIT_UNKNOWN_ID
    if arguments.json:
        write(json.dumps(_all(state), indent=2))
    else:
        write(*facts_text(_facts(state)))
    return EXIT_OK


def _row(state: TaskState, now: datetime) -> list[str]:
    outcome = state.outcome
    return [
        printable(state.message_id),
        state.status.name,
        "-" if outcome is None else outcome.code.value,
        printable(state.name),
        moment_text(state.run_at, now=now),
        moment_text(state.started_at, now=now),
        moment_text(None if outcome is None else outcome.ended_at, now=now),
        printable(state.client),
    ]


def _listed(state: TaskState) -> dict[str, Any]:
    """Return what the list has of a task, as JSON data."""
    outcome = state.outcome
    return {
        "id": state.message_id,
        "status": state.status.name,
        "code": None if outcome is None else outcome.code.value,
        "name": state.name,
        "client": state.client,
        "is_hard": state.is_hard,
        "issued_at": _json(state.issued_at),
        "run_at": _json(state.run_at),
        "started_at": _json(state.started_at),
        "ended_at": _json(None if outcome is None else outcome.ended_at),
        "starts": state.starts,
    }


def _all(state: TaskState) -> dict[str, Any]:
    """Return all that is known of a task, as JSON data; the result as it travelled, see `utils.message.results`."""
    report = None if state.outcome is None else state.outcome.report
    return _listed(state) | {
        "result": None if report is None or report.result is None else json.loads(report.result),
        "exception_type": None if report is None else report.exception_type,
        "message": None if report is None else report.message,
        "traceback": None if report is None else report.traceback,
    }


def _json(moment: datetime | None) -> str | None:
    return None if moment is None else moment_json(moment)


def _facts(state: TaskState) -> dict[str, str]:
    """Return all that is known of a task, for people; what is not known yet is left out."""
    outcome = state.outcome
    facts = {
        "id": state.message_id,
        "status": state.status.name,
        "code": "" if outcome is None else outcome.code.value,
        "name": state.name,
        "client": state.client,
        "runs in": "a process (hard)" if state.is_hard else "a thread (soft)",
        "issued": _full(state.issued_at),
        "run at": _full(state.run_at),
        "started": _full(state.started_at),
        "ended": _full(None if outcome is None else outcome.ended_at),
        "ran": _ran(state),
        "starts": str(state.starts),
    }
    if outcome is not None:
        facts |= {
            "result": outcome.report.result or "",
            "exception": outcome.report.exception_type,
            "message": outcome.report.message,
            "traceback": outcome.report.traceback,
        }
    return {name: value for name, value in facts.items() if value}


def _full(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S.%f} UTC"


def _ran(state: TaskState) -> str:
    if state.outcome is None or state.outcome.ended_at is None or state.started_at is None:
        return ""
    return f"{(state.outcome.ended_at - state.started_at).total_seconds():.3f} s"
