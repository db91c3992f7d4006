"""Signatures: who sent a message, to whom, and that nobody changed it. Looked at before anything is parsed.

A signed message is one line of text, and behind it the message as it would be without a signature:

```
SGX1 <key id> <HMAC-SHA256 in hexadecimal> <client>
{"v":1, …
```

The signature covers every byte that is acted on, and what is not on the wire: whether it is a request or an answer, and
the request queue, so that neither can be used in the other's place, nor at another service. Each direction, queue and
client has a key of its own, derived from that of the ring. `docs/protocol.md` has it all.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from schedulergodx.config import NAME_BYTES_MAX
from schedulergodx.errors import KeysRefused, MessageRejected
from schedulergodx.utils.keys.ring import derived, length_prefixed

if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash as Hash

    from schedulergodx.utils.abstractions import Clock
    from schedulergodx.utils.keys.ring import Key, KeyRing

MAGIC = b"SGX1"
HEAD_BYTES_MAX = 256
"""More before the first line's end is no head of ours."""
REASON = "BAD_SIGNATURE"

_HEAD = re.compile(rb"SGX1 ([A-Za-z0-9._-]{1,40}) ([0-9a-f]{64}) ([^\n]{1,%d})" % NAME_BYTES_MAX)
_PREPARED_MAX = 1000
_BLOCK_BYTES = 64
_INNER = bytes([byte ^ 0x36 for byte in range(256)])
_OUTER = bytes([byte ^ 0x5C for byte in range(256)])
"""RFC 2104: the two that a key is put through, filled up with zeros to a block of SHA-256; ours is never longer."""


class Direction(Enum):
    """Which way a message goes: from a client to the service, or back."""

    REQUEST = "request"
    ANSWER = "answer"

    __hash__ = object.__hash__
    """By identity, as members are compared; that of `Enum` is a function in Python, and takes longer."""


class Opened(NamedTuple):
    """A message that may be parsed.

    Attributes:
        body: the message without its signature.
        signer: the name of the client that it is proven to come from, or to be for; None: unsigned, and allowed to be.
    """

    body: bytes
    signer: str | None = None

    def __repr__(self) -> str:
        """Show who signed, and nothing of the message."""
        return f"Opened({len(self.body)} bytes, signer={self.signer!r})"

    def check(self, client: str) -> None:
        """Refuse a message that names another client than its signature. Raises MessageRejected."""
        if self.signer is not None and self.signer != client:
            raise MessageRejected(f"it is signed for client {self.signer!r}, and names another one", reason=REASON)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What is the same in all messages of one key, direction and client.

    An HMAC is a hash of the key and the message, hashed again with the key. What comes before the message is hashed
    here once, and each message goes on from a copy: that takes half the time of an HMAC from its beginning.
    """

    inner: Hash
    outer: Hash
    head: bytes


class Signatures:
    """Signs and checks the messages of one request queue. Safe from any thread.

    Without keys it signs nothing and checks nothing: whether that is allowed, `utils.keys.policy` says.

    Args:
        ring: gives the keys, or None when there are none.
        queue: name of the request queue.
        clock: tells whose time it is.
        allow_unsigned: take unsigned messages although there are keys.
    """

    def __init__(
        self, ring: Callable[[], KeyRing | None], *, queue: str, clock: Clock, allow_unsigned: bool = False
    ) -> None:
        self._ring = ring
        self._queue = queue
        self._clock = clock
        self._allow_unsigned = allow_unsigned
        self._prepared: dict[tuple[bytes, Direction, str], _Prepared] = {}

    def sign(self, direction: Direction, client: str, body: bytes, *, is_service: bool = False) -> bytes:
        """Return the message signed for `client`, or as it is when there are no keys.

        Raises:
            KeysRefused: none of the keys may sign now. Not for a service, which has looked when it started.
        """
        ring = self._ring()
        if ring is None:
            return body
        key = ring.always
        if key is None:
            key = self._service_key(ring) if is_service else ring.signing(self._clock.now(), client=client)
        prepared = self._prepare(key, direction, client)
        return b"%b %b %b\n%b" % (prepared.head, _mac(prepared, body), client.encode(), body)

    def open(self, direction: Direction, message: bytes) -> Opened:
        """Return what a message says, once it is certain who says it. Nothing of it is parsed here.

        Raises:
            MessageRejected: BAD_SIGNATURE, with the reason.
        """
        ring = self._ring()
        if not message.startswith(MAGIC):
            if ring is None or self._allow_unsigned:
                return Opened(message)
            raise _refused("it has none, and this program takes signed messages only")
        key_id, mac, client, body = _split(message)
        if ring is None:
            return Opened(body)  # who has no keys checks nothing
        key = ring.find(key_id)
        if key is None:
            raise _refused(f"its key {key_id!r} is unknown here; known are {ring!r}")
        if key.not_after is not None and key.is_retired(self._clock.now()):  # mostly, no time need be asked for
            raise _refused(f"its key {key_id!r} is retired")
        if key.client and key.client.encode() != client:
            raise _refused(f"its key {key_id!r} is for another client")
        try:
            name = client.decode()
        except UnicodeDecodeError:
            raise _refused("its client is no text") from None
        if not hmac.compare_digest(_mac(self._prepare(key, direction, name), body), mac):
            raise _refused(
                f"it is wrong: made with another key than our {key_id!r}, for another client, direction or queue, or "
                "the message was changed"
            )
        return Opened(body, name)

    def _service_key(self, ring: KeyRing) -> Key:
        try:
            return ring.signing(self._clock.now())
        except KeysRefused:  # the last one was retired while the service runs: it goes on, and its clients judge
            return ring.keys[0]

    def _prepare(self, key: Key, direction: Direction, client: str) -> _Prepared:
        # By the secret: a ring that was read again may have another one under an id.
        known = self._prepared.get((key.secret, direction, client))
        if known is not None:
            return known
        facts = (direction.value, self._queue)
        secret = derived(key.client_secret(client), "message", *facts).ljust(_BLOCK_BYTES, b"\0")
        inner = hashlib.sha256(secret.translate(_INNER))
        inner.update(length_prefixed(MAGIC, *facts, client, key.key_id, "application/json"))
        outer = hashlib.sha256(secret.translate(_OUTER))
        prepared = _Prepared(inner=inner, outer=outer, head=MAGIC + b" " + key.key_id.encode())
        if len(self._prepared) >= _PREPARED_MAX:
            self._prepared.clear()  # names are given by whoever sends: what is kept has a bound
        self._prepared[key.secret, direction, client] = prepared
        return prepared


def _mac(prepared: _Prepared, body: bytes) -> bytes:
    inner, outer = prepared.inner.copy(), prepared.outer.copy()
    inner.update(len(body).to_bytes(8, "big"))
    inner.update(body)
    outer.update(inner.digest())
    return outer.hexdigest().encode()


def _split(message: bytes) -> tuple[str, bytes, bytes, bytes]:
    """Return key id, signature, client and the rest. Raises MessageRejected."""
    end = message.find(b"\n", 0, HEAD_BYTES_MAX)
    found = _HEAD.fullmatch(message, 0, end) if end > 0 else None
    if found is None:
        raise _refused("its first line is not as it should be")
    key_id, mac, client = found.groups()
    return key_id.decode("ascii"), mac, client, message[end + 1 :]


def _refused(why: str) -> MessageRejected:
    return MessageRejected(f"the signature of the message cannot be accepted: {why}", reason=REASON)
