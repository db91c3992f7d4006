"""Hypothesis strategies for everything that travels: ids, names, arguments, delays, messages, results.

Each gives what the library accepts, from the plain to the odd; the simplest comes first when Hypothesis shrinks.
`broken_envelopes` gives what a service must refuse. Needs Hypothesis.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from schedulergodx.config import NAME_BYTES_MAX, SECONDS_MAX
from schedulergodx.rules.lifecycle import Code, Report
from schedulergodx.utils.message import bundles, envelope
from schedulergodx.utils.message.kinds import Message

_SAFE_INT = 2**53
_PRINTABLE = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
_SIMPLE_SECONDS = [1.0, 0.001, 60.0, 3600.0, 86400.0, SECONDS_MAX]


def _names(bytes_max: int) -> st.SearchStrategy[str]:
    texts = st.text(_PRINTABLE, min_size=1, max_size=bytes_max).map(str.strip)
    return texts.filter(lambda text: 0 < len(text.encode()) <= bytes_max)


def message_ids() -> st.SearchStrategy[str]:
    """Return ids that a launch can have: ULIDs, numbers, and any printable text of 1 to 100 bytes."""
    ulids = st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=25, max_size=25).map(lambda text: f"0{text}")
    numbers = st.integers(1, _SAFE_INT).map(str)
    return st.one_of(numbers, ulids, _names(envelope.MESSAGE_ID_BYTES_MAX))


def client_names() -> st.SearchStrategy[str]:
    """Return names that a client, or a service, can have."""
    return st.one_of(st.sampled_from(["shop", "a shop", "shop.eu-1", "магазин"]), _names(NAME_BYTES_MAX))


def delays() -> st.SearchStrategy[float | None]:
    """Return delays in seconds, 0 to ten years, whole microseconds; None and 0: at once."""
    return st.one_of(st.none(), st.just(0.0), st.sampled_from(_SIMPLE_SECONDS), _seconds(0))


def lifetimes() -> st.SearchStrategy[float | None]:
    """Return lifetimes in seconds, above 0 to ten years, whole microseconds; None: without limit."""
    return st.one_of(st.none(), st.sampled_from(_SIMPLE_SECONDS), _seconds(1))


def _seconds(least_us: int) -> st.SearchStrategy[float]:
    return st.integers(least_us, int(SECONDS_MAX) * 10**6).map(lambda us: us / 10**6)


def moments() -> st.SearchStrategy[datetime]:
    """Return moments, aware, in UTC, of this century and the last years of the one before."""
    return st.datetimes(datetime(1990, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive there


def results(max_leaves: int = 10) -> st.SearchStrategy[Any]:
    """Return what a function can return so that its client gets the same: JSON data."""
    leaves = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-_SAFE_INT, _SAFE_INT),
        st.floats(allow_nan=False, allow_infinity=False),
        _texts(),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(_texts(), inner, max_size=4)),
        max_leaves=max_leaves,
    )


def arguments(max_leaves: int = 10) -> st.SearchStrategy[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return `(args, kwargs)` that travel and can be compared, also sets, tuples, moments and complex numbers."""
    leaves = st.one_of(results(1), st.binary(max_size=20), moments(), st.complex_numbers(allow_nan=False))
    hashable = st.one_of(st.integers(), _texts())
    values = st.recursive(
        st.one_of(leaves, st.frozensets(hashable, max_size=3)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(hashable, inner, max_size=3)
        ),
        max_leaves=max_leaves,
    )
    names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
    return st.tuples(st.lists(values, max_size=3).map(tuple), st.dictionaries(names, values, max_size=3))


def _texts() -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)


def reports() -> st.SearchStrategy[Report]:
    """Return ends of runs: a result, or one of the failures."""
    done = results().map(lambda value: Report(code=Code.OK, result=json.dumps(value)))
    codes = st.sampled_from([Code.ERROR_IN_TASK, Code.TASK_EXITED, Code.TASK_KILLED])
    failed = st.builds(lambda code, message: Report(code=code, message=message), codes, _texts())
    return st.one_of(done, failed)


def envelopes() -> st.SearchStrategy[envelope.Envelope]:
    """Return messages that any program of this library can read, with any arguments; `envelope.build` makes bytes."""
    return st.builds(
        envelope.Envelope,
        message_id=message_ids(),
        client=client_names(),
        kind=st.sampled_from(Message),
        issued_at=st.one_of(st.none(), moments()),
        reply_to=st.one_of(st.just(""), client_names().map(lambda name: f"service-client.{name}.1")),
        takes_bundles=st.booleans(),
        arguments=st.dictionaries(_texts(), results(4), max_size=4),
    )


def broken_envelopes() -> st.SearchStrategy[bytes]:
    """Return bodies that must be refused: no JSON, no object, or an object with one field that is wrong."""
    bodies = envelopes().map(envelope.build)
    return st.one_of(
        st.sampled_from([b"", b"{", b"[]", b"null", b"1", b'"text"', b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"{}"]),
        bodies.flatmap(lambda body: st.integers(0, len(body) - 1).map(lambda at: body[:at])),
        st.builds(_with_wrong_field, bodies, st.sampled_from(_WRONG)),
        bodies.map(lambda body: body.replace(b'"v":', b'"v":1,"v":', 1)),
        bodies.map(lambda body: body.decode().encode("utf-16")),
    )


def broken_bundles() -> st.SearchStrategy[bytes]:
    """Return bundles that a client must refuse: their first line does not fit what follows."""
    messages = st.lists(st.binary(min_size=1, max_size=40), min_size=2, max_size=5)
    whole = messages.map(bundles.join)
    return st.one_of(
        whole.flatmap(lambda body: st.integers(len(bundles.MAGIC), len(body) - 1).map(lambda at: body[:at])),
        st.builds(bytes.__add__, whole, st.binary(min_size=1, max_size=5)),
        st.builds(
            _with_wrong_length, messages, st.sampled_from([b"0", b"-1", b"+1", b"01", b"1.0", b"", b"x", b"9" * 9])
        ),
        st.binary(min_size=1, max_size=40).map(lambda message: b"%b %d\n%b" % (bundles.MAGIC, len(message), message)),
        st.just(bundles.join([b"a"] * (bundles.MESSAGES_MAX + 1))),
    )


def _with_wrong_length(messages: list[bytes], length: bytes) -> bytes:
    _line, _, rest = bundles.join(messages).partition(b"\n")
    lengths = [b"%d" % len(message) for message in messages[:-1]]
    return b"%b %b %b\n%b" % (bundles.MAGIC, b" ".join(lengths), length, rest)


_WRONG: list[tuple[str, Any]] = [
    ("v", 2),
    ("v", True),
    ("v", "1"),
    ("id", ""),
    ("id", 7),
    ("id", None),
    ("id", "x" * 101),
    ("id", "line\nbreak"),
    ("client", ""),
    ("client", " padded "),
    ("client", ["shop"]),
    ("type", 99),
    ("type", True),
    ("type", "TASK"),
    ("issued_at", "yesterday"),
    ("issued_at", "2026-01-01T00:00:00"),
    ("issued_at", 1767225600),
    ("reply_to", "\x07"),
    ("arguments", []),
    ("arguments", None),
    ("arguments", {"number": math.inf}),
]


def _with_wrong_field(body: bytes, wrong: tuple[str, Any]) -> bytes:
    fields = json.loads(body)
    fields[wrong[0]] = wrong[1]
    return json.dumps(fields).encode()
