"""`Keys`: where a client or service has its keys from, and the ring that was read last."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from schedulergodx import forks
from schedulergodx.errors import InvalidParameter, KeysRefused
from schedulergodx.utils.keys.files import read_key_file
from schedulergodx.utils.keys.ring import KeyRing, parse_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS_VARIABLE = "SCHEDULERGODX_KEYS"
"""Environment variable with the keys themselves."""
KEY_FILE_VARIABLE = "SCHEDULERGODX_KEY_FILE"
"""Environment variable with the path of a key file."""

KeySource: TypeAlias = KeyRing | str | os.PathLike[str]
"""The keys themselves, or the path of a key file."""


class Keys:
    """The keys of one client or service. Safe from any thread. Making one reads nothing.

    Args:
        source: the keys, or the path of a key file; None: what the environment says, `SCHEDULERGODX_KEYS` or
            `SCHEDULERGODX_KEY_FILE`, if it says anything.

    Raises:
        InvalidParameter: `source` is something else.
    """

    def __init__(self, source: KeySource | None = None, environment: Mapping[str, str] = os.environ) -> None:
        self._source = _checked(source)
        self._environment = environment
        self._lock = threading.Lock()
        self._is_read = False
        self._ring: KeyRing | None = None
        forks.renew(self)

    def renew_in_fork(self) -> None:
        """Make the lock anew."""
        self._lock = threading.Lock()

    @property
    def path(self) -> Path | None:
        """The key file, or None when the keys come from elsewhere, or there are none."""
        if isinstance(self._source, Path):
            return self._source
        return None if self._source is not None else _key_file(self._environment)

    @property
    def is_given(self) -> bool:
        """Whether they were named as a parameter, instead of by the environment."""
        return self._source is not None

    def ring(self) -> KeyRing | None:
        """Return the keys, read at the first call; None when there are none.

        Raises:
            KeysRefused: they cannot be used; the message says why. A setting that is empty counts as wrong, not as
                none: nothing goes on without keys by accident.
        """
        if not self._is_read:
            self.reload()
        return self._ring

    def reload(self) -> KeyRing | None:
        """Read the keys again, and return them.

        Raises:
            KeysRefused: as `ring`; then those that were read before stay.
        """
        with self._lock:
            self._ring = self._read()
            self._is_read = True
            return self._ring

    def _read(self) -> KeyRing | None:
        if isinstance(self._source, KeyRing):
            return self._source
        path = self.path
        text = self._environment.get(KEYS_VARIABLE) if self._source is None else None
        if text is None:
            return None if path is None else read_key_file(path)
        if path is not None:
            raise KeysRefused(f"{KEYS_VARIABLE} and {KEY_FILE_VARIABLE} are both set: unset one of them")
        if not text.strip():
            raise _empty(KEYS_VARIABLE)
        return parse_keys(text.replace(",", "\n"), origin=f"environment variable {KEYS_VARIABLE}")


def _key_file(environment: Mapping[str, str]) -> Path | None:
    path = environment.get(KEY_FILE_VARIABLE)
    if path is not None and not path.strip():
        raise _empty(KEY_FILE_VARIABLE)
    return None if path is None else Path(path)


def _empty(variable: str) -> KeysRefused:
    return KeysRefused(f"{variable} is set, and empty: unset it to have no keys, or let it name some")


def _checked(source: object) -> KeyRing | Path | None:
    if source is None or isinstance(source, KeyRing):
        return source
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        if isinstance(text, str) and text.strip() and "\0" not in text:
            return Path(text)
        raise InvalidParameter("keys must be a KeyRing or the path of a key file; this path is empty, or no text")
    raise InvalidParameter(f"keys must be a KeyRing or the path of a key file, got {type(source).__name__}")
