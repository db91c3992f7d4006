"""Running one scenario again and again, each time with something else going wrong, and looking for broken promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from schedulergodx_testing import invariants
from schedulergodx_testing.errors import Deadlock, HarnessError, NothingLeftToHappen, ThreadStuck, TooManyEvents
from schedulergodx_testing.given import has_run, must_take
from schedulergodx_testing.harness import Harness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Scenario: TypeAlias = "Callable[[Harness], object]"

RESTART_AFTER_S = 1.0
SETTLE_S = 120.0
"""Virtual seconds after the end of a scenario in which connections are made again and replies are sent again."""
_BROKEN_MAX = 5
_ENDLESS = (NothingLeftToHappen, Deadlock, ThreadStuck, TooManyEvents)
_SETTLE_TIMERS_MAX = 2_000
_SHOWN_MAX = 10


@dataclass(frozen=True, slots=True)
class Broken:
    """What was broken by what went wrong.

    Attributes:
        by: what went wrong.
        sentences: what did not hold then.
        timeline: how it came to that, drawn.
    """

    by: str
    sentences: tuple[str, ...]
    timeline: str


class Disturbance:
    """Something that goes wrong in one run. This one does not; subclasses say what does."""

    what = "nothing going wrong"
    is_fault = False

    def prepare(self, harness: Harness) -> None:
        """Arm it, before the harness opens."""

    def begin(self, harness: Harness) -> None:
        """Arm it, once the harness is open."""

    def has_happened(self) -> bool:
        """Return whether it came to it. In a scenario that is the same each time, it does."""
        return True

    def end(self, harness: Harness) -> None:
        """Let nothing more go wrong: the scenario has ended, and now everything settles."""


def run(scenario: Scenario, disturbance: Disturbance, options: Mapping[str, Any]) -> Broken | None:
    """Run a scenario in a harness of its own, let everything settle, and return what is broken.

    Undisturbed, whatever the scenario raises is raised. Disturbed, it may end as it likes, since a program whose
    service or broker dies may see errors; but a wait that can never end is broken.

    Raises:
        InvalidParameter: the scenario is no function of a harness, or a coroutine function, which nobody would await.
        HarnessError: it returned a coroutine.
    """
    must_take("the scenario", scenario, "harness")
    harness = Harness(**{"restart_after_s": RESTART_AFTER_S} | dict(options))
    disturbance.prepare(harness)
    sentences: list[str] = []
    with harness:
        disturbance.begin(harness)
        try:
            has_run("the scenario", scenario(harness))
        except _ENDLESS as error:
            if not disturbance.is_fault:
                raise
            sentences.append(f"{type(error).__name__}: {str(error).splitlines()[0]}")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            if not disturbance.is_fault:
                raise
        disturbance.end(harness)
        sentences += settled(harness)
        for sentence in sentences:
            harness.timeline.add(harness.clock.now(), "test", sentence, is_broken=True)
        return Broken(disturbance.what, tuple(sentences), str(harness.timeline)) if sentences else None


def settled(harness: Harness) -> list[str]:
    """Let everything end, and return what does not hold then. What the scenario asked for is looked up once."""
    try:
        harness.advance(seconds=2 * RESTART_AFTER_S)
        harness.run_all(_SETTLE_TIMERS_MAX)
        harness.advance(seconds=SETTLE_S)
        found = [str(violation) for violation in invariants.check(harness, is_over=True)]
    except _ENDLESS as error:
        found = [f"{type(error).__name__}: {str(error).splitlines()[0]}"]
    return found + [f"the scenario's own: {sentence}" for sentence in harness.unheld()]


def explore(
    scenario: Scenario, disturbances: Iterable[Disturbance], options: Mapping[str, Any], name: str, only: str = ""
) -> list[str]:
    """Run a scenario with each disturbance, or only those whose words hold `only`, and return what they were.

    Raises:
        AssertionError: promises were broken; it tells by what, and how it came to the first.
        HarnessError: there was nothing to try, so that nothing is shown; or the scenario is another one each time.
    """
    tried: list[str] = []
    broken: list[Broken] = []
    others: list[str] = []
    for disturbance in disturbances:
        if only not in disturbance.what:
            others.append(disturbance.what)
            continue
        found = run(scenario, disturbance, options)
        if not disturbance.has_happened():
            raise HarnessError(
                f"{name} is another one each time: what was to be {disturbance.what} did not come again. Does it keep "
                "state from one run to the next, or use the real clock?"
            )
        tried.append(disturbance.what)
        if found is not None:
            broken.append(found)
            if len(broken) == _BROKEN_MAX:
                break
    if not tried:
        raise HarnessError(_nothing_tried(name, only, others))
    if broken:
        told = "\n".join(f"{one.by}:\n" + "\n".join(f"  {sentence}" for sentence in one.sentences) for one in broken)
        stopped = "; it was stopped there, and more may" if len(broken) == _BROKEN_MAX else ""
        raise AssertionError(
            f"{name}: {len(broken)} of {len(tried)} runs broke a promise{stopped}.\n{told}\n\n"
            f"The first of them, which only={broken[0].by!r} runs alone:\n{broken[0].timeline}"
        )
    return tried


def _nothing_tried(name: str, only: str, others: list[str]) -> str:
    if not others:
        return f"{name}: nothing was tried, since nothing could go wrong: it makes none of the calls asked for"
    shown = "".join(f"\n  {what}" for what in others[:_SHOWN_MAX])
    more = f"\n  … and {len(others) - _SHOWN_MAX} more" if len(others) > _SHOWN_MAX else ""
    return f"{name}: nothing was tried, since only={only!r:.120} is in the words of no run. The runs are:{shown}{more}"
