"""Ids for launches: `MessageId`, and the generators that make them."""

from __future__ import annotations

import itertools
import secrets
import threading
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from schedulergodx import forks, redirection
from schedulergodx.clock import CurrentClock
from schedulergodx.errors import SchedulerError, UnknownMessageId

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from schedulergodx.rules.lifecycle import Outcome

R_co = TypeVar("R_co", covariant=True)

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's, as the ULID specification has it
_TIME_CHARACTERS = 10
_RANDOM_BITS = 80
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_PAIR_BITS = 10
_SHIFTS = range(5 * _TIME_CHARACTERS + _RANDOM_BITS - _PAIR_BITS, -1, -_PAIR_BITS)


class OutcomeSource(Protocol):
    """What a `MessageId` asks: the client that launched it."""

    def result(self, message_id: str, timeout_s: float | None = None) -> Any:
        """Wait for the function's return value."""

    async def async_result(self, message_id: str) -> Any:
        """Wait, in asyncio, for the function's return value."""

    def outcome(self, message_id: str) -> Outcome | None:
        """Return how the launch ended, or None."""


class MessageId(str, Generic[R_co]):
    """The id of one launch: a `str` that can also be asked how the launch ended. Safe from any thread.

    `R_co` is what the function returns.
    """

    __slots__ = ("_generation", "_source")
    _generation: int
    _source: OutcomeSource | None

    def __new__(cls, value: str, source: OutcomeSource | None = None) -> MessageId[R_co]:
        """Make an id; without `source` it is a plain text that cannot be asked."""
        self = super().__new__(cls, value)
        self._source = source
        self._generation = 0 if source is None else redirection.generation()
        return self

    def __init__(self, value: str, source: OutcomeSource | None = None) -> None:
        """Accept what `__new__` has used."""

    def __reduce__(self) -> tuple[type[MessageId[Any]], tuple[str]]:
        """Travel as a plain id: a client does not fit into a pickle of one of its ids."""
        return MessageId, (str(self),)

    def result(self, timeout_s: float | None = None) -> R_co:
        """Wait for the task and return what its function returned.

        Args:
            timeout_s: seconds to wait at most; None waits as long as it takes.

        Raises:
            TaskFailed: it ended otherwise; the subclass says how.
            ResultUnserializable: it completed, but what it returned is not JSON data.
            ResultTimeout: it has not ended in time. The task goes on.
            UnknownMessageId: the service has no such task.
        """
        return self._asked().result(self, timeout_s)  # type: ignore[no-any-return]  # JSON data has no static type

    def __await__(self) -> Generator[Any, None, R_co]:
        """Wait in an asyncio program; as `result`, without a timeout (use `asyncio.timeout`)."""
        return self._asked().async_result(self).__await__()

    def outcome(self) -> Outcome | None:
        """Return how the launch ended, or None while nothing has been heard. Does not wait."""
        return self._asked().outcome(self)

    def _asked(self) -> OutcomeSource:
        if self._source is None:
            raise SchedulerError(f"{str(self)!r} came without its client: use client.result({str(self)!r}) instead")
        return self._source


def launched_in(generation: int, message_id: str) -> MessageId[Any]:
    """Return the id of a launch that was made in a redirection; it has no client."""
    marked: MessageId[Any] = MessageId(message_id)
    marked._generation = generation  # noqa: SLF001 - its own module
    return marked


def refuse_after_harness(message_id: object) -> None:
    """Refuse to ask the real world for a launch that was made in a test harness, which alone could have told.

    Raises:
        UnknownMessageId: the harness is closed, and no other one is open.
    """
    made_in = message_id._generation if isinstance(message_id, MessageId) else 0  # noqa: SLF001 - its own module
    if made_in and redirection.active() is None:
        raise UnknownMessageId(
            f"{str(message_id)!r} was launched in a test harness that is closed, so nobody can tell its outcome any "
            "more, and no real service knows it. Ask while the harness is open: inside `with Harness() as scheduler:`, "
            "or in a test that uses the fixture",
            message_id=str(message_id),
        )


def autoincrement(start_point: int = 0) -> Iterator[str]:
    """Yield "1", "2", … after `start_point`.

    The numbers begin anew with each program: use it only where each program has a service, or a start, of its own.
    A service refuses an id that it knows with other content. Safe from any thread.
    """
    numbers = map(str, itertools.count(start_point + 1))
    return _Locked(lambda: numbers)


def ulid_generator() -> Iterator[str]:
    """Yield ULIDs: 26 characters that sort by time and, within a millisecond, by order. Safe from any thread."""
    return _Locked(_ulids)


class CurrentIds:
    """ULIDs of this process, or, while a test harness is open, those of a new generator for that harness.

    Its ids begin anew there, so that they do not depend on what the process did before. Safe from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids = ulid_generator()
        self._test = (0, self._ids)  # of which redirection, and its ids: exchanged together, so read without the lock
        forks.renew(self)

    def renew_in_fork(self) -> None:
        """Make the lock anew; the generators do it themselves."""
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[str]:
        """Return itself."""
        return self

    def __next__(self) -> str:
        """Return the next id."""
        generation = redirection.generation()
        if not generation:
            return next(self._ids)
        made_for, ids = self._test
        return next(ids if made_for == generation else self._ids_of(generation))

    def _ids_of(self, generation: int) -> Iterator[str]:
        with self._lock:
            if self._test[0] != generation:
                self._test = (generation, ulid_generator())
            return self._test[1]


class _Locked:
    """A generator that several threads may ask. A forked process makes it anew."""

    def __init__(self, make: Callable[[], Iterator[str]]) -> None:
        self._make = make
        self.renew_in_fork()
        forks.renew(self)

    def renew_in_fork(self) -> None:
        # A generator that a thread of the parent was just in cannot go on here, and must not repeat the parent's ids.
        self._ids = self._make()
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        with self._lock:
            return next(self._ids)


def _ulids() -> Iterator[str]:
    clock = CurrentClock()
    last_ms, randomness = -1, 0
    while True:
        now_ms = int(clock.now().timestamp() * 1000)
        if now_ms > last_ms:
            last_ms, randomness = now_ms, _random_bits()
        else:
            # Same millisecond, or a clock that went back: keep the order by counting up.
            randomness += 1
        yield _base32((last_ms << _RANDOM_BITS) + randomness)


def _random_bits() -> int:
    test = redirection.active()
    return secrets.randbits(_RANDOM_BITS) if test is None else test.random_bits(_RANDOM_BITS)


def _base32(number: int) -> str:
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])  # two characters at a time
