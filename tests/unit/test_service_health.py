"""What a service tells about itself: in the process, in its health file, and by `schedulergodx health`."""

from __future__ import annotations

import json
import logging
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from schedulergodx import Client, Service, cli
from schedulergodx.cli import exits
from schedulergodx.errors import DatabaseFull
from schedulergodx.service import health_file
from schedulergodx.service.health import STUCK_S, UNANSWERED_S, Health
from schedulergodx.service.health_file import HealthFile, health_path
from schedulergodx.utils.abstractions import ConnectionState, ConnectionStatus, ConsumingStatus
from schedulergodx.utils.logger import CoreLogger
from schedulergodx_testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.doubles import Bench

UP = ConnectionStatus(state=ConnectionState.UP, broker="amqp://guest@rabbit:5672/")
AWAY = replace(UP, state=ConnectionState.RECOVERING, attempts=3, reason="connection refused")
WELL = Health(
    service="shop",
    at=datetime(2030, 1, 1, tzinfo=UTC),
    phase="running",
    turned_s_ago=0.1,
    consuming=ConsumingStatus(connection=UP, is_consuming=True, answered_s_ago=3.0),
    publishing=UP,
    running=2,
    waiting=5,
    abandoned=1,
    abandoned_max=32,
)


def consuming(**changes: Any) -> ConsumingStatus:
    assert WELL.consuming is not None
    return replace(WELL.consuming, **changes)


def test_a_service_that_does_its_work_is_healthy() -> None:
    """One line says what it does."""
    assert WELL.is_alive
    assert WELL.is_healthy
    assert WELL.summary() == "service shop takes tasks; 2 run, 5 wait, 1 went on after their time"


def test_a_standby_is_healthy() -> None:
    """It waits for another service's end, which is its work."""
    waits = replace(WELL, consuming=consuming(is_consuming=False, is_waiting=True))
    assert waits.is_healthy
    assert "waits as a standby" in waits.summary()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"turned_s_ago": STUCK_S + 12}, "the loop is stuck: its last turn was 42 s ago"),
        ({"phase": "done"}, "has stopped"),
    ],
)
def test_a_loop_that_does_not_turn_is_not_alive(changes: dict[str, Any], words: str) -> None:
    """Then nothing but a new process helps."""
    stuck = replace(WELL, **changes)
    assert not stuck.is_alive
    assert not stuck.is_healthy
    assert words in stuck.summary()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"storage_error": "the disk of /srv is full"}, "nothing can be stored: the disk of /srv is full"),
        ({"consuming": consuming(connection=AWAY)}, "is recovering after 3 attempts (connection refused)"),
        ({"consuming": consuming(is_consuming=False)}, "is connected, and delivers nothing"),
        ({"consuming": consuming(answered_s_ago=UNANSWERED_S + 1)}, "has not answered for 46 s"),
        ({"consuming": consuming(answered_s_ago=None)}, "has not answered yet"),
        ({"publishing": replace(UP, state=ConnectionState.BLOCKED)}, "answers wait"),
        ({"publishing": replace(AWAY, state=ConnectionState.CONNECTING)}, "answers wait"),
        ({"abandoned": 32}, "32 soft tasks went on after their time"),
        ({"phase": "draining"}, "it is being stopped (draining)"),
        ({"phase": "new"}, "it is not open yet"),
    ],
)
def test_what_keeps_it_from_its_work_is_named(changes: dict[str, Any], words: str) -> None:
    """It is alive, so that nobody restarts it for what passes by itself, and it is not healthy."""
    ill = replace(WELL, **changes)
    assert ill.is_alive
    assert not ill.is_healthy
    assert words in ill.summary()


def test_the_connection_for_answers_begins_with_the_first_one() -> None:
    """Until then it is no problem that there is none."""
    assert replace(WELL, publishing=replace(UP, state=ConnectionState.CONNECTING)).is_healthy


def test_a_service_tells_its_state(make_bench: Callable[..., Bench]) -> None:
    """Before it is open, while it runs, while its disk is full, and after its end."""
    bench = make_bench()
    assert bench.service.health().phase == "new"
    bench.open()
    bench.launch("a")
    bench.launch("b", delay_s=100.0)
    bench.turn()
    health = bench.service.health()
    assert (health.phase, health.running, health.problems) == ("running", 1, ())
    assert health.turned_s_ago is not None
    bench.wait(seconds=100)
    assert bench.service.health().waiting in {0, 1}
    bench.storage.failure = DatabaseFull("the disk is full")
    bench.turn()
    assert bench.service.health().problems == ("nothing can be stored: the disk is full",)
    bench.storage.failure = None
    bench.service.close()
    assert bench.service.health().phase == "done"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """The clock of health files."""
    fake = FakeClock()
    monkeypatch.setattr(health_file, "_clock", fake)
    return fake


def written(database: Path, health: Health) -> Path:
    """Write a health file as a running service does; return its path."""
    HealthFile(database, CoreLogger(logging.getLogger("test"), "core")).beat(lambda: health)
    return health_path(database)


def test_the_file_says_the_same_and_grows_older(tmp_path: Path, clock: FakeClock) -> None:
    """A loop that does not write any more is seen to be stuck."""
    path = written(tmp_path / "tasks.db", WELL)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    clock.advance(seconds=100)
    health = health_file.read(path)
    assert health is not None
    assert health.turned_s_ago is not None
    assert health.consuming is not None
    assert health.turned_s_ago == pytest.approx(100.1)
    assert health.consuming.answered_s_ago == pytest.approx(103)
    assert replace(health, turned_s_ago=0.1, consuming=WELL.consuming) == WELL
    assert not health.is_alive


def test_a_file_from_before_a_restart_of_the_machine_is_old(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monotonic clock begins anew there."""
    clock.advance(hours=1)
    path = written(tmp_path / "tasks.db", WELL)
    monkeypatch.setattr(health_file, "_clock", FakeClock())
    health = health_file.read(path)
    assert health is not None
    assert not health.is_alive


def test_the_file_is_not_written_all_the_time(tmp_path: Path, clock: FakeClock) -> None:
    """A busy loop asks at each turn; the health is made once in a while."""
    made: list[Health] = []
    file = HealthFile(tmp_path / "tasks.db", CoreLogger(logging.getLogger("test"), "core"))
    for _ in range(100):
        file.beat(lambda: made.append(WELL) or WELL)
    assert len(made) == 1
    file.remove()
    assert not health_path(tmp_path / "tasks.db").exists()
    file.remove()


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The service says so once, and works."""
    file = HealthFile(tmp_path / "missing" / "tasks.db", CoreLogger(logging.getLogger("test"), "core"))
    for _ in range(3):
        file.beat(lambda: WELL)
        file._next_at = 0.0
    assert caplog.text.count("cannot be written") == 1


@pytest.mark.parametrize("content", [b"", b"Dear Sir or Madam", b"00000000 {}\n", b"\xff\xfe"])
def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one that is half old and half new, by its checksum, and one of a terabyte, of which little is read."""
    path = health_path(tmp_path / "tasks.db")
    path.write_bytes(content)
    if content.startswith(b"Dear"):
        os.truncate(path, 2**40)
    assert cli.main(["health", "--db", str(tmp_path / "tasks.db")]) == exits.EXIT_UNHEALTHY
    assert "cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    "said",
    [
        (WELL, [], exits.EXIT_OK, "healthy: service shop takes tasks"),
        (WELL, ["--alive"], exits.EXIT_OK, "alive: service shop"),
        (replace(WELL, storage_error="full"), [], exits.EXIT_UNHEALTHY, "not healthy: nothing can be stored: full"),
        (replace(WELL, storage_error="full"), ["--alive"], exits.EXIT_OK, "alive: nothing can be stored: full"),
        (replace(WELL, turned_s_ago=99.0), ["--alive"], exits.EXIT_UNHEALTHY, "not alive: the loop is stuck"),
        (None, [], exits.EXIT_UNHEALTHY, "not healthy: no service runs with the database"),
    ],
)
def test_the_command_says_it_in_one_line(
    said: tuple[Health | None, list[str], int, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exit code is what a container's probe asks for."""
    health, options, code, begins = said
    database = tmp_path / "tasks.db"
    if health is not None:
        written(database, health)
    assert cli.main(["health", "--db", str(database), *options]) == code
    line = capsys.readouterr().out
    assert line.startswith(begins)
    assert line.count("\n") == 1


def test_the_command_gives_all_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a monitor: every fact, and what of it is a problem."""
    written(tmp_path / "tasks.db", replace(WELL, storage_error="full"))
    assert cli.main(["health", "--json", "--db", str(tmp_path / "tasks.db")]) == exits.EXIT_UNHEALTHY
    data = json.loads(capsys.readouterr().out)
    assert (data["is_healthy"], data["problems"]) == (False, ["nothing can be stored: full"])
    assert (data["consuming"]["connection"]["state"], data["waiting"]) == ("up", 5)


def test_a_client_shows_its_connection() -> None:
    """Before anything was sent nothing is tried; the states are there all the same, without a password."""
    client = Client(url="amqp://me:secret@127.0.0.1:1/")
    assert client.connection_state is ConnectionState.CONNECTING
    assert client.connection_status().broker == "amqp://me@127.0.0.1:1/"
    assert not client.answers_status().is_consuming
    client.close()
    assert client.connection_state is ConnectionState.CLOSED


def test_a_running_service_keeps_its_file_fresh(tmp_path: Path) -> None:
    """`start` writes it before the first turn, and removes it at the end."""
    database = tmp_path / "tasks.db"
    service = Service(db=database, url=f"sqlite:///{tmp_path}/queues.db")
    seen: list[Health | None] = []
    step = service.step

    def look(event: Any) -> None:
        seen.append(health_file.read(health_path(database)))
        step(event)

    service.step = look  # type: ignore[method-assign]
    service.stop()
    service.start()
    assert seen
    assert seen[0] is not None
    assert seen[0].phase == "running"
    assert not health_path(database).exists()
    assert service.health().phase == "done"
