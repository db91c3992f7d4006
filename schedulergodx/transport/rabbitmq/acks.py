"""Which of the broker's tags wait for an ack, and how few acks cover a set of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Ack(NamedTuple):
    """One ack to send: of `tag`, and with `is_multiple` of every tag before it too."""

    tag: int
    is_multiple: bool


@dataclass(slots=True)
class UnackedTags:
    """The tags of one channel that were handed out and wait for their ack. Tags grow, so they are in order.

    The broker closes a channel that acks an unknown tag, so what is not in here must never be sent.
    """

    _tags: dict[int, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._tags)

    def __contains__(self, tag: int) -> bool:
        return tag in self._tags

    def add(self, tag: int) -> None:
        """Remember `tag`, which is above all before it."""
        self._tags[tag] = None

    def take(self, tags: Iterable[int]) -> list[Ack]:
        """Forget `tags` and return the acks that cover them; unknown ones are left out.

        The oldest tags of all, as far as they are in `tags` without a gap, need one ack together.
        """
        wanted = {tag for tag in tags if tag in self._tags}
        together = list(takewhile(wanted.__contains__, self._tags))
        acks = [Ack(together[-1], len(together) > 1)] if together else []
        acks += [Ack(tag, is_multiple=False) for tag in sorted(wanted.difference(together))]
        for tag in wanted:
            del self._tags[tag]
        return acks
