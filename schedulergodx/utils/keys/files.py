"""Key files: read only when nobody else can, made so that nobody else can."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from schedulergodx.errors import KeysRefused
from schedulergodx.utils.keys.ring import parse_keys

if TYPE_CHECKING:
    from schedulergodx.utils.keys.ring import KeyRing

FILE_BYTES_MAX = 256 * 1024
"""More is no key file."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_key_file(path: Path) -> KeyRing:
    """Return the keys of a file.

    Raises:
        KeysRefused: it is missing, empty, no regular file, another user's, readable or writable for others, or holds
            something else. The message names the file and the reason, and shows nothing of it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not hold us up
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror})") from None
    try:
        _check(path, os.fstat(descriptor))
        data = b""
        while piece := os.read(descriptor, FILE_BYTES_MAX + 1 - len(data)):
            data += piece
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror})") from None
    finally:
        os.close(descriptor)
    if len(data) > FILE_BYTES_MAX:
        raise _refused(path, f"has more than {FILE_BYTES_MAX} bytes")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise _refused(path, "is not plain text") from None
    return parse_keys(text, origin=f"key file {path}")


def write_key_file(path: Path, ring: KeyRing) -> None:
    """Write a key file that does not exist yet, for this user alone.

    Raises:
        KeysRefused: there is one, or it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise _refused(path, "exists already; it was left as it is") from None
    except OSError as error:
        raise _refused(path, f"cannot be written ({error.strerror})") from None
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(ring.text())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise _refused(path, f"cannot be written ({error.strerror})") from None


def replace_key_file(path: Path, ring: KeyRing) -> None:
    """Put `ring` in the place of a key file's keys: whoever reads it gets the old ones or the new ones.

    Raises:
        KeysRefused: it cannot be written; it is as before.
    """
    path = Path(os.path.realpath(path))
    unfinished = Path(f"{path}.new")
    with suppress(OSError):
        unfinished.unlink(missing_ok=True)
    write_key_file(unfinished, ring)
    try:
        unfinished.rename(path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise _refused(path, f"cannot be replaced ({error.strerror})") from None


def _check(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _refused(path, "is not a regular file")
    if hasattr(os, "getuid") and found.st_uid not in {os.getuid(), 0}:
        raise _refused(path, "belongs to another user")
    if found.st_mode & _OTHERS:
        raise _refused(
            path,
            f"can be used by others (its mode is {stat.S_IMODE(found.st_mode):04o}): `chmod 600` it, and think "
            "about who may have read it",
        )
    if found.st_size == 0:
        raise _refused(path, "is empty: `schedulergodx keys new FILE` makes a new one")


def _refused(path: Path, why: str) -> KeysRefused:
    return KeysRefused(f"the key file {path} {why}")
