"""What every benchmark shares: its options, rounds with a warm-up, medians with their spread, and the JSON kept.

A figure of one run means little on a shared machine: only ratios between what ran interleaved in one run are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from schedulergodx.clock import SystemClock
from schedulergodx.utils.keys.ring import new_key
from schedulergodx.utils.keys.source import KEY_FILE_VARIABLE, KEYS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")
CLOCK = SystemClock()
ROUNDS = 3
RESULTS = Path(__file__).parent / "results"
"""Where the JSON of each run is kept, one file for each benchmark; the newest replaces the one before."""
_facts: dict[str, str] = {}
_PACKAGES = ("schedulergodx", "pika", "cloudpickle", "celery", "dramatiq", "taskiq", "taskiq-aio-pika", "huey")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured question.

    Attributes:
        name: what was measured.
        unit: of the values, e.g. `tasks/s`.
        values: one for each round, the warm-up left out.
    """

    name: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        """One line: the median, and the lowest and highest."""
        spread = f"({short(min(self.values))} - {short(max(self.values))})"
        return f"{self.name:<58} {short(self.median):>10} {self.unit:<8} {spread}"


def in_turn(measures: Mapping[str, Callable[[], T]], *, rounds: int) -> dict[str, list[T]]:
    """Run all measures once unrecorded, then in turn, `rounds` times each. Return what each brought."""
    found: dict[str, list[T]] = {name: [] for name in measures}
    for place in range(rounds + 1):
        for name, measure in measures.items():
            value = measure()
            if place:
                found[name].append(value)
    return found


def repeated(measure: Callable[[], T], *, rounds: int) -> list[T]:
    """Run one measure once unrecorded, then `rounds` times. Return what each brought."""
    return in_turn({"": measure}, rounds=rounds)[""]


def interleaved(measures: Mapping[str, Callable[[], float]], unit: str, *, rounds: int) -> list[Figure]:
    """Measure as `in_turn` does, each a value of `unit`."""
    found = in_turn(measures, rounds=rounds)
    return [Figure(name=name, unit=unit, values=tuple(values)) for name, values in found.items()]


def per_second(count: int, action: Callable[[], object]) -> float:
    """Return how many of `count` things an action does in a second."""
    return count / seconds(action)


def seconds(action: Callable[[], object]) -> float:
    """Return the real seconds that an action takes."""
    begun = CLOCK.monotonic()
    action()
    return CLOCK.monotonic() - begun


class Options(argparse.Namespace):
    """What the command line of a benchmark says.

    Attributes:
        rounds: how often everything is measured, after one warm-up.
        scale: which part of the full numbers is used; below 1 only to try a benchmark.
        unsigned: without keys.
    """

    rounds: int
    scale: float
    unsigned: bool

    def part_of(self, count: int) -> int:
        """Return so many things, or the part of them that is asked for, at least ten."""
        return min(count, max(10, round(count * self.scale)))


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser of the command line that knows the options of every benchmark."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("rounds", nargs="?", type=int, default=ROUNDS, help=f"measured rounds; default: {ROUNDS}")
    scale = float(os.environ.get("SCHEDULERGODX_BENCH_SCALE") or 1)
    made.add_argument("--scale", type=float, default=scale, help="a part of the full numbers, e.g. 0.01 to try it")
    made.add_argument("--unsigned", action="store_true", help="without keys; by default all messages are signed")
    return made


def asked(how: argparse.ArgumentParser | str | None) -> Options:
    """Read the command line, with a parser or for a text that says what is measured.

    Unless it says `--unsigned`, this process and all that it starts get a key of this run. What it starts may keep what
    it has compiled: what is installed is compiled already, and only a checkout would be compiled at every start.
    """
    made = how if isinstance(how, argparse.ArgumentParser) else parser(how)
    options = made.parse_args(namespace=Options())
    for variable in (KEYS_VARIABLE, KEY_FILE_VARIABLE, "PYTHONDONTWRITEBYTECODE"):
        os.environ.pop(variable, None)
    if not options.unsigned:
        os.environ[KEYS_VARIABLE] = new_key().line()
    note(signing="off" if options.unsigned else "on", scale=f"{options.scale:g}")
    return options


def note(**facts: str) -> None:
    """Note what else the figures of this run depend on."""
    _facts.update(facts)


def pause(span_s: float) -> None:
    """Let real time pass: nothing else tells what an idle program costs."""
    time.sleep(span_s)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def machine() -> dict[str, str]:
    """Return what the figures depend on: the machine, and versions of what takes part."""
    facts = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.platform(),
        "processors": f"{os.cpu_count()} x {_processor()}",
        "sqlite": sqlite3.sqlite_version,
    }
    for package in _PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return facts | _facts


def spread(name: str, unit: str, rounds: Sequence[Sequence[float]], shares: Mapping[str, float]) -> list[Figure]:
    """Return a figure for each share of the values, e.g. `{"p50": 0.5}`, with its value in each round."""
    return [
        Figure(name=f"{name}, {words}", unit=unit, values=tuple(percentile(one, share) for one in rounds))
        for words, share in shares.items()
    ]


def in_columns(rounds: Sequence[Sequence[float]], names: Mapping[str, str]) -> list[Figure]:
    """Return a figure for each name and unit, when each round has brought a value for each of them."""
    return [
        Figure(name=name, unit=unit, values=tuple(one[place] for one in rounds))
        for place, (name, unit) in enumerate(names.items())
    ]


def tell(name: str, figures: Sequence[Figure], **more: str) -> None:
    """Print the figures of benchmark `name` below the machine, and keep them as JSON."""
    facts = machine() | more
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    for figure in figures:
        print(figure)
    facts["measured_at"] = CLOCK.now().isoformat(timespec="seconds")
    RESULTS.mkdir(exist_ok=True)
    kept = {"machine": facts, "figures": [asdict(figure) | {"median": figure.median} for figure in figures]}
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def short(value: float) -> str:
    """Return a number with three digits, or more where it is large."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits say enough


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
