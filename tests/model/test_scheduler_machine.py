"""The shipped state machine: it finds nothing in the library, and finds what is planted, in few steps."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.service import Service
from schedulergodx.service.publisher import Publisher
from schedulergodx.service.runs import Runs
from schedulergodx.utils.abstractions import Delivery
from schedulergodx_testing import Harness, HarnessError, replay
from schedulergodx_testing.machine import SchedulerMachine, told

pytest_plugins = ["pytester"]

if TYPE_CHECKING:
    from collections.abc import Callable

# A quarter of the profile's examples, which are few enough for every run; HYPOTHESIS_PROFILE=long is for nights.
EXAMPLES = max(1, settings().max_examples // 4)

TestScheduler = pytest.mark.slow(SchedulerMachine.TestCase)
TestScheduler.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)


MINUTES = timedelta(minutes=5)
FINDING = settings(
    max_examples=3000,
    stateful_step_count=6,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
)


def ack_before_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = Service._turn

    def broken(self: Any, events: Any) -> None:
        if early := [event for event in events if isinstance(event, Delivery)]:
            self._transport.ack(early)
        turn(self, events)

    monkeypatch.setattr(Service, "_turn", broken)


def start_early(monkeypatch: pytest.MonkeyPatch) -> None:
    start_due, decide = Runs.start_due, Runs._decide
    monkeypatch.setattr(Runs, "start_due", lambda self, turn, *, now: start_due(self, turn, now=now + MINUTES))
    monkeypatch.setattr(Runs, "_decide", lambda self, task, now: decide(self, task, now + MINUTES))  # as it begins


def forget_outbox_row(monkeypatch: pytest.MonkeyPatch) -> None:
    after_commit = Publisher.after_commit

    def broken(self: Any, settled: Any, fresh: Any) -> None:
        after_commit(self, settled, fresh)
        if fresh:  # gone when it is sent, instead of when the broker has it
            with self._storage.transaction():
                self._storage.remove_replies([reply.number for reply in fresh])

    monkeypatch.setattr(Publisher, "after_commit", broken)


def run(machine: type[SchedulerMachine]) -> str:
    """Run it until it fails, and return the text of the failure; with the printed steps."""
    with pytest.raises(AssertionError) as caught:
        run_state_machine_as_test(machine, settings=FINDING)
    return str(caught.value) + "\n" + "\n".join(getattr(caught.value, "__notes__", []))


def weighing(more: list[str], none: list[str]) -> type[SchedulerMachine]:
    """Return the shipped machine, with some of its rules more often, and some left out."""

    class Weighed(SchedulerMachine):
        weights: ClassVar[dict[str, int]] = dict.fromkeys(more, 4) | dict.fromkeys(none, 0)

    return Weighed


def steps_of(text: str) -> list[str]:
    """Return the story's steps out of the replay line."""
    token = re.search(rf"{replay.VARIABLE}=(\S+)", text)
    assert token is not None, text
    return [name for name, _ in replay.parse_story(token.group(1))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "promise", "more", "none"),
    [
        # Only a commit that fails right after the ack shows it, so what plays no part is left out.
        (ack_before_commit, "I1", ["launch", "fail_storage", "run_until_idle"], ["broker", "service", "order"]),
        (start_early, "I3", [], []),
        (forget_outbox_row, "I4", [], []),
    ],
)
def test_a_planted_defect_is_found_in_few_steps(
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    promise: str,
    more: list[str],
    none: list[str],
) -> None:
    """Shrunk to at most five steps, with the timeline, the mark, and a line that replays it without Hypothesis.

    With enough examples to spare: Hypothesis draws otherwise when other modules are imported, whose constants it takes.
    """
    plant(monkeypatch)
    text = run(weighing(more, none))
    assert f"{promise}: " in text.splitlines()[0]
    assert len(steps_of(text)) <= 5, text
    assert ">>" in text
    token = re.search(rf"{replay.VARIABLE}=(\S+)", text)
    assert token is not None
    with pytest.raises(AssertionError) as again:
        SchedulerMachine.replay(token.group(1))
    assert str(again.value).splitlines()[0] == text.splitlines()[0]
    monkeypatch.undo()
    SchedulerMachine.replay(token.group(1))


def counted(weights: dict[str, int]) -> Counter[str]:
    """Return how often the rules of a user's machine came, over some stories."""
    counts: Counter[str] = Counter()
    given = weights

    class Counted(SchedulerMachine):
        weights: ClassVar[dict[str, int]] = given

        @rule()
        @told
        def mine(self) -> None:
            """Do nothing."""

        def teardown(self) -> None:
            super().teardown()
            counts.update(name for name, _ in self.story)

    run_state_machine_as_test(Counted, settings=settings(FINDING, max_examples=30, stateful_step_count=10))
    return counts


def test_a_rule_of_ones_own_comes_as_often_as_all_the_others_together() -> None:
    """By itself, but for the stories that Hypothesis tells without it: faults do not crowd out the user's question."""
    counts = counted({})
    assert counts.total() / 8 <= counts["mine"] <= counts.total() * 3 / 4, counts


def test_weights_say_how_often_a_rule_comes() -> None:
    """By name and by group, the name first; 0 is never."""
    counts = counted({"broker": 0, "storage": 0, "service": 0, "order": 0, "time": 0, "advance": 1})
    assert set(counts) == {"launch", "launch_with", "advance", "mine"}


def test_weights_of_a_subclass_are_its_own() -> None:
    """Those of the class above do not add to them."""

    class Above(SchedulerMachine):
        weights: ClassVar[dict[str, int]] = {"launch": 50}

    class Below(Above):
        weights: ClassVar[dict[str, int]] = {"launch": 2}

    names = [[one.function.__name__ for one in kind.setup_state().rules] for kind in (Above, Below)]
    assert [of_kind.count("launch") for of_kind in names] == [50, 2]


@pytest.mark.parametrize(
    ("weights", "what"), [({"lunch": 1}, "'lunch' is no rule"), ({"launch": -1}, "from 0"), ({"launch": 0.5}, "from 0")]
)
def test_a_weight_that_means_nothing_is_refused(weights: dict[str, int], what: str) -> None:
    """When the class is made; the message says what there is."""
    with pytest.raises(HarnessError, match=what):
        type("Odd", (SchedulerMachine,), {"weights": weights})


@pytest.mark.parametrize("weights", [[1], None, "launch", {"launch"}])
def test_weights_that_are_no_mapping_are_refused(weights: object) -> None:
    """With what they are."""
    with pytest.raises(HarnessError, match=r"weights of Odd must be a mapping .*e\.g\. \{\"broker\": 0\}; got "):
        type("Odd", (SchedulerMachine,), {"weights": weights})


QUICK = settings(FINDING, max_examples=3, stateful_step_count=2, phases=(Phase.generate,))


def only_error_of(machine: type[SchedulerMachine]) -> str:
    """Return what running it tells, which comes with no other error, and leaves no harness open."""
    with pytest.raises(HarnessError) as caught:
        run_state_machine_as_test(machine, settings=QUICK)
    assert caught.value.__context__ is None
    with Harness():
        return str(caught.value)


def test_an_init_that_calls_no_other_is_told_what_to_do() -> None:
    """Its own, or one that comes from beside the machine, by its name."""

    class Beside:
        def __init__(self) -> None:
            self.users: set[str] = set()

    class Mixed(Beside, SchedulerMachine):
        """Begins as `Beside` does."""

    class Own(SchedulerMachine):
        def __init__(self) -> None:
            self.users: set[str] = set()

    class Below(Own):
        def __init__(self) -> None:
            super().__init__()

    for machine, name in ((Mixed, "Beside"), (Own, "Own"), (Below, "Own")):
        error = only_error_of(machine)
        assert re.search(rf"{name}\.__init__ does not call super\(\)\.__init__\(\).* in setup\(\)", error)
    with pytest.raises(HarnessError, match=r"does not call super\(\)\.__init__"):
        Own.replay(replay.story_token([]))


def test_a_teardown_that_calls_no_other_is_told_what_to_do() -> None:
    """After the story; a story that has failed anyhow tells that. The harness is closed either way."""

    class Own(SchedulerMachine):
        def teardown(self) -> None:
            """Do nothing."""

    class Failing(Own):
        def setup(self) -> None:
            self.has_begun = True

        @invariant()
        def is_right(self) -> None:
            assert not self.has_begun, "as it is"

    assert "Own.teardown does not call super().teardown()" in only_error_of(Own)
    with pytest.raises(AssertionError, match="as it is"):
        run_state_machine_as_test(Failing, settings=QUICK)
    with Harness():
        pass


def test_an_init_and_a_teardown_that_call_the_others_are_fine() -> None:
    """Whatever they do before and after; one that fails leaves no harness open."""
    told: list[str] = []

    class Own(SchedulerMachine):
        def __init__(self) -> None:
            self.users: set[str] = set()
            super().__init__()
            told.append("init")

        def teardown(self) -> None:
            super().teardown()
            told.append("teardown")

    class FailingInit(Own):
        def __init__(self) -> None:
            super().__init__()
            raise ZeroDivisionError

    class FailingTeardown(Own):
        def teardown(self) -> None:
            raise ZeroDivisionError

    Own().teardown()
    assert told == ["init", "teardown"]
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            FailingInit()
        machine = FailingTeardown()
        with pytest.raises(ZeroDivisionError):
            machine.teardown()


def test_a_machine_needs_a_harness() -> None:
    """And says which method did not give it one."""

    class Odd(SchedulerMachine):
        def setup_harness(self) -> Any:
            Harness()

    with pytest.raises(HarnessError, match=r"Odd\.setup_harness must return a Harness\(…\), not opened yet; got None"):
        Odd()


def test_faults_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The library's warnings about what a story breaks stay out of the report, and come again afterwards."""
    logger = logging.getLogger("schedulergodx.service")
    machine = SchedulerMachine()
    machine.crash_broker(down_s=5)
    logger.warning("during")
    machine.teardown()
    logger.warning("afterwards")
    assert [record.message for record in caplog.records] == ["afterwards"]


class ShopMachine(SchedulerMachine):
    """A user's machine: tasks, a rule and an invariant of a program of its own, which has a race."""

    def setup_harness(self) -> Harness:
        """Return a harness with room for two tasks at a time."""
        return Harness(service={"threads": 2}, start=datetime(2026, 5, 1, tzinfo=UTC))

    def setup(self) -> None:
        """Begin with ten apples."""
        self.stock = {"apples": 10}
        self.sold = 0
        stock = self.stock

        @self.client.task
        def sell() -> None:
            left = stock["apples"]
            time.sleep(1)
            stock["apples"] = left - 1

        self.sell = sell

    @rule(delay=st.sampled_from([None, 1, 60]))
    @told
    def buy(self, delay: float | None) -> None:
        """Buy an apple."""
        self.attempt(lambda: self.sell.options(delay=delay, task_lifetime=None).launch())
        self.sold += 1

    def end_well(self) -> None:
        """All that was sold is gone from the stock, unless its sale was interrupted, or skipped."""
        super().end_well()
        done = sum(
            state.name.endswith("sell") and state.status is TaskStatus.COMPLETED for state in self.scheduler.tasks
        )
        assert self.stock["apples"] == 10 - done, f"{done} apples were sold, {self.stock['apples']} of 10 are left"


@pytest.mark.slow
def test_a_users_machine_finds_a_race_of_its_own() -> None:
    """A lost update between two tasks that sleep is found, and told in few steps."""
    text = run(ShopMachine)
    assert "apples were sold" in text
    printed = [line for line in text.splitlines() if re.match(r"state\.(?!promises_hold|teardown)", line)]
    assert len(printed) <= 4, text
    assert sum("buy" in line for line in printed) == 2, text


def test_the_printed_line_replays_a_story(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the test's own id, without Hypothesis; the same story passes once the defect is gone."""
    told_story = [("launch_never", {})]
    monkeypatch.setenv(replay.VARIABLE, replay.story_token(told_story))
    path = pytester.makepyfile(SUITE_OF_A_USER)
    broken = pytester.runpytest_subprocess()
    broken.assert_outcomes(failed=1)
    broken.stdout.fnmatch_lines(["*I1: a launch of client 'client' is nowhere any more*", "*>> *", "*Replay it: *"])
    lines = set(re.findall(rf"{replay.VARIABLE}=\S+ pytest \S+::runTest", broken.stdout.str()))
    assert [line.partition(" pytest ")[2] for line in lines] == [f"{path.name}::TestShop::runTest"]
    path.write_text(path.read_text().replace("        lose(scheduler)\n", ""))
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


SUITE_OF_A_USER = """
from hypothesis.stateful import rule
from schedulergodx.utils.abstractions import Delivery, QueueSpec
from schedulergodx_testing import SchedulerMachine
from schedulergodx_testing.machine import told

def lose(scheduler):
    thief = scheduler.broker.transport("thief")
    thief.listen(lambda event: thief.ack([event]) if isinstance(event, Delivery) else None)
    thief.consume(QueueSpec(name="client-service", has_dead_letters=True), prefetch=1)

class ShopMachine(SchedulerMachine):
    @rule()
    @told
    def launch_never(self):
        self.scheduler.stop_service()
        self.attempt(lambda: self._task.launch(0, "return", None))
        scheduler = self.scheduler
        lose(scheduler)
        scheduler.run_until_idle()

TestShop = ShopMachine.TestCase
"""


def test_an_argument_that_is_no_json_data_is_told() -> None:
    """A rule of a user may take anything; then there is no line, and the failure says why."""

    class Odd(SchedulerMachine):
        @rule(moment=st.datetimes())
        @told
        def at(self, moment: datetime) -> None:
            """Take a moment."""

    machine = Odd()
    machine.at(moment=datetime(2026, 1, 1, tzinfo=UTC))
    machine._has_failed = True
    machine.teardown()
    assert "No line replays this: an argument of a rule is no JSON data" in machine._again()


def test_a_harness_that_cannot_be_set_up_is_closed() -> None:
    """The next machine opens as if nothing had been."""

    class Broken(SchedulerMachine):
        def setup(self) -> None:
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            Broken()
    SchedulerMachine().teardown()
