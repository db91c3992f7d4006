"""Shares of answers: a client with large answers, or many, does not hold up the answer of another one."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from schedulergodx.rules.lifecycle import Code, Report
from schedulergodx.service import publisher

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.doubles import Bench

FLOOD, SINGLE = "service-client.flood.1", "service-client.single.1"
LARGE, SMALL = json.dumps("x" * 600), "1"


@pytest.fixture
def make_slow(make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    """Return a function that makes services whose broker confirms only when told to, and whose shares are small."""
    monkeypatch.setattr(publisher, "QUEUE_BYTES_MAX", 1000)
    monkeypatch.setattr(publisher, "ALL_BYTES_MAX", 4000)

    def make(**limits: int) -> Bench:
        bench = make_bench(threads=300, **limits)
        bench.confirms = bench.transport.confirms = False
        return bench.open()

    return make


def finish(bench: Bench, *names: str, reply_to: str, result: str) -> None:
    """Launch tasks and end them all."""
    for name in names:
        bench.launch(name, reply_to=reply_to)
    while bench.service.has_events():
        bench.turn()
    for name in names:
        bench.runner.finish(name, Report(code=Code.OK, result=result))
    while bench.service.has_events():
        bench.turn()


def under_way(bench: Bench) -> list[str]:
    return [outgoing.message_id for outgoing in bench.transport.waiting]


def settle_first(bench: Bench) -> str:
    """Let the broker have the message that was sent first of those under way; return its id."""
    outgoing = bench.transport.waiting.pop(0)
    outgoing.on_settled(outgoing, None)
    bench.settle_down()
    return outgoing.message_id


def numbered(kind: str, count: int) -> list[str]:
    return [f"{kind} {number:02}" for number in range(count)]


def test_of_large_answers_to_one_queue_a_few_are_under_way(make_slow: Callable[..., Bench]) -> None:
    """Until they have so many bytes; the others wait in the outbox, and all of them go out in their order."""
    bench = make_slow()
    names = numbered("flood", 7)
    finish(bench, *names, reply_to=FLOOD, result=LARGE)
    assert under_way(bench) == names[:2]
    heard = []
    while bench.transport.waiting:
        heard.append(settle_first(bench))
        assert len(bench.transport.waiting) <= 2
    assert heard == names
    assert bench.storage.database.count_replies() == 0


def test_a_single_answer_is_not_behind_many_large_ones(make_slow: Callable[..., Bench]) -> None:
    """It goes out at once, behind what is under way."""
    bench = make_slow()
    finish(bench, *numbered("flood", 9), reply_to=FLOOD, result=LARGE)
    finish(bench, "single", reply_to=SINGLE, result=SMALL)
    assert under_way(bench) == ["flood 00", "flood 01", "single"]


def test_new_answers_to_a_queue_do_not_overtake_its_large_ones(make_slow: Callable[..., Bench]) -> None:
    """However small they are."""
    bench = make_slow()
    finish(bench, *numbered("flood", 3), reply_to=FLOOD, result=LARGE)
    finish(bench, "later", reply_to=FLOOD, result=SMALL)
    heard = [settle_first(bench) for _ in range(4)]
    assert heard == [*numbered("flood", 3), "later"]


def test_an_answer_larger_than_the_share_goes_out_alone(make_slow: Callable[..., Bench]) -> None:
    """One may always be under way."""
    bench = make_slow()
    finish(bench, "a", "b", reply_to=FLOOD, result=json.dumps("x" * 5000))
    assert under_way(bench) == ["a"]
    assert settle_first(bench) == "a"
    assert under_way(bench) == ["b"]


def test_all_queues_together_have_a_bound_and_their_turns(make_slow: Callable[..., Bench]) -> None:
    """Whoever comes last waits for what is under way, and for a share of each of the others."""
    bench = make_slow()
    for number in range(6):
        finish(bench, *numbered(f"flood {number}", 9), reply_to=f"{FLOOD}{number}", result=LARGE)
    assert sum(len(one.body) for one in bench.transport.waiting) <= 4000 + 1000 + 900
    finish(bench, "single", reply_to=SINGLE, result=SMALL)
    before = len(under_way(bench))
    heard: Counter[str] = Counter()
    while (name := settle_first(bench)) != "single":
        heard[name[:7]] += 1
        assert sum(len(one.body) for one in bench.transport.waiting) <= 4000 + 1000 + 900
    assert heard.total() <= before + 2 * 6
    while bench.transport.waiting:
        settle_first(bench)
    assert bench.storage.database.count_replies() == 0


def test_many_small_answers_leave_others_their_turn(make_slow: Callable[..., Bench]) -> None:
    """When as many are under way as may be, whoever comes has the next place but one at most."""
    bench = make_slow(replies_in_flight_max=2)
    finish(bench, *numbered("flood", 9), reply_to=FLOOD, result=SMALL)
    finish(bench, "single 0", "single 1", reply_to=SINGLE, result=SMALL)
    heard = [settle_first(bench) for _ in range(11)]
    assert heard.index("single 0") <= 4
    assert heard.index("single 1") <= 6
    assert [name for name in heard if name.startswith("flood")] == numbered("flood", 9)


def test_after_a_crash_a_single_answer_is_not_behind_many(make_slow: Callable[..., Bench]) -> None:
    """What was left in the outbox is shared out in the same way, and no more of it is read than is sent."""
    bench = make_slow(replies_in_flight_max=4)
    finish(bench, *numbered("flood", 30), reply_to=FLOOD, result=LARGE)
    finish(bench, "single", reply_to=SINGLE, result=SMALL)
    bench.crash()
    bench.open().settle_down()
    assert under_way(bench) == ["flood 00", "flood 01", "single"]
    heard = []
    while bench.transport.waiting:
        heard.append(settle_first(bench))
    assert [name for name in heard if name != "single"] == numbered("flood", 30)
    assert heard.count("single") == 1


def test_after_a_crash_a_new_answer_comes_behind_the_old_ones(make_slow: Callable[..., Bench]) -> None:
    """Also when it is there before the outbox was looked at."""
    bench = make_slow()
    finish(bench, "a", "b", reply_to=FLOOD, result=SMALL)
    bench.crash()
    bench.open()
    bench.ask("a", reply_to=FLOOD)
    bench.ask("a", reply_to=SINGLE)
    bench.settle_down()
    bodies = [(outgoing.queue, outgoing.message_id) for outgoing in bench.transport.waiting]
    assert bodies == [(FLOOD, "a"), (FLOOD, "b"), (FLOOD, "a"), (SINGLE, "a")]


def test_more_queues_than_are_read_at_once_are_found(
    make_slow: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash each of them gets its answers, once."""
    monkeypatch.setattr(publisher, "_QUEUES_AT_ONCE", 3)
    bench = make_slow(replies_in_flight_max=5)
    for number in range(7):
        finish(bench, f"{number}", reply_to=f"queue {number}", result=SMALL)
    bench.crash()
    bench.open().settle_down()
    heard = []
    while bench.transport.waiting:
        heard.append(settle_first(bench))
    assert sorted(heard) == [f"{number}" for number in range(7)]


def test_answers_of_an_earlier_run_are_found_while_the_window_is_full(
    make_slow: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many queues it has left, and however fast new answers come to those that were found first."""
    monkeypatch.setattr(publisher, "_QUEUES_AT_ONCE", 3)
    bench = make_slow(replies_in_flight_max=4)
    finish(bench, "old", reply_to="z, the last by its name", result=SMALL)
    for queue in "abc":
        finish(bench, *numbered(queue, 40), reply_to=queue, result=SMALL)
    bench.crash()
    bench.transport.confirms = False
    bench.open().settle_down()
    heard: list[str] = []
    while "old" not in heard and len(heard) < 40:
        finish(bench, f"new {len(heard)}", reply_to="a", result=SMALL)
        heard.append(settle_first(bench))
    assert "old" in heard


def test_a_turn_asks_each_queue_that_waits_once(make_slow: Callable[..., Bench]) -> None:
    """Also where there are many more queues than answers may be under way: their number is not squared."""
    bench = make_slow(replies_in_flight_max=5)
    names = numbered("single", 60)
    for name in names:
        bench.launch(name, reply_to=f"queue of {name}")
    bench.turn()
    for name in names:
        bench.runner.finish(name, Report(code=Code.OK, result=SMALL))
    bench.settle_down()
    asked: list[str] = []
    ask = bench.storage.database.replies
    bench.storage.database.replies = lambda **how: [asked.append(how["queue"]), ask(**how)][1]  # type: ignore[method-assign]
    heard = []
    while bench.transport.waiting:
        heard.append(settle_first(bench))
    assert sorted(heard) == names
    assert max(Counter(asked).values()) <= 2
