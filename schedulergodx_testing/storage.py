"""`FaultyStorage`: a `Storage` that fails at the n-th call, once or from then on, if possible with SQLite's errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, get_args

from schedulergodx.config import whole_number
from schedulergodx.errors import (
    DatabaseBusy,
    DatabaseFull,
    DatabaseNotWritable,
    InvalidParameter,
    StorageError,
)
from schedulergodx.utils.storage import DB
from schedulergodx.utils.storage.connection import open_writer
from schedulergodx_testing.seams import STORAGE_CALLS, ToldTransaction

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from schedulergodx.utils.storage.connection import Connection

StorageFault: TypeAlias = Literal["full", "busy", "readonly", "ioerr"]
"""A full disk, a database that another program has locked, one that cannot be written, a disk that fails."""

READS = frozenset(
    {
        "due",
        "next_run_at",
        "interrupted",
        "find",
        "is_forgotten",
        "look_up",
        "tasks",
        "counts",
        "count_waiting",
        "watchers",
        "replies",
        "reply_queues",
        "count_replies",
    }
)
CHANGES = frozenset(STORAGE_CALLS) - {"open"}
_AT_MAX = 1_000_000
_INJECTED: dict[str, type[StorageError]] = {
    "full": DatabaseFull,
    "busy": DatabaseBusy,
    "readonly": DatabaseNotWritable,
    "ioerr": DatabaseFull,  # as the library takes it: like a full disk it may pass
}


@dataclass(slots=True)
class _Armed:
    left: int
    error: StorageFault
    once: bool


class FaultyStorage:
    """Wraps any `Storage`, counts its calls, and makes them fail on request. Nothing of a call that fails happens.

    Counted are reads, changes, and the two ends of a transaction, `begin` and `commit`; `open` and `close` are not.
    Around a `DB` that is open, an error is SQLite's own wherever SQLite can be brought to it without special rights:
    "full" (by `max_page_count`) and "readonly" (by `query_only`) in changes and at `commit`, "readonly" and "busy" (by
    a second writer) at `begin`. Elsewhere, and around other storages, it is made up. None takes real time.

    Args:
        inner: the real one.
        on_fault: told of each fault, in words.

    Attributes:
        inner: the real one, past all faults.
        count: calls so far.
        calls: their names, in order.
        failed: the names of those that failed.
    """

    def __init__(self, inner: Any, *, on_fault: Callable[[str], None] = lambda _what: None) -> None:
        self.inner = inner
        self.calls: list[str] = []
        self.failed: list[str] = []
        self._on_fault = on_fault
        self._armed: list[_Armed] = []
        for call in READS | CHANGES:
            setattr(self, call, self._failing(call, getattr(inner, call)))

    @property
    def count(self) -> int:
        """How many calls there were."""
        return len(self.calls)

    def fail(self, at: int = 1, error: StorageFault = "full", *, once: bool = True) -> None:
        """Make the `at`-th call from now on fail, and, unless `once`, all after it until `heal`.

        Raises:
            InvalidParameter: there is no such error, or `at` is no whole number from 1 on.
        """
        if error not in get_args(StorageFault):
            raise InvalidParameter(f"error must be one of {', '.join(get_args(StorageFault))}; got {error!r:.40}")
        whole_number("at", at, least=1, most=_AT_MAX)
        self._armed.append(_Armed(at, error, once))

    def heal(self) -> None:
        """Let every call succeed again."""
        self._armed.clear()

    def transaction(self) -> AbstractContextManager[None]:
        """Keep all changes of the block together."""
        return ToldTransaction(self.inner.transaction(), self._count, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def _failing(self, call: str, real: Callable[..., Any]) -> Callable[..., Any]:
        calls, armed = self.calls, self._armed

        def failing(*args: Any, **kwargs: Any) -> Any:
            calls.append(call)
            if armed:
                self._refuse(call)
            return real(*args, **kwargs)

        return failing

    def _count(self, end: str) -> None:
        call = end.removeprefix("storage.")
        self.calls.append(call)
        if self._armed:
            self._refuse(call)

    def _refuse(self, call: str) -> None:
        """Let a call fail, if its turn has come."""
        for armed in self._armed:
            armed.left -= 1
        failing = next((armed for armed in self._armed if armed.left <= 0), None)
        if failing is not None:
            if failing.once:
                self._armed.remove(failing)
            self.failed.append(call)
            self._on_fault(f"{failing.error} at {call}, call {self.count}")
            self._fail(failing.error, call)

    def _fail(self, error: StorageFault, call: str) -> NoReturn:
        if isinstance(self.inner, DB):
            if error == "full" and call in CHANGES | {"commit"}:
                _fill(self.inner.connection)
            elif error == "readonly" and call not in READS:
                self._be_read_only(call)
            elif error == "busy" and call == "begin":
                self._be_busy()
        path = getattr(self.inner, "path", "")
        raise _INJECTED[error](f"the database {path} failed at {call}: {error}, as a test wished", path=str(path))

    def _be_read_only(self, call: str) -> None:
        connection = self.inner.connection
        connection.change("PRAGMA query_only = ON")
        try:
            if call == "begin":
                self._begin()
            else:
                connection.change("DELETE FROM outbox WHERE number < 0")
        finally:
            connection.change("PRAGMA query_only = OFF")

    def _be_busy(self) -> None:
        connection = self.inner.connection
        timeout_ms = connection.value("PRAGMA busy_timeout")
        other = open_writer(self.inner.path)
        try:
            other.change("BEGIN IMMEDIATE")
            connection.change("PRAGMA busy_timeout = 0")  # no real seconds pass
            self._begin()
        finally:
            connection.change(f"PRAGMA busy_timeout = {timeout_ms}")
            other.close()

    def _begin(self) -> None:
        with self.inner.transaction():
            pass


def _fill(connection: Connection) -> None:
    """Ask for more room than the file may have. It is SQLite that then undoes the statement, or the transaction."""
    limit = connection.value("PRAGMA max_page_count")
    pages = connection.value("PRAGMA page_count")
    room_bytes = (connection.value("PRAGMA freelist_count") + 8) * connection.value("PRAGMA page_size")
    connection.change(f"PRAGMA max_page_count = {pages}")
    try:
        connection.change(
            "INSERT INTO functions (digest, body) VALUES (randomblob(32), zeroblob(?))",
            (room_bytes,),
        )
    finally:
        connection.change(f"PRAGMA max_page_count = {limit}")
