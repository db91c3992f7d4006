"""`KeyRing`: the keys of one installation, the newest first, as a text that a file or the environment holds.

One key is one line: its id, its secret in base64, and, where they are given, `not_before=`, `not_after=` and `client=`.

```
# schedulergodx keys; the newest first
4f1c22aa 3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA not_before=2026-12-01T00:00:00Z
91d0b3e7 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA not_after=2027-01-01T00:00:00Z
```

In the environment `,` stands for the end of a line. Nothing here shows a secret, in whole or in part.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from schedulergodx.config import printable_name
from schedulergodx.errors import InvalidParameter, KeysRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

SECRET_BYTES_MIN = 32
"""A shorter secret could be guessed; HMAC-SHA256 gains nothing from much longer ones."""
SECRET_BYTES_MAX = 1024
KEYS_MAX = 100
"""Keys of one ring; retired ones are to be removed some day."""
KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,40}", re.ASCII)

_HEADING = "# schedulergodx keys; the newest first; whoever reads this can have the service run anything\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key.

    Attributes:
        key_id: what messages name it by; no secret.
        secret: at least 32 bytes. Never shown.
        not_before: it signs nothing before, aware UTC; None: at once. It verifies as soon as it is in the ring.
        not_after: from then on it neither signs nor verifies messages, aware UTC; None: never.
        client: the one client that this key is good for, or "" for all; see `KeyRing.for_client`.
    """

    key_id: str
    secret: bytes = field(repr=False)
    not_before: datetime | None = None
    not_after: datetime | None = None
    client: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no key. Raises KeysRefused, which shows no secret."""
        if not KEY_ID.fullmatch(self.key_id):
            raise KeysRefused("the id of a key has 1 to 40 letters, digits and . _ - of ASCII")
        if not SECRET_BYTES_MIN <= len(self.secret) <= SECRET_BYTES_MAX:
            raise KeysRefused(
                f"key {self.key_id!r} has {len(self.secret)} bytes; {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} are "
                "needed: `schedulergodx keys new FILE` makes one"
            )

    def is_signing(self, now: datetime) -> bool:
        """Return whether it may sign at `now`."""
        return (self.not_before is None or self.not_before <= now) and not self.is_retired(now)

    def is_retired(self, now: datetime) -> bool:
        """Return whether its time is over at `now`."""
        return self.not_after is not None and self.not_after <= now

    def client_secret(self, client: str) -> bytes:
        """Return the secret for messages of `client`: with it nobody can sign as another one."""
        return self.secret if self.client else derived(self.secret, "client", client)

    def line(self) -> str:
        """Return it as a line of a key file. This shows the secret."""
        words = [self.key_id, base64.urlsafe_b64encode(self.secret).decode("ascii").rstrip("=")]
        moments = {"not_before": self.not_before, "not_after": self.not_after}
        words += [
            f"{name}={moment.astimezone(UTC).isoformat().replace('+00:00', 'Z')}"
            for name, moment in moments.items()
            if moment is not None
        ]
        if self.client:
            words.append(f"client={quote(self.client, safe='')}")
        return " ".join(words)


def new_key(*, not_before: datetime | None = None) -> Key:
    """Return a new random key. Its id is made of its hash, so the same key has the same id everywhere."""
    secret = secrets.token_bytes(SECRET_BYTES_MIN)
    key_id = hashlib.sha256(b"schedulergodx key id" + secret).hexdigest()[:8]
    return Key(key_id=key_id, secret=secret, not_before=not_before)


def derived(secret: bytes, *facts: str) -> bytes:
    """Return the secret that belongs to these facts; nothing leads back from it."""
    return hmac.digest(secret, length_prefixed("schedulergodx", *facts), "sha256")


def length_prefixed(*facts: str | bytes) -> bytes:
    """Return the facts one after the other, each behind its length: two lists of facts never give the same bytes."""
    return b"".join([behind_length(fact.encode() if isinstance(fact, str) else fact) for fact in facts])


def behind_length(fact: bytes) -> bytes:
    """Return one fact as `length_prefixed` does."""
    size = len(fact)
    return (_SHORT[size] if size < _SHORT_MAX else _LENGTH(size)) + fact


_LENGTH = struct.Struct(">Q").pack
_SHORT_MAX = 1024
_SHORT = [_LENGTH(size) for size in range(_SHORT_MAX)]


class KeyRing:
    """Keys, the newest first: the first whose time it is signs, all verify. Never changes; safe from any thread.

    Raises:
        KeysRefused: there is none, there are too many, or two have one id.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)
        if not 0 < len(self.keys) <= KEYS_MAX:
            raise KeysRefused(f"{len(self.keys)} keys are given; 1 to {KEYS_MAX} are needed")
        self._by_id = {key.key_id: key for key in self.keys}
        if len(self._by_id) != len(self.keys):
            raise KeysRefused("two keys have one id")
        newest = self.keys[0]
        is_always = newest.not_before is None and newest.not_after is None and not newest.client
        self.always: Key | None = newest if is_always else None
        """What `signing` returns, if it is the same at any time and for every client; else None."""

    def __repr__(self) -> str:
        """Show the ids, never a secret."""
        return f"KeyRing({', '.join(key.key_id for key in self.keys)})"

    def find(self, key_id: str) -> Key | None:
        """Return the key of this id, or None."""
        return self._by_id.get(key_id)

    def signing(self, now: datetime, *, client: str | None = None) -> Key:
        """Return the key to sign with at `now`, as `client`; None: as a service, which needs a key for all clients.

        Raises:
            KeysRefused: there is none whose time it is.
        """
        for key in self.keys:
            if key.is_signing(now) and (not key.client or key.client == client):
                return key
        who = "a service" if client is None else f"client {client!r}"
        raise KeysRefused(
            f"none of the keys {', '.join(key.key_id for key in self.keys)} may sign now for {who}: see their "
            "not_before, not_after and client, and make a new one by `schedulergodx keys new FILE`"
        )

    def for_client(self, client: str) -> KeyRing:
        """Return the ring for one client alone: with it nobody can sign as another client, or as the service.

        Raises:
            InvalidParameter: `client` can be no name of a client.
            KeysRefused: this ring is for one client itself.
        """
        name = printable_name("client", client)
        if any(key.client for key in self.keys):
            raise KeysRefused("these keys are for one client already; take the service's")
        return KeyRing(
            Key(
                key_id=key.key_id,
                secret=key.client_secret(name),
                not_before=key.not_before,
                not_after=key.not_after,
                client=name,
            )
            for key in self.keys
        )

    def with_new(self, key: Key) -> KeyRing:
        """Return the ring with `key` as its newest. Raises KeysRefused when it is full."""
        return KeyRing((key, *self.keys))

    def text(self) -> str:
        """Return the ring as a key file holds it. This shows the secrets."""
        return _HEADING + "".join(f"{key.line()}\n" for key in self.keys)


def parse_keys(text: str, *, origin: str) -> KeyRing:
    """Read what `KeyRing.text` wrote, or a person.

    Args:
        text: the lines.
        origin: where they come from, for the errors, e.g. `key file /etc/schedulergodx.keys`.

    Raises:
        KeysRefused: there is no key in it, or a line is wrong; the message names the line and shows none of it.
    """
    keys: list[Key] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            keys.append(_key(words))
        except (KeysRefused, InvalidParameter) as error:
            raise KeysRefused(f"{origin}, line {number}: {error}") from None
    if not keys:
        raise KeysRefused(f"{origin} holds no key: `schedulergodx keys new FILE` makes a file with one")
    try:
        return KeyRing(keys)
    except KeysRefused as error:
        raise KeysRefused(f"{origin}: {error}") from None


def _key(words: list[str]) -> Key:
    if len(words) < 2:  # noqa: PLR2004 - an id and a secret
        raise KeysRefused("a key is its id and its secret, with a space between them")
    key_id, secret, *options = words
    facts = dict(_option(word) for word in options)
    if len(facts) != len(options):
        raise KeysRefused("an option stands twice")
    return Key(
        key_id=key_id,
        secret=_secret(secret),
        not_before=_moment(facts, "not_before"),
        not_after=_moment(facts, "not_after"),
        client=printable_name("client", unquote(facts["client"])) if "client" in facts else "",
    )


def _option(word: str) -> tuple[str, str]:
    name, separator, value = word.partition("=")
    if not separator or name not in {"not_before", "not_after", "client"}:
        raise KeysRefused("after the secret may stand not_before=, not_after= and client=, and nothing else")
    return name, value


def _secret(text: str) -> bytes:
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise KeysRefused("the secret is not base64") from None


def _moment(facts: dict[str, str], name: str) -> datetime | None:
    if name not in facts:
        return None
    try:
        moment = datetime.fromisoformat(facts[name])
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise KeysRefused(f"{name} must be a moment with an offset, e.g. 2026-12-01T00:00:00Z")
