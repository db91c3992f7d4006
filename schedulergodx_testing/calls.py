"""Every call through the seams of a harness, counted, so that a test can stop a program before or after any of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

When: TypeAlias = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class SeamCall:
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


Hook: TypeAlias = "Callable[[SeamCall, When, Program], None]"
"""Told of each call, before and after it. It must not touch the seams, but may call `Program.die`."""


class Calls:
    """Counts calls, and tells hooks of them. The thread that drives a harness uses it.

    Attributes:
        all: every call so far, in order.
        hooks: who is told.
        turn: raised by the world with each of its steps.
    """

    def __init__(self) -> None:
        self.all: list[SeamCall] = []
        self.hooks: list[Hook] = []
        self.turn = 0
        self._counts: Counter[str] = Counter()

    def begin(self, name: str, owner: str, program: Program, changes: frozenset[str] = frozenset()) -> SeamCall:
        """Count a call that is about to happen."""
        self._counts[name] += 1
        call = SeamCall(len(self.all) + 1, name, self._counts[name], owner, self.turn, changes)
        self.all.append(call)
        for hook in tuple(self.hooks):
            hook(call, "before", program)
        return call

    def end(self, call: SeamCall, program: Program) -> None:
        """Tell of a call that has happened."""
        for hook in tuple(self.hooks):
            hook(call, "after", program)
