"""When one may go without keys: on this machine, or when it is said in so many words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx.errors import KeysRefused

if TYPE_CHECKING:
    from schedulergodx.utils.keys.ring import KeyRing
    from schedulergodx.utils.logger import CoreLogger


def check_keys(ring: KeyRing | None, *, who: str, broker: str, is_local: bool, allow_unsigned: bool) -> None:
    """Let one go on with these keys, or without any.

    Args:
        ring: the keys, or None.
        who: e.g. `service 'shop'`.
        broker: its address without a password.
        is_local: whether only this machine reaches the broker.
        allow_unsigned: whether it was said that no keys are wanted.

    Raises:
        KeysRefused: there are no keys, and others than this machine's users reach the broker.
    """
    if ring is None and not is_local and not allow_unsigned:
        raise KeysRefused(
            f"{who} has no keys, and {broker} is reached by other machines: whoever reaches it could run code. Make "
            "keys by `schedulergodx keys new FILE` and name them by SCHEDULERGODX_KEY_FILE or keys=…, or say "
            "allow_unsigned=True if everybody who reaches the broker may run code."
        )


def warn_of_unsigned(ring: KeyRing | None, *, who: str, broker: str, allow_unsigned: bool, logger: CoreLogger) -> None:
    """Log that unsigned messages are taken, if they are. For a service: no answer can make a client run anything."""
    if ring is None:
        what = "%s signs and checks nothing, since it has no keys: whoever reaches %s can run code"
        logger.warning(what, who, broker)
    elif allow_unsigned:
        logger.warning("%s takes unsigned messages too (allow_unsigned): whoever reaches %s runs code", who, broker)
