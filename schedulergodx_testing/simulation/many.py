"""Playing the stories of many seeds, in several processes, and adding up what came of them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from schedulergodx.clock import SystemClock
from schedulergodx_testing.simulation.playing import Played, play
from schedulergodx_testing.simulation.shrinking import shrink
from schedulergodx_testing.simulation.stories import story_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

COMMAND = "python -m schedulergodx_testing.simulation"
BROKEN_MAX = 5
"""Stories with broken promises after which a process plays no more: more of them tell nothing new."""
_TOLD_EVERY = 1000
_YEAR_S = 365 * 86400.0


@dataclass(slots=True)
class Total:
    """What came of many stories; each attribute is a sum over them, see `Played`."""

    seeds: int = 0
    steps: int = 0
    tasks: int = 0
    launches: int = 0
    runs: int = 0
    faults: int = 0
    virtual_s: float = 0.0
    broken: int = 0

    def add(self, played: Played) -> None:
        """Add one story."""
        self.seeds += 1
        self.steps += len(played.story.steps)
        self.tasks += played.tasks
        self.launches += played.launches
        self.runs += played.runs
        self.faults += played.faults
        self.virtual_s += played.virtual_s
        self.broken += bool(played.found)

    def add_all(self, other: Total) -> None:
        """Add the sums of another process."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.seeds:,} seeds, {self.steps:,} steps, {self.launches:,} launches, {self.tasks:,} tasks stored, "
            f"{self.runs:,} runs, {self.faults:,} faults, {self.virtual_s / _YEAR_S:,.1f} virtual years: "
            + (f"{self.broken:,} seeds broke a promise" if self.broken else "no promise broken")
        )


def replay_line(played: Played) -> str:
    """Return the command that plays a story again."""
    seed, numbers = played.story.seed, played.story.numbers
    only = "" if numbers == story_of(seed).numbers else f" --only {','.join(map(str, numbers)) or '0'}"
    return f"{COMMAND} --seed {seed}{only}"


def play_seeds(seeds: Iterable[int], say: Callable[[str], None]) -> Total:
    """Play seeds, one after the other, in this process. Stories that break a promise are told, made short first.

    Args:
        seeds: which ones.
        say: gets lines and stories for people.
    """
    logging.disable(logging.CRITICAL)  # what services log is nobody's here, and there is much of it
    total = Total()
    try:
        for seed in seeds:
            played = play(story_of(seed))
            total.add(played)
            if played.found:
                short = shrink(played)
                say(f"{short.told}\n\nReplay it: {replay_line(short)}\nAll of it: {replay_line(played)}\n")
            if total.broken == BROKEN_MAX:
                break
            if total.seeds % _TOLD_EVERY == 0:
                say(f"… seed {seed}: {total}")
    finally:
        logging.disable(logging.NOTSET)
    return total


def play_in_processes(first: int, count: int, jobs: int, say: Callable[[str], None]) -> Total:
    """Play `count` seeds from `first` on, in `jobs` processes; each takes every `jobs`-th seed.

    Raises:
        RuntimeError: one of the processes ended without a result; what it said is in the message.
    """
    if jobs == 1:
        return play_seeds(range(first, first + count), say)
    command = [sys.executable, "-m", "schedulergodx_testing.simulation", "--part-of"]
    processes = [
        subprocess.Popen(  # noqa: S603 - this interpreter and this package
            [*command, str(jobs), "--first", str(first + part), "--seeds", str(len(range(part, count, jobs)))],
            stdout=subprocess.PIPE,
            text=True,
        )
        for part in range(jobs)
    ]
    total = Total()
    try:
        for process in processes:
            total.add_all(_result_of(process, say))
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    return total


def _result_of(process: subprocess.Popen[str], say: Callable[[str], None]) -> Total:
    """Pass on what a process says, and return the sums that it says last."""
    for line in process.stdout or ():
        if line.startswith("{"):
            return Total(**json.loads(line))
        say(line.rstrip("\n"))
    raise RuntimeError(f"a process of the simulation ended with {process.wait()}, and without a result")


def timed(action: Callable[[], Total]) -> tuple[Total, float]:
    """Return what an action gives, and the real seconds that it took."""
    clock = SystemClock()
    begun = clock.monotonic()
    return action(), clock.monotonic() - begun
