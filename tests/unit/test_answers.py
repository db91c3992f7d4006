"""Outcomes become answers and come back as they were."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.client.failures import value_of
from schedulergodx.errors import MessageRejected, ResultUnserializable, TaskFailed
from schedulergodx.rules.lifecycle import Code, Outcome, Report, TaskStatus
from schedulergodx.utils.message import answers, envelope, results
from schedulergodx.utils.message.kinds import Message, MessageErrorStatus, error_status

MAX = 1_000_000
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)

texts = st.text(max_size=30)
moments = st.none() | st.datetimes(timezones=st.just(UTC))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def reports(draw):
    code = draw(st.sampled_from(Code))
    if code is Code.OK:
        return Report(code=code, result=results.encode(draw(values)))
    if code in {Code.RESULT_UNSERIALIZABLE, Code.RESULT_TOO_LARGE}:
        return Report(code=code, message=draw(texts))
    return Report(code=code, exception_type=draw(texts), message=draw(texts), traceback=draw(texts))


outcomes = st.builds(
    Outcome, message_id=st.just("1"), report=reports(), run_at=moments, started_at=moments, ended_at=moments
)


@pytest.mark.slow
@given(outcomes)
def test_an_outcome_arrives_as_it_was(outcome):
    """Through an answer, its bytes and back, nothing is lost."""
    body = answers.message(outcome, client="shop")
    message = envelope.parse(body, bytes_max=MAX)
    assert answers.outcome_of(message) == outcome
    assert message.kind is (Message.INFO if outcome.status is TaskStatus.COMPLETED else Message.ERROR)
    assert message.issued_at == outcome.ended_at


@given(outcomes, st.sampled_from(["shop", 'a "shop"', "магазин"]))
def test_the_bytes_of_an_answer_are_those_of_its_fields(outcome, client):
    """The short way for a result that is JSON already writes what the way over its value writes."""
    assert answers.message(outcome, client=client) == envelope.build(answers.answer(outcome, client=client))


@pytest.mark.parametrize("code", [code for code in Code if Report(code=code).status is not TaskStatus.COMPLETED])
def test_every_failure_has_a_number_and_an_error(code):
    """No code is forgotten in the numbers on the wire, nor in the errors of the client."""
    assert error_status(code) in MessageErrorStatus
    outcome = Outcome(message_id="1", report=Report(code=code), run_at=NOON, started_at=None, ended_at=NOON)
    with pytest.raises(TaskFailed) as caught:
        value_of(outcome)
    assert caught.value.code == code.value


@pytest.mark.parametrize("code", [Code.RESULT_UNSERIALIZABLE, Code.RESULT_TOO_LARGE])
def test_a_result_that_did_not_travel_is_no_failure_of_the_task(code):
    """It is an error of its own, with what is known of the result."""
    report = Report(code=code, message="<a lock>")
    outcome = Outcome(message_id="1", report=report, run_at=NOON, started_at=NOON, ended_at=NOON)
    with pytest.raises(ResultUnserializable) as caught:
        value_of(outcome)
    assert (caught.value.code, caught.value.representation) == (code.value, "<a lock>")


def answer_fields(**changes: object) -> dict:
    outcome = Outcome(
        message_id="1", report=Report(code=Code.OK, result="5"), run_at=NOON, started_at=NOON, ended_at=NOON
    )
    fields = json.loads(envelope.build(answers.answer(outcome, client="shop")))
    return fields | {"arguments": fields["arguments"] | changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "NEW"},
        {"code": 5},
        {"code": None},
        {"code": ["OK"]},
        {"code": "ERROR_IN_TASK"},
        {"run_at": 5},
        {"ended_at": "yesterday"},
        {"representation": 5},
        {"exception_type": None},
        {"traceback": ["a"]},
    ],
    ids=str,
)
def test_a_wrong_answer_is_refused(changes):
    """A client believes no answer whose fields are of other types, or whose code does not go with its type."""
    message = envelope.parse(json.dumps(answer_fields(**changes)).encode(), bytes_max=MAX)
    with pytest.raises(MessageRejected):
        answers.outcome_of(message)


def test_other_messages_tell_no_outcome():
    """A status, a greeting's answer and a question are no outcomes."""
    for kind, arguments in ((Message.INFO, {"responce": 0, "status": 1}), (Message.ASK, {"ids": []})):
        message = envelope.Envelope(message_id="1", client="shop", kind=kind, arguments=arguments)
        assert answers.outcome_of(message) is None
