"""Signatures: what one covers, what is refused and why, and that nothing is parsed before."""

from __future__ import annotations

import hashlib
import hmac
import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.errors import KeysRefused, MessageRejected
from schedulergodx.utils.keys.ring import Key, KeyRing
from schedulergodx.utils.message import envelope
from schedulergodx.utils.message.signature import Direction, Opened, Signatures
from schedulergodx_testing import FakeClock

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
OLD, NEW = (Key(key_id=name, secret=name.encode() * 16) for name in ("k1", "k2"))
BODY = b'{"id":"1","client":"shop","type":1,"arguments":{}}'
REQUEST, ANSWER = Direction.REQUEST, Direction.ANSWER


def signatures(*keys: Key, queue: str = "requests", allow_unsigned: bool = False) -> Signatures:
    """Return the signatures of a party with these keys."""
    ring = KeyRing(keys) if keys else None
    return Signatures(lambda: ring, queue=queue, clock=FakeClock(NOON), allow_unsigned=allow_unsigned)


def reason(party: Signatures, message: bytes, direction: Direction = REQUEST) -> str:
    """Return why a message is refused."""
    with pytest.raises(MessageRejected) as raised:
        party.open(direction, message)
    assert raised.value.reason == "BAD_SIGNATURE"
    return str(raised.value)


SIGNED = signatures(OLD).sign(REQUEST, "shop", BODY)


def test_what_is_signed_opens_at_whoever_has_the_key():
    """The body arrives as it was, with the name of its signer; the frame is as the protocol says."""
    assert signatures(NEW, OLD).open(REQUEST, SIGNED) == Opened(BODY, "shop")
    head, _, body = SIGNED.partition(b"\n")
    assert head.split(b" ")[:2] == [b"SGX1", b"k1"]
    assert head.endswith(b" shop")
    assert body == BODY


def test_the_signature_is_the_one_of_the_protocol():
    """Step by step as `docs/protocol.md` says it, so that other programs can make it, too."""

    def facts(*parts: bytes) -> bytes:
        return b"".join(len(part).to_bytes(8, "big") + part for part in parts)

    def mac(secret: bytes, data: bytes) -> bytes:
        return hmac.new(secret, data, hashlib.sha256).digest()

    client_key = mac(OLD.secret, facts(b"schedulergodx", b"client", b"shop"))
    key = mac(client_key, facts(b"schedulergodx", b"message", b"request", b"requests"))
    covered = facts(b"SGX1", b"request", b"requests", b"shop", b"k1", b"application/json", BODY)
    assert b"SGX1 k1 " + mac(key, covered).hex().encode() + b" shop\n" + BODY == SIGNED


def test_every_changed_byte_is_noticed():
    """Of the head, of the name, of the message: with any one bit changed, it is refused."""
    party = signatures(OLD)
    for place in range(len(SIGNED)):
        changed = bytearray(SIGNED)
        changed[place] ^= 1
        reason(party, bytes(changed))


@pytest.mark.parametrize("message", [SIGNED, SIGNED.replace(b" shop\n", b" farm\n")], ids=["right", "wrong"])
def test_how_long_the_comparison_takes_tells_nothing(message: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right or wrong, it is made by `hmac.compare_digest`, of two whole digests."""
    compared: list[tuple[int, int]] = []
    really = hmac.compare_digest

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return really(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    with suppress(MessageRejected):
        signatures(OLD).open(REQUEST, message)
    assert compared == [(64, 64)]


@given(cut=st.integers(0, len(SIGNED) - 1))
def test_every_truncation_is_noticed(cut):
    """Nothing that is cut off opens."""
    reason(signatures(OLD), SIGNED[:cut])


def test_a_signature_is_good_for_one_direction_client_and_queue():
    """An answer is no request, client A is not B, and another service's message means nothing here."""
    party = signatures(OLD)
    assert "another client, direction or queue" in reason(party, party.sign(ANSWER, "shop", BODY))
    assert "another client, direction or queue" in reason(party, SIGNED, ANSWER)
    assert "another client, direction or queue" in reason(party, SIGNED.replace(b" shop\n", b" farm\n"))
    assert "another client, direction or queue" in reason(signatures(OLD, queue="others"), SIGNED)


def test_a_signature_does_not_cover_another_name_in_the_message():
    """Who signs as A cannot write B into the message."""
    with pytest.raises(MessageRejected, match="signed for client 'shop', and names another one") as raised:
        signatures(OLD).open(REQUEST, SIGNED).check("farm")
    assert raised.value.reason == "BAD_SIGNATURE"
    signatures(OLD).open(REQUEST, SIGNED).check("shop")


@pytest.mark.parametrize(
    ("keys", "message", "why"),
    [
        ((OLD,), BODY, "it has none"),
        ((OLD,), b"", "it has none"),
        ((NEW,), SIGNED, "its key 'k1' is unknown here; known are KeyRing(k2)"),
        ((replace(OLD, not_after=NOON),), SIGNED, "its key 'k1' is retired"),
        ((replace(OLD, secret=b"x" * 32),), SIGNED, "it is wrong"),
        ((replace(OLD, client="farm"),), SIGNED, "its key 'k1' is for another client"),
        ((OLD,), b"SGX1", "its first line"),
        ((OLD,), b"SGX1\n" + BODY, "its first line"),
        ((OLD,), b"SGX1 k1 " + b"0" * 63 + b" shop\n" + BODY, "its first line"),
        ((OLD,), b"SGX1 k1 " + b"0" * 64 + b" \n" + BODY, "its first line"),
        ((OLD,), b"SGX1 k1 " + b"0" * 64 + b" " + b"x" * 101 + b"\n", "its first line"),
        ((OLD,), b"SGX1 " + b"k" * 41 + b" " + b"0" * 64 + b" shop\n", "its first line"),
        ((OLD,), b"SGX1 k1 " + b"0" * 64 + b" \xff\xfe\n" + BODY, "its client is no text"),
        ((OLD,), b"SGX2" + SIGNED[4:], "it has none"),
        ((OLD,), SIGNED.replace(b" ", b"  "), "its first line"),
        ((OLD,), SIGNED.upper(), "its first line"),
    ],
)
def test_each_refusal_says_why(keys, message, why):
    """Unknown, retired, wrong, absent, or no frame at all."""
    assert why in reason(signatures(*keys), message)


def test_the_newest_key_signs_and_a_key_to_come_verifies_already():
    """So keys can be renewed without a moment at which somebody is not understood."""
    coming = replace(NEW, not_before=NOON + timedelta(hours=1))
    assert signatures(NEW, OLD).sign(REQUEST, "shop", BODY).startswith(b"SGX1 k2 ")
    assert signatures(coming, OLD).sign(REQUEST, "shop", BODY).startswith(b"SGX1 k1 ")
    ahead = signatures(NEW).sign(REQUEST, "shop", BODY)
    assert signatures(coming, OLD).open(REQUEST, ahead).signer == "shop"


def test_a_clients_own_key_signs_as_that_client_alone():
    """The service knows it from its own key; another client's messages and answers are closed to it."""
    service = signatures(OLD)
    shop = Signatures(lambda: KeyRing([OLD]).for_client("shop"), queue="requests", clock=FakeClock(NOON))
    assert service.open(REQUEST, shop.sign(REQUEST, "shop", BODY)).signer == "shop"
    assert shop.open(ANSWER, service.sign(ANSWER, "shop", BODY, is_service=True)).signer == "shop"
    assert "for another client" in reason(shop, service.sign(ANSWER, "farm", BODY, is_service=True), ANSWER)
    with pytest.raises(KeysRefused, match="may sign now for client 'farm'"):
        shop.sign(REQUEST, "farm", BODY)


def test_without_keys_messages_stay_as_they_are_and_nothing_is_checked():
    """What is signed is read, too, so that keys can be brought in one party after the other."""
    bare = signatures()
    assert bare.sign(REQUEST, "shop", BODY) == BODY
    assert bare.open(REQUEST, BODY) == Opened(BODY)
    assert bare.open(REQUEST, SIGNED) == Opened(BODY)


def test_unsigned_messages_are_taken_when_that_is_said():
    """A wrong signature is refused all the same."""
    lenient = signatures(OLD, allow_unsigned=True)
    assert lenient.open(REQUEST, BODY) == Opened(BODY)
    assert "it is wrong" in reason(lenient, SIGNED + b" ")


def test_a_service_goes_on_signing_when_its_last_key_is_retired_under_way():
    """It says so to nobody by dying: its clients judge."""
    retired = replace(OLD, not_after=NOON)
    assert signatures(retired).sign(ANSWER, "shop", BODY, is_service=True).startswith(b"SGX1 k1 ")
    with pytest.raises(KeysRefused, match="none of the keys k1 may sign now"):
        signatures(retired).sign(REQUEST, "shop", BODY)


def test_nothing_is_parsed_before_the_signature_was_checked(monkeypatch: pytest.MonkeyPatch):
    """A message with a wrong signature does not reach the JSON reader."""
    monkeypatch.setattr(envelope, "parse", lambda *_args, **_more: pytest.fail("it was parsed"))
    monkeypatch.setattr(json, "loads", lambda *_args, **_more: pytest.fail("it was parsed"))
    reason(signatures(OLD), SIGNED[:-1])


def test_names_of_many_senders_do_not_fill_the_memory():
    """What is kept to sign and check quickly has a bound, and stays right beyond it."""
    party = signatures(OLD)
    for number in range(2500):
        name = f"client{number}"
        assert party.open(REQUEST, party.sign(REQUEST, name, BODY)).signer == name
    assert len(party._prepared) <= 1000


def test_a_ring_that_was_read_again_counts_at_once():
    """Also when it has another key under the same id."""
    rings = [KeyRing([OLD])]
    party = Signatures(lambda: rings[-1], queue="requests", clock=FakeClock(NOON))
    assert party.open(REQUEST, SIGNED).signer == "shop"
    rings.append(KeyRing([replace(OLD, secret=b"another secret another secret !!")]))
    assert "it is wrong" in reason(party, SIGNED)
