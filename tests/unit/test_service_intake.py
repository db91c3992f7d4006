"""What a service does with what arrives: stored before acked, answered once, or rejected with the reason."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schedulergodx.rules.lifecycle import Code, Report, TaskStatus
from schedulergodx.utils.message.kinds import Message, MessageErrorStatus
from tests.unit.doubles import REPLIES, Bench, launch_body, message_body


def test_a_launch_is_stored_before_it_is_acked_and_acked_before_it_starts(bench: Bench) -> None:
    """The order of one turn: commit, ack, start."""
    tag = bench.launch("a")
    assert bench.turn() == [("commit", None), ("ack", [tag]), ("start", "a")]
    assert bench.status("a") is TaskStatus.WORK


def test_one_turn_is_one_transaction_and_one_ack_for_all_good_deliveries(bench: Bench) -> None:
    """Whatever is in the inbox is taken together; bad deliveries do not hold up the good ones between them."""
    good_1 = bench.launch("a")
    bad = bench.deliver(b"not JSON")
    good_2 = bench.ask("a")
    good_3 = bench.deliver(message_body(Message.INFO))
    calls = bench.turn()
    assert bench.names(calls).count("commit") == 1
    assert [fact for name, fact in calls if name == "ack"] == [[good_1, good_2, good_3]]
    [(tag, reason)] = [fact for name, fact in calls if name == "reject"]
    assert tag == bad
    assert reason.startswith("BAD_JSON: ")
    assert bench.names(calls)[0] == "commit"


def test_a_turn_takes_no_more_events_than_its_bound(make_bench) -> None:
    """A flood is taken in bites, so that what is due is not held up."""
    bench = make_bench(events_per_turn_max=2).open()
    tags = [bench.launch(str(number)) for number in range(5)]
    for _ in range(3):
        bench.turn()
    assert bench.facts("ack") == [tags[:2], tags[2:4], tags[4:]]


@pytest.mark.parametrize(
    ("threads", "launches", "taken", "started"),
    [(500, 250, [200, 50], 250), (2, 350, [200, 100, 50], 2)],
    ids=["there is room for all", "more is due than finds room"],
)
def test_a_turn_stores_as_many_launches_as_can_start(make_bench, threads, launches, taken, started) -> None:
    """So they need not be read again for it; else fewer, so that tasks which end quickly catch up."""
    bench = make_bench(threads=threads, prefetch=500).open()
    for number in range(launches):
        bench.launch(str(number))
    for _ in taken:
        bench.turn()
    assert [len(tags) for tags in bench.facts("ack")] == taken
    assert len(bench.facts("start")) == started


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "BAD_JSON"),
        (b"\xff\xfe", "BAD_ENCODING"),
        ('{"id": "a"}'.encode("utf-16"), "BAD_ENCODING"),
        (b"[]", "BAD_MESSAGE"),
        (b'{"v": 9}', "UNKNOWN_VERSION"),
        (b'{"id": "a", "client": "c", "type": 77, "arguments": {}}', "UNKNOWN_TYPE"),
        (b'{"id": "a\\n", "client": "c", "type": 3, "arguments": {}}', "BAD_MESSAGE"),
        (b'{"id": "a", "client": "c", "type": 3, "arguments": {}}', "BAD_MESSAGE"),
        (message_body(Message.ERROR, reply_to=""), "UNKNOWN_TYPE"),
        (message_body(Message.ASK, ids="a"), "BAD_MESSAGE"),
        (message_body(Message.ASK, ids=["a", 1]), "BAD_MESSAGE"),
        (message_body(Message.ASK, ids=["a"] * 1001), "BAD_MESSAGE"),
        (message_body(Message.ASK, ids=["a"], wait=1), "BAD_MESSAGE"),
        (b'{"a":' * 100_000, "BAD_JSON"),
    ],
)
def test_what_breaks_the_protocol_is_rejected_with_its_reason(bench: Bench, body: bytes, reason: str) -> None:
    """It goes to the dead letters once, is not acked besides, and the next good message is taken."""
    tag = bench.deliver(body)
    bench.turn()
    [(rejected, said)] = bench.facts("reject")
    assert rejected == tag
    assert said.startswith(f"{reason}: ")
    assert bench.facts("ack") == []
    assert bench.facts("publish") == []
    bench.launch("next")
    bench.turn()
    assert bench.facts("start") == ["next"]


def test_a_message_above_the_limit_is_rejected(make_bench) -> None:
    """The reason names both sizes."""
    bench = make_bench(message_bytes_max=1024).open()
    bench.deliver(b" " * 1025)
    bench.turn()
    [(_, said)] = bench.facts("reject")
    assert said == "TOO_LARGE: the message has 1025 bytes, 1024 are allowed"


def test_a_launch_that_cannot_be_read_is_also_told_to_its_client(bench: Bench) -> None:
    """Whoever waits for it hears INVALID_TASK and the field that is wrong, instead of waiting for ever."""
    bench.deliver(message_body(Message.TASK, message_id="a", name="f", args="no base64!", reference="m:f"))
    bench.turn()
    [answer] = bench.answers("a")
    assert answer["code"] == "INVALID_TASK"
    assert "'args'" in answer["message"]
    assert len(bench.facts("reject")) == 1
    assert bench.status("a") is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fields=st.dictionaries(
        st.sampled_from(["v", "id", "client", "type", "issued_at", "reply_to", "python", "arguments", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=6,
        ),
    ),
    base=st.sampled_from([3, 4, 0]),
)
def test_no_message_raises_out_of_the_loop(bench: Bench, fields: dict, base: int) -> None:
    """Random fields in an otherwise good message: it is acked or rejected, once, and the loop goes on."""
    import json

    whole = {"id": "a", "client": "c", "type": base, "reply_to": REPLIES, "arguments": {"ids": ["a"], "args": ""}}
    tag = bench.deliver(json.dumps(whole | fields).encode())
    calls = bench.turn()
    taken = [one for name, fact in calls if name == "ack" for one in fact]
    taken += [fact[0] for name, fact in calls if name == "reject"]
    assert taken == [tag]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 10**6), new=st.integers(0, 255), is_cut=st.booleans())
def test_a_launch_with_one_wrong_byte_is_taken_or_rejected(bench: Bench, at: int, new: int, *, is_cut: bool) -> None:
    """A launch that is cut off, or has one byte changed, anywhere, raises nothing out of the loop."""
    body = bytearray(launch_body("flipped", delay_s=10.0, lifetime_s=3.0))
    at %= len(body)
    body[at] = new
    tag = bench.deliver(bytes(body[:at] if is_cut else body))
    calls = bench.turn()
    taken = [one for name, fact in calls if name == "ack" for one in fact]
    taken += [fact[0] for name, fact in calls if name == "reject"]
    assert taken == [tag]


# --- the same launch again


def test_a_redelivered_launch_runs_once_and_is_answered_once(bench: Bench) -> None:
    """What was stored and not acked comes again, is acked, and changes nothing."""
    body = launch_body("a")
    bench.deliver(body)
    bench.turn()
    tag = bench.deliver(body, is_redelivered=True)
    bench.turn()
    bench.runner.finish("a")
    bench.settle_down()
    assert bench.facts("ack")[-1] == [tag]
    assert bench.facts("start") == ["a"]
    assert bench.codes("a") == ["OK"]


def test_a_launch_that_comes_a_thousand_times_runs_once(bench: Bench) -> None:
    """Before its start, while it runs and after its end: one row, one run, and every copy is acked."""
    tags = [bench.launch("a") for _ in range(400)]
    bench.settle_down()
    tags += [bench.launch("a") for _ in range(300)]
    bench.settle_down()
    bench.runner.finish("a")
    bench.settle_down()
    assert bench.codes("a") == ["OK"]
    tags += [bench.launch("a") for _ in range(300)]
    bench.settle_down()
    assert bench.facts("start") == ["a"]
    assert sorted(tag for acked in bench.facts("ack") for tag in acked) == tags
    assert set(bench.codes("a")) == {"OK"}
    assert len(bench.storage.database.tasks(limit=9)) == 1


def test_a_launch_that_comes_twice_in_one_turn_is_stored_once(bench: Bench) -> None:
    """Both are acked, one runs."""
    body = launch_body("a")
    tags = [bench.deliver(body), bench.deliver(body)]
    bench.turn()
    assert bench.facts("ack") == [tags]
    assert bench.facts("start") == ["a"]


def test_a_launch_sent_again_after_its_end_is_answered_again(bench: Bench) -> None:
    """The same outcome comes, from the database; nothing runs."""
    body = launch_body("a")
    bench.deliver(body)
    bench.turn()
    bench.runner.finish("a", Report(code=Code.OK, result="7"))
    bench.settle_down()
    bench.deliver(body)
    bench.settle_down()
    first, second = bench.outcomes("a")
    assert first == second
    assert bench.facts("start") == ["a"]


def test_a_launch_sent_again_from_another_queue_of_answers_is_answered_there_too(bench: Bench) -> None:
    """A client that restarted and sends its launch again gets the answer at its new queue."""
    bench.launch("a")
    bench.turn()
    bench.deliver(launch_body("a", reply_to="service-client.shop.2"))
    bench.turn()
    bench.runner.finish("a")
    bench.settle_down()
    assert len(bench.answers("a", REPLIES)) == 1
    assert len(bench.answers("a", "service-client.shop.2")) == 1


def test_another_launch_under_a_known_id_is_refused(bench: Bench) -> None:
    """The first one wins and is not touched; the second one hears DUPLICATE_ID, and what to do."""
    bench.launch("a")
    bench.turn()
    tag = bench.launch("a", hard=True, reply_to="service-client.other.1", client="other")
    bench.turn()
    assert bench.facts("ack")[-1] == [tag]
    assert bench.facts("start") == ["a"]
    [answer] = bench.answers("a", "service-client.other.1")
    assert answer["code"] == "DUPLICATE_ID"
    assert answer["error_code"] == MessageErrorStatus.DUPLICATE_ID.value
    assert "'a' belongs to another launch" in answer["message"]
    assert "id generator" in answer["message"]
    assert bench.answers("a", REPLIES) == []


def test_a_launch_under_the_id_of_a_pruned_task_runs_nothing(make_bench) -> None:
    """The same is told OUTCOME_PRUNED, another one DUPLICATE_ID; a question is told the former, too."""
    bench = make_bench(keep_outcomes_s=10).open()
    bench.launch("a")
    bench.turn()
    bench.runner.finish("a")
    bench.settle_down()
    bench.clock.advance(seconds=100)
    bench.turn()
    assert bench.status("a") is None
    tags = [
        bench.deliver(launch_body("a")),
        bench.deliver(launch_body("a", hard=True, reply_to="service-client.other.1", client="other")),
        bench.ask("a", reply_to="service-client.curious.1"),
    ]
    bench.settle_down()
    assert bench.facts("ack")[1:] == [tags]
    assert bench.facts("start") == ["a"]
    assert bench.codes("a") == ["OK", "OUTCOME_PRUNED", "DUPLICATE_ID", "OUTCOME_PRUNED"]
    assert "not run again" in bench.answers("a", "service-client.curious.1")[0]["message"]


# --- questions


def test_a_question_for_an_unknown_id_is_answered(bench: Bench) -> None:
    """UNKNOWN_ID says that it was never stored, or was pruned."""
    bench.ask("nobody", wait=True)
    bench.settle_down()
    [answer] = bench.answers("nobody")
    assert answer["code"] == "UNKNOWN_ID"
    assert "never stored" in answer["message"]


def test_a_question_for_an_ended_task_is_answered_with_its_outcome(bench: Bench) -> None:
    """Anybody may ask, at any queue, in one message for many."""
    for name in ("a", "b"):
        bench.launch(name)
    bench.turn()
    for name in ("a", "b"):
        bench.runner.finish(name)
    bench.turn()
    bench.ask("a", "b", "a", reply_to="service-client.late.1")
    bench.settle_down()
    assert len(bench.answers(queue="service-client.late.1")) == 2
    assert bench.outcomes("a")[0] == bench.outcomes("a")[1]


def test_a_question_that_waits_is_answered_at_the_end_once_per_queue(bench: Bench) -> None:
    """The asker gets one outcome, however often it asked; so does the launch's own queue."""
    bench.launch("a")
    bench.turn()
    for reply_to in ("service-client.late.1", "service-client.late.1", REPLIES):
        bench.ask("a", wait=True, reply_to=reply_to)
    bench.settle_down()
    assert bench.answers() == []
    bench.runner.finish("a")
    bench.settle_down()
    assert len(bench.answers("a", "service-client.late.1")) == 1
    assert len(bench.answers("a", REPLIES)) == 1


def test_a_question_that_does_not_wait_is_told_the_status(bench: Bench) -> None:
    """The answer has a status and no code, so that no client takes it for an outcome."""
    bench.launch("a", delay_s=60)
    bench.turn()
    bench.ask("a", reply_to="service-client.late.1")
    bench.settle_down()
    [answer] = bench.answers("a")
    assert answer == {"responce": 0, "status": TaskStatus.WAITING.value}
    assert bench.outcomes("a") == []


def test_a_question_without_a_queue_for_answers_is_acked(bench: Bench) -> None:
    """There is nobody to tell; nothing goes out, and nothing is stored."""
    tag = bench.ask("a", reply_to="")
    bench.settle_down()
    assert bench.facts("ack") == [[tag]]
    assert bench.answers() == []


# --- other messages


def test_the_greeting_of_an_old_client_is_answered(bench: Bench) -> None:
    """INITIALIZATION gets OK, as in 1.0.0; nothing else depends on it."""
    bench.deliver(message_body(Message.INITIALIZATION, message_id="hello"))
    bench.settle_down()
    assert bench.answers("hello") == [{"responce": 0}]


def test_a_greeting_without_a_queue_for_answers_is_acked(bench: Bench) -> None:
    """Nobody waits for the answer, so nothing goes out."""
    tag = bench.deliver(message_body(Message.INITIALIZATION, reply_to=""))
    bench.settle_down()
    assert bench.facts("ack") == [[tag]]
    assert bench.facts("publish") == []


def test_an_info_message_is_logged_and_acked(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The line names the client and the message, and not what is in it."""
    caplog.set_level(logging.INFO)
    tag = bench.deliver(message_body(Message.INFO, message_id="note", secret="hush"))
    bench.turn()
    assert bench.facts("ack") == [[tag]]
    assert "info message from client shop (message note)" in caplog.text
    assert "hush" not in caplog.text


@pytest.mark.parametrize("text", ["a\nCRITICAL - service - forged", "a\rb", "a\x1b[2Jb", "a\u2028b", "a\x00b"])
def test_no_message_forges_a_line_of_the_log(bench: Bench, caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Whatever field holds control characters, also as its name: each line of the log stays one line."""
    caplog.set_level(logging.DEBUG)
    fields = json.loads(launch_body("a"))
    arguments = fields["arguments"]
    changed = [fields | {name: text} for name in (*fields, text)]
    changed += [fields | {"arguments": arguments | {name: text}} for name in (*arguments, text)]
    for one in changed:
        bench.deliver(json.dumps(one).encode())
    bench.settle_down()
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) > 10
    assert [line for line in lines if not line.isprintable()] == []
