"""Every window of docs/crash-windows.md: what a crash in it leaves, and what comes of it after the next start."""

from __future__ import annotations

import re
import shutil
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schedulergodx import (
    Client,
    DatabaseOutdated,
    InvalidParameter,
    OutcomePruned,
    TaskInterrupted,
    UnknownMessageId,
)
from schedulergodx.utils.abstractions import Outgoing
from schedulergodx.utils.storage.backup import backup
from schedulergodx.utils.storage.surroundings import boot_id
from schedulergodx_testing import ClientCrashed, Harness, HarnessError, LeftBehind, NothingLeftToHappen, invariants
from schedulergodx_testing.clock import START
from schedulergodx_testing.crashing import CALLS, NOT_ARMED, WINDOWS, CrashPoint

client = Client(name="shop", task_lifetime=None)
effects: list[str] = []


@client.task
def work(name: str, seconds: float = 0) -> str:
    effects.append(name)
    time.sleep(seconds)
    effects.append(f"{name} done")
    return name


@pytest.fixture(autouse=True)
def no_effects() -> None:
    effects.clear()


def launches(scheduler: Harness) -> list[int]:
    """Return how often each message reached the service and was stored: new, or the same again."""
    stored = [entry.what for entry in scheduler.timeline.entries if entry.what.startswith("store ")]
    return [sum(f": {word}" in what for what in stored) for word in ("new", "same")]


def restart(scheduler: Harness, crash: CrashPoint) -> None:
    """Let the crash happen, check what it left, start again, and let everything end."""
    scheduler.run_until_idle()
    assert crash.has_happened, crash
    invariants.require(scheduler)
    if not scheduler.services[0].is_up:
        scheduler.start_service()
    scheduler.run_all()
    scheduler.advance(minutes=2)
    invariants.require(scheduler, is_over=True)


def test_w1_nothing_is_sent(scheduler) -> None:
    """The client dies before it publishes: no id was returned, and nothing is anywhere."""
    crash = scheduler.crash_at("W1")
    with pytest.raises(ClientCrashed, match=r"killed before client\.publish 1"):
        work.launch("a")
    restart(scheduler, crash)
    assert effects == scheduler.tasks == []


def test_w2_the_launch_may_run_though_no_id_was_returned(scheduler) -> None:
    """The client dies before it hears the confirm. Here the message was lost with the connection; see below."""
    crash = scheduler.crash_at("W2")
    with pytest.raises(ClientCrashed, match=r"killed after client\.publish 1"):
        work.launch("a")
    restart(scheduler, crash)
    assert effects in ([], ["a", "a done"])
    assert len(scheduler.tasks) == len(effects) // 2


def test_w2_an_unheard_confirm_leads_to_a_second_delivery_and_one_run(scheduler) -> None:
    """The broker has the message; the client does not hear it, connects again, and sends the message again."""
    scheduler.broker.faults.lose_confirm("client-service")

    def cut_the_client(call, when, _program) -> None:
        if call.name == "transport.ack" and when == "after" and not scheduler.broker.faults.counts["cut"]:
            scheduler.broker.faults.cut("shop")

    scheduler.calls.hooks.append(cut_the_client)
    assert work.launch("a").result() == "a"
    scheduler.advance(minutes=2)
    assert launches(scheduler) == [1, 1]
    assert effects == ["a", "a done"]
    invariants.require(scheduler, is_over=True)


@pytest.mark.parametrize("seed", range(6))
def test_w3_what_was_not_confirmed_is_still_the_clients(seed: int) -> None:
    """The broker dies before it confirms, with or without the message: the client sends it again, and it runs once."""
    with Harness(seed=seed) as scheduler:
        crash = scheduler.crash_at("W3")
        assert work.launch("a").result() == "a"
        restart(scheduler, crash)
        assert crash.call is not None
        assert crash.call.program == "shop"
        assert effects == ["a", "a done"]
        assert launches(scheduler)[0] == 1


def test_w4_the_delivery_comes_again(scheduler) -> None:
    """The service dies before the task is committed: nothing is stored, and the broker delivers again."""
    crash = scheduler.crash_at("W4")
    work.launch("a")
    scheduler.run_until_idle()
    assert scheduler.tasks == []
    [message] = scheduler.broker.queues["client-service"].ready
    assert message.is_redelivered
    restart(scheduler, crash)
    assert launches(scheduler) == [2, 0]  # the first one was rolled back
    assert effects == ["a", "a done"]


@pytest.mark.parametrize("window", ["W5", "W6"])
def test_w5_w6_the_second_delivery_is_known_by_its_id(scheduler, window: str) -> None:
    """The service dies before the broker has the ack: delivered again, found stored, acked, run once."""
    crash = scheduler.crash_at(window)
    message_id = work.options(delay=60).launch("a")
    scheduler.run_until_idle()
    assert [task.message_id for task in scheduler.tasks] == [message_id]
    assert len(scheduler.broker.queues["client-service"].ready) == 1
    restart(scheduler, crash)
    assert launches(scheduler) == [1, 1]
    assert effects == ["a", "a done"]


@pytest.mark.parametrize("enable_overdue", [False, True])
def test_w7_the_stored_task_is_found_at_the_start(scheduler, enable_overdue: bool) -> None:
    """The service dies before it claims the task: it is found, late, and run or skipped as its client wished."""
    crash = scheduler.crash_at("W7")
    message_id = work.options(delay=60, enable_overdue=enable_overdue).launch("a")
    scheduler.advance(hours=1)
    assert crash.has_happened
    restart(scheduler, crash)
    if enable_overdue:
        scheduler.assert_completed(message_id)
    else:
        scheduler.assert_failed(message_id, error="OVERDUE_SKIPPED")
    assert effects == (["a", "a done"] if enable_overdue else [])


def test_w8_a_claim_that_had_not_begun_waits_again(scheduler) -> None:
    """The service dies before the run begins: that is known, and the task runs as if it had not been claimed."""
    crash = scheduler.crash_at("W8")
    message_id = work.launch("a")
    restart(scheduler, crash)
    assert message_id.result() == "a"
    assert effects == ["a", "a done"]
    assert [task.starts for task in scheduler.tasks] == [1]


def lose_power(scheduler: Harness) -> None:
    """The system starts anew: what a thread noted last may be lost."""
    marks = Path(f"{scheduler.services[0].path}.begun")
    marks.write_text(marks.read_text().replace(boot_id(), "f" * 36))


def remove_the_marks(scheduler: Harness) -> None:
    """Somebody removes the file in which it is noted what has begun."""
    Path(f"{scheduler.services[0].path}.begun").unlink()


def keep_all(_scheduler: Harness) -> None:
    """Everything is as the crash left it."""


@pytest.mark.parametrize(
    ("window", "is_hard", "forget"),
    [("W8", False, lose_power), ("W8", False, remove_the_marks), ("W8", True, keep_all), ("W9", False, keep_all)],
)
def test_w8_w9_cannot_be_told_apart_without_a_mark(scheduler, window: str, is_hard: bool, forget) -> None:
    """The service dies between claim and outcome, and nothing says that the task had not begun: TASK_INTERRUPTED."""
    crash = scheduler.crash_at(window)
    message_id = work.options(hard=is_hard).launch("a")
    scheduler.run_until_idle()
    forget(scheduler)
    restart(scheduler, crash)
    with pytest.raises(TaskInterrupted):
        message_id.result()
    assert effects == ([] if window == "W8" else ["a", "a done"])


@pytest.mark.parametrize(
    ("options", "window", "left"),
    [({"hard": True}, "W8", ["a", "a done"]), ({}, "W9", ["a", "a done", "a", "a done"])],
    ids=["it never ran", "it ran to its end"],
)
def test_w8_w9_a_task_that_may_start_again_does(scheduler, options, window: str, left: list[str]) -> None:
    """With `on_crash="retry"` it is started again after the crash, so that its effects may have come twice."""
    crash = scheduler.crash_at(window)
    message_id = work.options(on_crash="retry", max_starts=2, **options).launch("a")
    restart(scheduler, crash)
    assert message_id.result() == "a"
    assert effects == left
    assert [task.starts for task in scheduler.tasks] == [2]


def test_w8_w9_the_last_allowed_start_is_told_as_interrupted(scheduler) -> None:
    """Starts are counted through crashes, in each of which nobody knows how far the function came."""
    message_id = work.options(on_crash="retry", max_starts=3).launch("a", 60)
    for starts in (1, 2, 3):
        scheduler.advance(seconds=30)
        assert effects == ["a"] * starts
        scheduler.crash_service()
        scheduler.start_service()
    with pytest.raises(TaskInterrupted):
        message_id.result()
    invariants.require(scheduler, is_over=True)


def test_w9_in_the_middle_of_the_function(scheduler) -> None:
    """A crash while the function waits is told in the same words."""
    message_id = work.launch("a", 60)
    scheduler.advance(seconds=30)
    scheduler.crash_service()
    scheduler.start_service()
    with pytest.raises(TaskInterrupted):
        message_id.result()
    scheduler.advance(hours=1)
    assert effects == ["a"]


def test_w10_the_outbox_sends(scheduler) -> None:
    """The service dies before it sends the reply: the next start does."""
    crash = scheduler.crash_at("W10")
    message_id = work.launch("a")
    with pytest.raises(NothingLeftToHappen):
        message_id.result()
    restart(scheduler, crash)
    assert message_id.result() == "a"
    assert effects == ["a", "a done"]


def test_w11_the_reply_comes_twice_and_is_told_once(scheduler) -> None:
    """The service dies before the outbox forgets a reply that the broker has: it is sent again, and changes nothing."""
    crash = scheduler.crash_at("W11")
    message_id = work.launch("a")
    assert message_id.result() == "a"
    restart(scheduler, crash)
    assert [call.name for call in scheduler.calls.all].count("client.ack") == 2
    assert message_id.result() == "a"
    assert effects == ["a", "a done"]


def test_w12_the_next_program_asks_by_id(scheduler) -> None:
    """The client dies with the reply in its hands: it stays in its queue, and another client gets the outcome."""
    crash = scheduler.crash_at("W12")
    message_id = work.launch("a")
    queue = client.rmq_consumer_que
    with pytest.raises(ClientCrashed):
        message_id.result()
    assert [message.message_id for message in scheduler.broker.queues[queue].ready] == [message_id]
    assert scheduler.new_client(name="shop").result(message_id) == "a"
    restart(scheduler, crash)
    scheduler.advance(hours=1)
    assert queue not in scheduler.broker.queues


def bodies_of_launches(scheduler: Harness) -> list[bytes]:
    """Return a list into which the launches come that the service acks from now on."""
    bodies: list[bytes] = []

    def keep(call, when, _program) -> None:
        if call.name == "transport.ack" and when == "before":
            bodies.extend(message.body for message in scheduler.broker.queues["client-service"].unacked)

    scheduler.calls.hooks.append(keep)
    return bodies


def send_again(scheduler: Harness, body: bytes) -> None:
    """Put a launch into the queue once more, as it was."""
    late = Outgoing(queue="client-service", body=body, message_id="late", on_settled=lambda _sent, _error: None)
    scheduler.broker.transport("late").publish(late)
    scheduler.run_all()


def prune(scheduler: Harness) -> None:
    """Let outcomes become old; an idle service prunes at its next turn."""
    scheduler.advance(seconds=scheduler.service.limits.keep_outcomes_s + 120)
    work.launch("another")


def test_w13_a_crash_after_pruning_leaves_the_id(scheduler) -> None:
    """The service dies with the outcome forgotten: the id is known, a duplicate runs nothing, and its client hears."""
    bodies = bodies_of_launches(scheduler)
    message_id = work.launch("a")
    scheduler.run_all()
    crash = scheduler.crash_at("W13")
    prune(scheduler)
    restart(scheduler, crash)
    assert message_id not in [task.message_id for task in scheduler.tasks]
    send_again(scheduler, bodies[0])
    with pytest.raises(OutcomePruned):
        scheduler.new_client(name="other").result(message_id)
    assert effects.count("a") == 1


def test_w13_a_duplicate_that_outlives_its_outcome_does_not_run(scheduler) -> None:
    """An id is known for `keep_ids_s`, and a duplicate that comes later than that is too old."""
    bodies = bodies_of_launches(scheduler)
    message_id = work.launch("a")
    scheduler.run_all()
    limits = scheduler.service.limits
    for after_s, is_known, runs in ((1, True, 1), (limits.keep_outcomes_s, False, 1), (limits.keep_ids_s, False, 1)):
        scheduler.advance(seconds=after_s + 120)
        work.launch("another").result()  # an idle service prunes at its next turn
        assert (scheduler.outcome(message_id) is not None) is is_known
        send_again(scheduler, bodies[0])
        assert effects.count("a") == runs


def test_w14_is_below_the_seams(scheduler) -> None:
    """What a disk keeps at a loss of power cannot be seen here, and that is said; the setting for it is on."""
    with pytest.raises(HarnessError, match="W14 cannot be armed: a power loss is below the seams"):
        scheduler.crash_at("W14")
    assert scheduler.services[0].database.connection.value("PRAGMA synchronous") == 2


def test_w15_a_restored_backup_is_noticed(scheduler, tmp_path: Path) -> None:
    """A service refuses an older database; told to accept it, it knows nothing of what came after."""
    with pytest.raises(HarnessError, match="W15 cannot be armed: it is the work of an operator"):
        scheduler.crash_at("W15")
    served = scheduler.services[0]
    before = work.launch("a")
    before.result()
    copy = backup(served.path, tmp_path / "copy.db", now=scheduler.clock.now())
    after = work.launch("b")
    after.result()
    scheduler.crash_service()
    Path(f"{served.path}-wal").unlink(missing_ok=True)
    shutil.copy(copy, served.path)
    with pytest.raises(DatabaseOutdated):
        scheduler.start_service()
    served.database.accepts_older = True
    scheduler.start_service()
    other = scheduler.new_client(name="other")
    assert other.result(before) == "a"
    with pytest.raises(UnknownMessageId):
        other.result(after)


@pytest.mark.parametrize("asked_after_s", [0, 60])
def test_w16_a_launch_that_only_the_broker_had_is_told_as_unknown(scheduler, asked_after_s: float) -> None:
    """Its disk is lost before a service has stored the launch: that is nowhere, and the first who asks is told so."""
    with pytest.raises(HarnessError, match=r"W16 cannot be armed: the disk is the broker's.*broker\.lose_disk\(\)"):
        scheduler.crash_at("W16")
    stored = work.options(delay=60, enable_overdue=True).launch("stored")
    scheduler.run_until_idle()
    scheduler.crash_service()
    lost = work.launch("lost")
    scheduler.run_until_idle()
    assert [message.message_id for message in scheduler.broker.queues["client-service"].ready] == [lost]
    scheduler.broker.lose_disk()
    assert not scheduler.broker.queues
    [violation] = invariants.check(scheduler)
    assert (violation.number, violation.message_id) == ("I1", lost)
    scheduler.start_service()
    scheduler.advance(seconds=asked_after_s)
    with pytest.raises(UnknownMessageId, match="it was never stored"):
        lost.result()
    assert stored.result() == "stored"
    assert work.launch("next").result() == "next"
    assert "lost" not in effects


def test_w16_who_waits_when_the_disk_is_lost_is_told_as_unknown() -> None:
    """No wait lasts for ever: the client asks once it has connected again, and the service does not know the id."""
    with Harness(restart_after_s=20) as scheduler:
        scheduler.crash_service()
        lost = work.launch("lost")

        def lose_the_disk() -> None:
            time.sleep(10)
            scheduler.broker.lose_disk()

        threading.Thread(target=lose_the_disk).start()
        with pytest.raises(UnknownMessageId, match="it was never stored"):
            lost.result()
        assert scheduler.clock.now() - START >= timedelta(seconds=20)
        assert effects == []


@pytest.mark.parametrize("window", sorted(WINDOWS, key=lambda name: int(name[1:])))
def test_no_promise_is_broken_in_any_window_under_a_supervisor(window: str) -> None:
    """With a service that is started again by itself, and a client that starts again, all promises hold."""
    with Harness(restart_after_s=1) as scheduler:
        crash = scheduler.crash_at(window)
        try:
            work.launch("a", 5).result()
        except (ClientCrashed, TaskInterrupted):
            scheduler.new_client(name="shop")
        if window == "W13":
            prune(scheduler)
        restart(scheduler, crash)


def test_crash_at_a_call(scheduler) -> None:
    """Any call through a seam, before or after, the n-th, of a named program."""
    other = scheduler.new_client(name="other")
    crash = scheduler.crash_at("client.publish", when="before", n=2, program="other")
    armed = "<CrashPoint before client.publish of program 'other', has "
    assert repr(crash) == f"{armed}not happened; no program of that name is there, but 'service'>"
    for _ in range(3):
        work.launch("a").result()
    assert repr(crash).endswith("; no program of that name is there, but 'service', 'shop'; 'shop' came there>")
    task = other.task(divide)
    task.launch(1, 2)
    with pytest.raises(ClientCrashed):
        task.launch(1, 2)
    assert repr(crash) == f"{armed}happened>"
    with pytest.raises(ClientCrashed, match=r"client 'other' was killed before client\.publish 5; "):
        task.launch(1, 2)


def divide(a: float, b: float) -> float:
    return a / b


def test_a_crash_while_starting(scheduler) -> None:
    """The second start after it ends in the same state, as if there had been one."""
    message_id = work.launch("a", 60)
    scheduler.advance(seconds=30)
    scheduler.crash_service()
    for point in ("storage.open", "storage.begin", "storage.finish", "storage.commit", "transport.consume"):
        for when in ("before", "after"):
            crash = scheduler.crash_at(point, when=when)
            scheduler.start_service()
            if crash.has_happened:
                assert not scheduler.services[0].is_up
                invariants.require(scheduler)
            else:
                scheduler.crash_service()
                scheduler.crash_points.remove(crash)
                scheduler.calls.hooks.remove(crash.hook)
    scheduler.start_service()
    with pytest.raises(TaskInterrupted):
        message_id.result()
    assert scheduler.timeline.entries
    invariants.require(scheduler)


def test_a_crash_in_the_middle_of_a_stop(scheduler) -> None:
    """`stop_service` ends with the service down, and the task is told of at the next start."""
    message_id = work.launch("a", 5)
    scheduler.run_until_idle()
    crash = scheduler.crash_at("W9")
    scheduler.stop_service()
    assert crash.has_happened
    scheduler.start_service()
    with pytest.raises(TaskInterrupted):
        message_id.result()


def test_a_killed_client_ends_its_waits(scheduler) -> None:
    """A launch, a wait for a result in a task, and everything later; other clients are as before."""
    other = scheduler.new_client(name="other")
    message_id = work.launch("a", 60)
    scheduler.run_until_idle()
    with pytest.raises(HarnessError, match="client 'other' has not connected yet"):
        scheduler.crash_client(other)
    scheduler.crash_client(client)
    with pytest.raises(ClientCrashed):
        message_id.result()
    with pytest.raises(ClientCrashed):
        work.launch("b")
    with pytest.raises(HarnessError, match="client 'shop' was killed before"):
        scheduler.crash_client(client)
    assert other.result(message_id) == "a"


@pytest.mark.parametrize("is_strict", [False, True])
def test_a_test_must_come_to_its_crash(is_strict: bool) -> None:
    """A crash that never happens tests nothing, strict or not."""
    with (
        pytest.raises(LeftBehind, match=r"<CrashPoint W5 .*has not happened>: it was armed"),
        Harness(is_strict=is_strict) as scheduler,
    ):
        scheduler.crash_at("W5")


def test_a_crash_of_a_program_that_was_not_there_names_those_that_were() -> None:
    """A program may come after its crash is armed, so its name is looked at in the end; who came there is told, too."""

    def test() -> None:
        with Harness() as scheduler:
            scheduler.crash_at("W9", program="klient")
            work.launch("a").result()

    with pytest.raises(
        LeftBehind,
        match=r"<CrashPoint W9 \(.*\) of program 'klient', has not happened; no program of that name is there, but "
        r"'service', 'shop'; 'service' came there>: it was armed, and the test did not come there",
    ):
        test()
    with Harness() as scheduler:
        crash = scheduler.crash_at("W9", program="second")
        scheduler.new_service(name="second")
        assert repr(crash).endswith("has not happened>")
        scheduler.crash_points.clear()


@pytest.mark.parametrize("client", ["shop", None, 5])
def test_what_is_no_client_cannot_be_killed(scheduler: Harness, client: Any) -> None:
    """Its name is not enough: there may be several of one name."""
    with pytest.raises(InvalidParameter, match=r"crash_client takes the client itself, .*scheduler\.client; got "):
        scheduler.crash_client(client)


def test_unknown_points_are_refused(scheduler) -> None:
    """With the ones that there are."""
    for point in ("W99", "storage.find", ""):
        with pytest.raises(InvalidParameter, match=rf"crash_at takes one of W1, .*storage\.commit.*; got '{point}'"):
            scheduler.crash_at(point, when="during")
    for point in (5, None, ["W5"]):
        with pytest.raises(InvalidParameter, match=r"crash_at takes the name of a window or a call, e\.g\. 'W9', got "):
            scheduler.crash_at(point)
    for point in ("W5", "runner.start"):
        with pytest.raises(InvalidParameter, match=r"^when must be 'before' or 'after' the call, .*got 'during'$"):
            scheduler.crash_at(point, when="during")
    with pytest.raises(InvalidParameter, match=r"^program must be the name of a service or a client, .* got 5"):
        scheduler.crash_at("W5", program=5)
    with pytest.raises(InvalidParameter):
        scheduler.crash_at("W5", n=0)
    assert {window.call for window in WINDOWS.values()} <= CALLS


def test_every_row_of_the_table_names_a_test_that_exists() -> None:
    """And every window that can be armed has a row."""
    lines = (Path(__file__).parents[2] / "docs" / "crash-windows.md").read_text().splitlines()
    rows = {line.split("|")[1].strip(): line for line in lines if re.match(r"\| W\d+ \|.* → ", line)}
    assert sorted(rows, key=lambda name: int(name[1:])) == [f"W{number}" for number in range(1, 17)]
    assert {*WINDOWS, *NOT_ARMED} == set(rows)
    for row in rows.values():
        named = re.findall(r"`(test_\w+)`", row)
        assert named
        assert all(name in globals() for name in named), row
