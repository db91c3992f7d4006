"""In what the versions of RabbitMQ differ, as far as a transport can see it."""

from __future__ import annotations

from dataclasses import dataclass

from schedulergodx.errors import InvalidParameter


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """One version.

    Attributes:
        name: the version.
        message_bytes_max: a larger message is refused.
        delivery_limit: how often a message of a quorum queue comes back before it is a dead letter; None: for ever, and
            then what is given back goes to the end of such a queue.
        is_give_back_counted: whether a message that is given back on purpose counts for that, as a lost one does.
    """

    name: str
    message_bytes_max: int
    delivery_limit: int | None
    is_give_back_counted: bool


_MIB = 1024 * 1024
PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="3.10", message_bytes_max=128 * _MIB, delivery_limit=None, is_give_back_counted=True),
        Profile(name="4.0", message_bytes_max=16 * _MIB, delivery_limit=20, is_give_back_counted=True),
        Profile(name="4.3", message_bytes_max=16 * _MIB, delivery_limit=20, is_give_back_counted=False),
    )
}


def profile_named(name: str) -> Profile:
    """Return the profile of a version. Raises InvalidParameter, with those that there are."""
    if name not in PROFILES:
        raise InvalidParameter(f"there is no profile {name!r} of RabbitMQ; there are {', '.join(PROFILES)}")
    return PROFILES[name]
