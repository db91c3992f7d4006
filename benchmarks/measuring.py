"""What every benchmark shares: rounds with a warm-up, medians with their spread, the machine, and the JSON kept.

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
from typing import TYPE_CHECKING

from schedulergodx.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CLOCK = SystemClock()
ROUNDS = 3
RESULTS = Path(__file__).parent / "results"
"""Where the JSON of each run is kept, one file for each benchmark; the newest replaces the one before."""
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
        spread = f"({_short(min(self.values))} - {_short(max(self.values))})"
        return f"{self.name:<58} {_short(self.median):>10} {self.unit:<8} {spread}"


def interleaved(measures: Mapping[str, Callable[[], float]], unit: str, *, rounds: int) -> list[Figure]:
    """Run all measures once unrecorded, then in turn, `rounds` times each. Each returns a value of `unit`."""
    values: dict[str, list[float]] = {name: [] for name in measures}
    for place in range(rounds + 1):
        for name, measure in measures.items():
            value = measure()
            if place:
                values[name].append(value)
    return [Figure(name=name, unit=unit, values=tuple(measured)) for name, measured in values.items()]


def per_second(count: int, action: Callable[[], object]) -> float:
    """Return how many of `count` things an action does in a second."""
    return count / seconds(action)


def seconds(action: Callable[[], object]) -> float:
    """Return the real seconds that an action takes."""
    begun = CLOCK.monotonic()
    action()
    return CLOCK.monotonic() - begun


def parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser of the command line that knows the number of rounds."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("rounds", nargs="?", type=int, default=ROUNDS)
    return made


def rounds_asked(about: str | None) -> int:
    """Return how many rounds the command line asks for."""
    asked: int = parser(about).parse_args().rounds
    return asked


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
    return facts


def tell(name: str, figures: Sequence[Figure], **more: str) -> None:
    """Print the figures of benchmark `name` below the machine, and keep them as JSON."""
    facts = machine() | more
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    for figure in figures:
        print(figure)
    RESULTS.mkdir(exist_ok=True)
    kept = {"machine": facts, "figures": [asdict(figure) | {"median": figure.median} for figure in figures]}
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits say enough


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
