"""When one may go without keys: on this machine, or when it is said in so many words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx.errors import KeysRefused

if TYPE_CHECKING:
    from schedulergodx.utils.keys.ring import KeyRing
    from schedulergodx.utils.logger import CoreLogger


def check_keys(  # noqa: PLR0913 - each is a fact that decides
    ring: KeyRing | None, *, who: str, broker: str, is_local: bool, allow_unsigned: bool, logger: CoreLogger | None
) -> None:
    """Let one go on with these keys, or without any; what is risky gets a line in the log.

    Args:
        ring: the keys, or None.
        who: e.g. `service 'shop'`.
        broker: its address without a password.
        is_local: whether only this machine reaches the broker.
        allow_unsigned: whether it was said that no keys are wanted.
        logger: where the line goes; None: nowhere, for one who runs nothing that it is sent.

    Raises:
        KeysRefused: there are no keys, and others than this machine's users reach the broker.
    """
    if ring is not None:
        if allow_unsigned and logger is not None:
            logger.warning("%s takes unsigned messages too (allow_unsigned): whoever reaches %s runs code", who, broker)
        return
    if not is_local and not allow_unsigned:
        raise KeysRefused(
            f"{who} has no keys, and {broker} is reached by other machines: whoever reaches it could run code. Make "
            "keys by `schedulergodx keys new FILE` and name them by SCHEDULERGODX_KEY_FILE or keys=…, or say "
            "allow_unsigned=True if everybody who reaches the broker may run code."
        )
    if logger is not None:
        logger.warning(
            "%s signs and checks nothing, since it has no keys: whoever reaches %s can run code", who, broker
        )
