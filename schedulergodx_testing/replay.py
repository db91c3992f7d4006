"""One line that replays a run: the seed, and every choice that was made. It depends on no version of anything else."""

from __future__ import annotations

import base64
import binascii
import zlib

from schedulergodx.errors import InvalidParameter

VARIABLE = "SCHEDULERGODX_REPLAY"
_VERSION = "1"
_CHOICES_BYTES_MAX = 1024 * 1024


def token(seed: int, choices: list[int]) -> str:
    """Return a text without spaces that stands for a seed and choices."""
    data = zlib.compress(" ".join(map(str, choices)).encode(), 9)
    return f"{_VERSION}:{seed}:{base64.urlsafe_b64encode(data).decode().rstrip('=')}"


def parse(text: str) -> tuple[int, tuple[int, ...]]:
    """Return the seed and the choices of a token.

    Raises:
        InvalidParameter: it is no token, or one of another version.
    """
    version, _, rest = text.partition(":")
    seed, _, coded = rest.partition(":")
    if version != _VERSION:
        raise InvalidParameter(
            f"{VARIABLE} is no replay of this version: it must begin with {_VERSION}:, got {text!r:.60}"
        )
    try:
        data = base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
        choices = zlib.decompressobj().decompress(data, _CHOICES_BYTES_MAX)
        return int(seed), tuple(int(choice) for choice in choices.split())
    except (binascii.Error, zlib.error, ValueError) as error:
        raise InvalidParameter(
            f"{VARIABLE} is damaged ({error}); copy the whole line that the failing test printed"
        ) from None
