"""Every call through the seams of a harness, counted, so that a test can stop a program before or after any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

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
Hook: TypeAlias = "Callable[[SeamCall, When, Program], None]"
"""Told of each call, before and after it. It must not touch the seams, but may call `Program.die`."""


class Calls:
    """Counts calls, and tells hooks of them. The thread that drives a harness uses it.

    Past calls are kept as plain tuples, which the collector of garbage passes over.

    Attributes:
        hooks: who is told.
        turn: raised by the world with each of its steps.
    """

    def __init__(self) -> None:
        self.hooks: list[Hook] = []
        self.turn = 0
        self._counts: dict[str, int] = {}
        self._past: list[tuple[int, str, int, str, int]] = []
        self._changes: dict[int, frozenset[str]] = {}

    @property
    def all(self) -> list[SeamCall]:
        """Every call so far, in order."""
        return [SeamCall(*facts, self._changes.get(facts[0], _NOTHING)) for facts in self._past]

    def begin(self, name: str, owner: str, program: Program, changes: frozenset[str] = _NOTHING) -> SeamCall:
        """Count a call that is about to happen."""
        self._counts[name] = nth = self._counts.get(name, 0) + 1
        facts = (len(self._past) + 1, name, nth, owner, self.turn)
        self._past.append(facts)
        if changes:
            self._changes[facts[0]] = changes
        call = SeamCall(*facts, changes)
        if self.hooks:
            for hook in tuple(self.hooks):
                hook(call, "before", program)
        return call

    def end(self, call: SeamCall, program: Program) -> None:
        """Tell of a call that has happened."""
        if self.hooks:
            for hook in tuple(self.hooks):
                hook(call, "after", program)
