"""A client that floods a service, and one that launches a single task."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from schedulergodx import Client

if TYPE_CHECKING:
    from schedulergodx_testing import Harness

MINUTE_S = 60.0


def work(seconds: float) -> None:
    time.sleep(seconds)


@pytest.mark.scheduler(service={"threads": 1})
def test_a_single_task_waits_for_two_others_of_a_flood_at_most(scheduler: Harness) -> None:
    """For the one that runs, and for one whose turn it is: an hour's work lies before it."""
    flood, single = Client(name="flood", task_lifetime=None), Client(name="single")
    long, quick = flood.task(work), single.task(work)
    with flood.batch():
        for _ in range(60):
            long.launch(MINUTE_S)
    scheduler.advance(seconds=1)
    began_s = scheduler.clock.monotonic()
    quick.launch(0).result()
    assert scheduler.clock.monotonic() - began_s <= 2 * MINUTE_S
    scheduler.run_all()
    assert len(scheduler.tasks) == 61
