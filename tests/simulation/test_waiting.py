"""Calls of a client that wait, and those that only look; and whose clock a task sees."""

from __future__ import annotations

import asyncio
import pickle
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from schedulergodx import Client, ResultTimeout
from schedulergodx_testing import Harness, NothingLeftToHappen

client = Client(name="patient", task_lifetime=None)


@client.task
def double(number: int) -> int:
    return 2 * number


@client.task
def read_clocks() -> list[Any]:
    time.sleep(5)
    return [time.time(), time.monotonic(), datetime.now(UTC)]


def by_result(message_id: Any, timeout_s: float | None) -> object:
    return message_id.result(timeout_s=timeout_s)


def by_the_client(message_id: Any, timeout_s: float | None) -> object:
    return client.sync_await_response(message_id, timeout_s).arguments["result"]


def by_await(message_id: Any, timeout_s: float | None) -> object:
    async def wait() -> object:
        async with asyncio.timeout(timeout_s):
            return await message_id

    return asyncio.run(wait())


def by_the_client_in_asyncio(message_id: Any, timeout_s: float | None) -> object:
    async def wait() -> object:
        async with asyncio.timeout(timeout_s):
            return (await client.async_get_response(message_id)).arguments["result"]

    return asyncio.run(wait())


WAITS = [by_result, by_the_client, by_await, by_the_client_in_asyncio]


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_takes_as_long_as_the_answer(scheduler: Harness, wait: Any) -> None:
    """Virtual seconds, none of them real."""
    began = scheduler.clock.monotonic()
    assert wait(double.options(delay=3600).launch(4), None) == 8
    assert scheduler.clock.monotonic() - began == 3600


@pytest.mark.parametrize("wait", WAITS)
def test_a_timeout_is_over_at_its_virtual_second(scheduler: Harness, wait: Any) -> None:
    """Not before and not after; the task is not touched."""
    began = scheduler.clock.monotonic()
    message_id = double.options(delay=3600).launch(4)
    with pytest.raises((ResultTimeout, TimeoutError)):
        wait(message_id, 600)
    assert scheduler.clock.monotonic() - began == 600
    assert wait(message_id, 3600) == 8


@pytest.mark.parametrize("wait", WAITS)
def test_a_wait_that_nothing_can_end_says_so(scheduler: Harness, wait: Any) -> None:
    """At once, and without any time passing."""
    scheduler.stop_service()
    began = scheduler.clock.monotonic()
    message_id = double.launch(4)
    with pytest.raises(NothingLeftToHappen, match="nothing is left that could ever end this wait"):
        wait(message_id, None)
    assert scheduler.clock.monotonic() == began


def test_a_look_lets_no_time_pass(scheduler: Harness) -> None:
    """Neither does it let anything happen: the answer is there once the test has let it come."""
    message_id = double.launch(4)
    began = scheduler.clock.monotonic()
    assert client.get_response(message_id) is None
    assert scheduler.tasks == []
    scheduler.run_until_idle()
    assert client.get_response(message_id).arguments["result"] == 8
    assert scheduler.clock.monotonic() == began


@pytest.mark.parametrize("hard", [False, True])
def test_a_task_sees_the_clock_of_its_harness(scheduler: Harness, hard: bool) -> None:
    """In a process of its own too: the same moment, as the real types, and nothing of a test in their pickles."""
    wall, monotonic, now = read_clocks.options(hard=hard, hard_task_lifetime=None).launch().result()
    assert (wall, monotonic) == (scheduler.clock.now().timestamp(), scheduler.clock.monotonic())
    assert now == scheduler.clock.now()
    assert type(now) is datetime
    assert b"schedulergodx" not in pickle.dumps(now)


def test_nothing_is_left_on_disk() -> None:
    """The databases of a harness go with it, also when the test has failed."""
    folders = []
    for error in (None, ZeroDivisionError):
        try:
            with Harness() as scheduler:
                folders.append(scheduler._folder)
                double.launch(1)
                scheduler.run_until_idle()
                assert list(scheduler._folder.iterdir())
                if error:
                    raise error
        except ZeroDivisionError:
            pass
    assert len(folders) == 2
    assert not any(folder.exists() for folder in folders)


def test_waiting_for_an_id_ends_as_soon_as_it_has_ended() -> None:
    """At the very moment, before anything else happens, as by a condition that looks each time."""
    timelines = []
    for by_condition in (False, True):
        with Harness(seed=3) as scheduler:
            message_id = double.options(delay=60).launch(4)
            double.options(delay=60).launch(5)

            def has_ended(scheduler: Harness = scheduler, message_id: str = message_id) -> bool:
                return scheduler.outcome(message_id) is not None

            scheduler.run_until(has_ended if by_condition else message_id)
            timelines.append(str(scheduler.timeline))
    assert timelines[0] == timelines[1]
