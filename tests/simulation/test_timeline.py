"""The timeline as a person reads it: lanes, stamps, causes, what broke, folded; and whole as JSON."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schedulergodx import Client
from schedulergodx_testing import Harness
from schedulergodx_testing.drawing import COLUMNS_MAX, LINES_MAX, duration, stamp
from schedulergodx_testing.timeline import Timeline

pytest_plugins = ["pytester"]

GOLDEN = Path(__file__).parent / "golden"
START = datetime(2026, 1, 1, tzinfo=UTC)

client = Client(name="a shop with quite a long name, as some have")


@client.task
def remind(user: str) -> None:
    """Do nothing."""


@client.task(task_lifetime=60, hard_task_lifetime=60)
def order(user: str) -> None:
    time.sleep(1.5)
    remind.options(delay=24 * 3600).launch(user)


@client.task(task_lifetime=10, hard_task_lifetime=10)
def oversleep() -> None:
    time.sleep(3600)


def compare_with_golden(name: str, text: str) -> None:
    """Compare with the file, or write it where SCHEDULERGODX_WRITE_GOLDEN is set."""
    path = GOLDEN / name
    if os.environ.get("SCHEDULERGODX_WRITE_GOLDEN"):
        path.write_text(text + "\n")
    assert text + "\n" == path.read_text(), "SCHEDULERGODX_WRITE_GOLDEN=1 writes the file anew, for you to read"


def test_a_day_in_lanes() -> None:
    """Launch, store, due, start, end and answer, with what led to each, over a crash and a deadline."""
    with Harness(seed=1) as scheduler:
        order.launch("ada")
        oversleep.options(hard=True).launch()
        scheduler.advance(minutes=1)
        order.launch("bob")
        scheduler.advance(seconds=1)
        scheduler.crash_service()
        scheduler.start_service()
        scheduler.run_all()
        told = str(scheduler.timeline)
    compare_with_golden("a_day.txt", told)


def test_a_thousand_launches_fit_on_a_page() -> None:
    """Folded to at most 60 lines of at most 100 columns, with the beginning, the end, and what is left out."""
    with Harness(seed=1) as scheduler:
        for number in range(1000):
            remind.options(delay=60 + number % 7).launch(f"user {number}")
        scheduler.run_all()
        lines = str(scheduler.timeline).splitlines()
    assert len(scheduler.timeline.entries) > 1000
    assert len(lines) <= LINES_MAX
    assert max(map(len, lines)) <= COLUMNS_MAX
    assert "launch" in lines[1]
    assert "+1:06" in lines[-1]


def broken_timeline() -> Timeline:
    """Return 4,000 entries of many kinds, of which one breaks a promise."""
    timeline = Timeline(START)
    for number in range(1000):
        at, message_id = START + timedelta(seconds=number), f"message {number:020d}"
        timeline.add(at, "client", f"launch task_{number % 13}({number}), due in 1h", message_id)
        timeline.add(at, "storage", f"store task_{number % 11}: new, due in 1h", message_id)
        if number == 500:
            timeline.add(at, "worker", "start task_6", message_id)
            timeline.add(at, "test", "I3: task_6 started 1h before its time", message_id, is_broken=True)
        timeline.add(at, "broker", f"kept: {'a queue with a very long name' * 4}", message_id)
    return timeline


def test_what_broke_is_marked_and_what_led_to_it_stays() -> None:
    """However many lines are left out around it."""
    compare_with_golden("broken.txt", str(broken_timeline()))
    marked = [line for line in str(broken_timeline()).splitlines() if line.startswith(">>")]
    assert len(marked) == 1
    assert "I3: task_6 started 1h before its time" in marked[0]


def test_the_same_as_json() -> None:
    """All entries, none folded, with the place of what led to each."""
    entries = json.loads(broken_timeline().to_json())
    assert len(entries) == 3002
    broken = next(place for place, entry in enumerate(entries) if entry["is_broken"])
    chain = []
    place: int | None = broken
    while place is not None:
        chain.append(entries[place]["lane"])
        place = entries[place]["cause"]
    assert chain == ["test", "worker", "storage", "client"]


def test_a_launch_by_a_task_is_caused_by_it() -> None:
    """The first entry of the inner launch points to the outer one's start."""
    with Harness() as scheduler:
        outer = order.launch("ada")
        scheduler.run_all()
    entries = scheduler.timeline.entries
    inner = next(entry for entry in entries if entry.what.startswith("launch") and entry.message_id != outer)
    assert inner.cause is not None
    assert entries[inner.cause].message_id == outer
    assert entries[inner.cause].what.startswith("start")


def test_a_failing_delay_test_shows_the_moments(pytester: pytest.Pytester) -> None:
    """Launch, store, due and start stand in the report, with their stamps, and so does the line that replays it."""
    pytester.makepyfile(
        """
        from schedulergodx import Client
        client = Client(name="shop")
        sent = []
        @client.task
        def remind(user): sent.append(user)
        def test_reminder(scheduler):
            remind.options(delay=3600).launch("ada")
            scheduler.advance(hours=1)
            assert sent == []
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- virtual time -*",
            "*+0  client   launch remind('ada'), due in 1h*#1 *",
            "*+0  test     advance by 1h*",
            "*+0  storage  store remind: new, due in 1h*#1*",
            "*+1:00:00  service  due: take it for its run*#1*",
            "*+1:00:00  worker   start remind*#1*",
            "Replay it: SCHEDULERGODX_REPLAY=1:0:* pytest *::test_reminder*",
        ]
    )


@pytest.mark.parametrize(
    ("delta", "as_duration", "as_stamp"),
    [
        (timedelta(), "0s", "+0"),
        (timedelta(seconds=0.25), "0.25s", "+0.25"),
        (timedelta(seconds=90), "1m 30s", "+1:30"),
        (timedelta(hours=2), "2h", "+2:00:00"),
        (timedelta(days=3, seconds=5), "3d 5s", "+3d 0:00:05"),
        (-timedelta(minutes=1), "-1m", "-1:00"),
    ],
)
def test_durations_are_readable(delta: timedelta, as_duration: str, as_stamp: str) -> None:
    """Both as lengths and as moments."""
    assert (duration(delta), stamp(delta)) == (as_duration, as_stamp)
