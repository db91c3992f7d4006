"""A lock that the operating system releases by itself when its holder dies. The one file that imports `fcntl`."""

from __future__ import annotations

import errno
import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CONTENT_BYTES_MAX = 4096
"""Longest text beside a lock; more is cut off when it is read."""


class FileLock:
    """An exclusive lock on a file of its own, with a text in it that says who holds it.

    The lock belongs to the open file, not to the file's presence: what a dead process left behind is simply locked
    again. Programs that this process starts do not inherit it, and neither do forks of it. Two locks on one path
    exclude each other within a process too. Not for network file systems. Use one lock from one thread at a time.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self, content: str) -> bool:
        """Take the lock and write `content` beside it; return False, and change nothing, if another one has it.

        Creates the file (mode 0600), not its folder. Taking a lock that this object holds already returns True and
        replaces the text.

        Raises:
            OSError: the file cannot be opened, written or locked; on a system without `fcntl`, always.
        """
        if self._descriptor is None:
            self._descriptor = _lock(self.path)
        if self._descriptor is None:
            return False
        _held.add(self)
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, content.encode(), 0)
        except OSError:
            self.release()
            raise
        return True

    def holder(self) -> str:
        """Return the text of whoever took the lock last, or "" when it was released in order, or never taken.

        Ask it after `acquire` returned False: a process that died leaves its text behind.
        """
        try:
            with self.path.open("rb") as file:
                return file.read(CONTENT_BYTES_MAX).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def release(self, *, removes_file: bool = False) -> None:
        """Let go of the lock and clear its text, or remove its file. Does nothing if this object does not hold it."""
        descriptor, self._descriptor = self._descriptor, None
        _held.discard(self)
        if descriptor is None:
            return
        try:
            os.ftruncate(descriptor, 0)
            if removes_file:
                # While the lock is still held: afterwards the path may be somebody else's lock.
                self.path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def _forget(self) -> None:
        """Close the copy that a fork got; this does not touch the lock of its parent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _lock(path: Path) -> int | None:
    """Return the descriptor of the file at `path`, locked, or None when another one has the lock."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows, where everything else may still be used
    except ImportError:
        raise OSError(errno.ENOTSUP, "locking a file needs a POSIX system such as Linux or macOS", str(path)) from None
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(path, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        # Its last holder removed the file between our open and our lock: what we hold means nothing to others.
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _forget_in_fork() -> None:
    for lock in list(_held):
        lock._forget()  # noqa: SLF001 - the same module
    _held.clear()


if hasattr(os, "register_at_fork"):
    # Otherwise the lock of a killed process would live on in a child that it had forked.
    os.register_at_fork(after_in_child=_forget_in_fork)
