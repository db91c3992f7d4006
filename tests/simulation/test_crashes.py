"""`survives_crashes`: the service survives every kill, and mistakes that are planted in it are found and named."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from schedulergodx import Client
from schedulergodx.service.consumer import Consumer
from schedulergodx.service.core import Service
from schedulergodx.service.runs import Runs
from schedulergodx.utils.abstractions import Outgoing
from schedulergodx_testing import Harness, HarnessError, check_survives_crashes, survives_crashes

if TYPE_CHECKING:
    from collections.abc import Callable

client = Client(name="shop", task_lifetime=60)
effects: list[str] = []


@client.task
def work(name: str, seconds: float = 0) -> str:
    effects.append(name)
    time.sleep(seconds)
    return name


def scenario(scheduler: Harness) -> None:
    """One task at once, one that takes its time, one later, one that is hard, and something that is no message."""
    effects.clear()
    ids = [work.launch("now"), work.launch("slow", 5), work.options(delay=30, enable_overdue=True).launch("later")]
    ids.append(work.options(hard=True).launch("hard", 1))
    noise = Outgoing(queue="client-service", body=b"noise", message_id="", on_settled=lambda _sent, _error: None)
    scheduler.broker.transport("stranger").publish(noise)
    scheduler.must_hold(lambda: max(map(effects.count, effects), default=0) <= 1, "nothing has an effect twice")
    assert [message_id.result() for message_id in ids] == ["now", "slow", "later", "hard"]


@pytest.mark.slow
@survives_crashes(service=True, client=True, broker=True)
def test_the_service_survives_every_crash(scheduler) -> None:
    """Killed before and after every call, with whatever was on its way lost or arrived."""
    scenario(scheduler)


@pytest.mark.slow
@survives_crashes(lead_s=0.5)
def test_what_is_claimed_ahead_of_its_moment_survives_every_crash(scheduler) -> None:
    """Killed with a thread that waits for the moment of its task, too; it waits again, and does not begin early."""
    effects.clear()
    assert work.launch("first").result() == "first"
    ids = [work.options(delay=30, enable_overdue=True).launch(name) for name in "ab"]
    scheduler.must_hold(lambda: max(map(effects.count, effects), default=0) <= 1, "nothing has an effect twice")
    scheduler.advance(seconds=29.75)
    assert effects == ["first"]
    assert [message_id.result() for message_id in ids] == ["a", "b"]


def one_after_the_other(scheduler: Harness) -> None:
    """Three tasks."""
    effects.clear()
    for name in "abc":
        assert work.launch(name).result() == name


def broken() -> str:
    """Return the report about a service with something planted in it."""
    with pytest.raises(AssertionError) as caught:
        check_survives_crashes(one_after_the_other, broker=False)
    return str(caught.value)


@pytest.mark.slow
def test_an_ack_before_the_commit_is_found(monkeypatch) -> None:
    """And the report names the calls between which the task is lost."""

    def decide(self, events: list[Any], turn: Any, now: Any) -> None:
        real(self, events, turn, now)
        if turn.acks:
            self._transport.ack(turn.acks)
            turn.acks = []

    real = Service._decide
    monkeypatch.setattr(Service, "_decide", decide)
    told = broken()
    assert told.startswith("one_after_the_other: 3 of ")
    assert (
        "killed after transport.ack 3, before storage.commit 6, after all that was sent had arrived:\n"
        "  NothingLeftToHappen: a wait for an answer: nothing is left that could ever end this wait.\n"
        "  I1: a launch of client 'shop' is nowhere any more" in told
    )
    assert ">>" in told


@pytest.mark.slow
def test_a_reply_without_an_outbox_is_found(monkeypatch) -> None:
    """It is lost between the commit of the outcome and the confirm of the reply."""

    def decide(self, events: list[Any], turn: Any, now: Any) -> None:
        real(self, events, turn, now)
        self._storage.remove_replies([reply.number for reply in turn.replies])

    real = Service._decide
    monkeypatch.setattr(Service, "_decide", decide)
    told = broken()
    assert "killed after storage.commit 3, before transport.publish 1:\n" in told
    assert "I4: a task ended as COMPLETED, and its reply is neither with the broker nor in the outbox" in told


@pytest.mark.slow
def test_a_service_that_knows_no_duplicates_is_found(monkeypatch) -> None:
    """What is delivered again, since the ack was lost, runs again."""

    def take_launch(self, message: Any, turn: Any, now: Any) -> None:
        before = len(turn.starts)
        real(self, message, turn, now)
        task = launches.task_of(message, received_at=now)
        if len(turn.starts) == before and self._storage.find(task.message_id).status is not TaskStatus.WAITING:
            turn.starts.append(task)

    from schedulergodx.rules.lifecycle import TaskStatus
    from schedulergodx.utils.message import launches

    real = Consumer._take_launch
    monkeypatch.setattr(Consumer, "_take_launch", take_launch)
    told = broken()
    assert "killed after runner.start 1:\n  I3: a task was started 2 times" in told


@pytest.mark.slow
def test_a_start_before_its_commit_is_found(monkeypatch) -> None:
    """What was started and not written down is started again."""

    class Deaf:
        def __init__(self, runner: Any) -> None:
            self.abandon = runner.abandon

        def start(self, _task: Any, **_facts: Any) -> None:
            pass

    def start_due(self, turn: Any, *, now: Any) -> None:
        real_start(self, turn, now=now)
        for task in turn.starts:
            self._runner.start(task, start_number=1)

    def after_commit(self, turn: Any) -> None:
        runner, self._runner = self._runner, Deaf(self._runner)
        real_after(self, turn)
        self._runner = runner

    real_start, real_after = Runs.start_due, Runs.after_commit
    monkeypatch.setattr(Runs, "start_due", start_due)
    monkeypatch.setattr(Runs, "after_commit", after_commit)
    told = broken()
    assert "killed after runner.start 1, before storage.commit 2:\n  I3: a task was started 2 times" in told


@pytest.mark.slow
def test_the_scenarios_own_wishes_count_in_every_run() -> None:
    """Other assertions of a scenario count where nothing goes wrong."""

    def twice(scheduler: Harness) -> None:
        effects.clear()
        scheduler.must_hold(lambda: effects == ["a"], "the task has run")
        assert work.launch("a").result() == "a"

    with pytest.raises(AssertionError, match=r"after runner\.start 1:\n  the scenario's own: the task has run"):
        check_survives_crashes(twice, broker=False)


def test_one_kill_can_be_looked_at_again() -> None:
    """By the words that the report has for it."""
    kills = check_survives_crashes(one_after_the_other, only="after transport.ack 3")
    assert kills == [
        "killed after transport.ack 3, before runner.start 3",
        "killed after transport.ack 3, before runner.start 3, after all that was sent had arrived",
    ]


def test_a_broken_scenario_fails_as_it_is() -> None:
    """Before anything is killed."""

    def wrong(scheduler: Harness) -> None:
        assert work.launch("a").result() == "b", "as it is"

    with pytest.raises(AssertionError, match="as it is"):
        check_survives_crashes(wrong)


def test_a_scenario_that_differs_each_time_is_refused() -> None:
    """With the call at which it was another one."""
    runs: list[int] = []

    def moody(scheduler: Harness) -> None:
        runs.append(1)
        if len(runs) % 2:
            work.launch("a")
        scheduler.advance(seconds=1)
        scheduler.stop_service()

    with pytest.raises(HarnessError, match="moody is another one each time: what was to be killed before"):
        check_survives_crashes(moody, broker=False)


def test_trying_nothing_shows_nothing() -> None:
    """An `only=` that fits no kill any more, or nobody who could be killed, fails: it would always be green."""

    @survives_crashes(only="no such kill")
    def misspelt(scheduler: Harness) -> None:
        work.launch("a").result()

    @survives_crashes(service=False, broker=False)
    def nobody(scheduler: Harness) -> None:
        work.launch("a").result()

    with pytest.raises(HarnessError, match=r"(?s)misspelt: nothing was tried.*'no such kill'.*\n  killed .*more$"):
        misspelt()
    with pytest.raises(HarnessError, match="nobody: nothing was tried, since nothing could go wrong"):
        nobody()


def test_the_decorator_hides_the_harness_from_pytest(tmp_path) -> None:
    """Fixtures, and `self`, stay; the harness goes, by its name or as the first parameter."""
    import inspect

    def parameters(test: Callable[..., object]) -> list[str]:
        return list(inspect.signature(survives_crashes()(test)).parameters)

    assert parameters(lambda scheduler, tmp_path: None) == ["tmp_path"]
    assert parameters(lambda self, tmp_path, scheduler: None) == ["self", "tmp_path"]
    assert parameters(lambda harness, tmp_path: None) == ["tmp_path"]
    with pytest.raises(HarnessError, match="takes no harness"):
        survives_crashes()(lambda: None)


@pytest.mark.slow
def test_sixty_calls_are_explored_quickly() -> None:
    """A scenario of sixty calls, with the broker: each kill once, and the number of runs stays in bounds."""
    scenario_calls: list[int] = []

    def sixty(scheduler: Harness) -> None:
        for number in range(5):
            work.launch(str(number)).result()
        scenario_calls.append(len(scheduler.calls.all))

    kills = check_survives_crashes(sixty)
    assert scenario_calls[0] >= 60
    assert len(set(kills)) == len(kills) <= 4 * scenario_calls[0]


def test_the_worlds_own_threads_are_not_taken_for_foreign_ones(scheduler) -> None:
    """One that rests between two tasks holds up no time: it would cost each of many runs a twentieth of a second."""
    work.launch("a").result()
    assert not scheduler.world._foreign.are_busy()
