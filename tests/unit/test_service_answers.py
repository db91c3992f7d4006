"""How answers leave the outbox: each is sent until the broker has it, or nobody can get it any more."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import BrokerUnavailable, QueueFull, QueueMissing
from schedulergodx.service import publisher
from schedulergodx.service.publisher import LONGEST_PAUSE_S
from schedulergodx.utils.abstractions import ConsumeFailed
from tests.unit.doubles import REPLIES

if TYPE_CHECKING:
    from schedulergodx.errors import BrokerError
    from tests.unit.doubles import Bench


def settle(bench: Bench, error: Exception | None = None) -> int:
    """Settle all that was published and not settled yet; return how many."""
    waiting, bench.transport.waiting = bench.transport.waiting, []
    for outgoing in waiting:
        outgoing.on_settled(outgoing, error)
    return len(waiting)


@pytest.fixture
def slow(make_bench) -> Bench:
    """A service whose broker confirms only when told to."""
    bench = make_bench()
    bench.confirms = bench.transport.confirms = False
    return bench.open()


def finish(bench: Bench, *names: str, reply_to: str = REPLIES) -> None:
    """Launch tasks and end them."""
    for name in names:
        bench.launch(name, reply_to=reply_to)
    bench.turn()
    for name in names:
        bench.runner.finish(name)
    bench.turn()


def in_outbox(bench: Bench) -> list[str]:
    """Return the ids of the answers in the database."""
    return [reply.message_id for reply in bench.storage.database.replies(after=0, limit=1000)]


def test_an_answer_stays_in_the_database_until_the_broker_has_it(slow: Bench) -> None:
    """It leaves the outbox in the turn that hears of the confirm."""
    finish(slow, "a")
    assert in_outbox(slow) == ["a"]
    settle(slow)
    slow.settle_down()
    assert in_outbox(slow) == []


def test_that_the_broker_has_an_answer_is_no_reason_for_a_turn(slow: Bench) -> None:
    """It stays in the outbox until the next turn, whatever that is for, and leaves it in the same transaction."""
    finish(slow, "a")
    settle(slow)
    assert not slow.service.has_events()
    assert slow.service.wait_s() is None
    assert slow.service._publisher.count_unsent() == 0
    slow.launch("b")
    assert [call[0] for call in slow.turn()].count("commit") == 1
    assert in_outbox(slow) == []


def test_answers_that_wait_for_room_go_out_at_once(make_bench) -> None:
    """Then a turn is needed for each that the broker has."""
    bench = make_bench(replies_in_flight_max=1)
    bench.transport.confirms = False
    bench.open()
    finish(bench, "a", "b")
    settle(bench)
    assert bench.service.has_events()


def test_few_answers_stay_that_the_broker_has(slow: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it has many, there is a turn for them."""
    monkeypatch.setattr(publisher, "QUIET_MAX", 2)
    finish(slow, "a")
    settle(slow)
    assert not slow.service.has_events()
    finish(slow, "b")
    finish(slow, "c")
    settle(slow)
    assert slow.service.has_events()
    slow.settle_down()
    assert in_outbox(slow) == []


def test_a_stop_leaves_no_answer_that_the_broker_has(slow: Bench) -> None:
    """What was settled quietly, and what is settled while the service stops, leaves the outbox before its end."""
    finish(slow, "a")
    settle(slow)
    finish(slow, "b")
    slow.stop()
    slow.turn()
    settle(slow)
    assert slow.service.has_events()
    slow.turn()
    assert slow.is_done
    assert in_outbox(slow) == []
    assert slow.run().unsent_replies == 0


def test_a_confirm_that_comes_as_the_stop_begins_is_not_overlooked(
    slow: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker's thread has looked whether anybody waits, and then the loop begins to: there is a turn."""
    finish(slow, "a")
    told = slow.service._publisher
    looks = iter([False])
    is_awaited = told._is_awaited

    def look() -> bool:
        if next(looks, None) is None:
            return is_awaited()
        slow.stop()
        slow.turn()
        return False

    monkeypatch.setattr(told, "_is_awaited", look)
    settle(slow)
    assert slow.service.has_events()
    slow.turn()
    assert slow.is_done


def test_answers_that_were_not_confirmed_are_sent_again_after_a_restart(slow: Bench) -> None:
    """At once, without waiting for anything else to happen, and in their order."""
    finish(slow, "a", "b")
    slow.crash()
    slow.calls.clear()
    slow.open()
    assert slow.service.wait_s() == 0.0
    slow.settle_down()
    assert slow.facts("publish") == ["a", "b"]


@pytest.mark.parametrize("error", [QueueMissing("no queue"), QueueFull("full")])
def test_answers_that_a_queue_never_takes_are_dropped_in_the_end(
    make_bench, error: BrokerError, caplog: pytest.LogCaptureFixture
) -> None:
    """For `keep_replies_s` one of them is a trial, ever more rarely; then they go with one line. The outcomes stay."""
    bench = make_bench(keep_replies_s=86400)
    bench.transport.confirms = False
    bench.open()
    finish(bench, "a", "b", "c")
    trials = 0
    while in_outbox(bench):
        trials += settle(bench, error) > 0
        bench.settle_down()
        bench.wait(seconds=bench.service.wait_s() or 0)
        assert bench.elapsed_s < 86400 + 2 * LONGEST_PAUSE_S
    assert bench.elapsed_s >= 86400
    assert len(bench.facts("publish")) == trials + 2 <= 160
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING][-1] == (
        f"core - 3 answers that queue {REPLIES} has not taken for 86400 s are dropped, their outcomes stay (message a)"
    )
    bench.ask("a", reply_to="service-client.late.1")
    bench.settle_down()
    assert len(bench.outcomes("a")) == 1


def test_a_queue_that_takes_its_trial_gets_everything(slow: Bench) -> None:
    """In order, what was added meanwhile included."""
    finish(slow, "a", "b")
    settle(slow, QueueMissing("the client makes it anew"))
    slow.settle_down()
    finish(slow, "c")
    slow.wait(seconds=5)
    assert slow.facts("publish") == ["a", "b", "a"]
    settle(slow)
    slow.settle_down()
    assert slow.facts("publish") == ["a", "b", "a", "b", "c"]


@pytest.mark.parametrize(("error", "unsent"), [(QueueMissing("no queue"), 0), (QueueFull("full"), 2)])
def test_a_stop_does_not_wait_for_queues_that_take_nothing(slow: Bench, error: BrokerError, unsent: int) -> None:
    """What stays in the outbox is counted without being read; what nobody waits for is no unfinished business."""
    finish(slow, "a", "b")
    settle(slow, error)
    slow.settle_down()
    slow.stop()
    assert slow.run().unsent_replies == unsent
    assert slow.elapsed_s == 0


@pytest.mark.parametrize("error", [QueueMissing("no queue"), QueueFull("full"), BrokerUnavailable("away")])
def test_an_answer_that_was_not_taken_is_offered_again_later(slow: Bench, error: Exception) -> None:
    """After a pause, not in a loop; the line says why, and which message."""
    finish(slow, "a")
    settle(slow, error)
    slow.settle_down()
    assert in_outbox(slow) == ["a"]
    assert slow.transport.waiting == []
    slow.wait(seconds=5)
    assert slow.facts("publish") == ["a", "a"]
    settle(slow)
    slow.settle_down()
    assert in_outbox(slow) == []


def test_many_answers_that_were_not_taken_make_one_line(slow: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """A broker that goes away with a thousand of them must not fill the log."""
    names = [f"{number}" for number in range(8)]
    finish(slow, *names)
    settle(slow, BrokerUnavailable("the broker is away"))
    slow.settle_down()
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert lines == ["core - 8 answers wait for another try, the first since the broker is away (message 0)"]


def test_no_more_answers_are_under_way_than_allowed(make_bench) -> None:
    """The rest waits in the database, and follows in order as confirms come."""
    bench = make_bench(replies_in_flight_max=3, threads=20)
    bench.transport.confirms = False
    bench.open()
    names = [f"{number:02}" for number in range(10)]
    finish(bench, *names)
    assert bench.facts("publish") == names[:3]
    while settle(bench):
        bench.settle_down()
        assert len(bench.transport.waiting) <= 3
    assert bench.facts("publish") == names
    assert in_outbox(bench) == []


def test_new_answers_do_not_overtake_those_that_wait(make_bench) -> None:
    """The outbox is a queue."""
    bench = make_bench(replies_in_flight_max=1)
    bench.transport.confirms = False
    bench.open()
    finish(bench, "a", "b")
    settle(bench)
    finish(bench, "c")
    while settle(bench):
        bench.settle_down()
    assert bench.facts("publish") == ["a", "b", "c"]


def test_an_answer_that_fails_does_not_hold_up_the_others(slow: Bench) -> None:
    """One full queue is one client's matter: its answers wait, those of others go out."""
    finish(slow, "a", reply_to="full")
    settle(slow, QueueFull("full"))
    slow.settle_down()
    finish(slow, "b", reply_to="full")
    finish(slow, "c")
    assert slow.facts("publish") == ["a", "c"]
    assert in_outbox(slow) == ["a", "b", "c"]


def test_an_answer_that_is_under_way_is_not_offered_a_second_time(slow: Bench) -> None:
    """Trying one again after its pause leaves those alone that may yet be confirmed."""
    finish(slow, "a", "b")
    full, _under_way = slow.transport.waiting
    full.on_settled(full, QueueFull("full"))
    slow.settle_down()
    slow.wait(seconds=5)
    assert slow.facts("publish") == ["a", "b", "a"]


def test_a_launch_without_a_queue_for_answers_is_recorded_and_not_answered(bench: Bench) -> None:
    """Its outcome can be asked for."""
    bench.launch("a", reply_to="")
    bench.turn()
    bench.runner.finish("a")
    bench.settle_down()
    assert bench.facts("publish") == []
    bench.ask("a")
    bench.settle_down()
    assert bench.codes("a") == ["OK"]


def test_a_service_that_may_not_consume_ends_with_the_reason(bench: Bench) -> None:
    """It stops in order, and `start` raises what the transport told."""
    error = BrokerUnavailable("another service takes from it")
    bench.service._inbox.put(ConsumeFailed(queue="client-service", error=error))
    bench.run()
    assert bench.is_done
    assert bench.error is error
