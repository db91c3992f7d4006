"""Which launches a message of the broker is about: one, or, of a bundle of launches or answers, several."""

from __future__ import annotations

import json
import re
from typing import Protocol

from schedulergodx.utils.message import bundles

_HEAD = re.compile(rb'\{"v":[0-9]+,"id":"([^"\\]+)"')
"""How messages of this library begin, unless their id has a character that JSON escapes."""


class Sent(Protocol):
    """A message on its way, or in a queue."""

    @property
    def body(self) -> bytes: ...  # noqa: D102

    @property
    def message_id(self) -> str: ...  # noqa: D102


def ids_of(message: Sent) -> tuple[str, ...]:
    """Return the ids that a message is about, in their order; those of a bundle are read out of what is in it."""
    if not message.body.startswith(bundles.MAGIC):
        return (message.message_id,)
    return tuple(_id_of(one) for one in bundles.cut(message.body))


def _id_of(message: bytes) -> str:
    start = message.index(b"{")  # behind its signature, if it has one
    head = _HEAD.match(message, start)
    if head is not None:  # as nearly always, and it takes a tenth of the time of reading everything
        return head[1].decode()
    message_id: str = json.loads(message[start:])["id"]
    return message_id
