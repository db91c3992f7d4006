"""`Owners`: who is alive among those that hold messages of one queue file."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

from schedulergodx.file_lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

ENTER_ATTEMPTS_MAX = 10


class Owners:
    """The folder of locks beside a queue file, one for each owner.

    The system releases the lock of a process that dies, however it does, so the others notice. One thread uses it.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path.with_name(f"{path.name}-owners")
        self._own: FileLock | None = None
        self.owner_id = ""

    def enter(self, description: str) -> None:
        """Become an owner under a new `owner_id`, unless this is one. Raises OSError."""
        attempts = 0
        while self._own is None:
            attempts += 1
            owner_id = secrets.token_hex(8)
            lock = FileLock(self._folder / owner_id)
            try:
                self._folder.mkdir(mode=0o700, exist_ok=True)
                if lock.acquire(description):
                    self._own, self.owner_id = lock, owner_id
            except FileNotFoundError:
                # The last owner to leave removes the folder, perhaps just now: then once more.
                if attempts == ENTER_ATTEMPTS_MAX:
                    raise

    def leave(self) -> None:
        """Be an owner no more. To be called when nothing in the file belongs to it."""
        own, self._own, self.owner_id = self._own, None, ""
        if own is not None:
            own.release(removes_file=True)
            self._remove_folder()

    def find_dead(self, owner_ids: Iterable[str]) -> dict[str, FileLock]:
        """Return those of `owner_ids` that are not alive, with their locks taken; hand them to `bury`."""
        dead = {}
        for owner_id in owner_ids:
            lock = FileLock(self._folder / owner_id)
            try:
                if owner_id != self.owner_id and lock.acquire(""):
                    dead[owner_id] = lock
            except FileNotFoundError:
                dead[owner_id] = lock
        return dead

    def bury(self, dead: dict[str, FileLock]) -> None:
        """Remove the locks of dead owners."""
        for lock in dead.values():
            lock.release(removes_file=True)
        if dead:
            self._remove_folder()

    def _remove_folder(self) -> None:
        with contextlib.suppress(OSError):
            self._folder.rmdir()
