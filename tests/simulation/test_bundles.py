"""Answers that travel together, over a broker that repeats and refuses them: each is told once, none is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from schedulergodx import Client, KeyRing
from schedulergodx.rules.lifecycle import Code
from schedulergodx.utils.abstractions import Outgoing, QueueSpec
from schedulergodx.utils.keys.ring import Key
from schedulergodx.utils.message import MessageConstructor, bundles
from schedulergodx_testing import Harness, invariants, survives_crashes
from schedulergodx_testing.answered import ids_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schedulergodx import MessageId

client = Client(name="shop")
RING = KeyRing([Key(key_id="k1", secret=b"k1" * 16)])


@client.task
def double(number: int) -> int:
    return 2 * number


def launch(count: int) -> list[MessageId[int]]:
    """Have so many tasks arrive together."""
    with client.batch():
        return [double.launch(number) for number in range(count)]


def change_answers(monkeypatch: pytest.MonkeyPatch, change: Callable[[Sequence[bytes]], Sequence[bytes]]) -> None:
    """Let bundles of answers have something else in them than what belongs there."""
    whole = bundles.join
    monkeypatch.setattr(
        bundles, "join", lambda messages: whole(change(messages) if b'"result":' in messages[0] else messages)
    )


def test_answers_of_one_turn_arrive_together(scheduler: Harness) -> None:
    """In few messages, each of them acked once; every launch has its lines in the timeline."""
    launched = launch(20)
    scheduler.run_until_idle()
    names = [call.name for call in scheduler.calls.all]
    assert names.count("transport.publish") == names.count("client.ack") < 10
    assert [message_id.result() for message_id in launched] == [2 * number for number in range(20)]
    for message_id in launched:
        lines = [entry.what for entry in scheduler.timeline.of(message_id) if entry.lane == "broker"]
        assert [line.split(":")[0] for line in lines].count("confirmed") == 2, lines  # of the launch, of its answer
    invariants.require(scheduler, is_over=True)


def test_a_bundle_that_the_broker_repeats_changes_nothing(scheduler: Harness) -> None:
    """Every answer is heard twice and told once."""
    queue = client.rmq_consumer_que
    scheduler.broker.faults.repeat_message(queue)
    scheduler.broker.faults.repeat_delivery(queue)
    launched = launch(8)
    scheduler.run_until_idle()
    outcomes = [client.outcome(message_id) for message_id in launched]
    assert [outcome and outcome.report.result for outcome in outcomes] == [str(2 * number) for number in range(8)]
    assert [call.name for call in scheduler.calls.all].count("client.ack") > 1
    invariants.require(scheduler, is_over=True)


def test_a_queue_of_answers_that_is_full_holds_up_and_gets_all_later(scheduler: Harness) -> None:
    """The bundle waits in the outbox as single answers, and goes out when there is room."""
    queue = client.rmq_consumer_que
    double.launch(0).result()  # makes the queue
    scheduler.broker.set_limit(queue, 0)
    launched = launch(8)
    scheduler.advance(seconds=60)
    assert [client.outcome(message_id) for message_id in launched] == [None] * 8
    invariants.require(scheduler)
    scheduler.broker.set_limit(queue, None)
    scheduler.advance(minutes=5)
    assert [message_id.result() for message_id in launched] == [2 * number for number in range(8)]
    invariants.require(scheduler, is_over=True)


@pytest.mark.parametrize("window", ["W10", "W11"])
def test_a_crash_around_a_bundle_loses_no_answer(scheduler: Harness, window: str) -> None:
    """The next start sends what the outbox has, one by one; what comes twice is told once, and as it was."""
    double.launch(0).result()
    scheduler.run_until_idle()
    crash = scheduler.crash_at(window)
    launched = launch(8)
    scheduler.run_until_idle()
    if not crash.has_happened:  # the outbox forgets them in the next turn, which is one for something else
        launched += launch(1)
        scheduler.run_until_idle()
    assert crash.has_happened
    unsent = set(scheduler.services[0].ledger.outbox)
    assert len(unsent) > 1
    before = {message_id: client.outcome(message_id) for message_id in launched}
    scheduler.start_service()
    scheduler.run_until_idle()
    after = {message_id: client.outcome(message_id) for message_id in launched}
    assert {outcome and outcome.code for outcome in after.values()} <= {Code.OK, Code.TASK_INTERRUPTED}
    assert all(told in {None, after[message_id]} for message_id, told in before.items())
    assert any(before.values()) is (window == "W11")
    invariants.require(scheduler, is_over=True)


@pytest.mark.slow
@survives_crashes(service=True, broker=True)
def test_no_moment_loses_an_answer_of_a_bundle(scheduler: Harness) -> None:
    """Service and broker are killed at every call."""
    launched = launch(3)
    scheduler.run_until_idle()
    assert all(client.outcome(message_id) for message_id in launched)


def test_an_answer_that_is_lost_out_of_a_bundle_is_noticed(scheduler: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The promises are looked up for each answer: a bundle that leaves one out is found out."""
    change_answers(monkeypatch, lambda answers: answers[:1] * 2)
    launch(4)
    scheduler.run_until_idle()
    assert {violation.number for violation in invariants.check(scheduler, is_over=True)} == {"I4"}


def test_a_bundle_of_which_one_answer_is_tampered_with_keeps_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each has its own signature: the changed one is thrown away alone, and can be asked for."""
    change_answers(monkeypatch, lambda found: [found[0].replace(b'"result":', b'"result":1'), *found[1:]])
    with Harness(service={"keys": RING}, client={"name": "shop", "keys": RING}) as scheduler:
        shop = scheduler.client
        task = shop.task(abs)
        with shop.batch():
            launched = [task.launch(number) for number in range(8)]
        scheduler.run_until_idle()
        thrown_away = caplog.text.count("an answer was thrown away: BAD_SIGNATURE")
        unheard = [message_id for message_id in launched if shop.outcome(message_id) is None]
        assert len(unheard) == thrown_away
        assert 0 < thrown_away < len(launched)
        scheduler.broker.faults.cut(transport="shop")  # then it asks for what it waits for
        assert [shop.result(message_id) for message_id in launched] == list(range(8))


def test_a_client_that_reads_no_bundles_gets_single_messages() -> None:
    """Whoever speaks the protocol as it was before them is answered as before."""
    with Harness() as scheduler:
        queue = QueueSpec(name="service-client.foreign.1")
        foreign = scheduler.broker.transport("foreign")
        foreign.declare(queue)
        for number in range(6):
            task = MessageConstructor.task(f"f{number}", "foreign", None, abs, (number,), {})
            body = json.dumps(task | {"reply_to": queue.name}).encode()
            foreign.publish(Outgoing(queue="client-service", body=body, message_id="", on_settled=lambda *_: None))
        scheduler.run_until_idle()
        assert sorted(ids_of(message) for message in scheduler.broker.queues[queue.name].ready) == [
            (f"f{number}",) for number in range(6)
        ]
