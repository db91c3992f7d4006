"""`survives_crashes`: a test that is run once for every moment at which a program can be killed."""

from __future__ import annotations

import functools
import inspect
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

from schedulergodx_testing.errors import HarnessError
from schedulergodx_testing.exploring import Disturbance, explore, run
from schedulergodx_testing.given import must_be_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schedulergodx_testing.calls import Program, SeamCall, When
    from schedulergodx_testing.exploring import Scenario
    from schedulergodx_testing.harness import Harness

_HAPPENINGS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _Moment:
    """One edge of one call, as a run without kills saw it.

    Attributes:
        call, when: which edge.
        is_quiet: whether nothing was on its way over the network then.
    """

    call: SeamCall
    when: When
    is_quiet: bool

    @property
    def party(self) -> str:
        """Whose call it is: "service", "client" or "broker"."""
        seam = self.call.name.partition(".")[0]
        return seam if seam in {"client", "broker"} else "service"

    def __str__(self) -> str:
        return f"{self.when} {self.call}"


class Recording(Disturbance):
    """Nothing goes wrong, and it is noted what could be killed when.

    Attributes:
        moments: every edge of every call, in order.
        steps: the last happening of each step of the broker, as text.
    """

    def __init__(self) -> None:
        self.moments: list[_Moment] = []
        self.steps: list[str] = []

    def prepare(self, harness: Harness) -> None:
        """Note calls and steps."""

        def note_call(call: SeamCall, when: When, _program: Program) -> None:
            self.moments.append(_Moment(call, when, harness.broker.is_idle))

        def note_step() -> None:
            happening = harness.broker_program.last
            self.steps.append("" if happening is None else f"{happening.kind} {happening.queue}".rstrip())

        harness.calls.hooks.append(note_call)
        harness.after_broker_step.append(note_step)


class Kill(Disturbance):
    """A service or a client dies at one edge of one call.

    Args:
        moment: at which.
        what: where it is, in words.
        is_late: whether first everything on the network arrives that is on its way.
    """

    is_fault = True

    def __init__(self, moment: _Moment, what: str, *, is_late: bool) -> None:
        self.what = f"killed {what}" + (", after all that was sent had arrived" if is_late else "")
        self._moment = moment
        self._is_late = is_late
        self._has_happened = False

    def prepare(self, harness: Harness) -> None:
        """Wait for the call."""

        def kill(call: SeamCall, when: When, program: Program) -> None:
            if self._has_happened or (call.number, when) != (self._moment.call.number, self._moment.when):
                return
            if str(call) != str(self._moment.call):
                return
            self._has_happened = True
            if self._is_late:
                for _ in range(_HAPPENINGS_MAX):
                    if not harness.broker.step():
                        break
            program.die(f"{when} {call}")

        harness.calls.hooks.append(kill)

    def has_happened(self) -> bool:
        """Return whether the call came, and was the same."""
        return self._has_happened


class BrokerKill(Disturbance):
    """The broker dies after one of its steps, and starts again.

    Args:
        step: after which, from 1.
        what: the happening, in words.
    """

    is_fault = True

    def __init__(self, step: int, what: str) -> None:
        self.what = f"broker killed after its step {step}" + (f" ({what})" if what else "")
        self._left = step

    def prepare(self, harness: Harness) -> None:
        """Count its steps."""

        def count() -> None:
            self._left -= 1
            if self._left == 0:
                harness.broker.crash()

        harness.after_broker_step.append(count)


def check_survives_crashes(
    scenario: Scenario,
    *,
    service: bool = True,
    client: bool = False,
    broker: bool = True,
    only: str = "",
    **options: Any,
) -> list[str]:
    """Run a scenario once for every moment at which a program can be killed, and look for broken promises.

    First it runs undisturbed, which numbers every call through the seams of services (storage, transport, runner) and
    of clients (publish, hear, ack), and every step of the broker. Then it runs again for each: killed before the call,
    and after it, each time once at once and once after everything on the network has arrived. What was killed starts
    again (a service after a second, the broker at once, a client not at all), everything settles, and the promises of
    `schedulergodx_testing.invariants` are looked up, together with what the scenario asked for by
    `scheduler.must_hold(...)`.

    Its other assertions count in the undisturbed run alone: in the others its tasks may well be interrupted.

    Args:
        scenario: takes an open `Harness`. It is run many times in one process, so it must begin by putting back
            whatever state of its own it changes.
        service: whether services are killed.
        client: whether clients are killed; the rest of the scenario then ends with `ClientCrashed`.
        broker: whether the broker is killed.
        only: of the runs, those whose words in the report hold this text, to look at one again; "": all.
        options: how to open the harness; see `Harness`.

    Returns:
        The kills that were tried, in words.

    Raises:
        AssertionError: promises were broken; the message tells by which kill, and shows the timeline.
        HarnessError: it does not run the same way twice; or it returned a coroutine, which nobody awaits.
        InvalidParameter: it is no function of a harness, or a coroutine function; or an option is wrong.
    """
    recording = Recording()
    name = getattr(scenario, "__qualname__", str(scenario))
    broken = run(scenario, recording, options)
    if broken is not None:
        told = "\n".join(f"  {sentence}" for sentence in broken.sentences)
        raise AssertionError(f"{name}: broken with nothing going wrong:\n{told}\n\n{broken.timeline}")
    wanted = {party for party, is_wanted in (("service", service), ("client", client)) if is_wanted}
    kills: list[Disturbance] = [*_kills(recording.moments, wanted)]
    if broker:
        kills += [BrokerKill(step, what) for step, what in enumerate(recording.steps, 1)]
    return explore(scenario, kills, options, name, only)


@overload
def survives_crashes(scenario: Callable[..., object], /) -> Callable[..., None]: ...
@overload
def survives_crashes(
    *, service: bool = True, client: bool = False, broker: bool = True, only: str = "", **options: Any
) -> Callable[[Callable[..., object]], Callable[..., None]]: ...
def survives_crashes(
    scenario: Callable[..., object] | None = None,
    /,
    *,
    service: bool = True,
    client: bool = False,
    broker: bool = True,
    only: str = "",
    **options: Any,
) -> Callable[..., None] | Callable[[Callable[..., object]], Callable[..., None]]:
    """Make a test of a scenario, which takes a harness as `scheduler`, or else first; see `check_survives_crashes`.

    Further arguments are fixtures, made once for all runs. Under pytest, `@pytest.mark.scheduler(...)` of the test, its
    class or its module gives options too, as for the fixture; those that are given here win. It may be written with
    options, `@survives_crashes(…)`, or without, `@survives_crashes`.

    Raises:
        InvalidParameter: the scenario is no function, or a coroutine function, which nobody would await.
        HarnessError: it takes no harness.
    """

    def decorate(scenario: Callable[..., object]) -> Callable[..., None]:
        must_be_plain("a scenario of survives_crashes", scenario)
        signature = inspect.signature(scenario)
        names = [name for name in signature.parameters if name != "self"]
        if not names:
            raise HarnessError(f"{scenario.__qualname__} takes no harness: it needs a parameter `scheduler`")
        harness_name = "scheduler" if "scheduler" in names else names[0]

        @functools.wraps(scenario)
        def test(*args: Any, **kwargs: Any) -> None:
            def one(harness: Harness) -> object:
                return scenario(*args, **kwargs, **{harness_name: harness})

            one.__qualname__ = scenario.__qualname__
            together = _of_markers() | options
            check_survives_crashes(one, service=service, client=client, broker=broker, only=only, **together)

        # pytest must not see the harness among the fixtures: it is made here, for every run.
        del test.__wrapped__
        rest = [parameter for name, parameter in signature.parameters.items() if name != harness_name]
        test.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]  # as `inspect` reads it
        return test

    return decorate if scenario is None else decorate(scenario)


def _of_markers() -> dict[str, Any]:
    """Return the options that the markers of the running test give; none, where pytest runs no test."""
    plugin = sys.modules.get("schedulergodx_testing.plugin")
    return {} if plugin is None else plugin.options_of_running_test()


def _kills(moments: list[_Moment], wanted: set[str]) -> Iterator[Kill]:
    """Yield a kill for each moment, leaving out what would be the same twice."""
    before: _Moment | None = None
    for moment, following in zip(moments, [*moments[1:], None], strict=True):
        last, before = before, moment
        if moment.party not in wanted or (last is not None and _is_same(last, moment)):
            continue
        what = f"{moment}, {following}" if following is not None and _is_same(moment, following) else str(moment)
        yield Kill(moment, what, is_late=False)
        if not moment.is_quiet:
            yield Kill(moment, what, is_late=True)


def _is_same(one: _Moment, other: _Moment) -> bool:
    """Return whether nothing lies between the two: the end of a call and the beginning of the next, in one turn."""
    is_next = (one.when, other.when) == ("after", "before")
    return is_next and (one.call.program, one.call.turn) == (other.call.program, other.call.turn)
