"""Tasks that are claimed before a thread is free for them: how many, for how long, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from schedulergodx.errors import DatabaseFull
from schedulergodx.rules.lifecycle import Code, Ending, Report, TaskStatus
from schedulergodx.rules.pace import CLAIM_WAIT_S, WINDOW_S
from schedulergodx.utils.storage import surroundings
from schedulergodx.utils.storage.reader import reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.doubles import Bench


@pytest.fixture(autouse=True)
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tell every test the same boot, whatever the system knows."""
    file = tmp_path / "boot_id"
    file.write_text("0d3c4a5e-8f1b-4d6a-9a3e-7c2b1f0e9d8c\n")
    monkeypatch.setattr(surroundings, "BOOT", file)
    return file


@pytest.fixture
def make_ahead(make_bench: Callable[..., Bench]) -> Callable[..., Bench]:
    """Make a service that is open, and whose runner lets runs wait for a thread."""

    def make_ahead(**limits: object) -> Bench:
        bench = make_bench(**limits)
        bench.takes_ahead = True
        bench.make()
        return bench.open()

    return make_ahead


@pytest.fixture
def busy(make_ahead: Callable[..., Bench]) -> Bench:
    """A service with two threads, both at work, that has claimed `c` and `d` ahead, and left `e` in the database."""
    return claim_ahead(make_ahead(threads=2))


def claim_ahead(bench: Bench, **facts: object) -> Bench:
    """Let two tasks end at once, with `a` to `e` behind them."""
    for name in ("x", "y"):
        bench.launch(name)
    bench.turn()
    for name in "abcde":
        bench.launch(name, **facts)
    bench.turn()
    for name in ("x", "y"):
        bench.runner.finish(name)
    bench.turn()
    return bench


def statuses(bench: Bench) -> dict[str, tuple[TaskStatus, int]]:
    """Return where each task is, and how often it was started."""
    with reader(bench.path) as view:
        return {task.message_id: (task.status, task.starts) for task in view.tasks(limit=20)}


def test_as_many_are_claimed_ahead_as_ended_just_now(busy: Bench) -> None:
    """All in the commit that stored what had ended; nothing waits for a batch to fill."""
    assert busy.facts("start") == ["x", "y", "a", "b", "c", "d"]
    assert list(busy.runner.waiting) == ["c", "d"]
    assert busy.service.health().running == 2


def test_a_moment_later_nothing_is(make_ahead: Callable[..., Bench]) -> None:
    """Behind tasks that take their time nothing is claimed that would have to wait."""
    bench = make_ahead(threads=2)
    for name in "ab":
        bench.launch(name)
    bench.turn()
    bench.runner.finish("a")
    bench.turn()
    bench.clock.advance(seconds=2 * WINDOW_S)
    for name in "cde":
        bench.launch(name)
    bench.settle_down()
    assert bench.facts("start") == ["a", "b", "c"]


@pytest.mark.parametrize("spoil", [Path.unlink, lambda boot: boot.write_text("")], ids=["no boot id", "an empty one"])
def test_without_marks_nothing_is(boot: Path, make_ahead: Callable[..., Bench], spoil: Callable[[Path], None]) -> None:
    """Else a kill would interrupt what had not begun."""
    spoil(boot)
    bench = claim_ahead(make_ahead(threads=2))
    assert bench.facts("start") == ["x", "y", "a", "b"]


def test_hard_tasks_are_not(make_ahead: Callable[..., Bench]) -> None:
    """However quickly soft ones end."""
    bench = claim_ahead(make_ahead(threads=2, processes=1), hard=True)
    assert bench.facts("start") == ["x", "y", "a"]
    bench.runner.finish("a")
    bench.settle_down()
    assert bench.facts("start") == ["x", "y", "a", "b"]


def test_a_kill_interrupts_only_what_had_begun(busy: Bench) -> None:
    """What had not begun waits again, and its start does not count."""
    assert busy.runner.begin("c")
    busy.crash()
    busy.open()
    assert statuses(busy) | {"x": None, "y": None} == {
        **dict.fromkeys("abc", (TaskStatus.ERROR, 1)),
        **dict.fromkeys("de", (TaskStatus.WAITING, 0)),
        **dict.fromkeys("xy", None),
    }
    busy.settle_down()
    assert busy.runner.start_numbers == [("d", 1), ("e", 1)]


def test_a_lifetime_counts_from_the_beginning(make_ahead: Callable[..., Bench]) -> None:
    """A task that waits is not over time; the service sleeps no longer than one that begins meanwhile may run."""
    bench = claim_ahead(make_ahead(threads=2), lifetime_s=0.75)
    assert bench.service.wait_s() == pytest.approx(0.75)
    bench.clock.advance(seconds=0.5)
    bench.runner.begin("c")
    bench.turn()
    assert bench.service.wait_s() == pytest.approx(0.25)
    bench.clock.advance(seconds=0.26)
    bench.turn()
    assert bench.facts("abandon") == ["a", "b"]
    assert bench.service.wait_s() == pytest.approx(0.24)  # `d` has waited for long
    bench.wait(seconds=0.5)
    assert bench.facts("abandon") == ["a", "b", "c"]
    assert statuses(bench)["c"] == (TaskStatus.ERROR, 1)


def test_what_waits_for_too_long_is_taken_back(busy: Bench) -> None:
    """The tasks before it have become slow: it is a task that waits again, as if it had not been claimed."""
    assert busy.service.wait_s() == pytest.approx(CLAIM_WAIT_S)
    busy.wait(seconds=CLAIM_WAIT_S + 0.01)
    busy.settle_down()
    assert statuses(busy)["c"] == statuses(busy)["d"] == (TaskStatus.WAITING, 0)
    assert not busy.runner.waiting
    assert busy.service.wait_s() is None
    busy.runner.finish("a")
    busy.settle_down()
    assert busy.runner.start_numbers[-2:] == [("c", 1), ("d", 1)]


def test_what_cannot_be_put_back_yet_is_later(busy: Bench) -> None:
    """A database that fails meanwhile changes nothing; it is written when it can be."""
    busy.clock.advance(seconds=CLAIM_WAIT_S + 0.01)
    busy.turn()
    assert not busy.runner.waiting
    busy.storage.failure = DatabaseFull("the disk is full")
    busy.turn()
    assert statuses(busy)["c"] == (TaskStatus.WORK, 1)
    busy.storage.failure = None
    busy.wait(seconds=60)
    assert statuses(busy)["c"] == statuses(busy)["d"] == (TaskStatus.WAITING, 0)


@pytest.mark.parametrize("grace_s", [0, 5])
def test_a_stop_puts_back_what_had_not_begun(busy: Bench, grace_s: float) -> None:
    """And interrupts only what had, when the grace is over."""
    busy.stop(grace_s)
    busy.turn()
    assert not busy.runner.waiting
    assert statuses(busy)["c"] == (TaskStatus.WAITING, 0)
    report = busy.run()
    assert sorted(report.interrupted) == ["a", "b"]
    assert [statuses(busy)[name] for name in "cde"] == [(TaskStatus.WAITING, 0)] * 3


def test_what_begins_in_the_midst_of_a_stop_counts_as_begun(busy: Bench) -> None:
    """Between being asked and its mark a run can be neither taken back nor called off: it is interrupted."""
    busy.runner.waiting.clear()  # their threads are just coming to them
    busy.stop(0)
    busy.turn()
    assert [statuses(busy)[name] for name in "cd"] == [(TaskStatus.ERROR, 1)] * 2


@pytest.mark.parametrize("enable_overdue", [False, True])
def test_what_has_become_overdue_while_it_waited_is_skipped(
    make_ahead: Callable[..., Bench], enable_overdue: bool
) -> None:
    """Unless its client wishes otherwise: it does not begin beyond its grace, as if it had not been claimed."""
    bench = make_ahead(threads=1, overdue_grace_s=0.5)
    bench.launch("x")
    for name in "ab":
        bench.launch(name, delay_s=1, enable_overdue=enable_overdue)
    bench.turn()
    bench.clock.advance(seconds=1)
    bench.runner.finish("x")
    bench.turn()
    bench.clock.advance(seconds=0.51)
    assert bench.runner.begin("b") is enable_overdue
    bench.runner.finish("a")
    bench.settle_down()
    expected = (TaskStatus.WORK, 1) if enable_overdue else (TaskStatus.OVERDUE, 0)
    assert statuses(bench)["b"] == expected


def test_a_mark_that_fails_is_told_by_the_runner(busy: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error goes to the runner, whose `Finished` says that the task did not start; it starts later."""

    def fail(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    begins = busy.runner.waiting.pop("c")
    monkeypatch.setattr(busy.storage.database._marks._file, "_pwrite", fail)
    with pytest.raises(OSError, match="No space"):
        begins()
    monkeypatch.undo()
    busy.runner.finish("c", Report(code=Code.ERROR_IN_TASK, message="no space"), Ending.NOT_STARTED)
    busy.turn()
    assert statuses(busy)["c"] == (TaskStatus.WAITING, 0)
