"""Stories: all that a seed decides, drawn before anything happens, so that any step of it can be left out."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from schedulergodx.config import ServiceLimits
from schedulergodx_testing.crashing import CALLS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

Arguments: TypeAlias = "dict[str, Any]"
_Draw: TypeAlias = "Callable[[random.Random], Arguments]"

_DAY_S = 86400
_WEEK_S, _MONTH_S, _YEARS_S = 7 * _DAY_S, 30 * _DAY_S, 9 * 365 * _DAY_S
_HEAVY, _MIDDLE, _LIGHT = 6, 3, 1
_STEPS_MIN, _STEPS_MAX = 8, 24
_FAMILIES_MAX = 6
_CLIENT_CALLS = sorted(call for call in CALLS if call.startswith("client."))
_SERVICE_CALLS = sorted(CALLS - {*_CLIENT_CALLS, "broker.keep"})
_OFTEN = [
    "storage.begin",
    "storage.add",
    "storage.start",
    "storage.finish",
    "storage.commit",
    "storage.remove_replies",
    "transport.ack",
    "transport.publish",
    "runner.start",
]
"""Calls that each task makes: most kills are at one of them, or few would come to pass."""
_AFTER_S = [0, 0, 0.5, 3, 45]


@dataclass(frozen=True, slots=True)
class Setup:
    """The world of a story.

    Attributes:
        clients: names of the clients; two may have one name.
        limits: of the service.
        restart_after_s: seconds after which a crashed service starts by itself; None: by a step alone.
        queue_type: of the queue of requests.
        lead_s: seconds ahead of its moment at which a delayed task may be claimed.
        families: the kinds of faults of this story.
    """

    clients: tuple[str, ...]
    limits: ServiceLimits
    restart_after_s: float | None
    queue_type: str
    lead_s: float
    families: tuple[str, ...]

    def __str__(self) -> str:
        """Show what differs from story to story."""
        limits = self.limits
        return (
            f"clients {', '.join(self.clients)}; {self.queue_type} queue; {limits.threads} threads, "
            f"{limits.processes} processes, prefetch {limits.prefetch}, {limits.events_per_turn_max} events a turn, "
            f"{limits.replies_in_flight_max} replies in flight; "
            + (f"claimed {self.lead_s:g}s ahead; " if self.lead_s else "")
            + ("starts by steps alone" if self.restart_after_s is None else f"restart after {self.restart_after_s:g}s")
            + f"; faults: {', '.join(self.families) or 'none'}"
        )


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is done to the world.

    Attributes:
        number: its place in the story, from 1.
        name: a method of `Stage`.
        arguments: its arguments, JSON data.
    """

    number: int
    name: str
    arguments: Arguments = field(default_factory=dict)

    def __str__(self) -> str:
        """Show it as a call."""
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.arguments.items())})"


@dataclass(frozen=True, slots=True)
class Story:
    """A world, and what is done to it."""

    seed: int
    setup: Setup
    steps: tuple[Step, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of its steps."""
        return tuple(step.number for step in self.steps)

    def only(self, numbers: Collection[int]) -> Story:
        """Return the story of these steps alone."""
        return Story(self.seed, self.setup, tuple(step for step in self.steps if step.number in numbers))


def story_of(seed: int) -> Story:
    """Draw the story of a seed. The same for one seed in every process, and on every machine with one Python."""
    draw = random.Random(f"story {seed}")
    families = tuple(sorted(draw.sample(sorted(FAULTS), draw.randint(1, _FAMILIES_MAX))))
    # Drawn apart, so that the rest of a story is what it was before there was a lead. Half a second is more than in
    # production: for more to happen while tasks wait for their moment.
    lead_s = random.Random(f"lead {seed}").choice([0.0, 0.005, 0.5])
    setup = _setup(draw, families, lead_s)
    kinds = [*_WORK, *(kind for family in families for kind in FAULTS[family])]
    weights = [weight for weight, _, _ in kinds]
    steps = []
    for number in range(1, draw.randint(_STEPS_MIN, _STEPS_MAX) + 1):
        [(_, name, arguments)] = draw.choices(kinds, weights)
        steps.append(Step(number, name, arguments(draw)))
    return Story(seed, setup, tuple(steps))


def _setup(draw: random.Random, families: tuple[str, ...], lead_s: float) -> Setup:
    limits = ServiceLimits(
        threads=draw.choice([1, 2, 8]),
        processes=draw.choice([1, 2]),
        prefetch=draw.choice([1, 3, 1000]),
        events_per_turn_max=draw.choice([1, 2, 500]),
        replies_in_flight_max=draw.choice([1, 2, 1000]),
        message_bytes_max=256 * 1024,
        keep_outcomes_s=draw.choice([600, _WEEK_S]),
        # A wall clock that is set by years forgets ids too early: that is what W13 leaves.
        keep_ids_s=_YEARS_S if "wall clock set" in families else _MONTH_S,
    )
    return Setup(
        clients=tuple(draw.choice(["ada", "bob"]) for _ in range(draw.randint(1, 3))),
        limits=limits,
        restart_after_s=draw.choice([None, 1.0, 30.0]),
        queue_type=draw.choice(["classic", "classic", "quorum"]),
        lead_s=lead_s,
        families=families,
    )


# --- what steps are drawn with


def _nothing(_draw: random.Random) -> Arguments:
    return {}


def _one_of(**choices: list[Any]) -> _Draw:
    """Return what draws a value for each argument."""
    return lambda draw: {name: draw.choice(values) for name, values in choices.items()}


def _task(draw: random.Random) -> Arguments:
    """Draw how a task is launched, and what its function does; defaults are left out, so that stories read well."""
    drawn = {
        "client": draw.randrange(3),
        "hard": draw.random() < 0.3,  # noqa: PLR2004 - three in ten
        "delay": draw.choice([None, None, None, 1, 30, 60, 3600, _DAY_S, 3 * _DAY_S]),
        "seconds": draw.choice([0, 0, 0, 1, 5, 5, 90, 4000]),
        "end": draw.choice(["return", "return", "return", "raise", "chain", "big", "odd", "exit"]),
        "lifetime": draw.choice([None, None, 3, 60]),
        "overdue": draw.choice(["skip", "run"]),
        "starts": draw.choice([1, 1, 1, 2, 3]),
    }
    plain = {
        "starts": 1,
        "hard": False,
        "delay": None,
        "seconds": 0,
        "end": "return",
        "lifetime": None,
        "overdue": "skip",
    }
    return {name: value for name, value in drawn.items() if name not in plain or value != plain[name]}


def _batch(draw: random.Random) -> Arguments:
    return {"count": draw.choice([2, 5, 12]), **_task(draw)}


def _queue_and_times(draw: random.Random) -> Arguments:
    return {"queue": draw.choice(["client-service", None]), "times": draw.choice([1, 1, 3])}


def _queue_and_delay(draw: random.Random) -> Arguments:
    return {"delay_s": draw.choice([0.5, 7, 90, 3600]), **_queue_and_times(draw)}


_WORK: tuple[tuple[int, str, _Draw], ...] = (
    (2 * _HEAVY, "launch", _task),
    (_MIDDLE, "batch", _batch),
    (_MIDDLE, "wait", _one_of(which=[0, 1, 5], timeout_s=[0, 1, 60, 3600])),
    (_LIGHT, "launch_again", _nothing),
    (_LIGHT, "poison", _one_of(body=["", "{", "null", "\x00", '{"id": "x", "type": 99}'])),
    (2 * _HEAVY, "advance", _one_of(seconds=[0.25, 1, 5, 60, 600, 3600, 6 * 3600, _DAY_S])),
    (_HEAVY, "run_until_idle", _nothing),
)
"""What programs do, and time."""

_CRASH = _one_of(call=[*_SERVICE_CALLS, *_OFTEN, *_OFTEN, *_OFTEN], when=["before", "after"], nth=[1, 1, 1, 2, 4])
_CLIENT_CRASH = _one_of(call=_CLIENT_CALLS, when=["before", "after"], nth=[1, 1, 2, 4])

FAULTS: dict[str, tuple[tuple[int, str, _Draw], ...]] = {
    "service killed": (
        (_MIDDLE, "crash_service", _one_of(after_s=_AFTER_S)),
        (_HEAVY, "crash_at", _CRASH),
        (_MIDDLE, "start_service", _nothing),
    ),
    "service stopped": (
        (_MIDDLE, "stop_service", _one_of(grace_s=[0, 1, 30])),
        (_HEAVY, "start_service", _nothing),
    ),
    "client killed": (
        (_LIGHT, "crash_client", _one_of(client=[0, 1, 2], after_s=_AFTER_S)),
        (_MIDDLE, "crash_at", _CLIENT_CRASH),
    ),
    "broker killed": (
        (_MIDDLE, "crash_broker", _one_of(down_s=[0, 5, 600], after_s=_AFTER_S)),
        (_LIGHT, "crash_at", _one_of(call=["broker.keep"], when=["after"], nth=[1, 2, 5])),
    ),
    "broker restarted": ((_MIDDLE, "restart_broker", _one_of(down_s=[0, 5, 600], after_s=_AFTER_S)),),
    "connections cut": (
        (_MIDDLE, "cut", _one_of(after_s=_AFTER_S)),
        (_MIDDLE, "cut_at", _one_of(operation=[1, 2, 3, 5, 8, 13, 21])),
        (_LIGHT, "half_open", _nothing),
        (_LIGHT, "network_away", _one_of(for_s=[1, 60, 3600])),
    ),
    "lost on the way": ((_MIDDLE, "lose", _one_of(what=["message", "confirm", "delivery"], cut_after_s=[0.5, 5, 60])),),
    "repeated": ((_MIDDLE, "repeat_message", _queue_and_times), (_MIDDLE, "repeat_delivery", _queue_and_times)),
    "delayed": (
        (_LIGHT, "delay_message", _queue_and_delay),
        (_LIGHT, "delay_confirm", _queue_and_delay),
        (_LIGHT, "delay_delivery", _queue_and_delay),
    ),
    "reordered": ((_MIDDLE, "reorder", _queue_and_times),),
    "blocked": ((_MIDDLE, "block", _one_of(for_s=[1, 60, 3600])),),
    "queue full": ((_MIDDLE, "limit_queue", _one_of(to=[0, 1, 3], for_s=[1, 60, 3600])),),
    "database failing": (
        (_MIDDLE, "fail_storage", _one_of(error=["busy", "full", "ioerr", "readonly"], at=[1, 2, 3, 5, 8, 13])),
        (_LIGHT, "break_storage", _one_of(error=["busy", "full", "ioerr", "readonly"], for_s=[1, 60, 3600])),
    ),
    "wall clock set": ((_MIDDLE, "jump_wall", _one_of(seconds=[1, -1, 3600, -3600, _DAY_S, 365 * _DAY_S])),),
}
"""The faults, by families: a story has only some of them, so that some stories have much of one kind."""
