"""Databases that fail: with SQLite's own errors where that can be had, at every call, once and for a while."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from schedulergodx import Client, InvalidParameter
from schedulergodx.errors import DatabaseBusy, DatabaseFull, DatabaseNotWritable, StorageError
from schedulergodx.utils.storage import DB
from schedulergodx_testing import FaultyStorage, Harness, check_survives_storage_faults, invariants
from schedulergodx_testing.specs import EPOCH, make_task

if TYPE_CHECKING:
    from pathlib import Path

client = Client(name="shop", task_lifetime=None)
effects: list[str] = []
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@client.task
def work(name: str, seconds: float = 0) -> str:
    effects.append(name)
    time.sleep(seconds)
    return name


@pytest.fixture
def storage(tmp_path: Path):
    faulty = FaultyStorage(DB(tmp_path / "some.db"))
    faulty.open(owner="test", now=NOW)
    yield faulty
    faulty.close()


def add(storage: FaultyStorage, name: str) -> None:
    with storage.transaction():
        storage.add(make_task(print, message_id=name), now=NOW)


def names(storage: FaultyStorage) -> set[str]:
    return {task.message_id for task in storage.inner.tasks(limit=100)}


@pytest.mark.parametrize(
    ("error", "at", "kind", "said"),
    [
        ("full", 2, DatabaseFull, "database or disk is full, SQLITE_FULL"),
        ("full", 3, DatabaseFull, "database or disk is full, SQLITE_FULL"),
        ("readonly", 1, DatabaseNotWritable, "attempt to write a readonly database, SQLITE_READONLY"),
        ("readonly", 2, DatabaseNotWritable, "attempt to write a readonly database, SQLITE_READONLY"),
        ("readonly", 3, DatabaseNotWritable, "attempt to write a readonly database, SQLITE_READONLY"),
        ("busy", 1, DatabaseBusy, "database is locked, SQLITE_BUSY"),
        ("full", 1, DatabaseFull, "as a test wished"),
        ("busy", 2, DatabaseBusy, "as a test wished"),
        ("ioerr", 3, DatabaseFull, "as a test wished"),
    ],
)
def test_errors_are_sqlites_own_where_they_can_be(
    storage: FaultyStorage, error: str, at: int, kind: type[StorageError], said: str
) -> None:
    """At `begin`, at a change, at `commit`; nothing of the transaction is kept, and the next one works."""
    add(storage, "before")
    storage.fail(at, error)
    with pytest.raises(kind, match=said):
        add(storage, "lost")
    assert names(storage) == {"before"}
    add(storage, "after")
    assert names(storage) == {"before", "after"}
    assert storage.failed == [["begin", "add", "commit"][at - 1]]
    assert storage.connection.value("PRAGMA query_only") == 0
    assert storage.connection.value("PRAGMA busy_timeout") == 5000
    assert storage.connection.value("PRAGMA max_page_count") > 10**9
    assert storage.connection.value("PRAGMA integrity_check") == "ok"


def test_a_full_disk_stays_full_until_it_is_healed(storage: FaultyStorage) -> None:
    """Every call from the n-th on fails, reads too; then all work again."""
    storage.fail(2, "full", once=False)
    for _ in range(3):
        with pytest.raises(DatabaseFull):
            add(storage, "lost")
    with pytest.raises(DatabaseFull):
        storage.counts()
    storage.heal()
    add(storage, "kept")
    assert names(storage) == {"kept"}


def test_it_wraps_any_storage() -> None:
    """Around something that is no `DB`, errors are made up, and calls are counted."""

    class Mine:
        def __getattr__(self, name: str):
            return lambda *args, **kwargs: name

    storage = FaultyStorage(Mine())
    assert storage.find("a") == "find"
    storage.fail(2, "readonly")
    assert storage.due(EPOCH, soft_limit=1, hard_limit=1) == "due"
    with pytest.raises(DatabaseNotWritable, match="failed at counts: readonly"):
        storage.counts()
    assert (storage.count, storage.calls) == (3, ["find", "due", "counts"])


@pytest.mark.parametrize(("at", "error"), [(0, "full"), (1, "fire"), (1.5, "full")])
def test_what_cannot_fail_so_is_refused(storage: FaultyStorage, at: int, error: str) -> None:
    """With what can."""
    with pytest.raises(InvalidParameter):
        storage.fail(at, error)


def test_a_service_waits_for_its_disk(scheduler) -> None:
    """Nothing is acked while it is full; when there is room, everything goes on, within its longest pause."""
    effects.clear()
    scheduler.faults.fail_storage(error="full", once=False)
    message_id = work.launch("a")
    scheduler.advance(minutes=10)
    assert effects == []
    assert len(scheduler.broker.queues["client-service"].unacked) == 1
    assert invariants.check(scheduler) == []
    assert any("service: full at begin, call" in entry.what for entry in scheduler.timeline.entries)
    scheduler.faults.heal_storage()
    scheduler.advance(seconds=30)
    assert message_id.result() == "a"
    invariants.require(scheduler, is_over=True)


def test_faults_stay_armed_over_a_start(scheduler) -> None:
    """And an error while starting is raised to whoever starts it; nothing is left open."""
    scheduler.stop_service()
    scheduler.faults.fail_storage(error="busy")
    with pytest.raises(DatabaseBusy):
        scheduler.start_service()
    scheduler.start_service()
    assert work.launch("a").result() == "a"


def scenario(scheduler: Harness) -> None:
    """A task at once, one that takes its time, one later."""
    effects.clear()
    scheduler.must_hold(lambda: sorted(effects) == ["later", "now", "slow"], "each task has run once")
    ids = [
        work.launch("now"),
        work.launch("slow", 5),
        work.options(delay=30, enable_overdue=True).launch("later"),
    ]
    assert [message_id.result() for message_id in ids] == ["now", "slow", "later"]


@pytest.mark.slow
def test_every_storage_call_may_fail() -> None:
    """Once, and for a while, with every error: no task is lost or doubled, and the database is sound."""
    faults = check_survives_storage_faults(scenario)
    assert "full at storage call 1 (begin), once" in faults
    assert len(faults) % 8 == 0
    assert len(set(faults)) == len(faults) > 200


@pytest.mark.slow
def test_a_service_that_acks_in_spite_of_a_failure_is_found(monkeypatch) -> None:
    """The report names the call that failed, and the promise."""
    from schedulergodx.service.core import Service

    def failed(self, error: StorageError, events: list) -> None:
        self._pause.begin(error)
        self._transport.ack([event for event in events if hasattr(event, "tag")])

    monkeypatch.setattr(Service, "_storage_failed", failed)
    with pytest.raises(AssertionError, match=r"at storage call \d+ \(\w+\), once:\n.*(.*\n)*?  I1: a launch"):
        check_survives_storage_faults(scenario, errors=["full"])
