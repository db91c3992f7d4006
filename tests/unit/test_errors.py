"""The errors: one tree, drawn, each with its facts, each surviving a pickle."""

import copy
import inspect
import pickle
import re
from datetime import UTC, datetime

import pytest

import schedulergodx
from schedulergodx import errors

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == errors.__name__
]
FACTS = {
    "variable": "argument 'stream'",
    "size_bytes": 9,
    "limit_bytes": 8,
    "message_id": "01KG",
    "broker": "amqp://guest@localhost:5672/",
    "attempts": 3,
    "waited_s": 1.5,
    "errors": {},
    "code": "ERROR_IN_TASK",
    "representation": "<a lock>",
    "exception_type": "ValueError",
    "message": "no",
    "traceback": "Traceback …",
    "reason": "BAD_JSON",
    "path": "tasks.db",
    "pid": 7,
    "host": "here",
    "since": datetime(2026, 1, 31, tzinfo=UTC),
}


def made(kind):
    """Return an error of this class with all its facts, and the facts."""
    parameters = inspect.signature(kind.__init__).parameters.values()  # of the built-in one: no keywords
    facts = {one.name: FACTS[one.name] for one in parameters if one.kind is one.KEYWORD_ONLY}
    return kind("a sentence", **facts), facts


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("travel", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_an_error_survives_a_pickle(kind, travel):
    """With its class, its text and its facts."""
    error, facts = made(kind)
    again = travel(error)
    assert type(again) is kind
    assert str(again) == str(error) == "a sentence"
    assert {name: getattr(again, name) for name in facts} == facts


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_is_public_and_described(kind):
    """It can be imported from the package, stands in `__all__`, and tells its facts in its docstring."""
    assert getattr(schedulergodx, kind.__name__) is kind
    assert kind.__name__ in schedulergodx.__all__
    assert inspect.getdoc(kind)
    assert issubclass(kind, errors.SchedulerError)
    kind("a sentence alone")


def test_the_drawn_tree_is_the_tree():
    """The picture at the top of the file names every class under its parent."""
    drawn: dict[str, str] = {}
    above: list[str] = []
    for line in errors.__doc__.split("```")[1].strip().splitlines():
        found = re.match(r"^([│├└─\s]*)(\w+)", line)
        assert found, line
        level = len(found[1]) // 4
        above[level:] = [found[2]]
        drawn[found[2]] = above[level - 1] if level else "Exception"
    parents = {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES}
    assert drawn == parents


def test_the_other_bases():
    """Who catches the standard kinds catches ours."""
    assert issubclass(errors.InvalidParameter, ValueError)
    assert issubclass(errors.ResultTimeout, TimeoutError)


def test_the_facts_of_a_batch():
    """Each launch's own error is in it, also behind a pickle."""
    inner = errors.BrokerUnavailable("not reached", message_id="1", broker="b", attempts=2, waited_s=3.0)
    again = pickle.loads(pickle.dumps(errors.BatchFailed("one failed", errors={"1": inner})))
    assert vars(again.errors["1"]) == vars(inner)
