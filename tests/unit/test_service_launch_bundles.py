"""Launches that arrive together: each is taken as if it had come alone, and the message is acked or kept as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import DatabaseFull
from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.utils.message import bundles
from schedulergodx.utils.message.kinds import Message
from tests.unit.doubles import Bench, launch_body, message_body

if TYPE_CHECKING:
    from collections.abc import Callable

BAD = b'{"id": "bad", "client": "shop", "type": 3, "reply_to": "service-client.shop.1", "arguments": {}}'


def bundle(*ids: str, **facts: object) -> bytes:
    return bundles.join([launch_body(one, **facts) for one in ids])  # type: ignore[arg-type]


def test_a_bundle_is_stored_in_one_commit_and_acked_once(bench: Bench) -> None:
    """The ack comes after the commit that stored all of it."""
    tag = bench.deliver(bundle("a", "b", "c"))
    assert bench.turn() == [("commit", None), ("ack", [tag]), ("start", "a"), ("start", "b"), ("start", "c")]


def test_a_bundle_that_comes_again_makes_no_second_task(bench: Bench) -> None:
    """After a crash between commit and ack, and when it is sent again."""
    body = bundle("a", "b", "c", delay_s=60)
    bench.deliver(body)
    bench.turn()
    bench.crash()
    bench.open()
    tag = bench.deliver(body, is_redelivered=True)
    bench.turn()
    assert bench.facts("ack")[1:] == [[tag]]
    assert bench.facts("reject") == []
    bench.wait(seconds=60)
    assert bench.facts("start") == ["a", "b", "c"]


def test_what_is_not_committed_comes_again_as_a_whole(bench: Bench) -> None:
    """A full disk: nothing of it is acked, and later all of it is stored in one commit."""
    bench.storage.failure = DatabaseFull("full")
    tag = bench.deliver(bundle("a", "b"))
    assert bench.turn() == [("rollback", None)]
    bench.storage.failure = None
    bench.wait(seconds=60)
    assert bench.facts("ack") == [[tag]]
    assert bench.facts("start") == ["a", "b"]


def test_one_bad_launch_of_three_costs_only_itself(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The others run, it is answered as ever, and the message is in the dead letters, with the place and the reason."""
    tag = bench.deliver(bundles.join([launch_body("a"), BAD, launch_body("c")]))
    bench.turn()
    assert bench.facts("start") == ["a", "c"]
    assert bench.facts("ack") == []
    [(rejected, said)] = bench.facts("reject")
    assert rejected == tag
    assert said == ("BAD_MESSAGE: message 2 of 3: neither 'function' nor 'reference' is given: there is nothing to run")
    assert caplog.text.count(f"message rejected to the dead letters: {said}") == 1
    assert bench.codes("bad") == ["INVALID_TASK"]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([b"no JSON", launch_body("ok"), BAD], "BAD_JSON: message 1 of 3: "),
        ([BAD, launch_body("ok"), b"no JSON"], "BAD_MESSAGE: message 1 of 3: "),
        ([launch_body("ok"), b"", BAD], "BAD_MESSAGE: the first line of a bundle"),
        ([launch_body("ok"), bundle("x", "y")], "BAD_JSON: message 2 of 2: "),
        ([launch_body("ok"), message_body(Message.ERROR)], "UNKNOWN_TYPE: message 2 of 2: "),
        ([launch_body("ok"), b"x" * 5000], "TOO_LARGE: message 2 of 2: the message has 5000 bytes, 4096 are allowed"),
    ],
    ids=["at reading", "the first counts", "no message", "a bundle in a bundle", "no request", "too large by itself"],
)
def test_the_reason_is_that_of_the_first_one_refused(
    make_bench: Callable[..., Bench], messages: list[bytes], said: str
) -> None:
    """Wherever it was found out; a good one is taken, unless there is no telling where it begins."""
    bench = make_bench(message_bytes_max=4096).open()
    bench.deliver(bundles.join(messages))
    bench.turn()
    [(_, reason)] = bench.facts("reject")
    assert reason.startswith(said)
    assert (bench.status("ok") is None) is ("first line" in said)


def test_each_of_several_refused_launches_is_answered(make_bench: Callable[..., Bench]) -> None:
    """One that is too old has its outcome; one under a known id is told, and is no dead letter."""
    bench = make_bench(max_age_s=60).open()
    bench.launch("known", client="other")
    bench.turn()
    old = launch_body("old", now=bench.clock.now())
    bench.clock.advance(seconds=100)
    now = bench.clock.now()
    bench.deliver(bundles.join([launch_body("known", now=now), old, launch_body("new", now=now), BAD]))
    bench.turn()
    assert [bench.codes(one) for one in ("known", "old", "bad")] == [["DUPLICATE_ID"], ["STALE"], ["INVALID_TASK"]]
    [(_, reason)] = bench.facts("reject")
    assert reason.startswith("STALE: message 2 of 4: ")
    assert bench.status("new") is TaskStatus.WORK


def test_a_bundle_may_be_larger_than_one_message(make_bench: Callable[..., Bench]) -> None:
    """The bound on a message is for each in it; the bundle has its own."""
    bench = make_bench(message_bytes_max=2000).open()
    body = bundle(*(f"{number:02}" for number in range(50)))
    assert len(body) > 2000
    bench.deliver(body)
    bench.deliver(bundles.join([b"x" * bundles.BYTES_MAX, b"y"]))
    bench.turn()
    assert len(bench.facts("ack")) == 1
    [(_, reason)] = bench.facts("reject")
    assert reason.startswith("TOO_LARGE: a bundle has ")


# --- turns


def test_a_turn_counts_the_messages_of_bundles(make_bench: Callable[..., Bench]) -> None:
    """A flood of bundles is no transaction of thousands; one bundle is never taken in two turns."""
    bench = make_bench(events_per_turn_max=10, threads=100).open()
    sizes = [4, 4, 4, 15, 3, 3, 3]
    tags = [bench.deliver(bundle(*(f"{place}-{number}" for number in range(n)))) for place, n in enumerate(sizes)]
    for _ in range(4):
        bench.turn()
    assert bench.facts("ack") == [tags[:2], tags[2:3], tags[3:4], tags[4:]]
    assert len(bench.facts("start")) == sum(sizes)


def test_what_ends_is_not_held_up_by_what_arrives(make_bench: Callable[..., Bench]) -> None:
    """However many launches came before it: the end of a run is taken in the next turn, and so is a stop."""
    bench = make_bench(events_per_turn_max=4, threads=1).open()
    bench.launch("first")
    bench.turn()
    tags = [bench.deliver(bundle(f"{number}-a", f"{number}-b", delay_s=60)) for number in range(10)]
    bench.runner.finish("first")
    bench.turn()
    assert bench.status("first") is TaskStatus.COMPLETED
    assert bench.facts("ack")[1:] == [tags[:1]]
    assert bench.service.has_events()
    bench.settle_down()
    assert [tag for acked in bench.facts("ack")[1:] for tag in acked] == tags


def test_what_arrives_is_not_held_up_for_ever_by_what_ends(make_bench: Callable[..., Bench]) -> None:
    """Each turn takes a delivery, if there is one."""
    bench = make_bench(events_per_turn_max=2, threads=10).open()
    names = [f"{number}" for number in range(6)]
    bench.deliver(bundle(*names))
    bench.turn()
    tag = bench.launch("late", delay_s=60)
    for name in names:
        bench.runner.finish(name)
    bench.turn()
    assert bench.facts("ack")[1:] == [[tag]]
    assert [bench.status(name) for name in names].count(TaskStatus.COMPLETED) == 2


def test_what_arrives_during_a_pause_is_taken_in_bites_after_it(make_bench: Callable[..., Bench]) -> None:
    """What has waited for a full disk does not become one transaction, and what was tried is not forgotten."""
    bench = make_bench(events_per_turn_max=4).open()
    bench.storage.failure = DatabaseFull("full")
    tags = [bench.deliver(bundle(f"{number}-a", f"{number}-b", delay_s=600)) for number in range(7)]
    for _ in range(5):
        bench.turn()
    assert not bench.service.has_events()
    bench.storage.failure = None
    bench.wait(seconds=60)
    assert bench.facts("ack") == [tags[:2], tags[2:4], tags[4:6], tags[6:]]


def test_launches_in_a_bundle_are_counted_by_its_first_line() -> None:
    """Without copying; what is no bundle, or a broken one, counts as one message."""
    assert bundles.count(b"{}") == 1
    assert bundles.count(bundles.join([b"a", b"b c d", b"e\n f"])) == 3
    assert bundles.count(bundles.join([b"a"] * bundles.MESSAGES_MAX)) == bundles.MESSAGES_MAX
    assert bundles.count(bundles.MAGIC) == bundles.count(bundles.MAGIC + b"\n") == 1
    assert bundles.count(bundles.MAGIC + b" " * 10_000 + b"\n") == 1
    assert bundles.count(bundles.MAGIC + b" " * 500 + b"\n") == bundles.MESSAGES_MAX
