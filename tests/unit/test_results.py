"""Results: what travels, what arrives, and what is refused by a sentence."""

import collections
import enum
import json
import math
import threading
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.errors import MessageRejected
from schedulergodx.utils.message import results
from schedulergodx.utils.message.results import TooLarge, Unserializable, decode, encode, safe_repr


class Point(NamedTuple):
    x: int
    y: int


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    __slots__ = ()


class HashableList(list):
    def __hash__(self):
        return 1


class LyingText(str):
    """Two of them are never equal, so a dict holds both."""

    __slots__ = ()

    def __eq__(self, other):
        return self is other

    def __hash__(self):
        return id(self)


class Hostile:
    """Every method that a careless encoder could call raises."""

    def _fail(self, *args):
        raise RuntimeError("do not touch")

    __eq__ = __bool__ = __repr__ = __str__ = __len__ = __iter__ = __int__ = __float__ = __getattr__ = _fail
    __hash__ = object.__hash__
    __class__ = property(_fail)


class HostileList(list):
    def _fail(self, *args):
        raise RuntimeError("do not touch")

    __eq__ = __bool__ = __repr__ = __len__ = __iter__ = __getitem__ = _fail


class HostileZone(tzinfo):
    def utcoffset(self, moment):
        raise RuntimeError("no offset today")


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(max_size=50),
    st.datetimes(timezones=st.one_of(st.none(), st.just(UTC), st.just(timezone(timedelta(hours=-5, seconds=7))))),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
)
hashables = st.recursive(
    scalars.filter(lambda value: "nan" not in str(value).lower()),  # a NaN is not equal to itself
    lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=3)),
    max_leaves=5,
)
values = st.recursive(
    st.one_of(scalars, hashables),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(), inner, max_size=4),
        st.dictionaries(st.sampled_from(["$tuple", "$dict", "$x", "plain"]), inner, max_size=2),
        st.dictionaries(hashables, inner, max_size=3),
        st.sets(hashables, max_size=4),
    ),
    max_leaves=15,
)


def same(left: object, right: object) -> bool:  # noqa: PLR0911 - one for each kind of type
    """Equality that also compares types, order, signs and NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return math.isnan(left) == math.isnan(right) and (math.isnan(left) or repr(left) == repr(right))
    if isinstance(left, Decimal):
        return str(left) == str(right)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, (datetime, time)):
        return left == right and left.utcoffset() == right.utcoffset()
    return left == right


@given(values)
def test_what_travels_arrives_the_same(value):
    """Any value made of the types in the table arrives equal, of the same types, in the same order."""
    assert same(decode(encode(value)), value)


@given(values)
def test_the_text_is_plain_json(value):
    """The text is ASCII, compact, and JSON for every strict reader."""
    text = encode(value)
    assert text.isascii()
    assert "\n" not in text
    json.loads(text, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ([1, 2.5, "é"], '[1,2.5,"\\u00e9"]'),
        ({"a": {"b": []}}, '{"a":{"b":[]}}'),
        ((1, (2,)), '{"$tuple":[1,{"$tuple":[2]}]}'),
        (b"\x00\x01", '{"$bytes":"AAE="}'),
        (2**63 - 1, "9223372036854775807"),
        (2**63, '{"$int":"0x8000000000000000"}'),
        (-(2**63) - 1, '{"$int":"-0x8000000000000001"}'),
        (math.inf, '{"$float":"inf"}'),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), '{"$datetime":"2026-01-02T03:04:05+00:00"}'),
        (date(2026, 1, 2), '{"$date":"2026-01-02"}'),
        (time(3, 4), '{"$time":"03:04:00"}'),
        (timedelta(days=1, seconds=2, microseconds=3), '{"$timedelta":[1,2,3]}'),
        (Decimal("1.10"), '{"$decimal":"1.10"}'),
        (UUID(int=0), '{"$uuid":"00000000-0000-0000-0000-000000000000"}'),
        ({"b", "a"}, '{"$set":["a","b"]}'),
        (frozenset({2, 10}), '{"$frozenset":[10,2]}'),
        ({1: "one"}, '{"$dict":[[1,"one"]]}'),
        ({"$x": 1}, '{"$dict":[["$x",1]]}'),
        ({"$x": 1, "y": 2}, '{"$x":1,"y":2}'),
    ],
)
def test_the_table(value, text):
    """The texts are those of the documented table; they are in databases and on the wire."""
    assert encode(value) == text
    assert same(decode(text), value)


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (Point(1, 2), (1, 2)),
        (Colour.RED, 1),
        (Text("t"), "t"),
        (collections.Counter("a"), {"a": 1}),
        (HashableList([1]), [1]),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"abcdef")[::2], b"ace"),
        (
            datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")),
            datetime(2026, 7, 1, tzinfo=timezone(timedelta(hours=2))),
        ),
    ],
)
def test_subclasses_arrive_as_the_plain_type(value, arrives):
    """What is a kind of a plain type arrives as that plain type."""
    assert same(decode(encode(value)), arrives)


def test_a_subclass_is_read_without_its_own_methods():
    """A list whose methods all raise still travels: only the list's own methods read it."""
    assert decode(encode(HostileList([1, 2]))) == [1, 2]


def itself() -> list:
    value: list = []
    value.append(value)
    return value


def deep(levels: int) -> list:
    value: list = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": [0, 1, 2, (n for n in ())]}, "result['a'][3] is a generator"),
        (threading.Lock(), "result is a _thread.lock"),
        ([lambda: 1], "result[0] is a function"),
        (1j, "result is a complex"),
        ({"k": {1: object()}}, "result['k'][1] is an object"),
        (itself(), "result[0] contains itself"),
        ((itself(),), "result[0][0] contains itself"),
        ({"z": HostileZone()}, "result['z'] is a "),
        (datetime(2026, 1, 1, tzinfo=HostileZone()), "that raised RuntimeError when read"),
        (time(1, tzinfo=ZoneInfo("Europe/Berlin")), "no offset without a date"),
        ({HashableList([1]): 1}, "a key that cannot travel"),
        ({(HashableList([1]),)}, "could not be in a set"),
        ({LyingText("a"): 1, LyingText("a"): 2}, "two keys that would arrive as the same"),
        ({LyingText("a"), LyingText("a")}, "two members that would arrive as the same"),
        ([Hostile()], "result[0] is a "),
        ({Hostile(): 1}, "a key that cannot travel"),
        ({"line\nbreak": object()}, "result['line\\nbreak'] is an object"),
    ],
    ids=lambda value: value if type(value) is str else type(value).__name__,
)
def test_what_cannot_travel_is_refused_by_a_sentence(value, reason):
    """A refusal names the place and the type, and calls no method of the value."""
    with pytest.raises(Unserializable) as refusal:
        encode(value)
    assert reason in refusal.value.reason


def test_a_hundred_levels_travel_and_one_more_does_not():
    """The limit of nesting is exact, and far deeper values end in the same sentence."""
    assert decode(encode(deep(results.LEVELS_MAX))) == deep(results.LEVELS_MAX)
    for levels in (results.LEVELS_MAX + 1, 5000):
        with pytest.raises(Unserializable, match="nested deeper than 100 levels"):
            encode(deep(levels))


@given(values)
def test_the_size_limit_is_exact(value):
    """A text of exactly the limit passes; one byte less of a limit refuses it."""
    size = len(encode(value))
    assert len(encode(value, bytes_max=size)) == size
    with pytest.raises(TooLarge):
        encode(value, bytes_max=size - 1)


def test_shared_parts_cannot_explode():
    """A small value that would be written 2**60 times is refused as soon as the limit is reached."""
    value: list = [0]
    for _ in range(60):
        value = [value, value]
    with pytest.raises(TooLarge, match="larger than 10000 bytes"):
        encode(value, bytes_max=10_000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "NaN",
        "1e999",
        "9" * 5000,
        "[" * 100_000,
        '{"a":1,"a":2}',
        '{"$unknown":1}',
        '{"$tuple":1}',
        '{"$tuple":"ab"}',
        '{"$set":[[1]]}',
        '{"$set":{"a":1}}',
        '{"$dict":[[1]]}',
        '{"$dict":[[1,2],[1,3]]}',
        '{"$dict":[[[],2]]}',
        '{"$int":"x"}',
        '{"$int":5}',
        '{"$float":"1.5"}',
        '{"$bytes":"*"}',
        '{"$datetime":"yesterday"}',
        '{"$timedelta":[1,2,3,4,5,6,7,8]}',
        '{"$timedelta":[1e300]}',
        '{"$decimal":"x"}',
        '{"$uuid":"x"}',
    ],
)
def test_foreign_text_is_rejected(text):
    """What was not written by the rules is rejected with one kind of error."""
    with pytest.raises(MessageRejected):
        decode(text)


def test_safe_repr_never_raises_and_never_grows():
    """Whatever the value does, there is a short text on one line."""
    for value in (Hostile(), HostileList(), itself(), deep(5000), "x" * 10**6, {"k": ["v" * 5000] * 5000}):
        assert len(safe_repr(value, 100)) <= 100
    assert safe_repr("a\nb\x1b\ud800") == "'a\\nb\\x1b\\ud800'"
    assert safe_repr([1, "two", None]) == "[1, 'two', None]"


def test_safe_repr_escapes_what_a_repr_of_its_own_holds():
    """A repr with a line break cannot begin a line of its own in a log."""

    class Forger:
        def __repr__(self):
            return "x\nCRITICAL forged"

    assert safe_repr(Forger()) == "x\\nCRITICAL forged"
