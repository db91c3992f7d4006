"""Which launches a message of the broker is about: one, or, of a bundle of launches or answers, several."""

from __future__ import annotations

import json
from typing import Protocol

from schedulergodx.utils.message import bundles


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
    message_id: str = json.loads(message[message.index(b"{") :])["id"]  # behind its signature, if it has one
    return message_id
