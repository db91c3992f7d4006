"""What a database knows of its moments without asking: always what it would say, and seldom asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.rules.lifecycle import Code, Report
from schedulergodx.utils.storage import DB, functions
from schedulergodx.utils.storage.connection import Connection
from schedulergodx.utils.storage.moments import AHEAD, Ahead
from schedulergodx_testing.contracts.stored_tasks import NOON, make_task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = timedelta(days=1)


class Asked:
    """Stands for a connection to a database with these moments, and counts what it is asked."""

    def __init__(self) -> None:
        self.moments: list[int] = []
        self.count = 0

    def rows(self, _sql: str, _parameters: object) -> list[tuple[int]]:
        self.count += 1
        return [(moment,) for moment in sorted(self.moments)[:AHEAD]]


@given(
    st.lists(st.integers(0, 5), max_size=3 * AHEAD),
    st.lists(st.tuples(st.sampled_from(["add", "remove", "look"]), st.integers(0, 7)), max_size=4 * AHEAD),
)
def test_the_earliest_is_always_that_of_the_database(waiting: list[int], steps: list[tuple[str, int]]) -> None:
    """Many tasks at one moment, more than are kept, come and go in any order."""
    asked, ahead = Asked(), Ahead(is_hard=False)
    asked.moments = list(waiting)
    for what, moment in steps:
        if what == "add":
            asked.moments.append(moment)
            ahead.add(moment)
        elif what == "remove" and moment in asked.moments:
            asked.moments.remove(moment)
            ahead.remove(moment)
        elif what == "look":
            assert ahead.earliest(asked) == min(asked.moments, default=None)  # type: ignore[arg-type]


def test_tasks_that_come_one_by_one_are_seldom_asked_for() -> None:
    """Of a thousand that become due one after the other, every 32nd asks."""
    asked, ahead = Asked(), Ahead(is_hard=False)
    asked.moments = list(range(1000))
    while (moment := ahead.earliest(asked)) is not None:  # type: ignore[arg-type]
        asked.moments.remove(moment)
        ahead.remove(moment)
    assert asked.count == 1000 // AHEAD + 1


@pytest.fixture
def db(tmp_path: Path) -> Iterator[DB]:
    """An open database."""
    db = DB(tmp_path / "tasks.db")
    db.open(owner="tests", now=NOON)
    yield db
    db.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every statement."""
    seen: list[str] = []
    real = Connection._run

    def run(self: Connection, sql: str, parameters: object) -> object:
        seen.append(sql)
        return real(self, sql, parameters)  # type: ignore[arg-type]

    monkeypatch.setattr(Connection, "_run", run)
    return seen


def end(db: DB, message_id: str, *, day: int) -> None:
    with db.transaction():
        db.add(make_task(message_id), now=NOON)
        db.finish(message_id, Report(code=Code.OVERDUE_SKIPPED), now=NOON + day * DAY)


def prune(db: DB, *, day: int) -> tuple[int, int]:
    with db.transaction():
        outcomes = db.prune(ended_before=NOON + day * DAY, limit=10)
        return outcomes, db.prune_ids(ended_before=NOON + day * DAY, limit=10)


def test_nobody_asks_what_is_old_before_something_can_be(db: DB, asked: list[str]) -> None:
    """After the first look it is known how old the oldest is; what ends in another order is counted too."""
    end(db, "b", day=2)
    assert prune(db, day=0) == (0, 0)
    asked.clear()
    assert prune(db, day=2) == (0, 0)
    assert not [sql for sql in asked if "SELECT" in sql]
    end(db, "a", day=1)
    assert prune(db, day=2) == (1, 1)
    assert prune(db, day=3) == (1, 1)
    assert prune(db, day=9) == (0, 0)


def test_a_moment_that_is_not_there_is_not_believed_for_ever(db: DB) -> None:
    """Who deletes a task behind the service's back does not make it look for that task again and again."""
    with db.transaction():
        db.add(make_task("a"), now=NOON)
    assert db.next_run_at() == NOON
    with db.transaction():
        db.connection.change("DELETE FROM tasks")
    assert db.due(NOON, soft_limit=1, hard_limit=1) == []
    assert db.next_run_at() is None


def test_what_was_undone_is_not_remembered(db: DB) -> None:
    """A transaction that fails leaves no moment behind."""
    end(db, "a", day=5)
    assert prune(db, day=0) == (0, 0)

    def fail() -> None:
        with db.transaction():
            db.prune(ended_before=NOON + 6 * DAY, limit=10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert prune(db, day=6) == (1, 1)


def test_the_body_of_a_function_is_read_once(db: DB, asked: list[str]) -> None:
    """However many tasks of it come one by one."""
    for number in range(3):
        with db.transaction():
            db.add(make_task(f"{number}"), now=NOON)
        assert [task.function for task in db.due(NOON, soft_limit=1, hard_limit=0)] == [make_task("").function]
    assert len([sql for sql in asked if "SELECT body" in sql]) == 1


def test_bodies_in_memory_are_bounded(db: DB, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not fit is read each time, and of others those that were read before it go."""
    monkeypatch.setattr(functions, "KEPT_BYTES_MAX", 10)
    known = functions.Functions()
    bodies = [b"a" * 11, b"b" * 6, b"c" * 6]
    with db.transaction():
        numbers = [known.number_of(db.connection, body) for body in bodies]
    assert [known.body_of(db.connection, number) for number in numbers] == bodies
    assert list(known._bodies.values()) == bodies[2:]
