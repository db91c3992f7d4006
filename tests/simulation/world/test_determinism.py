"""One seed, one order: over runs, processes, hash seeds; and what was chosen can be replayed."""

import asyncio
import os
import queue
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schedulergodx_testing.clock import FakeClock
from schedulergodx_testing.world import World
from schedulergodx_testing.world.choices import Choices
from schedulergodx_testing.world.interpose import interposed

_HERE = Path(__file__)
_PROCESSES = 4


def play(choices):  # noqa: C901 - a crowd, on purpose
    """Let a crowd of threads, pools and loops meet at the same instants. Returns what happened, in order."""
    told = []
    inbox, lock, gate = queue.Queue(), threading.Lock(), threading.Barrier(3)

    def note(what):
        told.append(f"{time.monotonic():.6f} {datetime.now(UTC):%H:%M:%S.%f} {what}")

    def contend(name):
        for step in range(3):
            time.sleep(1)
            with lock:
                note(f"{name} has the lock")
                time.sleep(random.choice([0, 0.5]))
            inbox.put(f"{name} {step}")
        gate.wait()
        note(f"{name} is through")

    def take():
        while (item := inbox.get()) is not None:
            note(f"took {item}")

    async def loop():
        async def one(name):
            await asyncio.sleep(1)
            note(name)
            await asyncio.to_thread(time.sleep, 1)
            note(f"{name} again")

        await asyncio.gather(*(one(f"task {number}") for number in range(3)))

    def pool():
        with ThreadPoolExecutor(3) as workers:
            list(workers.map(lambda number: (time.sleep(1), note(f"pooled {number}")), range(6)))

    world = World(FakeClock(), choices)
    with interposed(world, UTC):
        threads = [threading.Thread(target=contend, args=(name,)) for name in "abc"]
        others = [threading.Thread(target=body) for body in (take, lambda: asyncio.run(loop()), pool)]
        for thread in [*threads, *others]:
            thread.start()
        for thread in threads:
            thread.join()
        inbox.put(None)
        for thread in others:
            thread.join()
        assert world.end() == []
    return told


@pytest.mark.slow
def test_one_seed_gives_one_order():
    """A hundred runs in one process."""
    first = play(Choices(7))
    assert len(first) == 3 * 3 + 9 + 3 + 6 + 6
    for _ in range(99):
        assert play(Choices(7)) == first


def test_seeds_give_different_orders():
    """Eight seeds show more than a few orders of the same happenings."""
    assert len({tuple(play(Choices(seed))) for seed in range(8)}) > 4


def test_what_was_chosen_can_be_replayed():
    """With another seed, and the choices of a run, the choices are the same again."""
    noted = Choices(3)
    play(noted)
    again = Choices(3, noted.taken)
    assert play(again) == play(Choices(3))
    assert again.taken == noted.taken
    assert noted.taken


@pytest.mark.slow
def test_processes_agree():
    """Whatever their PYTHONHASHSEED."""
    outputs = set()
    for hash_seed in range(_PROCESSES):
        environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(_HERE.parents[3])}
        done = subprocess.run(
            [sys.executable, str(_HERE)], env=environment, check=True, capture_output=True, text=True, timeout=60
        )
        outputs.add(done.stdout)
    assert outputs == {"\n".join(play(Choices(7))) + "\n"}


def test_golden():
    """The same on every Python: this is what it was when it was written."""
    text = "\n".join(play(Choices(7))) + "\n"
    assert text == (_HERE.parent / "golden" / "crowd.txt").read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.stdout.write("\n".join(play(Choices(7))) + "\n")
