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
        is_given_back_to_the_end: whether what is given back to a quorum queue goes to its end; else it is first in line
            again. No version counts how often, since the transport declares such queues without a delivery limit.
    """

    name: str
    message_bytes_max: int
    is_given_back_to_the_end: bool


_MIB = 1024 * 1024
PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="3.10", message_bytes_max=128 * _MIB, is_given_back_to_the_end=True),
        Profile(name="4.0", message_bytes_max=16 * _MIB, is_given_back_to_the_end=True),
        Profile(name="4.3", message_bytes_max=16 * _MIB, is_given_back_to_the_end=False),
    )
}


def profile_named(name: str) -> Profile:
    """Return the profile of a version. Raises InvalidParameter, with those that there are."""
    if name not in PROFILES:
        raise InvalidParameter(f"there is no profile {name!r} of RabbitMQ; there are {', '.join(PROFILES)}")
    return PROFILES[name]
