"""How a service stops: it takes no more, lets work end, gives up on the rest, and hands over its answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import Closed, InvalidParameter
from schedulergodx.rules.lifecycle import TaskStatus
from schedulergodx.service import StopReport
from schedulergodx.utils.abstractions import ConnectionState

if TYPE_CHECKING:
    from tests.unit.doubles import Bench


def test_an_idle_service_stops_at_once(bench: Bench) -> None:
    """No time passes; the transport goes after the runner, and the report is clean."""
    bench.stop()
    assert bench.run() == StopReport()
    assert bench.elapsed_s == 0
    assert bench.names() == ["commit", "consume", "stop_consuming", "commit", "runner closed", "transport closed"]


def test_running_tasks_may_end_within_the_grace(bench: Bench) -> None:
    """Nothing new is started, also not what becomes due meanwhile; the answer goes out before the end."""
    bench.launch("a")
    bench.launch("b", delay_s=1)
    bench.turn()
    bench.stop(grace_s=10)
    bench.turn()
    bench.clock.advance(seconds=5)
    bench.turn()
    assert not bench.is_done
    bench.runner.finish("a")
    report = bench.run()
    assert report.is_clean
    assert bench.codes("a") == ["OK"]
    assert bench.facts("start") == ["a"]


def test_deliveries_that_were_handed_over_are_still_stored(bench: Bench) -> None:
    """They are acked and run at the next start."""
    tags = [bench.launch("a")]
    bench.stop()
    tags.append(bench.launch("b"))
    bench.run()
    assert bench.facts("ack") == [tags]
    assert bench.facts("start") == []
    bench.make()
    bench.open().settle_down()
    assert bench.facts("start") == ["a", "b"]


def test_what_has_not_ended_within_the_grace_is_interrupted(bench: Bench) -> None:
    """It is recorded, answered, killed, and named in the report."""
    bench.launch("soft")
    bench.launch("hard", hard=True)
    bench.turn()
    bench.stop(grace_s=10)
    report = bench.run()
    assert bench.elapsed_s == 10
    assert sorted(report.interrupted) == ["hard", "soft"]
    assert not report.is_clean
    assert sorted(bench.facts("abandon")) == ["hard", "soft"]
    assert bench.codes("soft") == bench.codes("hard") == ["TASK_INTERRUPTED"]


def test_the_report_names_only_what_was_interrupted(bench: Bench) -> None:
    """A task that ends, or overruns, in the very turn in which the grace is over has its own outcome."""
    bench.launch("ends")
    bench.launch("overruns", lifetime_s=10)
    bench.launch("stays")
    bench.turn()
    bench.stop(grace_s=10)
    bench.turn()
    bench.clock.advance(seconds=10)
    bench.runner.finish("ends")
    report = bench.run()
    assert report.interrupted == ("stays",)
    assert bench.codes("ends") == ["OK"]
    assert bench.codes("overruns") == ["TASK_TIMEOUT"]
    assert bench.codes("stays") == ["TASK_INTERRUPTED"]


def test_a_grace_that_ends_within_a_turn_leaves_no_run_without_its_outcome(bench: Bench) -> None:
    """Time passes during the commit: the runs are given up in the next turn, not forgotten."""
    bench.launch("a")
    bench.turn()
    bench.stop(grace_s=10)
    bench.turn()
    acked = bench.transport.ack
    bench.transport.ack = lambda deliveries: (acked(deliveries), bench.clock.advance(seconds=20))
    bench.launch("b")
    bench.turn()
    report = bench.run()
    assert report.interrupted == ("a",)
    assert bench.codes("a") == ["TASK_INTERRUPTED"]


def test_a_deadline_within_the_grace_still_holds(bench: Bench) -> None:
    """An overrun is TASK_TIMEOUT also while the service stops."""
    bench.launch("a", lifetime_s=3)
    bench.turn()
    bench.stop(grace_s=10)
    report = bench.run()
    assert bench.codes("a") == ["TASK_TIMEOUT"]
    assert report.is_clean
    assert bench.elapsed_s == 3


def test_a_later_stop_can_only_shorten_the_grace(bench: Bench) -> None:
    """Asking again with less time helps; with more time it does not."""
    bench.launch("a")
    bench.turn()
    for grace_s in (20, 5, 100):
        bench.stop(grace_s=grace_s)
    report = bench.run()
    assert report.interrupted == ("a",)
    assert bench.elapsed_s == 5


def test_a_grace_of_zero_gives_up_at_once(bench: Bench) -> None:
    """No time passes."""
    bench.launch("a")
    bench.turn()
    bench.stop(grace_s=0)
    report = bench.run()
    assert report.interrupted == ("a",)
    assert bench.elapsed_s == 0


def test_a_task_in_the_queue_of_the_same_turn_is_not_started_after_a_stop(bench: Bench) -> None:
    """Whatever their order in the inbox."""
    bench.launch("a")
    bench.stop()
    bench.turn()
    assert bench.status("a") is TaskStatus.WAITING
    bench.run()
    assert bench.facts("start") == []


# --- the last answers


def test_answers_under_way_are_waited_for(bench: Bench) -> None:
    """At most `reply_flush_s` seconds; what is not confirmed by then is counted, and kept for the next start."""
    bench.transport.confirms = False
    bench.launch("a")
    bench.turn()
    bench.runner.finish("a")
    bench.turn()
    bench.stop()
    report = bench.run()
    assert bench.elapsed_s == 5
    assert report == StopReport(unsent_replies=1)


def test_a_confirm_ends_the_flush(bench: Bench) -> None:
    """The service leaves as soon as the broker has the last answer."""
    bench.transport.confirms = False
    bench.launch("a")
    bench.turn()
    bench.runner.finish("a")
    bench.stop()
    bench.turn()
    bench.clock.advance(seconds=1)
    [outgoing] = bench.transport.waiting
    outgoing.on_settled(outgoing, None)
    assert bench.run() == StopReport()
    assert bench.elapsed_s == 1


@pytest.mark.parametrize("state", [ConnectionState.RECOVERING, ConnectionState.REFUSED, ConnectionState.CONNECTING])
def test_a_broker_that_is_away_holds_up_no_stop(bench: Bench, state: ConnectionState) -> None:
    """The answers are in the database, and counted."""
    bench.transport.confirms = False
    bench.transport.state, bench.transport.reason = state, "connection refused"
    bench.launch("a")
    bench.turn()
    bench.runner.finish("a")
    bench.stop()
    assert bench.run().unsent_replies == 1
    assert bench.elapsed_s == 0


def test_a_connection_that_is_being_made_is_waited_for(bench: Bench) -> None:
    """The first answer of a service opens the connection for answers; that is no reason to leave without it."""
    bench.transport.confirms = False
    bench.transport.state = ConnectionState.CONNECTING
    bench.launch("a")
    bench.turn()
    bench.runner.finish("a")
    bench.stop()
    bench.turn()
    assert not bench.is_done
    [outgoing] = bench.transport.waiting
    outgoing.on_settled(outgoing, None)
    assert bench.run().is_clean


def test_answers_that_wait_for_another_try_are_counted(bench: Bench) -> None:
    """A report is clean only if every answer is with the broker."""
    from schedulergodx.errors import QueueFull

    bench.transport.confirms = False
    bench.launch("a")
    bench.turn()
    bench.runner.finish("a")
    bench.turn()
    [outgoing] = bench.transport.waiting
    outgoing.on_settled(outgoing, QueueFull("full"))
    bench.turn()
    bench.transport.state = ConnectionState.RECOVERING
    bench.stop()
    assert bench.run() == StopReport(unsent_replies=1)


# --- once, and by hand


def test_a_service_starts_once(bench: Bench) -> None:
    """The second start says to make a new one, and touches nothing."""
    with pytest.raises(Closed, match=r"service 'service' was started before; a service starts once: make a new one"):
        bench.service.start()
    bench.launch("a")
    bench.turn()
    assert bench.facts("start") == ["a"]


def test_closing_twice_or_before_opening_does_nothing(make_bench) -> None:
    """`close` may stand in any `finally`."""
    bench = make_bench()
    assert bench.close() == StopReport()
    bench.open()
    bench.close()
    before = list(bench.calls)
    bench.close()
    assert bench.calls == before


@pytest.mark.parametrize("grace_s", [-1, math.nan, math.inf, "5", True])
def test_a_grace_that_is_no_time_is_refused_where_it_is_given(bench: Bench, grace_s: object) -> None:
    """In the thread that asks, not inside the loop."""
    with pytest.raises(InvalidParameter, match="grace_s must be a number of seconds"):
        bench.service.stop(grace_s)
    bench.turn()
    assert not bench.is_done
