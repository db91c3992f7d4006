"""Crash windows: the moments between two steps at which a program can die, by name, for a test to arm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from schedulergodx.client import Client
from schedulergodx.config import whole_number
from schedulergodx.errors import InvalidParameter
from schedulergodx_testing.errors import HarnessError
from schedulergodx_testing.given import has_run, must_take
from schedulergodx_testing.seams import RUNNER_CALLS, STORAGE_CALLS, TRANSPORT_CALLS

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx_testing.calls import Calls, Program, SeamCall, When
    from schedulergodx_testing.memory import Happening
    from schedulergodx_testing.programs import ClientProgram
    from schedulergodx_testing.served import Served

_NTH_MAX = 1_000_000
CALLS = frozenset(
    {
        *(f"storage.{call}" for call in (*STORAGE_CALLS, "begin", "commit")),
        *(f"transport.{call}" for call in TRANSPORT_CALLS),
        *(f"runner.{call}" for call in RUNNER_CALLS),
        "client.publish",
        "client.hear",
        "client.ack",
        "broker.keep",
    }
)
"""The calls at which a crash can be armed. `broker.keep`: the broker has taken a message, and told nobody."""


@dataclass(frozen=True, slots=True)
class Window:
    """A crash window, as a seam call shows it.

    Attributes:
        call: the call at its edge.
        when: which edge it is: the crash comes before the call, or after it.
        change: of a commit: a call that its transaction must hold; "": any.
        meaning: between what and what it lies.
    """

    call: str
    when: When
    change: str
    meaning: str


WINDOWS: dict[str, Window] = {
    "W1": Window("client.publish", "before", "", "the client decides to launch, and publishes"),
    "W2": Window("client.publish", "after", "", "the client publishes, and hears the confirm"),
    "W3": Window("broker.keep", "after", "", "the broker takes the message, and has it on disk and confirms it"),
    "W4": Window("storage.commit", "before", "add", "the service gets the delivery, and commits the task"),
    "W5": Window("transport.ack", "before", "", "the service commits the task, and acks the delivery"),
    "W6": Window("transport.ack", "after", "", "the service sends the ack, and the broker gets it"),
    "W7": Window("storage.start", "before", "", "the task is stored, and claimed"),
    "W8": Window("runner.start", "before", "", "the task is claimed, and begins"),
    "W9": Window("storage.commit", "before", "finish", "the task begins, and its outcome is committed"),
    "W10": Window("transport.publish", "before", "", "the outcome is committed, and the broker has the reply"),
    "W11": Window("storage.commit", "before", "remove_replies", "the broker has the reply, and the outbox forgets it"),
    "W12": Window("client.hear", "before", "", "the client gets the reply, and acks it"),
    "W13": Window("storage.commit", "after", "prune", "an outcome is pruned, and a late duplicate of its launch comes"),
}
"""The windows of docs/crash-windows.md. The code names each where it is, in a comment; tests hold the two together."""

NOT_ARMED = {
    "W14": "a power loss is below the seams: what a disk keeps of a committed transaction cannot be seen in memory",
    "W15": "it is the work of an operator: replace the database while its service is down, then start it",
    "W16": "the disk is the broker's, and no call of a program stands for its loss: while the service is down "
    "(crash_service()) launch, let the broker take it (run_until_idle()), and lose it by scheduler.broker.lose_disk(); "
    "a quorum that loses its majority needs real nodes",
}
"""The other windows of docs/crash-windows.md, and why no call stands for them."""


class CrashPoint:
    """A crash that a test has armed.

    Attributes:
        what: where, in words.
        has_happened: whether it has come.
        call: the call at which it came, or None.
        programs: returns the names of the programs that there are; empty where nobody knows.
    """

    def __init__(self, call: str, when: When, nth: int, change: str, program: str, what: str) -> None:  # noqa: PLR0913, PLR0917 - what a call is told by
        self.what = what
        self.has_happened = False
        self.call: SeamCall | None = None
        self._name = call
        self._when = when
        self._left = nth
        self._change = change
        self._program = program
        self._others: set[str] = set()
        self.programs: Callable[[], list[str]] = list

    def hook(self, call: SeamCall, when: When, program: Program) -> None:
        """Let the program die, if this is where."""
        is_it = call.name == self._name and when == self._when
        if self.has_happened or not is_it or (self._change and self._change not in call.changes):
            return
        if self._program not in {"", call.program}:
            self._others.add(call.program)
            return
        self._left -= 1
        if self._left == 0:
            self.has_happened, self.call = True, call
            program.die(f"{when} {call}")

    def __repr__(self) -> str:
        """Show where, and whether it came."""
        if self.has_happened:
            return f"<CrashPoint {self.what}, has happened>"
        return f"<CrashPoint {self.what}, has not happened{self._who_else()}>"

    def _who_else(self) -> str:
        """Return what may be wrong with the name of its program. A client is there once it has connected."""
        known, facts = self.programs(), ""
        if self._program and known and self._program not in known:
            facts += f"; no program of that name is there, but {', '.join(map(repr, known))}"
        return facts + (f"; {', '.join(map(repr, sorted(self._others)))} came there" if self._others else "")


def crash_point(point: str, *, when: When | None = None, n: int = 1, program: str = "") -> CrashPoint:
    """Return a crash at a window, or at a call through a seam, to be hung into the hooks of `Calls`.

    Raises:
        InvalidParameter: there is no such point, or another argument is outside its range.
        HarnessError: it is a window that cannot be armed; the message says why.
    """
    if not isinstance(point, str):
        raise InvalidParameter(f"crash_at takes the name of a window or a call, e.g. 'W9', got {point!r:.40}")
    if point in NOT_ARMED:
        raise HarnessError(f"{point} cannot be armed: {NOT_ARMED[point]}")
    window = WINDOWS.get(point) or Window(point, "before", "", "")
    if window.call not in CALLS:
        raise InvalidParameter(
            f"crash_at takes one of {', '.join(WINDOWS)}, or a call: {', '.join(sorted(CALLS))}; got {point!r:.40}"
        )
    if when not in {None, "before", "after"}:
        raise InvalidParameter(
            f"when must be 'before' or 'after' the call, or None: as the window says, or before; got {when!r:.40}"
        )
    if not isinstance(program, str):
        raise InvalidParameter(f"program must be the name of a service or a client, or '' for any; got {program!r:.40}")
    whole_number("n", n, least=1, most=_NTH_MAX)
    is_of_broker = window.call == "broker.keep"
    what = f"{point} ({window.meaning})" if window.meaning else f"{when or window.when} {point}"
    return CrashPoint(
        window.call,
        "after" if is_of_broker else when or window.when,
        n,
        window.change,
        program,
        what + (f" of program {program!r:.120}" if program else ""),
    )


class _World(Protocol):
    calls: Calls
    programs: list[ClientProgram]
    crash_points: list[CrashPoint]
    wishes: list[tuple[Callable[[], object], str]]

    @property
    def services(self) -> tuple[Served, ...]: ...
    def _must_be_open(self) -> None: ...
    def unheld(self) -> list[str]: ...


class Crashing:
    """The crashes of a `Harness`."""

    def crash_at(self: _World, point: str, *, when: When | None = None, n: int = 1, program: str = "") -> CrashPoint:
        """Kill a program at a crash window (`"W5"`), or before or after a call through a seam (`"storage.commit"`).

        The program is that whose call it is: a service, a client, or the broker. A service is ended as by SIGKILL and
        starts again by `start_service()`, or by itself with `Harness(restart_after_s=…)`. A client's waits end with
        `ClientCrashed`. The broker starts again at once, without what it had told nobody of.

        Args:
            point: a name of `WINDOWS`, or of `CALLS`.
            when: "before" or "after" the call; None: as the window says, or before.
            n: at the how manieth from now on.
            program: name of the service or client that is to die, which may come later; "": whoever makes the call.

        Returns:
            The armed crash, which tells whether it has happened.

        Raises:
            InvalidParameter: there is no such point, or another argument is outside its range.
            HarnessError: it is a window that cannot be armed; the message says why.
        """
        self._must_be_open()
        armed = crash_point(point, when=when, n=n, program=program)
        armed.programs = lambda: sorted({*(one.name for one in self.services), *(one.name for one in self.programs)})
        self.crash_points.append(armed)
        self.calls.hooks.append(armed.hook)
        return armed

    def must_hold(self: _World, holds: Callable[[], object], sentence: str = "what it asked for") -> None:
        """Have something of the test's own checked at its end: of a scenario of `survives_crashes`, of each run.

        There everything has settled by then. Elsewhere it is checked as things are when the block of the harness, or
        the test with the fixture, ends, unless that has failed anyhow; a `SchedulerMachine` checks it at the end of
        each story.

        Args:
            holds: returns False, or raises AssertionError, when it does not hold; anything else is fine.
            sentence: what is to hold, for the report.

        Raises:
            InvalidParameter: `holds` cannot be called without an argument, or is a coroutine function.
            HarnessError: the harness is not open.
        """
        self._must_be_open()
        must_take("holds", holds)
        self.wishes.append((holds, sentence))

    def unheld(self: _World) -> list[str]:
        """Return what `must_hold` asked for and does not hold now, in words. What was asked for is done with then.

        Raises:
            HarnessError: what was to tell whether it holds returned a coroutine, so it was not asked.
        """
        wishes = self.wishes.copy()
        self.wishes.clear()
        found: list[str] = []
        for holds, sentence in wishes:
            try:
                if has_run("what must_hold was given", holds()) is False:
                    found.append(sentence)
            except AssertionError as error:
                found.append(f"{sentence}: {str(error).splitlines()[0] if str(error) else 'no'}")
        return found

    def check_wishes(self: _World) -> None:
        """Assert what `must_hold` asked for. Raises AssertionError with what does not hold."""
        if unheld := self.unheld():
            raise AssertionError(f"what must hold does not, at the end of the test: {'; '.join(unheld)}")

    def crash_client(self: _World, client: Client) -> None:
        """End the program of a client, as SIGKILL does. Whatever waits in it ends with `ClientCrashed`.

        Its queue of answers stays until it expires. What it launched goes on; `new_client(...)`, of any name, can ask
        for the outcomes by id.

        Raises:
            HarnessError: it has not connected in this harness, so there is nothing to end; or it was killed before.
            InvalidParameter: it is no client.
        """
        self._must_be_open()
        if not isinstance(client, Client):
            raise InvalidParameter(
                "crash_client takes the client itself, as Client(…) or new_client(…) returned it, or scheduler.client; "
                f"got {client!r:.40} ({type(client).__name__})"
            )
        queue = client.rmq_consumer_que
        program = next((program for program in self.programs if program.queue == queue), None)
        if program is None or program.is_dead:
            what = "was killed before" if program else "has not connected yet: it launched and asked nothing"
            raise HarnessError(f"client {client.name!r} {what}; there is nothing to kill")
        program.kill()


class BrokerProgram:
    """The broker as a program that can die once it has taken a message, and before it confirms it.

    Args:
        calls: counts `broker.keep`, as calls of the program that sent the message.
        crash: kills the broker, and starts it again.

    Attributes:
        last: what happened last in it.
    """

    def __init__(self, calls: Calls, crash: Callable[[], None]) -> None:
        self._calls = calls
        self._crash = crash
        self._is_to_die = False
        self.last: Happening | None = None

    def heard(self, happening: Happening) -> None:
        """Count what it keeps."""
        self.last = happening
        if happening.kind == "kept":
            self._calls.end(self._calls.begin("broker.keep", happening.transport, self), self)

    def die(self, _why: str) -> None:
        """Die at the end of this step: what it does in one step, it does as one."""
        self._is_to_die = True

    def after_step(self) -> None:
        """Die now, if that was wished."""
        if self._is_to_die:
            self._is_to_die = False
            self._crash()
