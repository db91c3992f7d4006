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
TRANSPORT_CALLS = ("publish", "ack", "reject", "give_back", "consume", "stop_consuming")
RUNNER_CALLS = ("start", "abandon")


def has_changed(result: object) -> bool:
    """Return whether a call of `STORAGE_CALLS` has changed something: not if it returned False, 0, or an empty list."""
    return result is None or bool(result)


class Watcher(Protocol):
    """Who is told of calls."""

    def before(self, name: str, args: tuple[Any, ...]) -> Any:
        """Take note of a call, e.g. `storage.add`, that is about to happen; raising prevents it.

        What it returns goes to `after`.
        """

    def after(self, note: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Take note of a call that has happened; raising hides its result."""


class Watched:
    """A seam whose calls are watched. Everything else passes through to the real one."""

    def __init__(self, inner: Any, seam: str, calls: tuple[str, ...], watcher: Watcher) -> None:
        self.inner = inner
        self._watcher = watcher
        for call in calls:
            setattr(self, call, self._watched(f"{seam}.{call}", getattr(inner, call)))

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        before, after = self._watcher.before, self._watcher.after

        def watched(*args: Any, **kwargs: Any) -> Any:
            note = before(name, args)
            result = real(*args, **kwargs)
            after(note, args, kwargs, result)
            return result

        return watched

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.inner, name)
        if callable(value):
            setattr(self, name, value)  # the next time it is found at once
        return value


class WatchedStorage(Watched):
    """A `Storage` whose changes and transactions are watched."""

    def __init__(self, inner: Any, watcher: Watcher) -> None:
        super().__init__(inner, "storage", STORAGE_CALLS, watcher)

    def transaction(self) -> AbstractContextManager[None]:
        """Keep all changes of the block together; `begin` and `commit` are watched."""
        watcher = self._watcher
        return ToldTransaction(
            self.inner.transaction(),
            lambda end: watcher.before(f"storage.{end}", ()),
            lambda call: watcher.after(call, (), {}, None),
        )


class ToldTransaction:
    """A transaction whose two ends are told; where the telling raises, it is undone.

    A class, since there are two for each task: a generator takes twice the time.

    Args:
        inner: the transaction.
        before: called with "begin" and with "commit", before each.
        after: called after each, with what `before` returned.
    """

    __slots__ = ("_after", "_before", "_inner")

    def __init__(
        self, inner: AbstractContextManager[None], before: Callable[[str], Any], after: Callable[[Any], None]
    ) -> None:
        self._inner = inner
        self._before = before
        self._after = after

    def __enter__(self) -> None:
        begin = self._before("begin")
        self._inner.__enter__()
        try:
            self._after(begin)
        except BaseException as error:
            self._inner.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        if error is not None:
            return self._inner.__exit__(kind, error, traceback)
        try:
            commit = self._before("commit")
        except BaseException as refusal:
            self._inner.__exit__(type(refusal), refusal, refusal.__traceback__)
            raise
        self._inner.__exit__(None, None, None)
        self._after(commit)
        return None
