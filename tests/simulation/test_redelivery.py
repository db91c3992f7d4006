"""`check_redelivery_safe`: functions that may run twice pass, others are told after which kill, and what came of it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from typing import Any

import pytest

from schedulergodx import Client, InvalidParameter, TaskNotSerializable
from schedulergodx_testing import HarnessError, check_redelivery_safe

client = Client(name="shop")
table: dict[str, int] = {}
counter = 0


@client.task
def upsert(key: str, value: int) -> None:
    time.sleep(1)
    table[key] = value
    time.sleep(60)


@client.task
def count() -> None:
    global counter  # noqa: PLW0603 - the classic
    counter += 1


@pytest.fixture(autouse=True)
def as_before() -> None:
    global counter  # noqa: PLW0603 - the classic
    counter = 0
    table.clear()


def test_an_upsert_is_safe() -> None:
    """It was stopped at each of its waits, and at its end, in no real time."""
    places = check_redelivery_safe(upsert, "a", value=7, observe=lambda: dict(table))
    assert places == [
        "the end of its run (W9)",
        "time.sleep(1), its wait 1 (W9)",
        "time.sleep(60), its wait 2 (W9)",
    ]
    assert table == {"a": 7}


def test_a_counter_is_not() -> None:
    """The message has what was observed, and after what."""
    with pytest.raises(AssertionError) as caught:
        check_redelivery_safe(count, observe=lambda: counter)
    assert str(caught.value) == (
        "tests.simulation.test_redelivery.count is not safe to run again: 1 after one undisturbed run, but\n"
        "  2 after redelivery at the end of its run (W9)"
    ).replace("tests.simulation.test_redelivery", count.func.__module__)


def test_a_guard_that_comes_too_late_is_found() -> None:
    """`reset` gives each trial the same beginning: safe at its end, and not in the middle."""
    state = {"sent": 0, "done": False}

    def send() -> None:
        if not state["done"]:
            state["sent"] += 1
            time.sleep(5)
            state["done"] = True

    def reset() -> None:
        state.update(sent=0, done=False)

    with pytest.raises(
        AssertionError, match=r"1 after one undisturbed run, but\n  2 after redelivery at time\.sleep\(5\)"
    ):
        check_redelivery_safe(send, observe=lambda: state["sent"], reset=reset)


def test_it_works_in_a_database() -> None:
    """A plain function with a connection that no service could be sent; a transaction that is cut off is undone."""
    database = sqlite3.connect(":memory:", check_same_thread=False)
    database.execute("CREATE TABLE sums (id TEXT PRIMARY KEY, sum INTEGER)")

    def add(order: str, amount: int, *, is_naive: bool) -> None:
        with database:
            if is_naive:
                database.execute("INSERT INTO sums VALUES (?, ?)", (f"{order}-{len(rows())}", amount))
            else:
                database.execute("INSERT OR REPLACE INTO sums VALUES (?, ?)", (order, amount))
            time.sleep(1)

    def rows() -> list[tuple[str, int]]:
        return database.execute("SELECT * FROM sums ORDER BY id").fetchall()

    def reset() -> None:
        database.execute("DELETE FROM sums")
        database.commit()

    assert len(check_redelivery_safe(add, "a", 5, is_naive=False, observe=rows, reset=reset)) == 3
    with pytest.raises(
        AssertionError, match=r"\[\('a-0', 5\), \('a-1', 5\)\] after redelivery at the end of its run \(W9\)"
    ):
        check_redelivery_safe(add, "a", 5, is_naive=True, observe=rows, reset=reset)
    database.close()


def test_coroutines_and_launches_wait_too() -> None:
    """An `await`, and a launch that waits for its confirm, are places as others are."""
    steps: set[str] = set()

    async def steadily() -> None:
        steps.add("first")
        await asyncio.sleep(30)
        count.launch()
        steps.add("second")

    places = check_redelivery_safe(steadily, observe=lambda: set(steps))
    assert len(places) >= 3


def test_each_run_has_its_own_arguments() -> None:
    """As in a service: what a run does to its arguments, the next one does not see."""
    seen: list[int] = []

    def grow(numbers: list[int]) -> None:
        numbers.append(1)
        seen.append(len(numbers))

    given = [1]
    check_redelivery_safe(grow, given, observe=lambda: set(seen))
    assert (given, seen) == ([1], [2, 2])
    with pytest.raises(TaskNotSerializable):
        check_redelivery_safe(grow, threading.Lock(), observe=lambda: None)


def test_what_is_observed_is_kept_as_it_was() -> None:
    """A list that the function goes on changing is compared with what was in it."""
    seen: list[str] = []
    with pytest.raises(AssertionError, match=r"\['a', 'a'\] after redelivery at the end of its run"):
        check_redelivery_safe(lambda: seen.append("a"), observe=lambda: seen)


def test_a_second_run_that_fails_is_told() -> None:
    """It leaves the right thing, and its client hears that it failed."""
    made: set[str] = set()

    def make() -> None:
        if "a" in made:
            raise ValueError("is there already")
        made.add("a")

    with pytest.raises(
        AssertionError, match=r"it fails after redelivery at the end of its run \(W9\): ValueError: is there"
    ):
        check_redelivery_safe(make, observe=lambda: set(made))


def test_a_function_that_fails_anyhow_is_told_as_it_is() -> None:
    """With where it failed."""

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(AssertionError, match=r"(?s)fail fails undisturbed: ValueError: no.*in fail"):
        check_redelivery_safe(fail, observe=lambda: None)
    with pytest.raises(HarnessError, match="this needs a task"):
        check_redelivery_safe("fail", observe=lambda: None)


def pay(order: str) -> None:
    """Pay once, and see on the way whether that is done."""
    if order in table:
        return
    time.sleep(1)
    table[order] = 1
    time.sleep(60)


def test_a_kill_that_did_not_come_is_an_error() -> None:
    """Without `reset`, the second run finds its work done and waits nowhere: that it is safe there is not known."""
    with pytest.raises(
        HarnessError,
        match=r"pay was to be killed at time\.sleep\(1\), wait 1 of its undisturbed run, and did not come there again: "
        r"nothing is known of that kill. It begins from what the trial before has left: give reset=…",
    ):
        check_redelivery_safe(pay, "o", observe=lambda: dict(table))
    assert len(check_redelivery_safe(pay, "o", observe=lambda: dict(table), reset=table.clear)) == 4


def test_a_reset_that_is_not_enough_is_told() -> None:
    """It is there, and the second run does not come to its waits all the same."""
    with pytest.raises(HarnessError, match=r"its undisturbed run, and did not come there .* Does reset=… put back all"):
        check_redelivery_safe(pay, "o", observe=lambda: dict(table), reset=lambda: None)


def test_what_is_not_safe_is_told_before_what_is_not_known() -> None:
    """A function that waits in its first run alone, and counts in each."""
    runs: list[str] = []

    def count_and_wait_once() -> None:
        runs.append("a")
        if len(runs) == 1:
            time.sleep(1)

    with pytest.raises(AssertionError, match=r"not safe to run again: 1 after one .*\n  2 after redelivery at the end"):
        check_redelivery_safe(count_and_wait_once, observe=lambda: len(runs))


def test_the_place_is_the_wait_at_which_it_was_killed() -> None:
    """Not that of the undisturbed run with the same number."""
    lengths_s = [1, 1, 5, 5]

    def wait_another_time() -> None:
        time.sleep(lengths_s.pop(0))

    places = check_redelivery_safe(wait_another_time, observe=lambda: None)
    assert places == ["the end of its run (W9)", "time.sleep(5), its wait 1 (W9)"]


async def never_awaited() -> None:
    """Never run."""


@pytest.mark.parametrize(
    ("functions", "match"),
    [
        ({"observe": 3}, r"^observe must be a function, got 3 \(int\)"),
        ({"observe": never_awaited}, r"^observe must be a plain function"),
        ({"observe": lambda order: order}, r"^observe is called with no argument; .* cannot be: missing .*'order'"),
        ({"observe": dict, "reset": 3}, r"^reset must be a function, got 3 \(int\)"),
        ({"observe": dict, "reset": never_awaited}, r"^reset must be a plain function"),
    ],
)
def test_what_cannot_be_asked_is_refused(functions: dict[str, Any], match: str) -> None:
    """Before anything runs."""
    with pytest.raises(InvalidParameter, match=match):
        check_redelivery_safe(upsert, "a", 1, **functions)
    assert table == {}


def test_an_answer_that_somebody_would_have_to_await_is_refused() -> None:
    """Nobody does, so nothing was observed, or put back."""
    with pytest.raises(HarnessError, match="observe has returned something that nothing awaits here, a coroutine"):
        check_redelivery_safe(count, observe=lambda: never_awaited())  # noqa: PLW0108 - it would be seen as it is
    with pytest.raises(HarnessError, match="reset has returned something that nothing awaits here, a coroutine"):
        check_redelivery_safe(count, observe=dict, reset=lambda: never_awaited())  # noqa: PLW0108 - as above


def test_it_runs_in_the_harness_that_is_open(scheduler) -> None:
    """Whose time then passes."""
    before = scheduler.clock.monotonic()
    check_redelivery_safe(upsert, "a", 1, observe=lambda: dict(table))
    assert scheduler.clock.monotonic() - before > 60
