"""A world for each test, without a harness on top."""

from datetime import UTC

import pytest

from schedulergodx_testing.clock import FakeClock
from schedulergodx_testing.world import World
from schedulergodx_testing.world.choices import Choices
from schedulergodx_testing.world.interpose import interposed


@pytest.fixture
def patience_s():
    """How many real seconds a thread may run without a wait; a test of something slow takes more."""
    return 0.3


@pytest.fixture
def world(patience_s):
    """An open world, whose driver is the test; at its end no thread is left."""
    opened = World(FakeClock(), Choices(1), patience_s=patience_s)
    with interposed(opened, UTC):
        yield opened
        left = opened.end()
    assert left == []


@pytest.fixture
def elapsed(world):
    """Return a function that tells the virtual seconds since the start of the test."""
    start_us = world.clock.monotonic_us()
    return lambda: (world.clock.monotonic_us() - start_us) / 1e6


@pytest.fixture
def in_thread(world):
    """Return a function that runs another one in a thread of the world to its end, and returns its result."""

    def run(function, *args):
        results = []
        thread = world.spawn("worker", lambda: results.append(function(*args)))
        world.run(lambda: thread.is_done, None, "worker")
        return results[0]

    return run
