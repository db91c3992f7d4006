"""`Access`: what a service lends to the clients inside of its tasks, so that tasks can launch tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.utils.keys.ring import KeyRing


@dataclass(frozen=True, slots=True)
class Access:
    """The service's own way to the broker, and its keys.

    Attributes:
        broker: a URL or an `RmqConnect`, or None when it has none to give away. Not shown: it may hold a password.
        ring: gives the keys of this moment, or None.
    """

    broker: object | None = field(repr=False)
    ring: Callable[[], KeyRing | None] = field(repr=False)


def broker_and_keys(access: object | None) -> tuple[object | None, KeyRing | None]:
    """Return the two of an `Access`; anything else is the way to the broker itself, without keys."""
    return (access.broker, access.ring()) if isinstance(access, Access) else (access, None)
