"""Bundles: several answers in one message, cut exactly where their lengths say, or not at all."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.errors import MessageRejected
from schedulergodx.utils.message import answers, bundles, envelope
from schedulergodx_testing import strategies

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=2, max_size=bundles.MESSAGES_MAX))
def test_what_is_joined_is_cut_into_the_same(messages):
    """Whatever bytes the messages have; and the bundle has the size that whoever fills it counts with, at most."""
    bundle = bundles.join(messages)
    assert bundles.cut(bundle) == messages
    assert len(bundle) <= bundles.FRAME_BYTES + sum(len(one) + bundles.LENGTH_BYTES for one in messages)


@pytest.mark.parametrize("body", [b"", b"{}", b"SGX1 k1 ab shop\n{}", b"SGXB", b"SGXB2 1 1\nab"])
def test_what_is_no_bundle_is_one_message(body):
    """It is left as it is, for whoever opens it."""
    assert tuple(bundles.cut(body)) == (body,)


@pytest.mark.parametrize(
    "body",
    [
        *(b"SGXB1", b"SGXB1\n", b"SGXB1\nab", b"SGXB1 \nab", b"SGXB1 1 1", b"SGXB1 1 1 ab"),
        *(b"SGXB1 2\nab", b"SGXB1 0 2\nab", b"SGXB1 2 0\nab", b"SGXB1 01 1\nab", b"SGXB1 +1 1\nab", b"SGXB1 -1 3\nab"),
        *(
            b"SGXB1  1 1\nab",
            b"SGXB1 1 1 \nab",
            b"SGXB1 1\t1\nab",
            b"SGXB11 1\nab",
            b"SGXB1 1 x\nab",
            b"SGXB1 1_0 1\nab",
        ),
        *(b"SGXB1 1 1\na", b"SGXB1 1 1\nabc", b"SGXB1 1 1\r\nab", b"SGXB1 1 1000000\nab", "SGXB1 1 ٢\nab".encode()),
        b"SGXB1" + b" 1" * 101 + b"\n" + b"a" * 101,
        b"SGXB1" + b" 1" * 10_000,
    ],
    ids=repr,
)
def test_a_wrong_frame_is_refused(body):
    """Another form of a number, a length too many, a byte more or less: nothing is guessed."""
    with pytest.raises(MessageRejected) as caught:
        bundles.cut(body)
    assert caught.value.reason == "BAD_MESSAGE"


@given(strategies.broken_bundles())
def test_every_broken_bundle_is_refused(body):
    """Cut off, with more behind it, with another length or too many of them, or with one message."""
    with pytest.raises(MessageRejected):
        bundles.cut(body)


@given(st.integers(0, 40), st.integers(0, 255))
def test_a_changed_byte_never_cuts_beyond_the_message(place, byte):
    """Whatever stands in the first line, the parts are the whole body behind it, or it is refused."""
    bundle = bytearray(bundles.join([b"abc", b"de", b"f" * 20]))
    bundle[place % len(bundle)] = byte
    body = bytes(bundle)
    try:
        parts = list(bundles.cut(body))
    except MessageRejected:
        return
    assert body.endswith(b"".join(parts))
    assert parts == [body] or body[: -sum(map(len, parts))].endswith(b"\n")


def test_a_bundle_that_is_too_large_is_not_looked_at():
    """More than 256 KiB is none of ours."""
    with pytest.raises(MessageRejected) as caught:
        bundles.cut(bundles.join([b"a" * bundles.BYTES_MAX, b"b"]))
    assert caught.value.reason == "TOO_LARGE"


def test_the_example_of_the_protocol_can_be_read():
    """What docs/protocol.md shows of a request that asks for bundles, and of a bundle, is so."""
    blocks = DOCUMENT.read_text().split("## Bundles")[1].split("\n## ")[0].split("```")
    bundle, request = blocks[1].strip("\n").encode(), blocks[3].strip().encode()
    assert envelope.parse(request, bytes_max=1000).takes_bundles
    outcomes = [answers.outcome_of(envelope.parse(one, bytes_max=1000)) for one in bundles.cut(bundle)]
    assert [(one.message_id, one.report.result) for one in outcomes if one] == [("01A", "4"), ("01B", '"done"')]
