"""Messages are read strictly: whatever is wrong is refused by `MessageRejected` with a reason, and nothing else."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.errors import MessageRejected
from schedulergodx.rules.limits import NO_LIMITS, TaskLimits
from schedulergodx.utils.message import envelope, launches
from schedulergodx.utils.message.kinds import Message

MAX = 100_000
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
TASK = {
    "v": 1,
    "id": "01KG",
    "client": "shop",
    "type": 3,
    "issued_at": "2026-01-31T12:00:00.000000Z",
    "reply_to": "service-client.shop.1",
    "python": "3.11.7",
    "cloudpickle": "3.1.2",
    "arguments": {
        "name": "shop.tasks.remind",
        "function": "AAE=",
        "reference": "shop.tasks:remind",
        "code_digest": "ab12",
        "args": "AAE=",
        "args_by_value": "AAI=",
        "run_at": "2026-01-31T12:00:10.000000Z",
        "hard": True,
        "lifetime_s": 5.5,
        "enable_overdue": False,
        "max_starts": 3,
        "limits": {"memory_bytes_max": 100_000_000, "cpu_s_max": None, "unheard_of": "x"},
    },
}
OPTIONAL = {"v", "issued_at", "reply_to", "python", "cloudpickle"}
OPTIONAL_ARGUMENTS = {
    "function",
    "reference",
    "code_digest",
    "args_by_value",
    "run_at",
    "hard",
    "lifetime_s",
    "enable_overdue",
    "max_starts",
    "limits",
}
NULLABLE_ARGUMENTS = OPTIONAL_ARGUMENTS - {"hard", "enable_overdue", "max_starts"}
WRONG = [0, 1, -1, 1.5, True, False, [], [1], {}, {"a": 1}, "\n", "x\x00", "\ud800", "x" * 2001]


def read(fields: object):
    """Read fields as a service does, down to the task."""
    return read_bytes(json.dumps(fields).encode())


def read_bytes(body: bytes):
    message = envelope.parse(body, bytes_max=MAX)
    return launches.task_of(message, received_at=NOON) if message.kind is Message.TASK else message


def reason_of(body: bytes) -> str:
    with pytest.raises(MessageRejected) as caught:
        read_bytes(body)
    assert 0 < len(str(caught.value)) < 500
    return caught.value.reason


def with_field(name: str, value: object) -> dict:
    return TASK | {name: value}


def with_argument(name: str, value: object) -> dict:
    return TASK | {"arguments": TASK["arguments"] | {name: value}}


def test_the_whole_message_is_read():
    """Every field arrives where it belongs."""
    task = read(TASK)
    assert (task.message_id, task.client, task.reply_to) == ("01KG", "shop", "service-client.shop.1")
    assert (task.name, task.reference, task.code_digest) == ("shop.tasks.remind", "shop.tasks:remind", "ab12")
    assert (task.function, task.arguments, task.arguments_by_value) == (b"\x00\x01", b"\x00\x01", b"\x00\x02")
    assert (task.issued_at, task.run_at, task.is_delayed) == (NOON, NOON + timedelta(seconds=10), True)
    assert (task.python, task.is_hard, task.lifetime_s, task.is_overdue_enabled) == ("3.11.7", True, 5.5, False)
    assert (task.max_starts, task.limits) == (3, TaskLimits(memory_bytes_max=100_000_000))


@pytest.mark.parametrize("body", [b"", b" ", b"x", b"{", b"\x00", b"null", b"[]", b'"text"', b"12", b"nul", b"{}x"])
def test_what_is_no_object_is_refused(body):
    """Empty, one byte, other JSON, and JSON with something behind it."""
    assert reason_of(body) in {"BAD_JSON", "BAD_MESSAGE", "BAD_ENCODING"}


@pytest.mark.parametrize("around", ["{} ", " {}", "\n\t{}\r\n"])
def test_white_space_around_a_message_is_as_json_has_it(around):
    """Our own have none, those of others may."""
    assert read_bytes(around.format(json.dumps(TASK)).encode()) == read(TASK)


def test_a_message_cut_off_anywhere_is_refused():
    """No beginning of a message is a message."""
    body = json.dumps(TASK).encode()
    for length in range(len(body)):
        assert reason_of(body[:length]) in {"BAD_JSON", "BAD_MESSAGE"}


def test_a_message_with_any_byte_flipped_is_read_or_refused():
    """Whatever a flipped bit makes of it, the answer is a task or a refusal."""
    body = json.dumps(TASK).encode()
    refused = 0
    for place in range(len(body)):
        for bit in range(8):
            flipped = bytearray(body)
            flipped[place] ^= 1 << bit
            try:
                read_bytes(bytes(flipped))
            except MessageRejected:
                refused += 1
    assert refused > 4 * len(body)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(body):
    """Nothing but a refusal comes of noise."""
    with pytest.raises(MessageRejected):
        read_bytes(body)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**98), 10**98)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.slow
@given(
    st.dictionaries(st.sampled_from([*TASK]), json_values),
    st.dictionaries(st.sampled_from([*TASK["arguments"]]), json_values),
)
def test_any_fields_are_read_or_refused(fields, arguments):
    """No value of any field makes anything but a message or a refusal."""
    try:
        reason = "" if read({**TASK, "arguments": {**TASK["arguments"], **arguments}, **fields}) else "nothing"
    except MessageRejected as error:
        reason = error.reason
    assert reason in {"", "BAD_MESSAGE", "BAD_JSON", "UNKNOWN_TYPE", "UNKNOWN_VERSION"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff" + json.dumps(TASK).encode(), "BAD_ENCODING"),
        (json.dumps(TASK).encode("utf-16"), "BAD_ENCODING"),
        (json.dumps(TASK).encode("utf-16-le"), "BAD_ENCODING"),
        (json.dumps(TASK).encode("utf-32-be"), "BAD_ENCODING"),
        (json.dumps(TASK).encode("utf-8-sig"), "BAD_ENCODING"),
        (b'{"id":"\xc3"}', "BAD_ENCODING"),
        (b"[" * 90_000, "BAD_JSON"),
        (b'{"a":' * 15_000, "BAD_JSON"),
        (b'{"v":' + b"1" * 5000 + b"}", "BAD_JSON"),
        (b'{"v":1' + b"0" * 101 + b"}", "BAD_JSON"),
        (b'{"v":NaN}', "BAD_JSON"),
        (b'{"v":Infinity}', "BAD_JSON"),
        (b'{"v":-Infinity}', "BAD_JSON"),
        (b'{"v":1e999}', "BAD_JSON"),
        (b'{"v":1,"v":1}', "BAD_JSON"),
        (b'{"arguments":{"a":1,"a":2}}', "BAD_JSON"),
        (b"x" * (MAX + 1), "TOO_LARGE"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_the_encoding_and_the_json_are_strict(body, reason):
    """Other encodings, depth, huge numbers, no-numbers and keys that stand twice have their reason."""
    assert reason_of(body) == reason


def test_the_limit_is_the_last_allowed_size():
    """As many bytes as allowed are read, one more is not."""
    body = json.dumps(TASK).encode()
    assert envelope.parse(body, bytes_max=len(body)).message_id == "01KG"
    with pytest.raises(MessageRejected, match=f"has {len(body)} bytes, {len(body) - 1} are allowed"):
        envelope.parse(body, bytes_max=len(body) - 1)


@pytest.mark.parametrize("name", [*TASK])
def test_a_missing_field(name):
    """The optional ones have a meaning when they are missing; the others are named in the refusal."""
    fields = {key: value for key, value in TASK.items() if key != name}
    if name in OPTIONAL:
        assert read(fields).message_id == "01KG"
    else:
        with pytest.raises(MessageRejected, match=f"field '{name}' must be .*, but is missing"):
            read(fields)


@pytest.mark.parametrize("name", [*TASK["arguments"]])
def test_a_missing_argument(name):
    """The same for the fields of a launch."""
    arguments = {key: value for key, value in TASK["arguments"].items() if key != name}
    if name in OPTIONAL_ARGUMENTS:
        assert read(with_field("arguments", arguments)).message_id == "01KG"
    else:
        with pytest.raises(MessageRejected, match=f"field '{name}' must be"):
            read(with_field("arguments", arguments))


@pytest.mark.parametrize("name", [*TASK])
def test_a_null_field(name):
    """Null is as good as missing where a field is optional, but it is no version."""
    if name in OPTIONAL - {"v"}:
        assert read(with_field(name, None)).message_id == "01KG"
    else:
        assert reason_of(json.dumps(with_field(name, None)).encode()) in {"BAD_MESSAGE", "UNKNOWN_VERSION"}


@pytest.mark.parametrize("name", [*TASK["arguments"]])
def test_a_null_argument(name):
    """Null means none where there can be none; a yes or no cannot be null."""
    fields = with_argument(name, None)
    if name in NULLABLE_ARGUMENTS:
        assert read(fields).message_id == "01KG"
    else:
        assert reason_of(json.dumps(fields).encode()) == "BAD_MESSAGE"


@pytest.mark.parametrize("name", [*TASK])
@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:12])
def test_a_field_of_a_wrong_type(name, value):
    """Whatever is not of the field's type is refused by its name: a list for a text, true for a number."""
    is_good = (name, value) in [("v", 1), ("type", 1), ("type", 0)] and not isinstance(value, bool)
    if is_good or (name == "arguments" and isinstance(value, dict)):
        return
    with pytest.raises(MessageRejected) as caught:
        read(with_field(name, value))
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        (with_argument("hard", True), with_argument("hard", 1)),
        (with_argument("enable_overdue", False), with_argument("enable_overdue", 0)),
        (with_argument("max_starts", 1), with_argument("max_starts", True)),
        (with_argument("lifetime_s", 1), with_argument("lifetime_s", True)),
        (with_field("bundles", True), with_field("bundles", 1)),
        (with_field("v", 1), with_field("v", True)),
        (with_field("v", 1), with_field("v", 1.0)),
        (with_field("type", 3), with_field("type", 3.0)),
    ],
)
def test_what_equals_a_right_value_is_not_right(fields, wrong):
    """Also after the right one was seen: Python takes 1, 1.0 and `true` for the same."""
    read(fields)
    with pytest.raises(MessageRejected):
        read(wrong)
    read(fields)


@pytest.mark.parametrize("name", [*TASK["arguments"]])
@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:12])
def test_an_argument_of_a_wrong_type(name, value):
    """The same for the fields of a launch."""
    is_flag = name in {"hard", "enable_overdue"} and isinstance(value, bool)
    is_number = name == "lifetime_s" and type(value) in {int, float} and value > 0
    is_bound = (name == "max_starts" and value is WRONG[1]) or (name == "limits" and isinstance(value, dict))
    if is_flag or is_number or is_bound:
        return
    with pytest.raises(MessageRejected, match=f"'{name}'") as caught:
        read(with_argument(name, value))
    assert caught.value.reason == "BAD_MESSAGE"


@pytest.mark.parametrize("name", ["function", "args", "args_by_value"])
@pytest.mark.parametrize("value", ["A", "AA==\n", "AA=A", "ÄÄÄÄ", "AA-_", "===="])
def test_wrong_base64(name, value):
    """It is read strictly, so that one payload has one text."""
    with pytest.raises(MessageRejected, match=f"field '{name}' must be base64"):
        read(with_argument(name, value))


@pytest.mark.parametrize("value", ["mod", ":f", "mod:", "a b:c", "m:f:g", "os;x:f", "..a:f", "m:<lambda>", "1:2"])
def test_wrong_references(value):
    """Only names of Python stand in a reference."""
    with pytest.raises(MessageRejected, match="field 'reference' must be 'module:qualname'"):
        read(with_argument("reference", value))


@pytest.mark.parametrize(
    "value", ["now", "2026-01-31", "2026-01-31T12:00:00", "0001-01-01T00:00:00+14:00", "2026-13-01T00:00:00Z"]
)
@pytest.mark.parametrize("name", ["issued_at", "run_at"])
def test_wrong_moments(name, value):
    """A moment has a date, a time and an offset, and lies within the calendar."""
    fields = with_field(name, value) if name == "issued_at" else with_argument(name, value)
    with pytest.raises(MessageRejected, match=f"field '{name}' must be a moment"):
        read(fields)


@pytest.mark.parametrize("value", [0, -1, 1e10, 10**99, "5"])
def test_wrong_lifetimes(value):
    """A lifetime is above zero and below ten years; none is null."""
    with pytest.raises(MessageRejected, match="'lifetime_s'"):
        read(with_argument("lifetime_s", value))


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("max_starts", 101, "a whole number from 1 to 100"),
        ("limits", {"cpu_s_max": 0}, "a whole number from 1 to 315360000"),
        ("limits", {"memory_bytes_max": True}, "a whole number from 67108864 to "),
        ("limits", {"open_files_max": "64"}, "a whole number from 16 to "),
    ],
)
def test_wrong_bounds(name, value, rule):
    """Starts and bounds lie within their ranges."""
    with pytest.raises(MessageRejected, match=f"'{name}.*' must be {rule}"):
        read(with_argument(name, value))


def test_a_launch_that_bounds_nothing_is_as_it_was_before():
    """The digest of a launch with one start and no bounds is that of earlier versions, whose rows may be stored."""
    old = {name: value for name, value in TASK["arguments"].items() if name not in {"max_starts", "limits"}}
    plain = read(TASK | {"arguments": old})
    for extras in ({}, {"max_starts": 1}, {"limits": None}, {"limits": {}}):
        assert read(TASK | {"arguments": old | extras}) == plain
    assert plain.digest.hex() == "f312ff01e07dfd6b2e8967f3b8b3e420de05ca08d2405753919a049b88c49d62"
    assert plain.limits is NO_LIMITS


def test_nothing_to_run():
    """One of function and reference must be there."""
    arguments = TASK["arguments"] | {"function": None, "reference": ""}
    with pytest.raises(MessageRejected, match="nothing to run"):
        read(with_field("arguments", arguments))


@pytest.mark.parametrize("kind", [-1, 5, 99, 10**50])
def test_an_unknown_type(kind):
    """It has a reason of its own, and the known ones are told."""
    with pytest.raises(MessageRejected, match=r"is unknown; known are 0 \(INITIALIZATION\)") as caught:
        read(with_field("type", kind))
    assert caught.value.reason == "UNKNOWN_TYPE"


@pytest.mark.parametrize("version", [0, 2, 9, -1, "1", 1.0, True, None])
def test_another_version(version):
    """It is refused, telling what came and what is spoken."""
    with pytest.raises(MessageRejected, match="this program speaks 1") as caught:
        read(with_field("v", version))
    assert caught.value.reason == "UNKNOWN_VERSION"


def test_no_version_is_the_first():
    """Messages of programs that leave it out are of version 1."""
    body = json.dumps({"id": "1", "client": "c", "type": 1, "arguments": {}}).encode()
    assert envelope.parse(body, bytes_max=MAX).kind is Message.INFO


def test_unknown_fields_are_passed_over_and_counted():
    """A later version may send more."""
    message = envelope.parse(json.dumps(TASK | {"colour": "red", "\ud800": 1}).encode(), bytes_max=MAX)
    assert message.unknown_fields == 2


def test_a_refusal_shows_no_text_of_the_message():
    """What stands in a wrong field may be a secret; its type is told."""
    for fields in (
        with_field("id", "secret\n"),
        with_argument("function", "secret!"),
        with_field("client", ["secret"]),
    ):
        with pytest.raises(MessageRejected) as caught:
            read(fields)
        assert "secret" not in str(caught.value)


printable = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20).filter(
    lambda text: text == text.strip()
)
moments = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 - Hypothesis adds the zone
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001 - as above
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=30)), timezone(timedelta(seconds=61))]),
)
envelopes = st.builds(
    envelope.Envelope,
    message_id=printable,
    client=printable,
    kind=st.sampled_from(Message),
    issued_at=st.none() | moments,
    reply_to=st.just("") | printable,
    takes_bundles=st.booleans(),
    python=st.sampled_from(["", "3.11.7", "3.14.0rc1"]),
    cloudpickle=st.sampled_from(["", "3.1.2"]),
    arguments=st.dictionaries(
        st.text(), json_values.filter(lambda value: not isinstance(value, int) or abs(value) < 10**90)
    ),
)


@pytest.mark.slow
@given(envelopes)
def test_what_is_built_is_read_again(message):
    """Every message arrives as it was, with its moment in UTC."""
    body = envelope.build(message)
    again = envelope.parse(body, bytes_max=MAX)
    if message.issued_at is not None:
        assert again.issued_at.utcoffset() == timedelta(0)
    assert again == message
    assert envelope.build(again) == body


def test_the_digest_tells_launches_apart():
    """Another function, argument, moment, kind, lifetime or client is another launch; where the answer goes is not."""
    task = read(TASK)
    others = [
        with_argument("function", "AAA="),
        with_argument("args", "AAA="),
        with_argument("run_at", None),
        with_argument("hard", False),
        with_argument("lifetime_s", None),
        with_argument("reference", ""),
        with_argument("max_starts", 4),
        with_argument("limits", {"memory_bytes_max": 100_000_001}),
        with_argument("limits", {"file_bytes_max": 100_000_000}),
        with_field("client", "other"),
        with_field("issued_at", None),
    ]
    digests = {read(fields).digest for fields in (TASK, *others[:-1])}
    assert len(digests) == len(others)
    assert read(with_field("reply_to", "elsewhere")).digest == task.digest
    assert replace(task, digest=b"") == replace(read(TASK), digest=b"")


def test_two_moments_of_one_wall_time_have_a_text_each():
    """When clocks are set back an hour comes twice; in its own zone the two count as equal."""
    first = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    second = first.replace(fold=1)
    assert first == second
    for text_of in (envelope.moment_text, envelope.new_moment_text):
        texts = [text_of(moment) for moment in (first, second, first)]
        assert texts == [f"2026-10-25T0{hour}:30:00.000000Z" for hour in (0, 1, 0)]


def test_a_moment_with_millions_of_digits_is_not_kept():
    """It is read, and forgotten: a thousand such would be gigabytes."""
    kept = envelope._known_moment.cache_info().currsize
    text = f"2026-01-31T12:00:00.{'1' * 100_000}Z"
    moment = envelope.optional_moment_field({"run_at": text}, "run_at")
    assert moment == datetime(2026, 1, 31, 12, 0, 0, 111_111, tzinfo=UTC)
    assert envelope._known_moment.cache_info().currsize == kept
