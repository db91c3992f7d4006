"""Event loops, in the test's body and in threads of the world."""

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from schedulergodx_testing.errors import NothingLeftToHappen
from schedulergodx_testing.world import real


@pytest.fixture(params=["test", "thread"])
def run(request, world, in_thread):
    """Return a function that runs a coroutine: in the test's own thread, or in one of the world's."""
    return asyncio.run if request.param == "test" else lambda coroutine: in_thread(asyncio.run, coroutine)


def test_a_sleep_takes_no_real_time(run, elapsed):
    """Thirty days, exactly."""
    before = real.monotonic()
    run(asyncio.sleep(30 * 86400))
    assert elapsed() == 30 * 86400
    assert real.monotonic() - before < 2


def test_timers_fire_in_order(run, elapsed):
    """`gather`, `wait_for`, `timeout` and `call_later` count virtual seconds."""
    told = []

    async def note(after_s):
        await asyncio.sleep(after_s)
        told.append((after_s, elapsed()))

    async def main():
        asyncio.get_running_loop().call_later(2, told.append, "called")
        await asyncio.gather(note(3), note(0.1), note(1))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 10)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await asyncio.sleep(3600)
        told.append(elapsed())

    run(main())
    assert told == [(0.1, 0.1), (1, 1), "called", (3, 3), 113]


def test_work_in_threads(run, elapsed):
    """`to_thread` and executors sleep in virtual time, side by side."""

    async def main():
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(2) as pool:
            await asyncio.gather(
                asyncio.to_thread(time.sleep, 3600),
                loop.run_in_executor(None, time.sleep, 1800),
                loop.run_in_executor(pool, time.sleep, 7200),
            )

    run(main())
    assert elapsed() == 7200


def test_a_loop_that_only_looks_lets_others_go_on(run, elapsed):
    """`while not done: await asyncio.sleep(0)` ends when a thread has done its part."""
    done = []

    async def main():
        thread = threading.Thread(target=lambda: (time.sleep(0.000_05), done.append(1)))
        thread.start()
        while not done:  # noqa: ASYNC110 - what bad programs do is the subject
            await asyncio.sleep(0)
        thread.join()

    run(main())
    assert elapsed() < 1


def test_a_loop_that_nothing_can_wake_is_told(world):
    """In the test's body, at once."""
    with pytest.raises(NothingLeftToHappen, match="event loop"):
        asyncio.run(asyncio.Event().wait())


@pytest.mark.slow
def test_time_waits_for_real_answers(run, world, elapsed):
    """What a thread outside sends through a socket within the grace comes before any timer."""
    ours, theirs = socket.socketpair()
    is_ready = threading.Event()

    def answer():
        is_ready.wait(10)
        theirs.sendall(b"answer\n")

    with world.outside():
        outsider = threading.Thread(target=answer)
        outsider.start()

    async def main():
        reader, writer = await asyncio.open_connection(sock=ours)
        asyncio.get_running_loop().call_soon(is_ready.set)
        try:
            return await asyncio.wait_for(reader.readline(), 3600)
        finally:
            writer.close()
            await writer.wait_closed()

    assert run(main()) == b"answer\n"
    assert elapsed() == 0
    outsider.join()
    theirs.close()


@pytest.mark.slow
def test_time_passes_when_no_real_answer_comes(run, elapsed):
    """After the grace, a timeout is virtual as all are."""
    ours, theirs = socket.socketpair()

    async def main():
        reader, writer = await asyncio.open_connection(sock=ours)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), 3600)
        writer.close()
        await writer.wait_closed()

    run(main())
    theirs.close()
    assert elapsed() == 3600
