"""The options of a harness: what nothing can be done with is refused where it is written, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from schedulergodx import config
from schedulergodx.errors import InvalidParameter
from schedulergodx.rules.pace import CLAIM_WAIT_S


def parameters(name: str, value: object) -> dict[str, Any]:
    """Return the parameters of the harness's own client or service. Raises InvalidParameter for what has no names."""
    if value is None:
        return {}
    if isinstance(value, Mapping) and all(isinstance(one, str) for one in value):
        return dict(value)
    got = f"{type(value).__name__}{' with other keys' if isinstance(value, Mapping) else ''}"  # it may be a URL
    raise InvalidParameter(
        f"{name} must be the parameters of {name.capitalize()} by name, e.g. {name}={{'name': 'shop'}}, got {got}"
    )


def check_flags(**flags: object) -> None:
    """Refuse what is neither True nor False. Raises InvalidParameter."""
    for name, value in flags.items():
        config.flag(name, value)


def check_seed(seed: object) -> None:
    """Refuse what is no whole number. Raises InvalidParameter."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InvalidParameter(f"seed must be a whole number, got {type(seed).__name__}")


def check_seconds(*, patience_s: float, restart_after_s: float | None, lead_s: float) -> None:
    """Refuse lengths of time that are outside their range. Raises InvalidParameter."""
    config.seconds("patience_s", patience_s, is_least_allowed=False)
    if restart_after_s is not None:
        config.seconds("restart_after_s", restart_after_s)
    config.seconds("lead_s", lead_s)
    if lead_s >= CLAIM_WAIT_S:
        raise InvalidParameter(
            f"lead_s must be less than {CLAIM_WAIT_S:g}, got {lead_s:g}: a claim that has not begun within "
            f"{CLAIM_WAIT_S:g} s is taken back"
        )


def zone(name: str) -> tzinfo:
    """Return the time zone of that name. Raises InvalidParameter."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, TypeError, OSError):  # unknown, no name at all, or a folder of names
        raise InvalidParameter(
            f"time_zone: this system knows no {name!r:.60}; a name is e.g. 'Europe/Berlin', and tzdata brings them all"
        ) from None
