"""A short soak over RabbitMQ keeps every promise, and the comparison at its end sees what is broken."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.soak import ledger as ledgers
from tests.soak.ledger import FINDINGS, Ledger
from tests.soak.run import Soak

if TYPE_CHECKING:
    from pathlib import Path

    from schedulergodx_testing.rabbitmq import RabbitMQ

SECONDS = 20.0
"""Of disturbance; starting, settling and comparing come on top."""


@pytest.mark.slow
@pytest.mark.rabbitmq
@pytest.mark.timeout(240)
def test_a_short_soak_keeps_every_promise(rabbitmq: RabbitMQ, rabbitmq_vhost_url: str, tmp_path: Path) -> None:
    """Service, clients and broker killed, connections closed, alarms, queues deleted: nothing lost, nothing twice."""
    broker = rabbitmq if rabbitmq.is_controllable else None
    report = Soak(tmp_path, url=rabbitmq_vhost_url, seed=7, broker=broker).run(SECONDS)
    assert report.is_good, report.text()
    assert report.numbers["confirmed"] > 100, report.text()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("mistake", "finding"),
    [
        ("ack before commit", "lost: confirmed, and not in the database"),
        ("start again what was interrupted", "started twice: the function was entered more than once"),
    ],
)
def test_a_soak_sees_a_mistake(mistake: str, finding: str, tmp_path: Path) -> None:
    """With a service that has it, killed four times over a queue file, the comparison names what was broken."""
    url = f"sqlite:///{tmp_path}/queues.db"
    soak = Soak(tmp_path, url=url, seed=1, clients=1, rate=40.0, rests_s=[0.3], pause_s=(0.5, 0.5), defect=mistake)

    def kill_at_work() -> str:
        """Kill a service that works: on a busy machine one that starts would be hit each time, and shows nothing."""
        return soak.evils.kill_service() if soak.wait_until_well() else "it never worked"

    soak.evils.choices = lambda: {"service killed": (1, kill_at_work)}  # type: ignore[method-assign]
    report = soak.run(0.0, acts_min=4)
    assert finding in report.findings, report.text()


ROWS = {
    "lost: confirmed, and not in the database": ["INSERT INTO launches VALUES ('x', 'confirmed', '')"],
    "sent after all: said to be not sent, and in the database": ["UPDATE launches SET said = 'not sent'"],
    "from nowhere: in the database, and never attempted": ["DELETE FROM attempts"],
    "started twice: the function was entered more than once": ["INSERT INTO starts SELECT * FROM starts"],
    "counted twice: the database has more than one start": ["UPDATE service.tasks SET starts = 2"],
    "started unstored: the function was entered, and the database knows of no start": [
        "UPDATE service.tasks SET starts = 0"
    ],
    "started early: before its delay was over": ["UPDATE plans SET delay_s = 6"],
    "without an end: in the database, and not ended": ["UPDATE service.tasks SET ended_at = NULL"],
    "without an answer: in the database, and nobody was told": ["DELETE FROM answers"],
    "two ends: told in two ways": ["INSERT INTO answers VALUES ('a', 'TASK_TIMEOUT', NULL, 'asked')"],
    "another end: told otherwise than stored": ["UPDATE answers SET code = 'TASK_TIMEOUT'"],
    "a wrong result": ["UPDATE answers SET result = '5'"],
    "a success without a run": ["DELETE FROM starts"],
}
"""What is done to a ledger in which all is well, so that one thing is not."""


def good_ledger(folder: Path) -> tuple[Path, Path]:
    """Make a ledger and a database with one task that went as it should."""
    ledger, database = folder / "ledger.db", folder / "tasks.db"
    ledgers.create(ledger)
    book = Ledger(ledger)
    book.write("attempts", "a", "shop", 1.0)
    book.launched("a", "confirmed")
    book.write("plans", "a", "soft", 5.0, 1.0, "4")
    book.write("starts", "a", 1, 4711, 6.5)
    book.write("answers", "a", "OK", "4", "told")
    book.close()
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE tasks (message_id, starts, ended_at, code)")
        connection.execute("INSERT INTO tasks VALUES ('a', 1, 7, 'OK')")
    return ledger, database


def test_where_all_is_well_nothing_is_found(tmp_path: Path) -> None:
    """The questions find nothing in what went as it should, and the numbers count it."""
    ledger, database = good_ledger(tmp_path)
    assert ledgers.findings(ledger, database) == {}
    counts = ledgers.numbers(ledger, database)
    assert (counts["confirmed"], counts["stored"], counts["started"], counts["answered"]) == (1, 1, 1, 1)
    assert ledgers.untold(ledger, database) == set()


@pytest.mark.parametrize("title", FINDINGS)
def test_each_broken_promise_is_found(title: str, tmp_path: Path) -> None:
    """Each question finds what it is for."""
    ledger, database = good_ledger(tmp_path)
    with ledgers.both(ledger, database) as connection:
        for statement in ROWS[title]:
            connection.execute(statement)
        connection.commit()
    assert ledgers.findings(ledger, database)[title]
