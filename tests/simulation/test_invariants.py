"""The promises, as `invariants.check` looks them up: they hold after what is allowed, and breaking one is named."""

from __future__ import annotations

import time

import pytest

from schedulergodx import Client
from schedulergodx.rules import due
from schedulergodx.utils.abstractions import Delivery, Outgoing, QueueSpec
from schedulergodx_testing import Harness, invariants

client = Client(name="shop", task_lifetime=None)


@client.task
def work(seconds: float = 0) -> str:
    time.sleep(seconds)
    return "done"


def numbers(scheduler: Harness, **options: bool) -> list[str]:
    return [violation.number for violation in invariants.check(scheduler, **options)]


def test_nothing_is_broken_at_any_moment_of_an_ordinary_day(scheduler) -> None:
    """Before, while and after tasks run, over a stop, a crash and downtime."""
    work.options(delay=60, enable_overdue=True).launch()
    work.launch(90)
    assert invariants.check(scheduler) == []
    scheduler.run_until_idle()
    assert invariants.check(scheduler) == []
    scheduler.crash_service()
    assert invariants.check(scheduler) == []
    scheduler.advance(minutes=5)
    scheduler.start_service()
    assert invariants.check(scheduler) == []
    scheduler.run_all()
    scheduler.advance(minutes=1)
    assert invariants.check(scheduler, is_over=True) == []
    scheduler.stop_service()
    assert invariants.check(scheduler, is_over=True) == []


@pytest.mark.scheduler(service={"limits": None})
def test_pruned_tasks_are_not_missed(scheduler) -> None:
    """An outcome that was kept as long as promised may go."""
    message_id = work.launch()
    scheduler.run_all()
    scheduler.advance(seconds=scheduler.service.limits.keep_outcomes_s + 3600)
    work.launch()
    scheduler.run_all()
    assert scheduler.outcome(message_id) is None
    assert invariants.check(scheduler) == []


def run_unacked(scheduler: Harness) -> str:
    """Run a launch whose delivery cannot be acked: the broker is away, and will deliver it again in ten minutes."""
    message_id = work.launch()
    scheduler.run_until(lambda: scheduler.services[0].ledger.tasks)
    scheduler.broker.crash(down_s=600)
    scheduler.advance(seconds=1)
    assert scheduler.outcome(message_id) is not None
    return message_id


def forget(scheduler: Harness) -> str:
    """Run a launch, have its id forgotten, and let the broker bring the launch again."""
    message_id = run_unacked(scheduler)
    scheduler.jump_wall(seconds=365 * 24 * 3600)
    scheduler.advance(hours=1)
    return message_id


def test_a_launch_that_comes_again_after_its_id_was_forgotten_is_a_new_one(scheduler) -> None:
    """It is refused for its age, and that is its outcome then, as docs/guarantees.md says (W13)."""
    message_id = forget(scheduler)
    record = scheduler.services[0].ledger.tasks[message_id]
    assert [outcome.code.value for outcome in record.outcomes] == ["OK", "STALE"]
    assert numbers(scheduler, is_over=True) == []


def test_a_second_run_after_an_id_was_forgotten_is_named(scheduler) -> None:
    """I3: it is one launch, however many rows it had."""
    message_id = forget(scheduler)
    ledger = scheduler.services[0].ledger
    ledger.run(ledger.tasks[message_id].task, scheduler.clock.now())
    assert set(numbers(scheduler)) == {"I3"}


def test_a_row_that_begins_again_is_named(scheduler) -> None:
    """I2, when a database takes a launch as new whose outcome and id it had to keep; I3, as it runs again."""
    message_id = run_unacked(scheduler)
    storage = scheduler.services[0].storage.inner
    with storage.transaction():
        storage.connection.change("DELETE FROM tasks")
    scheduler.advance(hours=1)
    found = [one.sentence for one in invariants.check(scheduler) if one.message_id == message_id]
    assert found[0] == "a task went from COMPLETED to WAITING"
    assert found[1].startswith("a task was started 2 times")


def test_a_lost_launch_is_named(scheduler) -> None:
    """I1, when a message is acked and not stored."""
    scheduler.stop_service()
    message_id = work.launch()
    scheduler.run_until_idle()
    assert numbers(scheduler) == []
    thief = scheduler.broker.transport("thief")
    thief.listen(lambda event: thief.ack([event]) if isinstance(event, Delivery) else None)
    thief.consume(QueueSpec(name="client-service", has_dead_letters=True), prefetch=1)
    scheduler.run_until_idle()
    [lost] = invariants.check(scheduler)
    assert (lost.number, lost.message_id) == ("I1", message_id)
    assert str(lost).startswith("I1: a launch of client 'shop' is nowhere any more (promised: ")


def test_a_second_start_is_named(scheduler) -> None:
    """I3."""
    message_id = work.launch(60)
    scheduler.run_until_idle()
    ledger = scheduler.services[0].ledger
    ledger.run(ledger.tasks[message_id].task, scheduler.clock.now())
    assert numbers(scheduler) == ["I3", "I3"]


def test_a_start_that_was_on_disk_in_time_is_never_overdue(scheduler) -> None:
    """Not if a hard task's service was killed before the run began either: it counts, the next one may come late."""
    work.options(delay=60, hard=True, on_crash="retry", max_starts=2).launch()
    scheduler.crash_at("runner.start")
    scheduler.advance(hours=6)
    scheduler.start_service()
    scheduler.run_all()
    [record] = scheduler.services[0].ledger.tasks.values()
    assert len(record.starts) == 1
    assert invariants.check(scheduler) == []


def test_a_late_start_is_named(scheduler, monkeypatch) -> None:
    """I3, when the first start of a task that was to be skipped then comes late."""
    work.options(delay=60).launch()
    scheduler.run_until_idle()
    scheduler.stop_service()
    scheduler.advance(hours=6)
    monkeypatch.setattr("schedulergodx.service.runs.due.decide", lambda *_args, **_options: due.Run(late_s=0))
    scheduler.start_service()
    scheduler.run_all()
    assert numbers(scheduler) == ["I3"]


def test_a_row_that_goes_back_is_named(scheduler) -> None:
    """I2, when a database forgets what was committed."""
    work.launch(60)
    scheduler.run_until_idle()
    storage = scheduler.services[0].storage.inner
    with storage.transaction():
        storage.connection.change("UPDATE tasks SET status = 0")
    assert numbers(scheduler) == ["I2"]
    with storage.transaction():
        storage.connection.change("DELETE FROM tasks")
    assert numbers(scheduler) == ["I1", "I2"]


def test_a_reply_that_is_thrown_away_is_named(scheduler) -> None:
    """I4."""
    work.launch(60)
    scheduler.run_until_idle()
    scheduler.broker.faults.block()
    scheduler.advance(minutes=2)
    storage = scheduler.services[0]._watcher.storage(scheduler.services[0].storage)
    assert numbers(scheduler) == []
    with storage.transaction():
        storage.remove_replies([reply.number for reply in storage.replies(after=0, limit=9)])
    assert numbers(scheduler) == ["I4"]


def test_what_stays_for_ever_is_named_at_the_end(scheduler) -> None:
    """Only when everything had its time."""
    work.launch(10**6)
    scheduler.run_until_idle()
    assert numbers(scheduler) == []
    assert numbers(scheduler, is_over=True) == ["I1"]


def test_a_service_that_ends_by_itself_is_named(scheduler) -> None:
    """I5."""
    scheduler.service.stop()
    scheduler.run_until_idle()
    assert numbers(scheduler) == ["I5"]


def test_a_message_that_nobody_takes_is_named_at_the_end(scheduler, monkeypatch) -> None:
    """I5, when a service neither stores nor rejects what it cannot read."""
    stranger = scheduler.broker.transport("stranger")
    queue = QueueSpec(name="client-service", has_dead_letters=True)
    for body in (b"noise", b"more noise"):
        outgoing = Outgoing(queue=queue.name, body=body, message_id="x", on_settled=lambda _sent, _error: None)
        stranger.publish(outgoing)
        scheduler.run_until_idle()
        assert numbers(scheduler) == []
        assert numbers(scheduler, is_over=True) == (["I5"] if body == b"more noise" else [])
        monkeypatch.setattr(type(scheduler.service._consumer), "_conclude", lambda *_args: None)


def test_require_shows_the_timeline(scheduler) -> None:
    """What is broken, then how it came to that."""
    invariants.require(scheduler)
    scheduler.service.stop()
    scheduler.advance(seconds=1)
    with pytest.raises(AssertionError, match=r"(?s)^I5: service 'service' has stopped by itself.*advance by"):
        invariants.require(scheduler)
