"""What is to be reached, beside what was measured last: reads `results/`, where each benchmark keeps its figures.

Run it by hand: `python benchmarks/targets.py [--markdown]`. `make bench-peers` ends with it.
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass, field
from functools import partial

import measuring

OURS = "schedulergodx"
WIDTHS = (46, 44, 16, 26, 7)
HEADING = ("question", "target", "measured", "ratio to, or beside", "met?")


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table. Figures are named `benchmark/name`.

    Attributes:
        question: what is asked.
        ours: the figure that is looked at; of several the best counts.
        is_least: whether it is to be at least the limit, instead of at most.
        factor, of, plus: the limit is `factor` times the best of these figures, or `plus` more than it, or `plus`.
    """

    question: str
    ours: tuple[str, ...]
    is_least: bool = field(kw_only=True)
    factor: float = 1.0
    of: tuple[str, ...] = ()
    plus: float = 0.0

    def line(self, medians: dict[str, tuple[float, str]]) -> tuple[str, ...]:
        """Return the question, the target, what was measured, the ratio, and whether it is met."""
        ours = self._best(self.ours, medians)
        other = self._best(self.of, medians)
        if ours is None or (self.of and other is None):
            return self.question, self._goal(), "not measured yet", "", ""
        value, unit = ours
        limit = self.plus + (self.factor * other[0] if other else 0.0)
        is_met = value >= limit if self.is_least else value <= limit
        measured = f"{measuring.short(value)} {unit}"
        beside = self._beside(value, *other) if other else ""
        return self.question, self._goal(), measured, beside, "met" if is_met else "not met"

    def _best(self, names: tuple[str, ...], medians: dict[str, tuple[float, str]]) -> tuple[float, str] | None:
        found = [medians[name] for name in names if name in medians]
        choose = max if self.is_least else min
        return choose(found) if found else None

    def _goal(self) -> str:
        sign = "≥" if self.is_least else "≤"
        if not self.of:
            return f"{sign} {self.plus:,g}"
        if self.plus:
            return f"{sign} {self.of[0].partition('/')[2]} {self.plus:+g}"
        names = " or ".join(name.rpartition(": ")[2] for name in self.of)
        return f"{sign} {self.factor:g} x {names}"

    def _beside(self, value: float, other: float, unit: str) -> str:
        if self.plus:
            return f"{value - other:+.3g} to {measuring.short(other)} {unit}"
        return f"{value / other:.2f} x {measuring.short(other)} {unit}" if other else ""


def _named(bench: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{bench}/{name}" for name in names)


_peers = partial(_named, "peers")
_waiting = partial(_named, "waiting")
_least = partial(Target, is_least=True)
_most = partial(Target, is_least=False)


def _throughput() -> list[Target]:
    answered = _peers(f"end to end, answered: {OURS}, RabbitMQ")
    ask = partial(_least, "end to end, answered", answered)
    no_results = _peers(*(f"end to end, no results: {peer}" for peer in ("Celery", "Dramatiq", "Taskiq")))
    one_file = _peers(f"end to end, answered: {OURS}, one file")
    return [
        ask(factor=4, of=_peers("end to end, answered: Dramatiq, Redis")),
        ask(factor=4, of=_peers("end to end, answered: Taskiq, Redis")),
        ask(factor=6, of=_peers("end to end, answered: Celery, rpc")),
        _least("the same, peers without results", answered, factor=2, of=no_results),
        _least("end to end over one file", one_file, factor=4, of=_peers("end to end, answered: Huey, SQLite")),
    ]


def _launching() -> list[Target]:
    confirmed, bare = (_peers(f"launches, {kind}: Dramatiq") for kind in ("confirmed", "not confirmed"))
    alone = _peers(f"launches, confirmed: {OURS}, one thread")
    many = _peers(*(f"launches, confirmed: {OURS}, {how}" for how in ("8 threads", "in a batch")))
    return [
        _least("launches, one thread, each confirmed", alone, factor=1.2, of=confirmed),
        _least("launches, 8 threads or a batch", many, factor=10, of=confirmed),
        _least("the same, Dramatiq without confirms", many, factor=1, of=bare),
    ]


def _latency() -> list[Target]:
    found = []
    for share in ("p50", "p99"):
        ours = _peers(f"one at a time: {OURS}, RabbitMQ, {share}")
        echo = _peers(f"one at a time: bare pika, to a worker and back, {share}")
        question = f"one launch to its result, {share}"
        found.append(_most(question, ours, factor=0.6, of=_peers(f"one at a time: Celery, rpc, {share}")))
        found.append(_most(question, ours, factor=2.2, of=echo))
    one_file = _peers(f"one at a time: {OURS}, one file, p50")
    return [*found, _most("the same over one file, p50 (ms)", one_file, plus=2)]


def _delays() -> list[Target]:
    ours, other = (
        {share: _peers(f"lateness: {who}, {share}") for share in ("earliest", "p50", "p99", "latest")}
        for who in (OURS, "APScheduler, SQLite")
    )
    due = partial(_named, "due_at_once")
    return [
        _least("delayed tasks: the earliest (ms)", ours["earliest"]),
        _most("delayed tasks, lateness, p50", ours["p50"], of=other["p50"]),
        _most("delayed tasks, lateness, p99", ours["p99"], of=other["p99"]),
        _most("delayed tasks, the latest (ms)", ours["latest"], plus=10),
        _least("100,000 due at once: tasks that ran", due("tasks that ran"), plus=100_000),
        _most("100,000 due at once: first began (ms)", due("first began, late by"), plus=50),
        _most("100,000 due at once: memory (MB)", due("memory at its highest"), of=due("memory before"), plus=50),
    ]


def _of_waiting() -> list[Target]:
    found = []
    for words, count in (("few", "50,000"), ("many", "1,000,000")):
        pairs = {
            name: (_waiting(f"{words} waiting: {name}"), _waiting(f"none waiting: {name}"))
            for name in ("memory, idle", "start to first answer", "due tasks, answered", "lateness, p50")
        }
        (memory, no_memory), (ready, soon), (rate, full_rate), (late, least_late) = pairs.values()
        found += [
            _most(f"{count} wait for a year: memory", memory, of=no_memory, plus=15),
            _most(f"{count} wait for a year: start (ms)", ready, of=soon, plus=100),
            _least(f"{count} wait for a year: pace of due tasks", rate, factor=0.9, of=full_rate),
            _most(f"{count} wait for a year: lateness, p50 (ms)", late, of=least_late, plus=0.5),
        ]
    return found


def _being_there() -> list[Target]:
    start = partial(_named, "start")
    ready = _peers(f"start to first task: {OURS}")
    return [
        _least("hard tasks a second", _named("hard", "hard: tasks answered"), plus=150),
        _most("hard task, launch to result, p50 (ms)", _named("hard", "hard: launch to result, p50"), plus=12),
        _most(
            "import of the client (ms)", start("import of schedulergodx.client"), of=start("import of pika"), plus=25
        ),
        _most("start of a service", ready, factor=0.7, of=_peers("start to first task: Dramatiq")),
        _most("memory, idle (MB)", start("memory, idle"), plus=40),
        _most("CPU, idle (%)", start("CPU, idle"), plus=0.5),
        _most("memory over 1,000,000 tasks: growth (MB)", _named("memory", "growth after the first tenth"), plus=2),
        _most("harness: enter and leave (s)", _named("harness", "entering"), plus=0.01),
        _most("harness: 10,000 launches (s)", _named("harness", "launches"), plus=3),
        _most("harness: a year of 100,000 timers (s)", _named("harness", "year of sleeps"), plus=20),
    ]


def all_targets() -> list[Target]:
    """Return every line of the table."""
    return [*_throughput(), *_launching(), *_latency(), *_delays(), *_of_waiting(), *_being_there()]


def kept() -> tuple[dict[str, tuple[float, str]], set[str]]:
    """Return the median and unit of each figure that is kept, and what is to be said of the results."""
    medians: dict[str, tuple[float, str]] = {}
    remarks = set()
    for path in sorted(measuring.RESULTS.glob("*.json")):
        said = json.loads(path.read_text("utf-8"))
        for figure in said["figures"]:
            medians[f"{path.stem}/{figure['name']}"] = (statistics.median(figure["values"]), figure["unit"])
        facts = said["machine"]
        if facts.get("scale", "1") != "1":
            remarks.add(
                f"{path.stem}: tried with {facts['scale']} of the full numbers, which says nothing: delete its result"
            )
        if facts.get("signing", "on") != "on":
            remarks.add(f"{path.stem}: measured without signing")
    return medians, remarks


def main(*, is_markdown: bool = False) -> None:
    """Print the table, as columns or as Markdown for docs/performance.md."""
    medians, remarks = kept()
    rows = [HEADING, *(target.line(medians) for target in all_targets())]
    if is_markdown:
        rows.insert(1, ("---",) * len(HEADING))
        print("\n".join(f"| {' | '.join(cells)} |" for cells in rows))
        return
    print("\nWhat is to be reached (medians; what is not measured: make bench)\n")
    for cells in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip())
    for remark in sorted(remarks):
        print(remark)


if __name__ == "__main__":
    main(is_markdown="--markdown" in sys.argv)
