"""`Marks`: which of the claimed tasks have begun, told by their own threads, for the service that starts after a kill.

A claim is committed before its task may begin, and many are claimed in one commit. What a killed service had claimed
is in its database; which of it had begun is in the file `<path>.begun`, to which each thread writes a mark just before
it enters a function. A write that has returned outlives the process, since the system keeps it. It does not outlive
the system: so the file names the boot in which it was written, and after another one nothing is taken from it.

Without a mark a task had not begun, **if** the file is that of the epoch that claimed it, whole, and of this boot. In
every other case it is not known, and whoever asks takes it that all had begun: nothing runs twice.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("schedulergodx.storage")

HEADER_BYTES = 96
"""Of the first line: boot, epoch, and when that began; padded."""
BYTES_MAX = 2 * 1024 * 1024
"""Of the whole file, which has a place for each soft task that a service has claimed at a time."""
MARK_BYTES = 16
"""A mark is a digest of the task's id. What a kill leaves of a mark half written is the mark of no task."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What the marks of one epoch say.

    Attributes:
        epoch: which one.
        began_at: when it began, in microseconds since 1970: with it, no epoch of another database is meant.
        marks: of all tasks that had begun and had not ended on disk, and of some that had.
    """

    epoch: int
    began_at: int
    marks: frozenset[bytes]

    def has(self, message_id: str) -> bool:
        """Return whether the task of this id had begun."""
        return _mark_of(message_id) in self.marks


class Marks:
    """The file `<path>.begun`. One thread at a time uses it; what `take` returns is for any thread.

    Args:
        path: of the database.
        boot: names this boot of the system; "": that is not known, or a write may be lost with less than the system.
            Then no mark is kept.
    """

    def __init__(self, path: Path, *, boot: str) -> None:
        self.path = Path(f"{path}.begun")
        self._boot = boot
        self._file: _File | None = None
        self._slots: dict[str, int] = {}
        self._free: list[int] = []

    def read(self) -> Begun | None:
        """Return what an earlier epoch has left, or None when nothing can be taken from it."""
        try:
            with self.path.open("rb") as file:
                content = file.read(BYTES_MAX + 1)
            boot, epoch, began_at = content[:HEADER_BYTES].decode("ascii").split()
            numbers = int(epoch), int(began_at)
        except (OSError, ValueError):
            return None
        if not HEADER_BYTES <= len(content) <= BYTES_MAX or boot != self._boot:
            return None
        places = range(HEADER_BYTES, len(content), MARK_BYTES)
        return Begun(*numbers, frozenset(content[place : place + MARK_BYTES] for place in places))

    def begin(self, epoch: int, began_at: int) -> None:
        """Forget what was there, and keep the marks of `epoch` from now on. Where that fails, none are kept.

        Before its first claim is committed: then there is no moment at which a claim is there, and the file is not.
        """
        if not self._boot:
            return
        header = f"{self._boot} {epoch} {began_at}".ljust(HEADER_BYTES - 1) + "\n"
        try:
            self.path.unlink(missing_ok=True)  # a thread of an earlier service may still write to the one that is here
            file = _File(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            file.write(header.encode(), 0)
        except OSError as error:
            logger.warning("%s cannot be written (%s): no task is claimed ahead", self.path, error)
        else:
            self._file = file

    def take(self, message_id: str) -> Callable[[], None] | None:
        """Return what marks the task of this id as begun; None: marks are not kept.

        Its place is its own until `release`. The call raises OSError when the mark could not be written.
        """
        if self._file is None:
            return None
        slot = self._slots.get(message_id)
        if slot is None:
            slot = self._slots[message_id] = self._free.pop() if self._free else len(self._slots)
        return partial(self._file.write, _mark_of(message_id), HEADER_BYTES + slot * MARK_BYTES)

    def release(self, message_id: str) -> None:
        """Give the place of a task to others: it is on disk that it has ended, or that it waits."""
        slot = self._slots.pop(message_id, None)
        if slot is not None:
            self._free.append(slot)

    def close(self) -> None:
        """Let go of the file, which stays; a mark may still be written. Closing twice does nothing."""
        self._file = None
        self._slots.clear()
        self._free.clear()


class _File:
    """A descriptor that stays open until nobody can write to it any more: its number may be another file's then."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Not `os.pwrite`, which lets go of the interpreter's lock for this microsecond: with many threads, that is a
        # switch between two of them before each task, and a twelfth of the time of a task that does nothing. The price:
        # should the system hold the write up, as under a storm of writes to the same disk, every thread waits for it.
        self._pwrite = ctypes.PyDLL(None, use_errno=True).pwrite
        self._pwrite.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_long)
        self._pwrite.restype = ctypes.c_ssize_t

    def write(self, data: bytes, place: int) -> None:
        """Write all of `data`; raises OSError."""
        written = self._pwrite(self._descriptor, data, len(data), place)
        if written != len(data):
            number = ctypes.get_errno() if written < 0 else errno.ENOSPC
            raise OSError(number, os.strerror(number))

    def __del__(self) -> None:
        os.close(self._descriptor)


def _mark_of(message_id: str) -> bytes:
    return hashlib.blake2b(message_id.encode(), digest_size=MARK_BYTES).digest()
