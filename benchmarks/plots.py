"""Draws what was measured last into `docs/`: throughput over batch size, and memory over tasks that wait.

It reads `results/batch.json` and `results/waiting.json`, of `bench_batch.py` and `bench_waiting.py`, and needs
matplotlib: `pip install .[bench]`. The same results give the same files.

Run it by hand: `python benchmarks/plots.py [FOLDER]`.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench_batch
import bench_waiting
import matplotlib as mpl
import measuring
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS = Path(__file__).parent.parent / "docs"
SIZE_INCHES = (6.4, 3.6)
ROOM = 1.3
"""So much higher than the highest value, for the legend."""
MACHINE = ("processors", "python", "rabbitmq", "sqlite")


def results(name: str) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Return the values of each figure of a benchmark, and the facts of its run."""
    said: dict[str, Any] = json.loads((measuring.RESULTS / f"{name}.json").read_text("utf-8"))
    return {figure["name"]: figure["values"] for figure in said["figures"]}, said["machine"]


def line(axes: Axes, places: list[int], values: list[list[float]], label: str) -> None:
    """Draw medians, with lines from the lowest to the highest."""
    medians = [statistics.median(one) for one in values]
    below = [median - min(one) for median, one in zip(medians, values, strict=True)]
    above = [max(one) - median for median, one in zip(medians, values, strict=True)]
    axes.errorbar(places, medians, yerr=[below, above], marker="o", capsize=3, label=label)


def batches() -> Figure:
    """Draw throughput over batch size."""
    values, facts = results("batch")
    figure, axes = _figure(facts)
    sizes = list(bench_batch.SIZES)
    for pattern, label in (
        (bench_batch.LAUNCHES, "launches, so many in a client.batch()"),
        (bench_batch.ANSWERS, "tasks answered, so many events in a turn"),
    ):
        line(axes, sizes, [values[pattern.format(f"{size:,}")] for size in sizes], label)
    axes.set(xscale="log", xlabel="batch size", ylabel="per second")
    _finish(axes)
    return figure


def memory() -> Figure:
    """Draw memory over tasks that wait for a year."""
    values, facts = results("waiting")
    figure, axes = _figure(facts)
    words = list(bench_waiting.WAITING)
    places = [int(facts[one].replace(",", "")) for one in words]
    line(axes, places, [values[f"{one} waiting: memory, idle"] for one in words], "service, idle")
    axes.set(xlabel="tasks that wait for a year", ylabel="memory in MB")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    _finish(axes)
    return figure


def _figure(facts: dict[str, str]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    machine = ", ".join(f"{key} {facts[key]}" for key in MACHINE if key in facts)
    part = "" if facts["scale"] == "1" else f" (only tried, with {facts['scale']} of the numbers)"
    axes.set_title(machine + part, fontsize=7)
    return figure, axes


def _finish(axes: Axes) -> None:
    axes.set_ylim(0, axes.get_ylim()[1] * ROOM)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="upper left")


def main() -> None:
    """Draw all."""
    folder = Path(sys.argv[1]) if sys.argv[1:] else DOCS
    with mpl.rc_context({"svg.hashsalt": "schedulergodx", "svg.fonttype": "none"}):
        for name, figure in (("performance-batches", batches()), ("performance-waiting", memory())):
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
