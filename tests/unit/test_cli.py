"""The command line without a broker: options, the environment, help, exit codes, and looking into a database."""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from schedulergodx import cli
from schedulergodx.cli import exits, settings, texts
from schedulergodx.cli import service as service_command
from schedulergodx.config import ServiceLimits
from schedulergodx.errors import BrokerRefused, Closed, DatabaseFull, InvalidParameter, QueueInUse
from schedulergodx.rules.lifecycle import Code, Report
from schedulergodx.service.health import Health
from schedulergodx.service.health_file import HealthFile
from schedulergodx.service.stopping import StopReport
from schedulergodx.utils.logger import CoreLogger
from schedulergodx.utils.storage import DB
from schedulergodx.utils.storage.reader import reader
from schedulergodx_testing.contracts.stored_tasks import DONE, NOON, add, make_task, run

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE_DEFAULTS = {
    "url": None,
    "db": "SchedulerGodX.db",
    "threads": ServiceLimits().threads,
    "processes": ServiceLimits().processes,
    "name": "service",
    "request_queue": "client-service",
    "stop_grace": ServiceLimits().stop_grace_s,
    "log_level": logging.INFO,
    "standby": False,
    "queue_type": "classic",
    "allow_unsigned": False,
}
GIVEN = {
    "url": ("amqp://me:secret@rabbit.example/", "amqp://me:secret@rabbit.example/"),
    "db": ("sqlite:///other.db", "sqlite:///other.db"),
    "threads": ("3", 3),
    "processes": ("4", 4),
    "name": ("mine", "mine"),
    "request_queue": ("my-queue", "my-queue"),
    "stop_grace": ("0.5", 0.5),
    "log_level": ("Debug", logging.DEBUG),
    "standby": ("yes", True),
    "queue_type": ("quorum", "quorum"),
    "allow_unsigned": ("on", True),
}
WRONG = {
    "url": "http://me:secret@rabbit.example/",
    "db": ":memory:",
    "threads": "0",
    "processes": "many",
    "name": "a\nb",
    "request_queue": "amq.mine",
    "stop_grace": "nan",
    "log_level": "loud",
    "standby": "perhaps",
    "queue_type": "stream",
    "allow_unsigned": "perhaps",
}


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set where the tests run is none of their business."""
    for name in [name for name in os.environ if name.startswith("SCHEDULERGODX_")]:
        monkeypatch.delenv(name)


def variable(name: str) -> str:
    return f"SCHEDULERGODX_{name.upper()}"


def parsed(*argv: str) -> dict[str, object]:
    arguments = vars(cli._parse(["service", *argv]))
    return {name: arguments[name] for name in SERVICE_DEFAULTS}


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[str]:
    """Give a database in use, with a task that waits, one that raised and one that is done."""
    path = tmp_path / "tasks.db"
    db = DB(path)
    db.open(owner="tests", now=NOON)
    add(db, make_task("waits"))
    failed = Report(
        code=Code.ERROR_IN_TASK, exception_type="ValueError", message="no \x1b[2J", traceback="Traceback:\n  here"
    )
    run(db, make_task("failed"), failed)
    run(db, replace(make_task("done"), name="evil\x1b[2J"), DONE)
    yield str(path)
    db.close()


# --- Options and the environment


def test_the_defaults_are_those_of_the_library() -> None:
    """Without options and variables a service is what `Service()` is."""
    assert parsed() == SERVICE_DEFAULTS
    assert {setting.name for setting in settings.SERVICE_SETTINGS} == set(SERVICE_DEFAULTS)


@pytest.mark.parametrize("name", GIVEN)
def test_the_environment_gives_what_no_option_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option has a variable; an empty one counts as none."""
    text, value = GIVEN[name]
    monkeypatch.setenv(variable(name), text)
    assert parsed() == SERVICE_DEFAULTS | {name: value}
    monkeypatch.setenv(variable(name), "")
    assert parsed() == SERVICE_DEFAULTS


@pytest.mark.parametrize("name", GIVEN)
def test_the_option_wins(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the command is taken, even when the variable is wrong."""
    text, value = GIVEN[name]
    monkeypatch.setenv(variable(name), WRONG[name])
    flag = f"--{name.replace('_', '-')}"
    assert parsed(flag, *([] if name in {"standby", "allow_unsigned"} else [text])) == SERVICE_DEFAULTS | {name: value}


def test_the_operator_names_the_functions_that_run() -> None:
    """They are imported; what cannot be is refused with its name."""
    arguments = cli._parse(["service", "--only", "json:loads", "--only", "os:path.join", "--keys", "/keys"])
    assert arguments.only == [json.loads, os.path.join]
    assert arguments.keys == "/keys"
    for wrong in ("json", "json:", "no_such_module:f", "json:no_such", ":f"):
        with pytest.raises(SystemExit):
            cli._parse(["service", "--only", wrong])


def test_an_option_can_switch_off_what_the_environment_switches_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--no-standby` wins over SCHEDULERGODX_STANDBY=1."""
    monkeypatch.setenv("SCHEDULERGODX_STANDBY", "1")
    assert parsed("--no-standby")["standby"] is False


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_variable_is_refused_by_its_name(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 2 and the message names the variable, but shows no password."""
    monkeypatch.setenv(variable(name), WRONG[name])
    with pytest.raises(SystemExit) as ended:
        cli.main(["service"])
    assert ended.value.code == exits.EXIT_USAGE
    error = capsys.readouterr().err
    assert f"environment variable {variable(name)}: " in error
    assert "secret" not in error


@pytest.mark.parametrize("name", [name for name in WRONG if name not in {"standby", "allow_unsigned"}])
def test_a_wrong_option_is_refused_by_its_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 2 and the message names the option, but shows no password."""
    flag = f"--{name.replace('_', '-')}"
    with pytest.raises(SystemExit) as ended:
        cli.main(["service", flag, WRONG[name]])
    assert ended.value.code == exits.EXIT_USAGE
    error = capsys.readouterr().err
    assert f"argument {flag}: " in error
    assert "secret" not in error


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["dance"],
        ["service", "--thread", "3"],
        ["service", "extra"],
        ["tasks", "--limit", "0"],
        ["tasks", "--status", "gone"],
        ["show"],
        ["demo", "--url", "memory://"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Missing and unknown commands, abbreviated options and bad values end before anything happens."""
    with pytest.raises(SystemExit) as ended:
        cli.main(argv)
    assert ended.value.code == exits.EXIT_USAGE
    assert "usage: schedulergodx" in capsys.readouterr().err


def test_the_help_names_variables_defaults_signals_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """An operator finds in `service --help` all that can be set, and all that the exit code can say."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["service", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
    for setting in settings.SERVICE_SETTINGS:
        assert setting.flag in words
        assert f"{setting.variable}; default: " in words
    for code, meaning in exits.SERVICE_EXITS.items():
        assert f"  {code:<4} {meaning}\n" in text
    assert "SIGTERM, Ctrl-C" in words
    assert "a second one" in words


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        ("tasks", exits.LOOK_EXITS),
        ("show", exits.SHOW_EXITS),
        ("backup", exits.BACKUP_EXITS),
        ("demo", exits.DEMO_EXITS),
    ],
)
def test_every_help_fits_into_80_columns_and_ends_in_examples(
    command: str, codes: dict[int, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The help of each command can be read on a small terminal, and its last lines can be pasted."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("  schedulergodx ")
    assert all(f"  {code:<4} {meaning}" in lines for code, meaning in codes.items())


# --- Exit codes of errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidParameter("x"), exits.EXIT_USAGE),
        (BrokerRefused("x"), exits.EXIT_BROKER),
        (QueueInUse("x"), exits.EXIT_BROKER),
        (DatabaseFull("x"), exits.EXIT_STORAGE),
        (Closed("x"), exits.EXIT_FAILED),
    ],
)
def test_each_kind_of_error_has_its_code(error: Exception, code: int) -> None:
    """What a script has to tell apart has different exit codes."""
    assert exits.exit_code(error) == code


def test_every_exit_code_has_one_meaning() -> None:
    """That a second signal ended a service is no error without a code of its own, and neither is a traceback, 1.

    Only `health` uses 1 otherwise: that is what a container's probe asks for.
    """
    codes = {name: value for name, value in vars(exits).items() if name.startswith("EXIT_")}
    assert codes.pop("EXIT_UNHEALTHY") == codes["EXIT_KILLED"]
    assert len(set(codes.values())) == len(codes), codes


def test_ctrl_c_while_a_command_is_loaded_is_quiet() -> None:
    """Importing takes a moment, and Ctrl-C in it is an exit code as later, not a traceback."""
    program = """
import sys, signal
class Interrupts:
    def find_spec(self, name, *_):
        if name == "schedulergodx.cli.settings":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from schedulergodx.cli import main
sys.exit(main(["service"]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (exits.EXIT_INTERRUPTED, "")


@pytest.mark.parametrize("kind", ["missing folder", "folder", "not a database"])
def test_a_database_that_cannot_be_used(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The service, `tasks` and `show` end with 4 and one line that names the file."""
    path = tmp_path / "missing" / "tasks.db" if kind == "missing folder" else tmp_path / "tasks.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "not a database":
        path.write_text("a letter " * 1000)
    for argv in (["service", "--url", f"sqlite:///{tmp_path}/queues.db"], ["tasks"], ["show", "x"]):
        assert cli.main([*argv, "--db", str(path)]) == exits.EXIT_STORAGE
        *_banner, error = capsys.readouterr().err.splitlines()
        assert error.startswith("schedulergodx: the database ")
        assert str(path) in error


def test_how_a_service_stopped_is_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """A clean stop says nothing; what was interrupted or not sent is told and is another code."""
    assert service_command.conclude(StopReport()) == exits.EXIT_OK
    assert capsys.readouterr().err == ""
    assert service_command.conclude(StopReport(interrupted=("a", "b"))) == exits.EXIT_UNFINISHED
    assert "2 tasks were interrupted: a, b" in capsys.readouterr().err
    assert service_command.conclude(StopReport(unsent_replies=3)) == exits.EXIT_UNFINISHED
    assert "3 answers were not sent" in capsys.readouterr().err


# --- Looking into a database that a service has open


def test_tasks_lists_the_newest_first(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of all columns in a pipe, with how many there are of each status."""
    assert cli.main(["tasks", "--db", stored]) == exits.EXIT_OK
    titles, *rows, numbers = capsys.readouterr().out.splitlines()
    assert titles.split() == ["id", "status", "code", "name", "run", "at", "started", "ended", "client"]
    assert [row.split()[:3] for row in rows] == [
        ["done", "COMPLETED", "OK"],
        ["failed", "ERROR", "ERROR_IN_TASK"],
        ["waits", "WAITING", "-"],
    ]
    assert numbers == "3 of 3 tasks (1 WAITING, 1 COMPLETED, 1 ERROR); moments are in UTC"


def test_tasks_tells_of_runs_that_go_on(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Soft tasks that overran have ended in the list; that they go on in the service stands below it."""
    logger = CoreLogger(logging.getLogger("cli"), "core")
    file = HealthFile(Path(stored), logger)
    file.beat(lambda: Health(service="shop", at=NOON, phase="running", abandoned=2, abandoned_max=40))
    cli.main(["tasks", "--db", stored])
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 soft tasks that overran their lifetime still go on")
    file.remove()
    cli.main(["tasks", "--db", stored])
    assert "still go on" not in capsys.readouterr().out


def test_a_narrow_terminal_gets_what_fits(
    stored: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In 80 columns no line is longer, ids stay whole, and what was left out is named."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    cli.main(["tasks", "--db", stored])
    *lines, last = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert last.startswith("No room here for client")
    assert lines[1].startswith("done  ")


@pytest.mark.slow
def test_whoever_reads_may_stop_reading(stored: str) -> None:
    """`schedulergodx tasks | head -0` is no error."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "schedulergodx", "tasks", "--db", stored]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (exits.EXIT_OK, b"")


def test_tasks_can_be_chosen(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By status, several times, and by number."""
    cli.main(["tasks", "--db", stored, "--json", "--status", "waiting", "--status", "ERROR"])
    assert [task["id"] for task in json.loads(capsys.readouterr().out)] == ["failed", "waits"]
    cli.main(["tasks", "--db", stored, "--json", "--limit", "1"])
    assert [task["id"] for task in json.loads(capsys.readouterr().out)] == ["done"]


def test_show_tells_everything(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The traceback included; JSON says the same."""
    assert cli.main(["show", "failed", "--db", stored]) == exits.EXIT_OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["traceback", "  Traceback:", "    here"]
    assert "exception  ValueError" in lines
    assert cli.main(["show", "failed", "--db", stored, "--json"]) == exits.EXIT_OK
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["code"], told["exception_type"]) == ("ERROR", "ERROR_IN_TASK", "ValueError")
    assert told["traceback"] == "Traceback:\n  here"
    assert told["started_at"].endswith("Z")


def test_nobody_writes_to_the_terminal_of_whoever_looks(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences in names and messages come out as text."""
    for argv in (["tasks"], ["show", "failed"], ["show", "done"]):
        cli.main([*argv, "--db", stored])
        text = capsys.readouterr().out
        assert "\x1b" not in text
        assert r"\x1b[2J" in text


def test_an_unknown_id_is_exit_code_6(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With a sentence on stderr and nothing on stdout."""
    assert cli.main(["show", "nobody", "--db", stored, "--json"]) == exits.EXIT_UNKNOWN_ID
    said = capsys.readouterr()
    assert said.out == ""
    assert "has no task 'nobody'" in said.err


def test_a_backup_tells_what_it_holds_and_replaces_nothing(
    stored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line with the copy and its tasks; the second time exit code 4."""
    copy = tmp_path / "a copy.db"
    assert cli.main(["backup", str(copy), "--db", stored]) == exits.EXIT_OK
    with reader(stored) as view, reader(copy) as copied:
        assert copied.tasks(limit=99) == view.tasks(limit=99)
        tasks = sum(view.counts().values())
    assert capsys.readouterr().out == f"{copy}: {tasks} tasks, {copy.stat().st_size} bytes, checked\n"
    assert cli.main(["backup", str(copy), "--db", stored]) == exits.EXIT_STORAGE
    assert "not touched" in capsys.readouterr().err


def test_the_database_can_come_from_the_environment(
    stored: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An operator sets SCHEDULERGODX_DB once, for the service and for looking."""
    monkeypatch.setenv("SCHEDULERGODX_DB", stored)
    assert cli.main(["show", "done"]) == exits.EXIT_OK
    assert "COMPLETED" in capsys.readouterr().out


# --- Texts


def test_a_table_gives_up_columns_only_when_it_has_to() -> None:
    """First it shrinks what may shrink, keeping the ends; then it drops what may go, and says so."""
    columns = [
        texts.Column(title="id"),
        texts.Column(title="name", shrinks_to=6),
        texts.Column(title="client", drops=1),
    ]
    rows = [["1234", "shop.tasks.remind", "somebody"]]
    assert texts.table(columns, rows, width=None)[0][1] == "1234  shop.tasks.remind  somebody"
    assert texts.table(columns, rows, width=24) == (
        ["id    name      client", "1234  ..remind  somebody"],
        [],
    )
    assert texts.table(columns, rows, width=20) == (["id    name", "1234  ..tasks.remind"], ["client"])
    assert texts.table(columns, rows, width=3) == (["id    name", "1234  ..mind"], ["client"])


def test_a_moment_has_its_date_unless_it_is_today() -> None:
    """Short where it is clear."""
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert texts.moment_text(None, now=now) == "-"
    assert texts.moment_text(now, now=now) == "03:04:05"
    assert texts.moment_text(now + timedelta(days=1), now=now) == "2026-01-03 03:04"


def test_a_number_that_is_none_is_refused_with_its_bounds() -> None:
    """The message says what would be right."""
    with pytest.raises(argparse.ArgumentTypeError, match="from 1 to 9 is needed, got 'ten'"):
        settings.whole_number("ten", least=1, most=9)
