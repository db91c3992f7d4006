"""A test, or a task, that waits in a loop for what never comes: it ends with an error, and never hangs the run."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from schedulergodx import Client
from schedulergodx.service.runs import Runs
from schedulergodx_testing import Harness, HarnessError, NothingLeftToHappen, ThreadStuck, TooManyEvents, actors, looks
from schedulergodx_testing.world import outside

if TYPE_CHECKING:
    from collections.abc import Callable

client = Client(name="spinning", task_lifetime=None)
outbox: list[str] = []


@client.task
def remind(user: str) -> None:
    outbox.append(user)


@client.task
def poll(seconds: float) -> None:
    while not outbox:
        time.sleep(seconds)


@pytest.fixture(autouse=True)
def empty_outbox() -> None:
    outbox.clear()


def wait_for_mail(step: Callable[[], None]) -> None:
    while not outbox:
        step()


@pytest.mark.slow
@pytest.mark.scheduler(patience_s=0.2)
def test_a_test_that_spins_is_ended(scheduler: Harness) -> None:
    """With what to do instead; the stack is the traceback. The harness serves on."""
    with pytest.raises(ThreadStuck, match=r"the test itself .*0\.2 seconds.*Nothing happens by itself") as caught:
        wait_for_mail(lambda: None)
    assert str(caught.traceback[0].path) == __file__
    assert caught.typename == "ThreadStuck"
    remind.launch("ada")
    scheduler.run_until_idle()
    assert outbox == ["ada"]


def test_a_test_that_looks_at_the_tasks_is_ended(scheduler: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """By counting, as for one that looks at an outcome: a thread is not interrupted while it reads a database."""
    monkeypatch.setattr(looks, "LOOKS_MAX", 100)
    with pytest.raises(HarnessError, match=r"for the tasks, 20 times.*Nothing happens by itself"):
        wait_for_mail(lambda: scheduler.tasks)
    remind.launch("ada")
    scheduler.run_until_idle()
    for _ in range(15):
        assert len(scheduler.tasks) == 1


@pytest.mark.slow
def test_a_test_that_works_between_its_steps_is_left_alone() -> None:
    """What counts is how long nothing happens, not how long the test takes; nor does real waiting count."""
    with Harness(patience_s=0.2) as scheduler:
        for number in range(4):
            began = time.thread_time()
            while time.thread_time() - began < 0.12:
                pass
            remind.launch(str(number))
        is_over = threading.Event()
        with scheduler.world.outside():
            is_over.wait(0.5)
        scheduler.run_until_idle()
        assert len(outbox) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["_pytest.assertion", "hypothesis.core", "importlib._bootstrap"])
def test_who_runs_the_test_is_left_alone(name: str) -> None:
    """A strategy that draws, or an import, takes the time that it takes: such a test waits for nothing."""
    runner = {"__name__": name, "thread_time": time.thread_time}
    exec("def work(seconds):\n    end = thread_time() + seconds\n    while thread_time() < end: pass", runner)
    with Harness(patience_s=0.2):
        runner["work"](0.5)


def test_the_test_is_shown_with_who_waits(scheduler: Harness) -> None:
    """An error that tells the situation names the line of the test, not those of the harness that it called."""
    with pytest.raises(NothingLeftToHappen, match=r"The test is at:(.|\n)*in test_the_test_is_shown") as caught:
        scheduler.run_until(lambda: False)
    assert "driving.py" not in str(caught.value)


def test_no_watch_is_left_behind() -> None:
    """It is a thread of the system, gone with the harness, and none that the test can see."""
    threads = threading.enumerate()
    with Harness() as scheduler:
        assert threading.enumerate() == threads
        assert outside.poll(lambda: scheduler.world.watch in sys._current_frames(), 10)
    assert outside.poll(lambda: scheduler.world.watch not in sys._current_frames(), 10)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_ends_its_harness_without_a_watch() -> None:
    """Of the threads only the one that forks is in the child, which waits for no other."""
    with Harness():
        child = os.fork()
    if not child:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


STEPS: dict[str, Callable[[Harness], None]] = {
    "sleep": lambda _: time.sleep(0.1),
    "no time": lambda _: time.sleep(0),
    "advance": lambda scheduler: scheduler.advance(seconds=1),
    "idle": lambda scheduler: scheduler.run_until_idle(),
    "wait": lambda _: threading.Event().wait(1) and None,
}


@pytest.mark.parametrize("name", STEPS)
def test_a_test_that_polls_for_what_never_comes(scheduler: Harness, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """After so many steps with nothing left that could happen, it is told so."""
    monkeypatch.setattr(looks, "FRUITLESS_MAX", 100)
    with pytest.raises(HarnessError, match=r"100 times.*nothing is left that could happen"):
        wait_for_mail(lambda: STEPS[name](scheduler))
    remind.launch("ada")
    scheduler.run_until_idle()
    assert outbox == ["ada"]


def test_a_test_that_polls_for_what_is_due_gets_it(scheduler: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it looks: a task is due, so waiting is no mistake."""
    monkeypatch.setattr(looks, "FRUITLESS_MAX", 100)
    remind.options(delay=3600).launch("ada")
    while not outbox:
        time.sleep(1)
    for _ in range(90):
        time.sleep(1)
    remind.launch("grace")
    for _ in range(90):
        time.sleep(1)
    assert outbox == ["ada", "grace"]


def test_a_thread_that_goes_on_makes_no_difference(scheduler: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program's thread that looks at something each second brings nothing by itself: only more patience."""
    monkeypatch.setattr(looks, "FRUITLESS_MAX", 20)

    def beat() -> None:
        while True:
            time.sleep(1)

    threading.Thread(target=beat, daemon=True).start()
    for _ in range(150):
        time.sleep(2)
    with pytest.raises(HarnessError, match="nothing is left that could happen"):
        wait_for_mail(lambda: time.sleep(2))


@pytest.mark.parametrize("seconds", [0, 0.1])
def test_a_task_that_polls_for_ever(scheduler: Harness, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Whoever waits for it without a limit is told where it is; with a limit, the limit holds."""
    monkeypatch.setattr(looks, "POLLS_MAX", 2000)
    message_id = poll.launch(seconds)
    with pytest.raises(TooManyEvents, match=r"looked again 2000 times(.|\n)*in poll"):
        message_id.result()
    scheduler.advance(seconds=1 if seconds else 0.000_003)
    with pytest.raises(TooManyEvents, match=r"looked again 2000 times(.|\n)*in poll"):
        scheduler.run_until(message_id)


@pytest.mark.slow
def test_run_all_shows_a_task_that_only_polls(scheduler: Harness) -> None:
    """Nothing keeps launching: it is who waits, and where, that says why there is no end."""
    poll.launch(0.1)
    with pytest.raises(TooManyEvents, match=r"50 timers(.|\n)*in poll"):
        scheduler.run_all(limit=50)


@pytest.mark.slow
def test_run_all_shows_a_task_that_polls_without_waiting(scheduler: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives others their turn at each round, and there are none: what counts is how often, over all timers."""
    monkeypatch.setattr(looks, "POLLS_MAX", 20_000)
    poll.launch(0)
    with pytest.raises(TooManyEvents, match=r"looked again 20000 times(.|\n)*in poll"):
        scheduler.run_all()


@pytest.mark.slow
@pytest.mark.parametrize("others", [0, 2])
def test_a_task_that_polls_without_waiting_comes_to_its_lifetime(
    scheduler: Harness, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """A round takes time, in the end about as much as in reality; several that do it do not keep each other from it."""
    monkeypatch.setattr(looks, "_PASSES_MAX_US", 2_000_000)
    ids = [poll.options(task_lifetime=3).launch(0) for _ in range(1 + others)]
    scheduler.run_all()
    assert {message_id.outcome().code.name for message_id in ids} == {"TASK_TIMEOUT"}


def test_a_service_that_turns_for_nothing_is_told(scheduler: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake of the library, or of a storage of one's own: named at once, instead of after minutes."""
    monkeypatch.setattr(actors, "IDLE_TURNS_MAX", 20)
    with monkeypatch.context() as planted:
        planted.setattr(Runs, "wait_s", lambda _self, *, now, is_starting: 0.0)
        with pytest.raises(TooManyEvents, match=r"service .* turns again and again at one instant"):
            scheduler.advance(hours=1)
    remind.launch("ada")
    scheduler.run_until_idle()
    assert outbox == ["ada"]
