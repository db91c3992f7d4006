"""A service with more ends than a turn records: nobody waits for another one's large results, and nothing is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import DatabaseBusy
from schedulergodx.rules.lifecycle import Code, Report, TaskStatus
from schedulergodx.service import ends, loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.doubles import Bench

LARGE = Report(code=Code.OK, result=json.dumps("x" * 20_000))


@pytest.fixture
def crowd(make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A service of which a turn records one large end at most."""
    monkeypatch.setattr(ends, "TURN_BYTES_MAX", 10_000)
    monkeypatch.setattr(ends, "CLIENT_BYTES_MAX", 70_000)
    monkeypatch.setattr(ends, "ALL_BYTES_MAX", 500_000)
    return make_bench(threads=100, processes=100).open()


def run(bench: Bench, *names: str, client: str = "flood", **facts: object) -> None:
    """Launch tasks, and let them start."""
    for name in names:
        bench.launch(name, client=client, reply_to=f"service-client.{client}.1", **facts)
    bench.turn()
    assert set(names) <= set(bench.runner.running)


def numbered(count: int) -> list[str]:
    return [f"flood {number}" for number in range(count)]


def finish(bench: Bench, *names: str) -> None:
    for name in names:
        bench.runner.finish(name, LARGE)


def recorded(bench: Bench, *names: str) -> list[str]:
    return [name for name in names if bench.status(name) is TaskStatus.COMPLETED]


def test_a_small_task_is_answered_beside_many_large_results(crowd: Bench) -> None:
    """It is stored, started, recorded and answered within four turns, of which two record a large result each."""
    flood = numbered(20)
    run(crowd, *flood)
    finish(crowd, *flood)
    crowd.turn()
    crowd.launch("single", client="single", reply_to="service-client.single.1")
    crowd.turn()
    assert "single" in crowd.runner.running
    crowd.runner.finish("single")
    crowd.turn()
    crowd.turn()
    assert crowd.codes("single") == ["OK"]
    assert len(recorded(crowd, *flood)) <= 2
    crowd.settle_down(turns_max=100)
    assert recorded(crowd, *flood) == flood
    assert [code for name in flood for code in crowd.codes(name)] == ["OK"] * 20
    assert crowd.facts("publish") == ["single", *flood] or crowd.facts("publish").index("single") <= 2


def test_while_ends_wait_there_is_a_turn_at_once(crowd: Bench) -> None:
    """And the service says that it has something to do."""
    run(crowd, "a", "b")
    finish(crowd, "a", "b")
    crowd.turn()
    assert crowd.service.has_events()
    assert crowd.service.wait_s() == 0.0
    crowd.settle_down()
    assert not crowd.service.has_events()


@pytest.mark.parametrize("hard", [False, True])
def test_what_ended_in_time_is_not_judged_while_it_waits(crowd: Bench, hard: bool) -> None:
    """Its lifetime passes before its turn comes, and it has not overrun."""
    run(crowd, "a", "b", "c", lifetime_s=10, hard=hard)
    finish(crowd, "a", "b", "c")
    crowd.turn()
    crowd.clock.advance(seconds=60)
    crowd.settle_down()
    assert crowd.codes("a") == crowd.codes("b") == crowd.codes("c") == ["OK"]
    assert crowd.facts("abandon") == []


def test_a_run_that_overruns_meanwhile_is_judged(crowd: Bench) -> None:
    """Beside those that wait."""
    run(crowd, "a", "b", "slow", lifetime_s=10)
    finish(crowd, "a", "b")
    crowd.turn()
    crowd.clock.advance(seconds=60)
    crowd.settle_down()
    assert crowd.codes("a") == crowd.codes("b") == ["OK"]
    assert crowd.codes("slow") == ["TASK_TIMEOUT"]


def test_while_the_database_fails_what_ended_in_time_is_not_killed(crowd: Bench) -> None:
    """Neither what waited before, nor what ends during the pause; what runs on is."""
    run(crowd, "a", "b", "c", "slow", lifetime_s=10, hard=True)
    finish(crowd, "a", "b")
    crowd.turn()
    crowd.storage.failure = DatabaseBusy("busy")
    crowd.turn()
    finish(crowd, "c")
    crowd.clock.advance(seconds=60)
    crowd.turn()
    assert crowd.facts("abandon") == ["slow"]
    crowd.storage.failure = None
    crowd.wait(seconds=60)
    assert [crowd.codes(name) for name in ("a", "b", "c", "slow")] == [["OK"], ["OK"], ["OK"], ["TASK_TIMEOUT"]]


def test_a_turn_that_failed_is_not_larger_the_next_time(crowd: Bench) -> None:
    """It is done again as it was, and what waits comes after it, once each."""
    flood = numbered(9)
    run(crowd, *flood)
    for name in flood:
        crowd.runner.finish(name, Report(code=Code.OK, result=json.dumps("x" * 2500)))
    crowd.storage.failure = DatabaseBusy("busy")
    crowd.turn()
    crowd.storage.failure = None
    crowd.clock.advance(seconds=crowd.service.wait_s() or 0)
    crowd.turn()
    assert recorded(crowd, *flood) == flood[:3]
    crowd.settle_down()
    assert recorded(crowd, *flood) == flood
    assert [len(crowd.codes(name)) for name in flood] == [1] * 9


def test_a_stop_waits_until_all_ends_are_recorded(crowd: Bench) -> None:
    """Within its grace; nothing of them is interrupted."""
    flood = numbered(9)
    run(crowd, *flood)
    finish(crowd, *flood)
    crowd.turn()
    crowd.stop(grace_s=10)
    assert crowd.run().is_clean
    assert crowd.elapsed_s == 0
    assert [crowd.codes(name) for name in flood] == [["OK"]] * 9


def test_at_the_end_of_the_grace_all_ends_are_recorded(crowd: Bench) -> None:
    """In the turn that gives up what still runs, and however many there are."""
    flood = numbered(9)
    run(crowd, *flood, "endless")
    finish(crowd, *flood)
    crowd.turn()
    crowd.stop(grace_s=0)
    report = crowd.run()
    assert report.interrupted == ("endless",)
    assert [crowd.codes(name) for name in flood] == [["OK"]] * 9
    assert crowd.codes("endless") == ["TASK_INTERRUPTED"]


def test_a_client_of_which_much_waits_starts_nothing_and_others_do(crowd: Bench) -> None:
    """Its results would fill the memory; its tasks start when most of the ends are recorded."""
    flood = numbered(8)
    run(crowd, *flood)
    finish(crowd, *flood)
    crowd.turn()
    crowd.launch("more", client="flood")
    crowd.launch("single", client="single")
    crowd.turn()
    assert list(crowd.runner.running) == ["single"]
    crowd.settle_down()
    assert set(crowd.runner.running) == {"single", "more"}


def test_a_crash_while_ends_wait_is_a_crash_while_they_ran(crowd: Bench) -> None:
    """Nothing of them was told, so they are interrupted, each once."""
    run(crowd, "a", "b", "c")
    finish(crowd, "a", "b", "c")
    crowd.turn()
    crowd.turn()
    assert recorded(crowd, "a", "b", "c") == ["a"]
    crowd.crash()
    crowd.open().settle_down()
    assert crowd.status("a") is TaskStatus.COMPLETED
    assert crowd.codes("b") == crowd.codes("c") == ["TASK_INTERRUPTED"]


def test_launches_of_many_bytes_share_no_turn(crowd: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """So an end waits for one that is large, and not for all that the broker has handed over."""
    monkeypatch.setattr(loop, "LAUNCH_BYTES_MAX", 100)
    tags = [crowd.launch(name) for name in "abc"]
    acked = [crowd.turn() for _ in range(3)]
    assert [dict(calls)["ack"] for calls in acked] == [[tag] for tag in tags]
