"""Every call through the seams of a harness, counted, so that a test can stop a program before or after any of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from schedulergodx_testing import flat

if TYPE_CHECKING:
    from collections.abc import Callable

When: TypeAlias = Literal["before", "after"]


class SeamCall(NamedTuple):
    """One call of a program through one of its seams.

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
_FIELDS = 4
Hook: TypeAlias = "Callable[[SeamCall, When, Program], None]"
"""Told of each call, before and after it. It must not touch the seams, but may call `Program.die`."""


class Calls:
    """Counts calls, and tells hooks of them. The thread that drives a harness uses it.

    There are a dozen for each task, and mostly nobody listens. So they are kept as `flat.rows`, and become objects when
    somebody looks, or is told.

    Attributes:
        hooks: who is told.
        turn: raised by the world with each of its steps.
    """

    def __init__(self) -> None:
        self.hooks: list[Hook] = []
        self.turn = 0
        self._begun: list[Any] = []
        self._calls: list[SeamCall] = []
        self._counts: Counter[str] = Counter()

    @property
    def all(self) -> list[SeamCall]:
        """Every call so far, in order."""
        return self._read().copy()

    def _read(self) -> list[SeamCall]:
        for name, program, turn, changes in flat.rows(self._begun, _FIELDS, first=len(self._calls)):
            self._counts[name] += 1
            self._calls.append(SeamCall(len(self._calls) + 1, name, self._counts[name], program, turn, changes))
        return self._calls

    def begin(self, name: str, owner: str, program: Program, changes: frozenset[str] = _NOTHING) -> int:
        """Count a call that is about to happen. What it returns goes to `end`."""
        self._begun += (name, owner, self.turn, changes)
        number = len(self._begun) // _FIELDS
        if self.hooks:
            self._tell(number, "before", program)
        return number

    def end(self, number: int, program: Program) -> None:
        """Tell of a call that has happened."""
        if self.hooks:
            self._tell(number, "after", program)

    def _tell(self, number: int, when: When, program: Program) -> None:
        call = self._read()[number - 1]
        for hook in tuple(self.hooks):
            hook(call, when, program)
