"""Same seed, same calls: the same log, byte for byte, in any process."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from schedulergodx.utils.abstractions import QueueSpec
from tests.unit.memory_programs import Program, Q, World

ROOT = Path(__file__).parents[2]


def work(consumer: Program) -> None:
    """Ack, give back and reject what came."""
    deliveries = consumer.take()
    consumer.transport.ack(deliveries[::2])
    consumer.transport.give_back(deliveries[1::4])
    for delivery in deliveries[3::4]:
        consumer.transport.reject(delivery, "WHY")


def story(seed: int, **options: object) -> str:
    """Return the log of a story with three programs, several queues and many faults."""
    world = World(seed, **options)
    faults = world.broker.faults
    consumers = [world.program(name) for name in ("x", "y", "z")]
    specs = [Q, QueueSpec(name="r", expires_after_s=30.0), QueueSpec(name="s", is_quorum=True)]
    sender = world.program("sender")
    for spec in specs:
        sender.transport.declare(spec)
    for number in range(60):
        sender.publish(f"m{number}", queue=specs[number % 3].name)
    for consumer, spec in product(consumers, specs):
        consumer.transport.consume(spec, prefetch=3)
    faults.repeat_delivery("q", times=3)
    faults.delay_confirm(0.5, "r")
    faults.cut_at(70)
    faults.cut_at(40, "y")
    for turn in range(12):
        world.pass_s(0.7)
        for consumer in consumers:
            work(consumer)
        if turn == 4:
            world.broker.crash(down_s=1.0)
        if turn == 7:
            faults.half_open("x", heartbeat_s=1.5)
        if turn == 8:
            consumers[2].transport.kill()
    for consumer in consumers:
        consumer.transport.close()
    world.pass_s(40)
    return "\n".join(str(one) for one in world.broker.log)


def test_the_same_seed_gives_the_same_log() -> None:
    """Many times, for many seeds; and other seeds give other logs."""
    logs = {}
    for seed in range(8):
        logs[seed] = story(seed)
        assert all(story(seed) == logs[seed] for _ in range(3))
    assert len(set(logs.values())) == 8
    assert "crash" in logs[0]
    assert len(logs[0].splitlines()) > 300


@pytest.mark.slow
def test_the_same_log_in_other_processes() -> None:
    """Whatever the seed of Python's own hashes is."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom {__name__} import story\nprint(story(7))"
    program = program.replace(__name__, "tests.unit.test_memory_broker_determinism")
    for hash_seed in ("0", "1", "12345"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        assert done.stderr == ""
        assert done.stdout == story(7) + "\n"


def test_choices_may_come_from_elsewhere() -> None:
    """A source of choices is asked only where there is one, and with what it gives the log is repeated."""
    taken: list[tuple[int, int]] = []

    def choose(count: int) -> int:
        taken.append((count, (len(taken) * 7) % count))
        return taken[-1][1]

    log = story(0, choose=choose)
    assert all(count > 1 for count, _ in taken)
    replay = iter([choice for _, choice in taken])
    assert story(99, choose=lambda _count: next(replay)) == log
