"""What a service does while its database fails: it acks nothing, forgets nothing, and goes on by itself."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import DatabaseBusy, DatabaseDamaged, DatabaseFull, DatabaseUnsupported, StorageError
from schedulergodx.rules.lifecycle import Code, Report

if TYPE_CHECKING:
    from tests.unit.doubles import Bench

PASSING = [DatabaseFull("full"), DatabaseBusy("busy"), StorageError("something else")]


@pytest.mark.parametrize("failure", PASSING, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("fails_on", ["begin", "commit", "add", "due"])
def test_nothing_is_acked_or_started_while_the_database_fails(
    bench: Bench, failure: StorageError, fails_on: str
) -> None:
    """The turn is done again later, whole: then it is stored, acked once, started once and answered once."""
    bench.storage.fails_on = fails_on
    bench.storage.failure = failure
    tag = bench.launch("a")
    bad = bench.deliver(b"not JSON")
    bench.turn()
    bench.wait(seconds=20)
    assert set(bench.names()) <= {"consume", "commit", "rollback"}
    assert bench.facts("ack") == bench.facts("start") == bench.facts("reject") == []
    bench.storage.failure = None
    bench.wait(seconds=30)
    assert bench.facts("ack") == [[tag]]
    assert [one for one, _ in bench.facts("reject")] == [bad]
    assert bench.facts("start") == ["a"]


def test_what_comes_during_the_pause_is_kept_in_order(bench: Bench) -> None:
    """Deliveries, ends and confirms wait together."""
    bench.launch("a")
    bench.turn()
    bench.storage.failure = DatabaseFull("full")
    bench.runner.finish("a")
    bench.turn()
    tags = [bench.launch(name) for name in ("b", "c")]
    bench.wait(seconds=5)
    bench.storage.failure = None
    bench.wait(seconds=30)
    bench.settle_down()
    assert bench.codes("a") == ["OK"]
    assert bench.facts("ack")[1:] == [tags]
    assert bench.facts("start") == ["a", "b", "c"]


def test_the_pauses_grow_and_are_bounded(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk for a day costs a few thousand tries; one line says that it began, one that it ended."""
    caplog.set_level(logging.WARNING)
    bench.storage.failure = DatabaseFull("the disk of /srv is full")
    bench.launch("a")
    bench.turn()
    before = len(bench.facts("rollback"))
    bench.wait(seconds=3600)
    assert 100 <= len(bench.facts("rollback")) - before <= 130
    bench.storage.failure = None
    bench.wait(seconds=30)
    assert bench.facts("start") == ["a"]
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if "nothing is stored or acked" in line] == [
        "core - nothing is stored or acked for now, the broker keeps it: the disk of /srv is full"
    ]
    assert len([line for line in lines if "can be written again" in line]) == 1


def test_each_failure_begins_with_a_short_pause(bench: Bench) -> None:
    """A database that was busy for an hour in the morning is tried again at once in the evening."""
    for _ in range(2):
        bench.storage.failure = DatabaseBusy("busy")
        bench.turn()
        assert bench.service.wait_s() == 0.5
        bench.wait(seconds=100)
        bench.storage.failure = None
        bench.wait(seconds=30)


def test_a_turn_that_failed_has_logged_nothing_of_what_it_wanted(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """A line that says "stored" or "ended" is true, and stands once."""
    caplog.set_level(logging.DEBUG)
    bench.storage.failure = DatabaseFull("full")
    bench.launch("a")
    bench.deliver(b"not JSON")
    bench.turn()
    bench.wait(seconds=100)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    bench.storage.failure = None
    bench.wait(seconds=30)
    for once in ("stored (message a)", "rejected to the dead letters", "started (message a)"):
        assert caplog.text.count(once) == 1


def test_a_turn_that_is_tried_again_takes_no_more_on(bench: Bench) -> None:
    """What came meanwhile waits for the turn after it, launches as well as ends."""
    bench.storage.failure = DatabaseBusy("busy")
    for number in range(8):
        bench.launch(f"{number}")
        bench.turn()
        bench.clock.advance(seconds=60)
    assert len(bench.service._retained) == 1
    bench.storage.failure = None
    bench.settle_down()
    assert bench.facts("ack") == [[1], [2, 3, 4, 5, 6, 7, 8]]


def test_events_do_not_shorten_the_pause(bench: Bench) -> None:
    """A busy broker must not make the service try in a loop."""
    bench.storage.failure = DatabaseFull("full")
    for name in "abcdefgh":
        bench.launch(name)
        bench.turn()
    assert len(bench.facts("rollback")) == 1


@pytest.mark.parametrize("kind", [DatabaseDamaged, DatabaseUnsupported])
def test_a_damaged_database_ends_the_service_without_an_ack(bench: Bench, kind: type[StorageError]) -> None:
    """What was not stored stays with the broker; `start` raises the reason."""
    bench.storage.failure = kind("broken")
    bench.launch("a")
    bench.turn()
    assert bench.is_done
    assert bench.error is bench.storage.failure
    assert bench.facts("ack") == bench.facts("start") == []


def test_a_failure_after_the_commit_repeats_nothing(bench: Bench) -> None:
    """Reading the outbox fails when the turn is on disk already: that turn is not done twice."""
    bench.launch("a")
    bench.turn()
    bench.runner.finish("a")
    bench.settle_down()
    bench.service._publisher._unread = ""
    bench.storage.fails_on, bench.storage.failure = "replies", DatabaseBusy("busy")
    body_tag = bench.launch("b")
    bench.ask("a", reply_to="service-client.late.1")
    bench.turn()
    bench.storage.failure = None
    bench.wait(seconds=10)
    bench.settle_down()
    assert bench.facts("ack")[1:] == [[body_tag, body_tag + 1]]
    assert bench.facts("start") == ["a", "b"]
    assert len(bench.answers("a", "service-client.late.1")) == 1


def test_a_question_for_the_next_alarm_may_fail_too(bench: Bench) -> None:
    """The service sleeps for a pause and goes on."""
    bench.launch("a", delay_s=10)
    bench.turn()
    bench.storage.fails_on, bench.storage.failure = "next_run_at", DatabaseBusy("busy")
    assert bench.service.wait_s() == 0.5
    bench.storage.failure = None
    bench.wait(seconds=10)
    assert bench.facts("start") == ["a"]


def test_a_database_that_fails_at_the_start_leaves_nothing_open(make_bench) -> None:
    """The error comes out of `open`, the database can be opened by somebody else, and nothing was consumed."""
    bench = make_bench().open()
    bench.launch("a")
    bench.turn()
    bench.crash()
    bench.storage.failure = DatabaseFull("full")
    with pytest.raises(DatabaseFull):
        bench.open()
    assert bench.names()[-2:] == ["runner closed", "transport closed"]
    bench.storage.failure = None
    bench.make()
    bench.open().settle_down()
    assert bench.codes("a") == ["TASK_INTERRUPTED"]


# --- overruns meanwhile


def test_a_hard_overrun_is_killed_though_it_cannot_be_recorded(bench: Bench) -> None:
    """A full disk is no reason to let it go on; its outcome is TASK_TIMEOUT all the same, whatever its process says."""
    bench.launch("a", hard=True, lifetime_s=3)
    bench.launch("soft", lifetime_s=3)
    bench.turn()
    bench.storage.failure = DatabaseFull("full")
    bench.wait(seconds=40)
    assert bench.facts("abandon") == ["a"]
    bench.runner.finish("a", Report(code=Code.TASK_KILLED))
    bench.wait(seconds=40)
    bench.storage.failure = None
    bench.wait(seconds=40)
    assert bench.codes("a") == bench.codes("soft") == ["TASK_TIMEOUT"]
    assert bench.facts("abandon") == ["a", "soft"]


def test_a_hard_task_that_ended_in_time_keeps_its_result_though_it_is_recorded_late(bench: Bench) -> None:
    """Its end came within its lifetime; only the database was late."""
    bench.launch("a", hard=True, lifetime_s=3)
    bench.turn()
    bench.storage.failure = DatabaseFull("full")
    bench.clock.advance(seconds=1)
    bench.runner.finish("a")
    bench.wait(seconds=40)
    bench.storage.failure = None
    bench.wait(seconds=40)
    assert bench.codes("a") == ["OK"]
    assert bench.facts("abandon") == []


# --- stopping meanwhile


def test_a_stop_while_the_database_fails_and_nothing_runs_ends_at_once(bench: Bench) -> None:
    """Nothing could be saved by waiting: what is not stored stays with the broker."""
    bench.storage.failure = failure = DatabaseFull("full")
    bench.launch("a")
    bench.turn()
    before = bench.elapsed_s
    bench.stop()
    bench.run()
    assert bench.error is failure
    assert bench.elapsed_s == before
    assert bench.facts("ack") == []


def test_a_stop_while_the_database_is_busy_still_lets_tasks_end(bench: Bench) -> None:
    """A passing failure in the very turn of the stop costs no running task its grace, and is no error."""
    bench.launch("a")
    bench.turn()
    bench.storage.failure = DatabaseBusy("busy")
    bench.stop(grace_s=20)
    bench.turn()
    assert not bench.is_done
    bench.clock.advance(seconds=2)
    bench.storage.failure = None
    bench.runner.finish("a")
    report = bench.run()
    assert bench.codes("a") == ["OK"]
    assert bench.error is None
    assert report.is_clean


def test_a_stop_while_the_database_fails_for_good_ends_with_the_grace(bench: Bench) -> None:
    """What ran is told as interrupted at the next start; the error says what happened."""
    bench.launch("a")
    bench.turn()
    bench.storage.failure = failure = DatabaseFull("full")
    bench.stop(grace_s=20)
    before = bench.elapsed_s
    report = bench.run()
    assert bench.elapsed_s - before == 20
    assert bench.error is failure
    assert report.interrupted == ("a",)
    bench.crash()
    bench.open().settle_down()
    assert bench.codes("a") == ["TASK_INTERRUPTED"]
