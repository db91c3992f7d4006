"""A client that floods a service, with tasks or with large results, and one that launches a single task."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from schedulergodx import Client
from schedulergodx.service.publisher import QUEUE_BYTES_MAX, Publisher

if TYPE_CHECKING:
    from schedulergodx.utils.abstractions import Reply
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


def text_after(seconds: float, size: int) -> str:
    time.sleep(seconds)
    return "x" * size


@pytest.mark.scheduler(service={"threads": 31})
def test_a_single_answer_is_behind_few_bytes_of_a_flood(scheduler: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though 6 MB of answers waited before it, while the broker took none: 1 MiB, and one answer more."""
    sent: list[tuple[str, int]] = []
    send = Publisher._send

    def noted(self: Publisher, queue: str, replies: list[Reply], size: int) -> None:
        sent.append((queue, sum(len(reply.body) for reply in replies)))
        send(self, queue, replies, size)

    monkeypatch.setattr(Publisher, "_send", noted)
    flood, single = Client(name="flood", task_lifetime=None), Client(name="single", task_lifetime=None)
    large, small = flood.task(text_after), single.task(text_after)
    with flood.batch():
        ids = [large.launch(MINUTE_S, 200_000) for _ in range(30)]
    last = small.launch(MINUTE_S + 1, 1)
    scheduler.advance(seconds=1)
    scheduler.broker.faults.block()
    scheduler.advance(seconds=2 * MINUTE_S)
    scheduler.broker.faults.unblock()
    assert last.result() == "x"
    place = next(place for place, (queue, _size) in enumerate(sent) if ".single." in queue)
    assert 0 < sum(size for _queue, size in sent[:place]) <= QUEUE_BYTES_MAX + 300_000
    assert [len(one.result()) for one in ids] == [200_000] * 30
