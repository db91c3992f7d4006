"""Every call through the seams of a harness, counted, so that a test can stop a program before or after any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from schedulergodx_testing import flat

if TYPE_CHECKING:
    from collections.abc import Callable

When: TypeAlias = Literal["before", "after"]


class SeamCall(NamedTuple):
    """One call of a program through one of its seams. There are a dozen for each task, so it is a tuple.

    Attributes:
        number: its place among all calls of the harness, from 1.
        name: seam and call, e.g. `storage.commit`, `transport.ack`, `runner.start`, `client.publish`.
        nth: the how manieth of that name it is, from 1.
        program: whose call it is: the name of a service, or of a client.
        turn: number of the step of the world in which it comes; within one step nothing else happens.
        changes: of a commit: the calls of its transaction that change something.
    """

    number: int
    name: str
    nth: int
    program: str
    turn: int
    changes: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """Show it as reports name it: `storage.commit 3`."""
        return f"{self.name} {self.nth}"


class Program(Protocol):
    """Something whose calls are counted, and that can be killed within one of them."""

    def die(self, why: str) -> None:
        """End it here and now, as SIGKILL does; by raising out of the call, where it has callers of its own."""


_NOTHING: frozenset[str] = frozenset()
Counted: TypeAlias = tuple[int, str, int, str, int]
"""What `Calls` keeps of each call: the fields of a `SeamCall`, all but the last."""
_FIELDS = 5
Hook: TypeAlias = "Callable[[SeamCall, When, Program], None]"
"""Told of each call, before and after it. It must not touch the seams, but may call `Program.die`."""


class Calls:
    """Counts calls, and tells hooks of them. The thread that drives a harness uses it.

    Past calls are kept as `flat.rows`, and become objects when somebody looks, or is told.

    Attributes:
        hooks: who is told.
        turn: raised by the world with each of its steps.
    """

    def __init__(self) -> None:
        self.hooks: list[Hook] = []
        self.turn = 0
        self._counts: dict[str, int] = {}
        self._past: list[Any] = []
        self._changes: dict[int, frozenset[str]] = {}

    @property
    def all(self) -> list[SeamCall]:
        """Every call so far, in order."""
        return [self._call(tuple(counted)) for counted in flat.rows(self._past, _FIELDS)]

    def begin(self, name: str, owner: str, program: Program, changes: frozenset[str] = _NOTHING) -> Counted:
        """Count a call that is about to happen. What it returns goes to `end`."""
        self._counts[name] = nth = self._counts.get(name, 0) + 1
        counted = (len(self._past) // _FIELDS + 1, name, nth, owner, self.turn)
        self._past += counted
        if changes:
            self._changes[counted[0]] = changes
        if self.hooks:
            self._tell(counted, "before", program)
        return counted

    def end(self, counted: Counted, program: Program) -> None:
        """Tell of a call that has happened."""
        if self.hooks:
            self._tell(counted, "after", program)

    def _tell(self, counted: Counted, when: When, program: Program) -> None:
        call = self._call(counted)
        for hook in tuple(self.hooks):
            hook(call, when, program)

    def _call(self, counted: Counted) -> SeamCall:
        return SeamCall(*counted, self._changes.get(counted[0], _NOTHING))
