"""Answers that go out together: to whom, how many, and what becomes of them when the broker takes them, or does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import BrokerError, BrokerUnavailable, QueueFull, QueueMissing
from schedulergodx.rules.lifecycle import Code, Report
from schedulergodx.service import ends
from schedulergodx.service.takers import _KNOWN_MAX, Takers
from schedulergodx.utils.message import bundles
from schedulergodx.utils.message.envelope import Envelope
from schedulergodx.utils.message.kinds import Message
from tests.unit.doubles import REPLIES, Bench, message_body

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER = "service-client.other.1"


@pytest.fixture
def slow(make_bench: Callable[..., Bench]) -> Bench:
    """A service with room for many tasks, whose broker confirms only when told to."""
    return opened(make_bench)


def opened(make_bench: Callable[..., Bench], **limits: int) -> Bench:
    bench = make_bench(threads=300, **limits)
    bench.confirms = bench.transport.confirms = False
    return bench.open()


def finish(bench: Bench, *names: str, reply_to: str = REPLIES, takes_bundles: bool = True, result: str = "1") -> None:
    """Launch tasks and end them all in one turn."""
    for name in names:
        bench.launch(name, reply_to=reply_to, takes_bundles=takes_bundles)
    while bench.service.has_events():
        bench.turn()
    for name in names:
        bench.runner.finish(name, Report(code=Code.OK, result=result))
    bench.turn()


def settle(bench: Bench, error: BrokerError | None = None) -> list[list[str]]:
    """Settle all that is under way; return which answers each message had."""
    waiting, bench.transport.waiting = bench.transport.waiting, []
    for outgoing in waiting:
        outgoing.on_settled(outgoing, error)
    bench.settle_down()
    return [ids(outgoing.body) for outgoing in waiting]


def ids(body: bytes) -> list[str]:
    return [json.loads(one)["id"] for one in bundles.cut(body)]


def envelope(queue: str, *, takes_bundles: bool) -> Envelope:
    return Envelope(
        message_id="m", client="shop", kind=Message.ASK, reply_to=queue, takes_bundles=takes_bundles, arguments={}
    )


def under_way(bench: Bench) -> list[list[str]]:
    return [ids(outgoing.body) for outgoing in bench.transport.waiting]


def in_outbox(bench: Bench) -> list[str]:
    return [reply.message_id for reply in bench.storage.database.replies(after=0, limit=1000)]


def test_answers_of_one_turn_to_one_queue_are_one_message(slow: Bench) -> None:
    """In their order, under a name that tells how many there are."""
    finish(slow, "a", "b", "c")
    assert under_way(slow) == [["a", "b", "c"]]
    assert slow.facts("publish") == ["a +2"]


def test_a_single_answer_is_a_plain_message(slow: Bench) -> None:
    """As ever: nothing waits for a second one."""
    finish(slow, "a")
    assert json.loads(slow.transport.waiting[0].body)["id"] == "a"


def test_a_client_that_says_nothing_of_bundles_gets_single_messages(slow: Bench) -> None:
    """Also beside another one that reads them, in the same turn."""
    for name, queue in (("a", REPLIES), ("b", OTHER), ("c", REPLIES), ("d", OTHER)):
        slow.launch(name, reply_to=queue, takes_bundles=queue == REPLIES)
    slow.turn()
    for name in "abcd":
        slow.runner.finish(name)
    slow.turn()
    assert under_way(slow) == [["a", "c"], ["b"], ["d"]]


@pytest.mark.parametrize("kind", [Message.ASK, Message.INITIALIZATION])
def test_a_question_and_a_greeting_say_it_too(slow: Bench, kind: Message) -> None:
    """What a launch said is forgotten with the process that read it."""
    for message_id in ("a", "b"):
        slow.deliver(message_body(kind, message_id=message_id, takes_bundles=True, ids=[message_id]))
    slow.turn()
    assert under_way(slow) == [["a", "b"]]


def test_the_last_word_about_a_queue_counts(slow: Bench) -> None:
    """A program that does not say it is not sent bundles because another one had said it."""
    finish(slow, "a", "b")
    finish(slow, "c", "d", takes_bundles=False)
    assert under_way(slow) == [["a", "b"], ["c"], ["d"]]


def test_the_last_word_counts_also_when_it_is_said_again_after_others() -> None:
    """Yes of one queue, no of another, no of the first, and yes again."""
    takers = Takers()
    said = [(REPLIES, True), (OTHER, False), (REPLIES, False), (REPLIES, True), (REPLIES, True), (OTHER, True)]
    known = []
    for queue, takes_bundles in said:
        takers.hear(envelope(queue, takes_bundles=takes_bundles))
        known.append((REPLIES in takers, OTHER in takers))
    assert known == [(True, False), (True, False), (False, False), (True, False), (True, False), (True, True)]


def test_after_a_restart_answers_go_singly_until_it_is_said_again(slow: Bench) -> None:
    """It is known in memory only."""
    finish(slow, "a", "b")
    slow.crash()
    slow.open().settle_down()
    assert under_way(slow) == [["a"], ["b"]]
    finish(slow, "c", "d")
    assert under_way(slow)[2:] == [["c", "d"]]


def test_what_is_known_of_queues_has_a_bound() -> None:
    """The one that was heard of longest ago goes first."""
    takers = Takers()
    for number in [*range(_KNOWN_MAX), 0, _KNOWN_MAX]:
        takers.hear(envelope(f"q{number}", takes_bundles=True))
    assert [f"q{number}" in takers for number in (0, 1, 2, _KNOWN_MAX)] == [True, False, True, True]


def test_a_bundle_has_a_hundred_answers_at_most(slow: Bench) -> None:
    """What is left is the next one."""
    finish(slow, *(f"{number:03}" for number in range(205)))
    assert [len(one) for one in under_way(slow)] == [100, 100, 5]


def test_a_bundle_has_256_kib_at_most_and_a_larger_answer_travels_alone(
    slow: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its place among the others, so that each queue keeps its order."""
    monkeypatch.setattr(ends, "TURN_BYTES_MAX", 1_000_000)
    sizes = {"a": 10, "b": 300_000, "c": 100_000, "d": 100_000, "e": 100_000, "f": 10}
    for name in sizes:
        slow.launch(name, takes_bundles=True)
    slow.turn()
    for name, size in sizes.items():
        slow.runner.finish(name, Report(code=Code.OK, result=json.dumps("x" * size)))
    slow.turn()
    assert under_way(slow) == [["a"], ["b"], ["c", "d"], ["e", "f"]]
    assert all(len(one.body) <= bundles.BYTES_MAX for one in slow.transport.waiting if len(ids(one.body)) > 1)


def test_a_bundle_is_never_larger_than_a_message_may_be(make_bench: Callable[..., Bench]) -> None:
    """Where a service allows less than 256 KiB."""
    bench = opened(make_bench, message_bytes_max=4096)
    finish(bench, *(f"{number:02}" for number in range(20)), result=json.dumps("x" * 300))
    assert all(len(outgoing.body) <= 4096 for outgoing in bench.transport.waiting)
    assert max(map(len, under_way(bench))) > 3
    assert sum(map(len, under_way(bench))) == 20


def test_a_bundle_leaves_the_outbox_as_one(slow: Bench) -> None:
    """All of it in the turn that hears of the confirm."""
    finish(slow, "a", "b", "c")
    assert in_outbox(slow) == ["a", "b", "c"]
    assert settle(slow) == [["a", "b", "c"]]
    assert in_outbox(slow) == []


@pytest.mark.parametrize("error", [QueueMissing("no queue"), QueueFull("full"), BrokerUnavailable("away")])
def test_a_refused_bundle_waits_as_a_whole_and_is_tried_with_one(
    slow: Bench, error: BrokerError, caplog: pytest.LogCaptureFixture
) -> None:
    """When the one is taken, the others follow, with what came meanwhile."""
    finish(slow, "a", "b", "c")
    settle(slow, error)
    assert "3 answers wait for another try" in caplog.text or isinstance(error, QueueMissing)
    finish(slow, "d")
    assert under_way(slow) == []
    assert in_outbox(slow) == ["a", "b", "c", "d"]
    slow.wait(seconds=5)
    assert settle(slow, error) == [["a"]]
    slow.wait(seconds=10)
    assert settle(slow) == [["a"]]
    assert settle(slow) == [["b", "c", "d"]]
    assert in_outbox(slow) == []


def test_bundles_that_may_be_too_large_for_the_broker_become_smaller(slow: Bench) -> None:
    """It may allow less than this library thinks, and says so in words that only people read."""
    names = [f"{number}" for number in range(9)]
    finish(slow, *names, result=f'"{"x" * 4000}"')
    refused = 0
    while in_outbox(slow):
        for outgoing in slow.transport.waiting:
            error = BrokerError("406 too large") if len(outgoing.body) > 10_000 else None
            refused += error is not None
            outgoing.on_settled(outgoing, error)
        slow.transport.waiting.clear()
        slow.settle_down()
        slow.wait(seconds=5 if slow.transport.waiting == [] else 0)
        assert slow.elapsed_s < 100
    assert 1 <= refused <= 4


def test_a_bundle_that_is_small_was_not_refused_for_its_size(slow: Bench) -> None:
    """Whatever the broker has against one of two small answers: the answers of others still travel together."""
    finish(slow, "a", "b")
    settle(slow, BrokerError("406 something else"))
    slow.settle_down()
    finish(slow, *"cdefgh", reply_to="another queue")
    assert settle(slow) == [["c", "d", "e", "f", "g", "h"]]


def test_the_window_counts_answers(make_bench: Callable[..., Bench]) -> None:
    """However many are in a message."""
    bench = opened(make_bench, replies_in_flight_max=3)
    finish(bench, *"abcdefg")
    assert [settle(bench) for _ in range(3)] == [[["a", "b", "c"]], [["d", "e", "f"]], [["g"]]]
    assert in_outbox(bench) == []


def test_an_answer_under_way_in_a_bundle_is_not_sent_a_second_time(slow: Bench) -> None:
    """When a trial has freed its queue, what may yet be confirmed is left alone."""
    finish(slow, "a")
    finish(slow, "b", "c")
    single, bundle = slow.transport.waiting
    slow.transport.waiting = []
    single.on_settled(single, QueueFull("full"))
    slow.settle_down()
    slow.wait(seconds=5)
    assert settle(slow) == [["a"]]
    assert under_way(slow) == []
    bundle.on_settled(bundle, None)
    slow.settle_down()
    assert in_outbox(slow) == []
