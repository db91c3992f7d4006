"""What may be unpickled: a `Verified` task, which only this module makes.

A task is sealed when it is stored: its row gets an HMAC over everything in it that is acted on. When it is to run, the
seal is looked at again, so that a row which somebody changed on disk does not run. Only then it is `Verified`, and
only a `Verified` task is unpickled, by `payload.load`; `tests/unit/test_unpickling.py` holds both in the source.
"""

from __future__ import annotations

import hmac
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

from schedulergodx.rules.tasks import TaskSpec
from schedulergodx.utils.digests import digest_of
from schedulergodx.utils.keys.ring import derived

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.rules.limits import TaskLimits
    from schedulergodx.utils.keys.ring import Key, KeyRing

_UNSEALED = {"seal", "starts"}
"""Fields of a `TaskSpec` that are not sealed: the seal itself, and what changes while a task waits."""
_BODIES, _MOMENTS = {"function", "digest", "arguments", "arguments_by_value"}, {"issued_at", "run_at"}
_SEALED = [field for field in fields(TaskSpec) if field.name not in _UNSEALED | _BODIES | _MOMENTS]
_values = attrgetter(*(field.name for field in _SEALED if field.default is MISSING))
_LATER = [(field.name, field.default) for field in _SEALED if field.default is not MISSING]
_later_values = attrgetter(*(name for name, _default in _LATER))
_AT_DEFAULTS = tuple(default for _name, default in _LATER)


class Tampered(Exception):
    """A stored task is not as it was stored; the text says how that is known."""


class Sealed(TaskSpec):
    """A task that was sealed here and has been in memory since: what is read from a row is none.

    So a task that starts in the turn that stores it is not sealed and looked at in one breath. It never changes, and
    nobody but the verifier makes one.
    """

    __slots__ = ()

    def __init__(self, *_args: object, **_fields: object) -> None:
        """Refuse: also `dataclasses.replace`, since a changed task is not what was sealed."""
        raise TypeError("only the verifier makes a sealed or verified task")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        """Refuse."""
        raise AttributeError("a sealed or verified task does not change")

    def __reduce__(self) -> NoReturn:
        """Refuse: nobody shall make one out of bytes."""
        raise TypeError("a sealed or verified task does not travel as a pickle")


class Verified(Sealed):
    """A task that may be unpickled and run: one that is certain to be as it was sealed."""

    __slots__ = ()


def _verified(task: TaskSpec) -> Verified:
    """Make `task` itself verified, so that nobody keeps a twin of it that can be changed."""
    made: Any = task
    if type(made) is not Verified:
        object.__setattr__(made, "__class__", Verified)  # a sealed one does not change otherwise
    return made  # type: ignore[no-any-return]  # it is one now


def with_limits(task: Verified, limits: TaskLimits) -> Verified:
    """Return a verified task that may use less: what it runs stays what was verified."""
    facts = {field.name: getattr(task, field.name) for field in fields(TaskSpec)}
    return _verified(TaskSpec(**(facts | {"limits": limits})))


def from_own_service(task: TaskSpec) -> Verified:
    """Return what this process was handed by the service that started it, which had verified it.

    For the process of a hard task: it has no keys to look for itself, and its pipe leads to nobody else.
    """
    return _verified(task)


class Seals:
    """Seals tasks to be stored, and verifies stored ones. One thread at a time may use it.

    Args:
        ring: gives the keys, or None: then nothing is sealed and every task counts as verified.
        allow_unsigned: run tasks without a seal although there are keys.
    """

    def __init__(self, ring: Callable[[], KeyRing | None], *, allow_unsigned: bool = False) -> None:
        self._ring = ring
        self._allow_unsigned = allow_unsigned
        self._derived: dict[bytes, bytes] = {}

    def seal(self, task: TaskSpec) -> Sealed:
        """Give the task its seal, if there are keys, and return it: the same object, which is nobody else's now."""
        ring = self._ring()
        if ring is not None:
            key = ring.keys[0]
            task.seal = f"{key.key_id} {self._mac(key, task)}"
        sealed: Any = task
        sealed.__class__ = Sealed
        return sealed  # type: ignore[no-any-return]  # it is one now

    def verify(self, task: TaskSpec) -> Verified:
        """Return a task that was stored, once it is certain that it is as it was.

        Raises:
            Tampered: it is not, or it cannot be known.
        """
        if type(task) is Sealed:
            return _verified(task)
        ring = self._ring()
        if ring is None or (self._allow_unsigned and not task.seal):
            return _verified(task)
        if not task.seal:
            raise Tampered("its row has no seal, though the service has keys: it was stored before that, or put there")
        key_id, _, mac = task.seal.partition(" ")
        key = ring.find(key_id)  # retired or not: what it sealed was verified in its time
        if key is None:
            raise Tampered("its row is sealed with a key that the service does not have, or not any more")
        if not hmac.compare_digest(self._mac(key, task).encode(), mac.encode(errors="replace")):
            raise Tampered("its row in the database was changed after it was stored")
        return _verified(task)

    def _mac(self, key: Key, task: TaskSpec) -> str:
        secret = self._derived.get(key.secret)
        if secret is None:
            secret = derived(key.secret, "stored task")
            self._derived = {key.secret: secret}
        return hmac.digest(secret, _facts(task), "sha256").hex()


def _facts(task: TaskSpec) -> bytes:
    """Return everything of a task that is acted on, so that no two tasks give the same.

    What stands at its default is left out, so that a field which a later version adds breaks no older seal.
    """
    issued_at, by_value = task.issued_at.isoformat(), task.arguments_by_value
    run_at = issued_at if task.run_at == task.issued_at else task.run_at.isoformat()
    later: list[tuple[str, object]] = []
    if _later_values(task) != _AT_DEFAULTS:
        later = [(name, value) for name, default in _LATER if (value := getattr(task, name)) != default]
    sizes = len(task.digest), len(task.arguments), None if by_value is None else len(by_value)
    head = repr((*_values(task), issued_at, run_at, task.function is None, later, sizes)).encode()
    function = b"" if task.function is None else digest_of(task.function)
    return b"%d %b%b%b%b%b" % (len(head), head, function, task.digest, task.arguments, by_value or b"")
