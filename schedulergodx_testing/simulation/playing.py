"""Playing a story to its end, and telling it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from schedulergodx_testing.drawing import stamp
from schedulergodx_testing.invariants import Violation
from schedulergodx_testing.simulation.findings import find
from schedulergodx_testing.simulation.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx_testing.simulation.stories import Step, Story

_SHOWN_MAX = 10


@dataclass(slots=True)
class Played:
    """What came of a story.

    Attributes:
        story: which one.
        found: promises that did not hold, at the first moment at which one did not.
        told: the whole story, as text: the same for the same story, byte for byte; "" when nobody asked for it.
        tasks, launches, runs, faults: tasks stored, launches that returned, functions entered, faults that happened.
        virtual_s: how much time passed.
    """

    story: Story
    found: list[Violation] = field(default_factory=list)
    told: str = ""
    tasks: int = 0
    launches: int = 0
    runs: int = 0
    faults: int = 0
    virtual_s: float = 0.0

    @property
    def numbers(self) -> frozenset[str]:
        """The broken promises, by their numbers."""
        return frozenset(violation.number for violation in self.found)


def play(story: Story, *, is_telling: bool = False) -> Played:
    """Play a story until a promise is broken, or to its end; after each step all promises are looked up.

    Args:
        story: which one.
        is_telling: whether to tell it also when every promise holds.
    """
    stage = Stage(story)
    played = Played(story)
    started_s = stage.harness.clock.monotonic()
    moments: list[str] = []
    try:
        for step in story.steps:
            moments.append(f"{_now(stage):>18}  {step.number:>2}  {step}")
            _take(stage, step, played)
            if played.found:
                break
        else:
            moments.append(f"{_now(stage):>18}      the end: all works again")
            played.faults = stage.count_faults()
            _watch(stage, stage.calm_down, played, is_over=True)
        played.virtual_s = stage.harness.clock.monotonic() - started_s
        _sum_up(stage, played)
        if played.found or is_telling:
            played.told = _tell(stage, played, moments)
    finally:
        _close(stage, played)
    return played


def _take(stage: Stage, step: Step, played: Played) -> None:
    stage.harness.note("test", str(step))
    _watch(stage, lambda: getattr(stage, step.name)(**step.arguments), played)


def _watch(stage: Stage, action: Callable[[], object], played: Played, *, is_over: bool = False) -> None:
    """Do something and look the promises up; whatever it raises breaks one."""
    try:
        action()
        played.found = find(stage, is_over=is_over)
    except Exception as error:  # noqa: BLE001 - a step takes every error that may come; any other is a finding
        text = str(error).partition("\n")[0].replace(str(stage.harness.services[0].path.parent), "…")
        played.found = [Violation("I5", f"{type(error).__name__} came out of a step: {text}")]


def _sum_up(stage: Stage, played: Played) -> None:
    played.tasks = sum(len(served.ledger.tasks) for served in stage.harness.services)
    played.launches = len(stage.returned) + len(stage.effects.launched)
    played.runs = sum(stage.effects.begun.values())
    played.faults = played.faults or stage.count_faults()


def _tell(stage: Stage, played: Played, moments: list[str]) -> str:
    harness = stage.harness
    timeline = harness.timeline
    for violation in played.found:
        timeline.add(harness.clock.now(), "test", str(violation), violation.message_id, is_broken=True)
    digest = hashlib.sha256(timeline.to_json().encode()).hexdigest()
    found = [str(violation) for violation in played.found[:_SHOWN_MAX]]
    if len(played.found) > _SHOWN_MAX:
        found.append(f"… and {len(played.found) - _SHOWN_MAX} more")
    return "\n".join(
        [
            f"seed {played.story.seed}: {played.story.setup}",
            *moments,
            *(found or ["every promise holds"]),
            "",
            str(timeline),
            f"{len(timeline.entries)} entries, sha256 {digest}",
        ]
    )


def _close(stage: Stage, played: Played) -> None:
    try:
        stage.close()
    except Exception as error:  # noqa: BLE001 - a thread that is left behind is a finding too
        played.found = played.found or [Violation("I6", f"{type(error).__name__} at the end")]


def _now(stage: Stage) -> str:
    return stamp(stage.harness.clock.now() - stage.harness.timeline.start)
