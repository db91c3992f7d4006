"""Wrappers around the seams of a service that are told of every call, and can make it fail, or be the last one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

STORAGE_CALLS = (
    "open",
    "add",
    "start",
    "put_back",
    "finish",
    "add_watcher",
    "add_reply",
    "remove_replies",
    "prune",
    "prune_ids",
    "prune_replies",
)
"""Calls of a `Storage` that change something; `begin` and `commit` are the two ends of a transaction.

Reading leaves nothing behind, so a crash before or after it is one at the call before or after.
"""
CHANGE_OF = {f"storage.{call}": call for call in STORAGE_CALLS}
"""Which of them a `Watcher` is told of by that name."""
TRANSPORT_CALLS = ("publish", "ack", "reject", "give_back", "consume", "stop_consuming")
RUNNER_CALLS = ("start", "abandon")


def has_changed(result: object) -> bool:
    """Return whether a call of `STORAGE_CALLS` has changed something: not if it returned False, 0, or an empty list."""
    return result is None or bool(result)


class Watcher(Protocol):
    """Who is told of calls."""

    def watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return what is called in the place of `real`, the call `name` of a seam, e.g. `storage.add`.

        It calls `real`, unless it raises first, which prevents that.
        """

    def before(self, name: str) -> int:
        """Take note of `storage.begin` or `storage.commit`, which is about to happen; raising prevents it.

        What it returns goes to `after`.
        """

    def after(self, name: str, number: int) -> None:
        """Take note that it has happened."""


class Watched:
    """A seam whose calls are watched. Everything else passes through to the real one."""

    def __init__(self, inner: Any, seam: str, calls: tuple[str, ...], watcher: Watcher) -> None:
        self.inner = inner
        for call in calls:
            setattr(self, call, watcher.watched(f"{seam}.{call}", getattr(inner, call)))

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if callable(value):
            setattr(self, name, value)  # the next time it is found at once
        return value


class WatchedStorage(Watched):
    """A `Storage` whose changes and transactions are watched."""

    def __init__(self, inner: Any, watcher: Watcher) -> None:
        super().__init__(inner, "storage", STORAGE_CALLS, watcher)
        self._before = watcher.before
        self._after = watcher.after

    def transaction(self) -> AbstractContextManager[None]:
        """Keep all changes of the block together; `begin` and `commit` are watched."""
        return ToldTransaction(self.inner.transaction(), self._before, self._after)


class ToldTransaction:
    """A transaction whose two ends are told; where the telling raises, it is undone.

    A class, since there are two for each task: a generator takes twice the time.

    Args:
        inner: the transaction.
        before: called with "storage.begin" and with "storage.commit", before each.
        after: called after each, with the same and with what `before` returned; None: nothing is.
    """

    __slots__ = ("_after", "_before", "_inner")

    def __init__(
        self,
        inner: AbstractContextManager[None],
        before: Callable[[str], Any],
        after: Callable[[str, Any], None] | None,
    ) -> None:
        self._inner = inner
        self._before = before
        self._after = after

    def __enter__(self) -> None:
        begin = self._before("storage.begin")
        self._inner.__enter__()
        if self._after is None:
            return
        try:
            self._after("storage.begin", begin)
        except BaseException as error:
            self._inner.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if error is not None:
            return self._inner.__exit__(kind, error, traceback)
        try:
            commit = self._before("storage.commit")
        except BaseException as refusal:
            self._inner.__exit__(type(refusal), refusal, refusal.__traceback__)
            raise
        self._inner.__exit__(None, None, None)
        if self._after is not None:
            self._after("storage.commit", commit)
        return None
