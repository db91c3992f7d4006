"""Wrong use of the harness: each says what to do, and leaves things as they were."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from unittest import mock
from zoneinfo import ZoneInfo

import pytest

from schedulergodx import (
    Client,
    InvalidParameter,
    ResultTimeout,
    SchedulerError,
    Service,
    UnknownMessageId,
    redirection,
)
from schedulergodx_testing import (
    FakeClock,
    Harness,
    HarnessError,
    LeftBehind,
    NothingLeftToHappen,
    TooManyEvents,
    chains,
    looks,
)
from schedulergodx_testing.clock import FIRST, LAST, START
from schedulergodx_testing.world import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from schedulergodx import MessageId

pytest_plugins = ["pytester"]

client = Client(name="shop")


@client.task
def double(number: int) -> int:
    return 2 * number


@client.task
def again(number: int) -> None:
    again.options(delay=1).launch(number + 1)


@pytest.mark.parametrize("span", [{"seconds": -1}, {"hours": float("nan")}, {"days": float("inf")}, {"minutes": -1e-9}])
def test_time_passes_forward_only(scheduler: Harness, span: dict[str, float]) -> None:
    """By a finite number; nothing has happened, and the next advance works."""
    before = scheduler.clock.now()
    with pytest.raises(
        InvalidParameter, match=r"time passes forward only, by a finite number of seconds; got .*jump_wall"
    ):
        scheduler.advance(**span)
    with pytest.raises(InvalidParameter, match="time passes forward only"):
        scheduler.advance(timedelta(seconds=-1))
    assert scheduler.clock.now() == before
    scheduler.advance(seconds=1)
    assert scheduler.clock.now() == before + timedelta(seconds=1)


BEYOND: list[Callable[[Harness | FakeClock], object]] = [
    lambda one: one.advance(seconds=1e12),
    lambda one: one.advance(days=1e300),
    lambda one: one.advance(seconds=1e308),
    lambda one: one.advance(timedelta.max),
    lambda one: one.travel_to(datetime.max.replace(tzinfo=UTC)),
    lambda one: one.jump_wall(days=1e9),
    lambda one: one.jump_wall(seconds=1e308),
    lambda one: one.jump_wall(days=-366 * 2026),
    lambda one: one.jump_wall(seconds=-1e308),
]


@pytest.mark.parametrize("move", BEYOND)
def test_time_stays_in_the_calendar(scheduler: Harness, move: Callable[[Harness | FakeClock], object]) -> None:
    """What leads out of it is refused before anything has moved, with the bound; the next wait works."""
    message_id = double.options(delay=60).launch(2)
    clock = FakeClock()
    for one, its_clock in ((scheduler, scheduler.clock), (clock, clock)):
        before = its_clock.now(), its_clock.monotonic()
        with pytest.raises(
            InvalidParameter,
            match=r"shows 2026-01-01 .*cannot be moved by .*e\+\d+ s: .* 100 to 9899, .*9999.*Move it by less",
        ):
            move(one)
        assert (its_clock.now(), its_clock.monotonic()) == before
        one.advance(minutes=1)
        assert its_clock.now() == before[0] + timedelta(minutes=1)
    assert message_id.result() == 4


def test_a_wait_of_the_program_stays_in_the_calendar(scheduler: Harness) -> None:
    """A sleep that ends beyond it is refused too, when nothing else is left; the harness goes on."""
    with pytest.raises(InvalidParameter, match=r"cannot be moved by 1e\+12 s: .*9999"):
        time.sleep(1e12)
    scheduler.crash_service()
    scheduler.start_service()
    assert double.launch(2).result() == 4
    with pytest.raises(InvalidParameter, match="cannot be moved by inf s"):
        FakeClock().wait_for(SimpleQueue(), float("inf"))


@pytest.mark.parametrize("edge", [FIRST, LAST - timedelta(days=1)])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_everything_works_at_the_edges_of_the_calendar(edge: datetime, zone: str) -> None:
    """Begun there, or set there: delays of ten years are still dates, in every local time."""
    with Harness(start=edge, time_zone=zone) as scheduler:
        assert double.launch(1).result() == 2
        double.options(delay=10 * 365 * 86400).launch(2)
        scheduler.run_until_idle()
        assert datetime.now().year == time.localtime().tm_year  # noqa: DTZ005 - a naive local time, as a program asks
        scheduler.crash_service()
        scheduler.start_service()
        scheduler.jump_wall(START - edge)
        assert double.launch(3).result() == 6
        scheduler.jump_wall(edge - scheduler.clock.now())
        assert double.launch(4).result() == 8


@pytest.mark.parametrize(
    "start", [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=ZoneInfo("Asia/Tokyo"))]
)
def test_a_start_outside_the_calendar(start: datetime) -> None:
    """Is refused where it is written."""
    for make in (FakeClock, Harness):
        with pytest.raises(InvalidParameter, match="start must be within the years 100 to 9899"):
            make(start=start)


@pytest.mark.parametrize("value", ["5", None, True, [5]], ids=repr)
@pytest.mark.parametrize("unit", ["seconds", "minutes", "hours", "days"])
def test_a_length_of_time_is_a_number(scheduler: Harness, unit: str, value: Any) -> None:
    """What is none is refused by its name, with an example; a whole number beyond all floats is one, and infinite."""
    kind = type(value).__name__
    for one in (scheduler, FakeClock()):
        with pytest.raises(
            InvalidParameter, match=rf"^{unit} must be a number, as in advance\({unit}=5\); got {kind}$"
        ):
            one.advance(**{unit: value})
        with pytest.raises(
            InvalidParameter, match=rf"^{unit} must be a number, as in jump_wall\({unit}=5\); got {kind}$"
        ):
            one.jump_wall(**{unit: value})
        for number, told in ((10**400, "inf"), (-(10**400), "-inf")):
            with pytest.raises(InvalidParameter, match=f"finite number of seconds.*got {told}"):
                one.jump_wall(**{unit: number})
    before = scheduler.clock.now()
    scheduler.advance(**{unit: Fraction(1, 2)})
    assert scheduler.clock.now() == before + timedelta(**{unit: 0.5})


def test_a_length_of_time_needs_a_unit(scheduler: Harness) -> None:
    """A bare number is the first mistake of all: the message shows what to write."""
    for advance in (scheduler.advance, FakeClock().advance):
        with pytest.raises(InvalidParameter, match=r"advance\(seconds=3600\)"):
            advance(3600)  # type: ignore[arg-type]  # what is refused
    for jump in (scheduler.jump_wall, FakeClock().jump_wall):
        with pytest.raises(InvalidParameter, match=r"jump_wall\(seconds=-60\)"):
            jump(-60)  # type: ignore[arg-type]  # what is refused


def test_the_clock_of_a_harness_is_not_moved_past_it(scheduler: Harness) -> None:
    """What is due meanwhile would be overdue all at once: the harness has the same methods, and they are named."""
    before = scheduler.clock.now()
    moves: dict[str, Callable[[], object]] = {
        "advance": lambda: scheduler.clock.advance(hours=1),
        "travel_to": lambda: scheduler.clock.travel_to(before + timedelta(hours=1)),
        "jump_wall": lambda: scheduler.clock.jump_wall(hours=1),
    }
    for name, move in moves.items():
        with pytest.raises(HarnessError, match=rf"this clock is a harness's.*scheduler\.{name}\(…\)"):
            move()
    assert scheduler.clock.now() == before
    scheduler.jump_wall(hours=1)
    assert scheduler.clock.now() == before + timedelta(hours=1)


def test_a_harness_inside_a_harness(scheduler: Harness) -> None:
    """Is refused, and the outer one still serves."""
    with pytest.raises(HarnessError, match=r"do not nest: close it first, or use the one that is open"), Harness():
        pass
    assert double.launch(2).result() == 4


def test_an_open_harness_is_named_by_where_it_was_opened() -> None:
    """The file, the line and the test: it may be another one, long over."""
    with (
        Harness(),
        pytest.raises(HarnessError, match=rf"opened at {__file__}:\d+, in .*::test_an_open_harness_is_named"),
    ):
        Harness().open()


def test_opening_twice() -> None:
    """Is refused: each test makes a new one."""
    harness = Harness()
    with harness, pytest.raises(HarnessError, match="opens once: make a new one"):
        harness.open()
    with pytest.raises(HarnessError, match="opens once: make a new one"):
        harness.open()
    assert redirection.active() is None


USES: list[Callable[[Harness], object]] = [
    lambda harness: harness.advance(seconds=1),
    lambda harness: harness.run_until_idle(),
    lambda harness: harness.run_until(lambda: True),
    lambda harness: harness.run_all(),
    lambda harness: harness.jump_wall(seconds=1),
    lambda harness: harness.new_client(name="late"),
    lambda harness: harness.new_service(),
    lambda harness: harness.crash_service(),
    lambda harness: harness.stop_service(),
    lambda harness: harness.start_service(),
    lambda harness: harness.client,
    lambda harness: harness.service,
    lambda harness: harness.faults.fail_storage(),
    lambda harness: harness.faults.heal_storage(),
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("state", ["new", "closed"])
def test_use_before_and_after(use: Callable[[Harness], object], state: str) -> None:
    """Says in which state the harness is, and how it is used."""
    harness = Harness()
    if state == "closed":
        harness.open()
        _ = harness.client
        harness.close()
        harness.close()
    with pytest.raises(HarnessError, match=rf"this harness is {state}: use it inside `with Harness\(\) as scheduler:`"):
        use(harness)


ORDERS: list[Callable[[Harness], object]] = [
    lambda harness: harness.broker.faults.lose_message(),
    lambda harness: harness.broker.faults.delay_confirm(1),
    lambda harness: harness.broker.faults.cut(),
    lambda harness: harness.broker.faults.cut_at(1),
    lambda harness: harness.broker.faults.half_open(),
    lambda harness: harness.broker.faults.block(),
    lambda harness: harness.broker.faults.unblock(),
    lambda harness: harness.broker.faults.refuse(),
    lambda harness: harness.broker.faults.accept(),
    lambda harness: harness.broker.faults.go_away(),
    lambda harness: harness.broker.faults.come_back(),
    lambda harness: harness.broker.set_limit("client-service", 1),
    lambda harness: harness.broker.restart(),
    lambda harness: harness.broker.crash(),
    lambda harness: harness.clock.advance(hours=1),
    lambda harness: harness.clock.travel_to(harness.clock.now()),
    lambda harness: harness.clock.jump_wall(hours=1),
]


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_after_the_end(order: Callable[[Harness], object]) -> None:
    """To what belongs to a harness, which is closed: nothing could come of it."""
    with Harness() as harness:
        harness.run_until_idle()
        assert harness.broker.faults.cut() == 1
    moment = harness.clock.now()
    with pytest.raises(HarnessError, match=r"this harness is closed: use it inside `with Harness\(\) as scheduler:`"):
        order(harness)
    assert harness.clock.now() == moment
    harness.broker.faults.clear()
    assert harness.broker.faults.counts == {"cut": 1}


def test_what_was_found_can_be_read_after_the_end() -> None:
    """Launches and the timeline stay; outcomes are in a database, and that is gone."""
    with Harness() as harness:
        message_id = double.launch(1)
        harness.run_all()
    harness.assert_launched(double, args=(1,))
    assert "launch" in str(harness.timeline)
    for look in (
        lambda: harness.tasks,
        lambda: harness.outcome(message_id),
        lambda: harness.assert_completed(double),
        lambda: harness.assert_failed(message_id),
    ):
        with pytest.raises(HarnessError, match=r"this harness is closed: .*inside `with Harness\(\) as scheduler:`"):
            look()


@pytest.fixture
def own_client(tmp_path: Path) -> Iterator[Client]:
    """A client whose broker, outside of a harness, would be a file in `tmp_path`."""
    with Client(name="own", url=f"sqlite:///{tmp_path / 'broker.db'}") as own:
        yield own


async def waited_for(message_id: MessageId[int]) -> int:
    async with asyncio.timeout(0.01):
        return await message_id


ASKS: dict[str, Callable[[Client, Any], object]] = {
    "id.result": lambda _, message_id: message_id.result(0.01),
    "id.outcome": lambda _, message_id: message_id.outcome(),
    "await id": lambda _, message_id: asyncio.run(waited_for(message_id)),
    "result": lambda own, message_id: own.result(message_id, 0.01),
    "get_response": lambda own, message_id: own.get_response(message_id),
    "sync_await_response": lambda own, message_id: own.sync_await_response(message_id, 0.01),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize("was_heard", [False, True])
def test_asking_after_the_end_for_a_launch_of_a_harness(
    own_client: Client, tmp_path: Path, ask: Callable[[Client, Any], object], was_heard: bool
) -> None:
    """Says so at once, whether or not it had ended: nobody outside knows it, and nobody is connected to and asked."""
    with Harness() as scheduler:
        message_id = own_client.task(double.func).launch(1)
        if was_heard:
            assert message_id.result() == 2
            assert ask(own_client, message_id) is not None
    with pytest.raises(UnknownMessageId, match=rf"'{message_id}' was launched in a test harness that is closed.*Ask "):
        ask(own_client, message_id)
    with pytest.raises(UnknownMessageId, match=r"launched in a test harness that is closed.*with Harness\(\)"):
        own_client.sync_await_response(scheduler.launched[0].message_id, 0.01)
    assert list(tmp_path.iterdir()) == []


def test_asking_for_an_id_that_no_harness_made(own_client: Client, tmp_path: Path) -> None:
    """Goes where it always goes, also when a harness was open before, or was when it was asked for first."""
    message_id = own_client.task(double.func).launch(1)
    with Harness(), pytest.raises(UnknownMessageId, match="no task"):
        message_id.result()
    with pytest.raises(ResultTimeout):
        message_id.result(0.01)
    with pytest.raises(ResultTimeout):
        own_client.result("another", 0.01)


def test_a_real_service_inside_a_harness(scheduler: Harness, tmp_path) -> None:
    """Would wait for the system's time: it is refused, touches no file, and names what to use instead."""
    service = Service(db=tmp_path / "real.db")
    with pytest.raises(SchedulerError, match=r"cannot be started for real while a test harness is open.*new_service"):
        service.start()
    assert list(tmp_path.iterdir()) == []


def test_a_launch_without_an_outcome_at_a_strict_end() -> None:
    """Is told, with an example and what lets it end."""
    with (
        pytest.raises(
            LeftBehind, match=r"1 launches have no outcome .*double\(1\) with delay=60.*run_all\(\) or advance"
        ),
        Harness(is_strict=True),
    ):
        double.options(delay=60).launch(1)
    assert redirection.active() is None


def test_a_strict_end_does_not_hide_the_failure_before_it() -> None:
    """The test's own error is the one that is seen."""

    def forgetful() -> None:
        with Harness(is_strict=True):
            double.options(delay=60).launch(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        forgetful()


def test_a_strict_end_is_content_when_all_is_answered() -> None:
    """Also with failures: they are outcomes."""
    with Harness(is_strict=True) as scheduler:
        double.launch(1)
        double.launch(None)  # type: ignore[arg-type]  # fails
        scheduler.run_all()


def test_a_strict_test_fails_with_its_timeline(pytester: pytest.Pytester) -> None:
    """The error comes at the fixture's end; the report shows the story, and the line that replays it."""
    pytester.makepyfile(
        """
        import pytest
        from schedulergodx import Client
        client = Client(name="shop")
        @client.task
        def double(number): return 2 * number
        @pytest.mark.scheduler(is_strict=True)
        def test_forgetful(scheduler):
            double.options(delay=60).launch(1)
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*launches have no outcome*", "*launch double(1), due in 1m*", "Replay it: *"])


@pytest.mark.parametrize("thing", ["double", 7, None, int, object()])
def test_what_is_no_task_was_not_launched(scheduler: Harness, thing: object) -> None:
    """Asserting about it is a mistake, not an answer: also where `assert_not_launched` would be content."""
    for assertion in (scheduler.assert_launched, scheduler.assert_not_launched):
        with pytest.raises(HarnessError, match=r"this needs a task, as @client\.task makes it, or its plain function"):
            assertion(thing)


@pytest.mark.scheduler(patience_s=60)  # each look goes through all objects of the process, which has run many tests
def test_a_function_that_no_client_made_a_task_of(scheduler: Harness) -> None:
    """Cannot have been launched; the plain function of a task can, also when it was not."""

    def plain() -> None:
        pass

    assertions = (scheduler.assert_launched, scheduler.assert_not_launched, scheduler.assert_completed)
    for thing, assertion in zip((oct, plain, Harness.advance), assertions, strict=True):
        with pytest.raises(HarnessError, match=r"no client has made a task of .*@client\.task"):
            assertion(thing)
    scheduler.assert_not_launched(double.func)
    Client(name="mine").task(plain).launch()
    scheduler.assert_launched(plain)


def test_looking_for_a_task_bears_every_object_of_the_process(scheduler: Harness) -> None:
    """A weak proxy whose object is gone raises when it is asked for anything, and a mock claims what it is told to."""

    class Gone:
        pass

    gone = Gone()
    left = [weakref.proxy(gone), mock.Mock(spec=type(double), func=oct)]
    del gone
    with pytest.raises(HarnessError, match="no client has made a task of"):
        scheduler.assert_launched(oct)
    assert len(left) == 2


@pytest.mark.parametrize("thing", [7, None, b"id", ["id"], {}, double], ids=str)
def test_what_is_no_launch_has_no_outcome(scheduler: Harness, thing: Any) -> None:
    """To ask for it is a mistake: it has not "not ended yet"."""
    with pytest.raises(
        HarnessError, match=r"this needs the id of a launch, as launch\(\) returns it, or a `Launch`; got "
    ):
        scheduler.outcome(thing)


def test_a_launch_of_the_record_stands_for_its_id(scheduler: Harness) -> None:
    """Wherever a launch is asked for."""
    double.launch(1)
    double.launch(None)  # type: ignore[arg-type]  # fails
    good, bad = scheduler.launched
    scheduler.run_until_idle()
    outcome = scheduler.outcome(good)
    assert outcome is not None
    assert outcome == scheduler.outcome(good.message_id) == scheduler.assert_completed(good, result=2)
    assert scheduler.assert_failed(bad, error=TypeError) == scheduler.outcome(bad)


def test_an_id_that_no_launch_has(scheduler: Harness) -> None:
    """Is told as such, with those that there are: it will not end, however long one waits."""
    assertions: list[Callable[..., object]] = [scheduler.assert_completed, scheduler.assert_failed]
    for assertion in assertions:
        with pytest.raises(
            AssertionError, match=r"^no launch of this harness has the id 'nope'; nothing was launched at"
        ):
            assertion("nope")
    message_ids = [double.launch(number) for number in range(7)]
    for assertion in assertions:
        with pytest.raises(
            AssertionError, match=rf"^no launch of this harness has the id 'nope'; (?s:.*){message_ids[-1]}"
        ):
            assertion("nope")
        with pytest.raises(AssertionError, match=r"double\(6\) has not ended; run_until_idle"):
            assertion(message_ids[-1])


def test_a_number_of_launches_is_one_from_1_on(scheduler: Harness) -> None:
    """That there are none has an assertion of its own, which is named."""
    double.launch(1)
    times: Any
    for times in (0, -1, "1", True, 1.0, [1]):
        for task in (double, again):
            with pytest.raises(
                InvalidParameter, match=r"^times must be a whole number from 1 .*assert_not_launched\(…\)"
            ):
                scheduler.assert_launched(task, times=times)


def test_a_failed_assertion_shows_none_of_our_source(scheduler: Harness) -> None:
    """Its traceback, as pytest shows it, ends at the test's own line."""
    message_id = double.options(delay=60).launch(1)
    for assertion in (
        lambda: scheduler.assert_launched(again),
        lambda: scheduler.assert_not_launched(double),
        lambda: scheduler.assert_completed(message_id),
        lambda: scheduler.assert_failed(message_id),
        lambda: scheduler.assert_completed(again),
        lambda: scheduler.assert_completed("nope"),
    ):
        with pytest.raises(AssertionError) as caught:
            assertion()
        shown = caught.traceback.filter(caught)
        assert {str(entry.path) for entry in shown} == {__file__}


def test_starting_what_runs_and_stopping_what_does_not(scheduler: Harness) -> None:
    """Each names the call that would do."""
    with pytest.raises(HarnessError, match=r"no stopped service to start: new_service\(\) makes a further one"):
        scheduler.start_service()
    scheduler.stop_service()
    for call in (scheduler.stop_service, scheduler.crash_service):
        with pytest.raises(HarnessError, match=r"down already; start_service\(\) starts it"):
            call()


def test_a_harness_that_captures_has_no_service() -> None:
    """And says how to get one."""
    with Harness(is_capturing=True) as scheduler:
        for use in (lambda: scheduler.service, scheduler.crash_service):
            with pytest.raises(HarnessError, match="open it with is_capturing=False"):
                use()


def test_a_harness_that_captures_runs_nothing() -> None:
    """Whoever asks for an outcome is told why there is none."""
    with Harness(is_capturing=True) as scheduler:
        message_id = double.launch(1)
        with pytest.raises(AssertionError, match=r"only captures launches and runs none.*is_capturing=False"):
            scheduler.assert_completed(double)
        with pytest.raises(NothingLeftToHappen, match=r"only captures launches and runs none.*is_capturing=False"):
            message_id.result()
        with pytest.raises(NothingLeftToHappen, match=r"only captures launches and runs none.*is_capturing=False"):
            scheduler.run_until(message_id)


def test_a_test_that_asks_in_a_loop(scheduler: Harness, monkeypatch) -> None:
    """Would hang for ever, since nothing happens by itself; asking between steps, or for many, is no loop."""
    monkeypatch.setattr(looks, "LOOKS_MAX", 100)
    message_id = double.options(delay=60).launch(1)

    def poll() -> None:
        while scheduler.outcome(message_id) is None or scheduler.outcome("another") is None:
            pass

    with pytest.raises(
        HarnessError,
        match=r"asked .* for outcomes, at last for that of .*, 100 times.*Nothing happens by itself: advance",
    ):
        poll()
    for _ in range(40):
        assert scheduler.outcome(message_id) is None
        assert scheduler.outcome("another") is None
    scheduler.run_until(lambda: scheduler.outcome(message_id) is not None)
    while scheduler.clock.monotonic() < 1200:
        assert scheduler.outcome("another") is None
        scheduler.advance(seconds=1)


@pytest.mark.parametrize(
    "look",
    [
        client.get_response,
        lambda _: time.time() > 1e10,
        lambda _: time.monotonic() > 1e10,
        lambda _: datetime.now(UTC).year > 2100,
    ],
    ids=["answer", "time", "monotonic", "now"],
)
def test_a_test_that_looks_in_a_loop(
    scheduler: Harness, monkeypatch: pytest.MonkeyPatch, look: Callable[[str], object]
) -> None:
    """At an answer, or at a clock: it ends with an error that says what to do, also when it lets nothing happen."""
    monkeypatch.setattr(looks, "LOOKS_MAX", 100)
    monkeypatch.setattr(looks, "CLOCK_LOOKS_MAX", 100)
    message_id = double.options(delay=60).launch(1)

    def poll() -> None:
        while not look(message_id):
            scheduler.run_until_idle()

    with pytest.raises(HarnessError, match=r"100 times.*Nothing happens by itself: advance"):
        poll()
    scheduler.advance(minutes=1)
    assert client.get_response(message_id) is not None


def test_waiting_for_what_never_comes(scheduler: Harness) -> None:
    """A condition that nothing can make true ends with an error, not with the test's patience."""
    with pytest.raises(NothingLeftToHappen, match="nothing is left that could ever end this wait"):
        scheduler.run_until(lambda: False)
    with pytest.raises(HarnessError, match="not within 5 virtual seconds"):
        scheduler.run_until(lambda: False, timeout_s=5)


@pytest.mark.parametrize("timeout_s", [float("nan"), -1, -1e-9, float("inf"), 1e12, 10**400, "5", True], ids=repr)
def test_a_timeout_outside_its_range(scheduler: Harness, timeout_s: Any) -> None:
    """Is refused by its name, before anything has happened, as for `id.result()`; a condition is not asked."""
    message_id = double.options(delay=60).launch(2)
    before = scheduler.clock.now()
    waits: list[Callable[[], object]] = [
        lambda: scheduler.run_until(message_id, timeout_s=timeout_s),
        lambda: scheduler.run_until(lambda: pytest.fail("it was asked"), timeout_s=timeout_s),
        lambda: message_id.result(timeout_s=timeout_s),
        lambda: scheduler.broker.faults.half_open(heartbeat_s=timeout_s),
        lambda: scheduler.broker.crash(down_s=timeout_s),
    ]
    for wait_for in waits:
        with pytest.raises(
            InvalidParameter, match=r"^\w+_s must be a number of seconds (from|above) 0 to 3\.1536e\+08, got"
        ):
            wait_for()
    with pytest.raises(InvalidParameter, match=r"^grace_s must be a number of seconds from 0"):
        scheduler.stop_service(grace_s=timeout_s)
    assert scheduler.clock.now() == before
    scheduler.run_until(message_id, timeout_s=60.5)
    assert message_id.result() == 4


@pytest.mark.parametrize("what", [None, 5, double, b"id", ["id"]], ids=repr)
def test_waiting_for_what_is_no_id_and_no_condition(scheduler: Harness, what: Any) -> None:
    """Is refused by what it is; a task is not run by it."""
    double.launch(1)
    with pytest.raises(
        HarnessError,
        match=rf"needs the id of a launch.* got .*\({type(what).__name__}\), which is no id and no condition",
    ):
        scheduler.run_until(what)


@pytest.mark.parametrize("number", [2, 3, -1, -2, True, "0", None, 0.0], ids=repr)
def test_a_service_that_is_not_there(scheduler: Harness, number: Any) -> None:
    """Is refused by its number, with those that there are; none is taken in its place."""
    scheduler.new_service()
    for use in (
        scheduler.crash_service,
        scheduler.stop_service,
        scheduler.start_service,
        scheduler.faults.heal_storage,
        lambda which: scheduler.faults.fail_storage(service=which),
    ):
        with pytest.raises(
            HarnessError,
            match=rf"no service has the number {number!r}: there are 2 services, numbers 0 to 1; new_service",
        ):
            use(number)
    assert [served.is_up for served in scheduler.services] == [True, True]
    scheduler.crash_service(1)
    assert [served.is_up for served in scheduler.services] == [True, False]
    scheduler.start_service(1)


def test_a_task_that_launches_itself_for_ever(scheduler: Harness) -> None:
    """`run_all` gives up, and says who keeps launching."""
    again.launch(1)
    with pytest.raises(TooManyEvents, match=r"Launched most: .*again \d+ times"):
        scheduler.run_all(limit=20)


def test_a_task_that_launches_itself_at_once_for_ever(scheduler: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told by name, after so many launches in a row; the harness can be closed as ever."""
    monkeypatch.setattr(chains, "INSTANT_MAX", 50)

    @client.task
    def on_and_on() -> None:
        on_and_on.launch()

    on_and_on.launch()
    with pytest.raises(TooManyEvents, match=r"50 launches in a row at one instant.*on_and_on \d+ times"):
        scheduler.run_until_idle()


def test_what_was_launched_before_a_wait_is_not_endless(scheduler: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much happens at one instant, or in one wait, for launches that were known when it began."""
    monkeypatch.setattr(wait, "INSTANT_MAX", 50)
    monkeypatch.setattr(scheduler.world, "_events_max", 50)
    for number in range(30):
        double.options(delay=60 if number % 2 else 0).launch(number)
    scheduler.advance(minutes=2)
    assert all(scheduler.outcome(launch.message_id) for launch in scheduler.launched)
    assert scheduler.calls.turn > 2 * 50


def test_launches_that_become_ever_more_at_one_instant(scheduler: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count as endless: those that come in a wait do not move its bound."""
    monkeypatch.setattr(wait, "INSTANT_MAX", 300)

    @client.task
    def two_more() -> None:
        two_more.launch()
        two_more.launch()

    two_more.launch()
    with pytest.raises(TooManyEvents, match="401 things happened without an end"):
        scheduler.run_until_idle()


def test_many_launches_at_one_instant_are_no_chain(scheduler: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one task that launches many, and of a chain that takes its time, nothing is refused."""
    monkeypatch.setattr(chains, "INSTANT_MAX", 50)

    @client.task
    def launch_many() -> None:
        for number in range(60):
            double.launch(number)

    launch_many.launch()
    scheduler.run_until_idle()
    assert len(scheduler.launched) == 61
    again.launch(1)
    scheduler.advance(minutes=1)
    assert len(scheduler.launched) > 61 + 55


def test_a_background_thread_of_the_program_is_no_task(scheduler: Harness) -> None:
    """`run_all` waits for tasks, not for a thread that looks at something each second, for ever."""

    def look() -> None:
        while True:
            time.sleep(1)

    threading.Thread(target=look, daemon=True).start()
    message_id = double.options(delay=60).launch(1)
    scheduler.run_all()
    scheduler.assert_completed(message_id)


def test_a_start_without_a_time_zone() -> None:
    """Is refused where it is written."""
    with pytest.raises(InvalidParameter, match="start needs a datetime with a time zone"):
        Harness(start=datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused
    with pytest.raises(InvalidParameter, match="start needs a datetime with a time zone"):
        Harness(start="2026-01-01")  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize("name", ["Mars/Crater", "", "Europe", "/etc/localtime"])
def test_an_unknown_time_zone(name: str) -> None:
    """Is refused with an example of what there is."""
    with pytest.raises(InvalidParameter, match=r"time_zone: .*Europe/Berlin"):
        Harness(time_zone=name)


@pytest.mark.parametrize(
    "options",
    [
        {"patience_s": 0},
        {"patience_s": -1},
        {"patience_s": float("nan")},
        {"restart_after_s": -1},
        {"lead_s": -1},
        {"lead_s": 1},
        {"seed": "7"},
        {"seed": None},
        {"client": "shop"},
        {"client": {1: "shop"}},
        {"client": []},
        {"service": ["threads"]},
        {"service": [("threads", 2)]},
        {"is_capturing": "no"},
        {"is_capturing": None},
        {"is_strict": 1},
        {"copies": "yes"},
        {"start": datetime.max.replace(tzinfo=UTC)},
        {"start": datetime.min.replace(tzinfo=UTC)},
        {"start": datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))},
        {"start": datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))},
        {"transport": None},
        {"transport": 5},
        {"transport": ""},
        {"transport": "Memory"},
        {"transport": "redis://localhost"},
    ],
    ids=str,
)
def test_an_option_outside_its_range(options: dict[str, Any]) -> None:
    """Is refused where it is written, by its name."""
    with pytest.raises(InvalidParameter, match=rf"^{next(iter(options))} must be"):
        Harness(**options)


async def is_ready() -> bool:
    return False


@pytest.mark.parametrize("condition", [is_ready, lambda scheduler: scheduler.launched], ids=["async", "arguments"])
def test_a_condition_that_cannot_be_asked(scheduler: Harness, condition: Any) -> None:
    """A coroutine is true, and would end the wait at once."""
    with pytest.raises(InvalidParameter, match="the condition of run_until"):
        scheduler.run_until(condition)


def test_a_limit_outside_its_range(scheduler: Harness) -> None:
    """No timer at all is no limit to run to."""
    with pytest.raises(InvalidParameter, match=r"^limit must be a whole number from 1"):
        scheduler.run_all(limit=0)


def test_an_option_without_its_name(pytester: pytest.Pytester) -> None:
    """Would mean nothing: it is refused, with the names that there are."""
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.scheduler(7)
        def test_it(scheduler): pass
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*scheduler takes options by name, and got 7; there are start, time_zone, seed, *"])


def test_a_harness_beside_the_fixture_is_told_whose_the_open_one_is(pytester: pytest.Pytester) -> None:
    """It was opened by the fixture of this test, not somewhere within pytest."""
    pytester.makepyfile(
        """
        from schedulergodx_testing import Harness
        def test_both(scheduler):
            Harness().open()
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*that one was opened by the fixture `scheduler` of *::test_both*"])


def test_an_unknown_option(pytester: pytest.Pytester) -> None:
    """The marker's options are those of the harness."""
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.scheduler(sed=7)
        def test_it(scheduler): pass
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*scheduler has no option sed; there are start, time_zone, seed, *"])


def test_another_thread_does_not_drive(scheduler: Harness) -> None:
    """Virtual time is moved by the thread that opened the harness; in a task it would be moved under its own feet."""
    errors: list[Exception] = []

    def drive() -> None:
        try:
            scheduler.advance(seconds=1)
        except HarnessError as error:
            errors.append(error)

    thread = threading.Thread(target=drive)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "the thread that opened it" in str(errors[0])


def test_asyncio_tests_can_wait(scheduler: Harness) -> None:
    """Inside a running loop, `await id` lets virtual time pass."""

    async def wait() -> int:
        return await double.options(delay=60).launch(4)

    assert asyncio.run(wait()) == 8
