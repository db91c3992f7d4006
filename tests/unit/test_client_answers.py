"""What a client knows of its launches: who waits, what has come, what has to be asked for again."""

import logging
from datetime import UTC, datetime

import pytest

from schedulergodx.client.consumer import Answers, Consumer, Waiting
from schedulergodx.client.places import Way
from schedulergodx.client.trust import Trust
from schedulergodx.errors import BrokerRefused, Closed, OutcomePruned, UnknownMessageId
from schedulergodx.rules.lifecycle import Code, Outcome, Report
from schedulergodx.utils.abstractions import (
    ConnectionChanged,
    ConnectionState,
    ConnectionStatus,
    ConsumeFailed,
    ConsumeResumed,
    Delivery,
)
from schedulergodx.utils.keys.source import Keys
from schedulergodx.utils.logger import CoreLogger
from schedulergodx.utils.message import answers as messages
from schedulergodx.utils.message import bundles, envelope
from schedulergodx_testing import FakeClock


def trust() -> Trust:
    """Return the trust of a client of one file without keys."""
    way = Way("sqlite:///unused", Keys(None, {}))
    return Trust(way, FakeClock(), client="shop", request_queue="requests", allow_unsigned=False)


NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def outcome(message_id: str, code: Code = Code.OK, message: str = "") -> Outcome:
    report = Report(code=code, result="1" if code is Code.OK else None, message=message)
    return Outcome(message_id=message_id, report=report, run_at=NOON, started_at=NOON, ended_at=NOON)


def delivery(body: bytes) -> Delivery:
    return Delivery(queue="answers", body=body, is_redelivered=False, tag=1)


def answer(message_id: str) -> Delivery:
    return delivery(envelope.build(messages.answer(outcome(message_id), client="shop")))


def change(state: ConnectionState, *, is_consuming: bool = True) -> ConnectionChanged:
    return ConnectionChanged(status=ConnectionStatus(state=state, broker="b"), is_consuming=is_consuming)


class Listening:
    """A consumer with its answers, and what it acked and asked."""

    def __init__(self):
        self.answers = Answers()
        self.acked: list[Delivery] = []
        self.asked: list[list[str]] = []
        self.consumer = Consumer(
            self.answers,
            CoreLogger(logging.getLogger("schedulergodx.client.test"), "core"),
            message_bytes_max=10_000,
            trust=trust(),
            ack=self.acked.append,
            ask=self._ask,
        )

    def _ask(self, ids: list[str]) -> None:
        self.asked.append(ids)
        self.answers.asked(ids)


@pytest.fixture
def listening():
    return Listening()


def test_an_answer_is_kept_handed_over_and_acked(listening):
    """Whoever waits is told once; whoever asks later finds it."""
    heard: list[object] = []
    assert listening.answers.expect("1")
    assert listening.answers.wait("1", heard.append) is Waiting.COMING
    for _ in range(2):  # the second is a repetition
        listening.consumer.on_event(answer("1"))
    assert heard == [outcome("1")]
    assert listening.answers.wait("1", heard.append) is Waiting.HERE
    assert heard == [outcome("1")] * 2
    assert listening.answers.get("1") == outcome("1")
    assert len(listening.acked) == 2


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"x" * 20_000, b'{"id":"1","client":"c","type":1,"arguments":{"code":5}}']
)
def test_a_wrong_answer_is_thrown_away(listening, body, caplog):
    """It is acked with a line that says why, and the next one is heard."""
    listening.consumer.on_event(delivery(body))
    listening.consumer.on_event(answer("1"))
    assert len(listening.acked) == 2
    assert "an answer was thrown away" in caplog.text
    assert listening.answers.get("1") is not None


def hear(answers, outcome, size_bytes=0):
    answers.hear_all([(outcome, size_bytes)])


def test_an_id_is_expected_once():
    """An id that is on its way, or has an outcome, is not given to another launch; one taken back is."""
    answers = Answers()
    assert answers.expect("1")
    assert not answers.expect("1")
    answers.forget("1")
    assert answers.expect("1")
    hear(answers, outcome("1"))
    assert not answers.expect("1")


def test_what_is_known_and_whose():
    """An answer that will come by itself is not asked for."""
    answers = Answers()
    assert not answers.is_known("1")
    answers.expect("1")
    assert answers.is_known("1")
    assert answers.is_mine("1")
    answers.doubt()
    assert not answers.is_known("1")
    assert answers.is_mine("1")
    answers.asked(["1"])
    assert answers.is_known("1")
    hear(answers, outcome("1"))
    assert answers.is_known("1")


def test_old_outcomes_make_room():
    """So many are kept; the oldest go first, and can be asked for again."""
    answers = Answers(kept_max=3)
    for number in range(5):
        answers.expect(str(number))
        hear(answers, outcome(str(number)))
    assert [answers.get(str(number)) is not None for number in range(5)] == [False, False, True, True, True]
    assert not answers.is_known("0")


def test_who_does_not_wait_any_more_is_not_told():
    """Of several who wait for one, the others are."""
    answers, first, second = Answers(), [], []
    keep_first, keep_second = first.append, second.append
    answers.wait("1", keep_first)
    answers.wait("1", keep_second)
    answers.stop_waiting("1", keep_first)
    hear(answers, outcome("1"))
    answers.stop_waiting("1", keep_second)
    assert (first, second) == ([], [outcome("1")])


@pytest.mark.parametrize(("code", "error"), [(Code.UNKNOWN_ID, UnknownMessageId), (Code.OUTCOME_PRUNED, OutcomePruned)])
def test_an_unknown_id_is_told_and_not_kept(code: Code, error: type[UnknownMessageId]):
    """Who asked learns it; a later question is asked again, and a later launch may have the id."""
    answers, heard = Answers(), []
    answers.asked(["1"])
    answers.wait("1", heard.append)
    hear(answers, outcome("1", code, "no such task"))
    assert [type(one) for one in heard] == [error]
    assert (str(heard[0]), heard[0].message_id) == ("no such task", "1")
    assert not answers.is_known("1")
    assert answers.expect("1")


def test_after_a_reconnect_what_is_waited_for_is_asked(listening):
    """Not after the first connection, nor when the publishing one comes back; launches nobody waits for are left."""
    listening.answers.expect("waited for")
    listening.answers.expect("left alone")
    listening.answers.wait("waited for", lambda _: None)
    listening.consumer.on_event(change(ConnectionState.UP))
    listening.consumer.on_event(change(ConnectionState.RECOVERING))
    listening.consumer.on_event(change(ConnectionState.UP, is_consuming=False))
    assert listening.asked == []
    listening.consumer.on_event(change(ConnectionState.UP))
    assert listening.asked == [["waited for"]]
    assert listening.answers.is_known("waited for")
    assert not listening.answers.is_known("left alone")


def test_after_the_loss_of_the_queue_of_answers_what_is_waited_for_is_asked(listening):
    """The connection is as it was; an answer may have gone with the queue, though the service heard its confirm."""
    listening.answers.expect("waited for")
    listening.answers.expect("left alone")
    listening.answers.wait("waited for", lambda _: None)
    listening.consumer.on_event(change(ConnectionState.UP))
    listening.consumer.on_event(ConsumeResumed(queue="answers"))
    assert listening.asked == [["waited for"]]
    assert not listening.answers.is_known("left alone")


def test_a_reconnect_while_it_closes(listening):
    """Asking is too late then, and nothing is raised into the transport."""

    def closed(_: list[str]) -> None:
        raise Closed("client 'shop' is closed")

    consumer = Consumer(
        listening.answers,
        CoreLogger(logging.getLogger("schedulergodx.client.test"), "core"),
        message_bytes_max=10_000,
        trust=trust(),
        ack=listening.acked.append,
        ask=closed,
    )
    listening.answers.wait("1", lambda _: None)
    for _ in range(2):
        consumer.on_event(change(ConnectionState.UP))


def test_when_no_answers_can_come_everybody_learns_it(listening):
    """Those who wait, those who come later, and those who only look; until it is up again."""
    error, heard = BrokerRefused("no permission"), []
    listening.answers.wait("1", heard.append)
    listening.consumer.on_event(ConsumeFailed(queue="answers", error=error))
    assert listening.answers.wait("2", heard.append) is Waiting.HERE
    assert heard == [error, error]
    with pytest.raises(BrokerRefused, match="no permission"):
        listening.answers.raise_if_ended()
    listening.consumer.on_event(change(ConnectionState.UP))
    listening.answers.raise_if_ended()
    assert listening.answers.wait("3", heard.append) is Waiting.MUST_ASK


def test_closed_is_for_good():
    """No reconnect takes it back; an outcome that came before is still there."""
    answers, heard = Answers(), []
    hear(answers, outcome("1"))
    answers.end(Closed("client 'shop' is closed"))
    answers.resume()
    with pytest.raises(Closed):
        answers.raise_if_ended()
    assert answers.wait("1", heard.append) is Waiting.HERE
    assert answers.wait("2", heard.append) is Waiting.HERE
    assert [type(one) for one in heard] == [Outcome, Closed]


def test_a_question_that_could_not_be_sent():
    """Who waits for these gets the reason; others go on waiting, and the ids are not known any more."""
    answers, heard, others, error = Answers(), [], [], BrokerRefused("no")
    answers.asked(["1", "2"])
    answers.wait("1", heard.append)
    answers.wait("3", others.append)
    answers.fail(["1", "2"], error)
    assert (heard, others) == ([error], [])
    assert not answers.is_known("1")


def test_who_waits_after_the_answer_must_ask():
    """An id that somebody else asked for, and that the service does not know, is asked for again."""
    answers, heard = Answers(), []
    answers.asked(["1"])
    hear(answers, outcome("1", Code.UNKNOWN_ID, "no such task"))
    assert answers.wait("1", heard.append) is Waiting.MUST_ASK


def test_who_waits_after_a_failed_question_must_ask():
    """Nobody else will."""
    answers, heard = Answers(), []
    answers.asked(["1"])
    answers.fail(["1"], BrokerRefused("no"))
    assert answers.wait("1", heard.append) is Waiting.MUST_ASK


def test_who_waits_after_a_reconnect_must_ask():
    """The reconnect asks only for whom it finds waiting."""
    answers, heard = Answers(), []
    answers.expect("1")
    assert answers.doubt() == []
    assert answers.wait("1", heard.append) is Waiting.MUST_ASK


def test_large_outcomes_make_room():
    """So many bytes are kept, beside the count; the newest is, however large."""
    answers = Answers(kept_bytes_max=250)
    for number in range(4):
        hear(answers, outcome(str(number)), size_bytes=100)
    assert [answers.get(str(number)) is not None for number in range(4)] == [False, False, True, True]
    hear(answers, outcome("4"), size_bytes=1000)
    assert [answers.get(str(number)) is not None for number in range(5)] == [False] * 4 + [True]


def test_the_consumer_counts_what_an_answer_weighs(listening):
    """It is the size of the message."""
    small = Answers(kept_bytes_max=1)
    consumer = Consumer(
        small,
        CoreLogger(logging.getLogger("schedulergodx.client.test"), "core"),
        message_bytes_max=10_000,
        trust=trust(),
        ack=listening.acked.append,
        ask=listening.asked.append,
    )
    consumer.on_event(answer("1"))
    consumer.on_event(answer("2"))
    assert (small.get("1"), small.get("2")) == (None, outcome("2"))


def bundle(*bodies: bytes) -> Delivery:
    return delivery(bundles.join(bodies))


def test_a_bundle_is_heard_as_if_each_had_come_alone_and_acked_once(listening):
    """In its order."""
    listening.consumer.on_event(bundle(*(answer(name).body for name in "abc")))
    assert [listening.answers.get(name) == outcome(name) for name in "abc"] == [True] * 3
    assert len(listening.acked) == 1


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        answer("b").body.replace(b'"shop"', b'"farm"').replace(b'"OK"', b'"NEW"'),
        bundles.join([answer("b").body, answer("b").body]),
        b'{"v":1,"id":"b","client":"shop","type":1,"arguments":{"code":"OK","result":"' + b"x" * 10_000 + b'"}}',
    ],
    ids=["no JSON", "unknown code", "a bundle", "larger than a message may be"],
)
def test_a_bad_answer_in_a_bundle_is_thrown_away_alone(listening, caplog, bad):
    """The others are heard, and the bundle is acked."""
    listening.consumer.on_event(bundle(answer("a").body, bad, answer("c").body))
    assert [listening.answers.get(name) is not None for name in "abc"] == [True, False, True]
    assert caplog.text.count("an answer was thrown away") == 1
    assert len(listening.acked) == 1


def test_a_wrong_frame_is_thrown_away_and_acked(listening, caplog):
    """Nothing in it is believed, since nobody knows where it begins; it does not come again for ever."""
    listening.consumer.on_event(delivery(bundle(answer("a").body, answer("b").body).body + b"x"))
    assert listening.answers.get("a") is None
    assert "answers were thrown away: BAD_MESSAGE" in caplog.text
    assert len(listening.acked) == 1


def test_a_bundle_may_be_larger_than_one_message(listening):
    """The bound on a message is for each in it; the bundle has its own."""
    names = [f"{number}" for number in range(60)]
    sent = bundle(*(answer(name).body for name in names))
    assert len(sent.body) > 10_000
    listening.consumer.on_event(sent)
    assert all(listening.answers.get(name) for name in names)
