"""Random stories: every promise holds in them, a seed is one story, and what is broken is told shortly."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from schedulergodx.service.publisher import Publisher
from schedulergodx_testing import Harness, invariants
from schedulergodx_testing.simulation import play, shrink, story_of
from schedulergodx_testing.simulation.__main__ import main
from schedulergodx_testing.simulation.many import COMMAND, play_in_processes, play_seeds, replay_line
from schedulergodx_testing.simulation.stage import Stage
from schedulergodx_testing.simulation.stories import FAULTS

if TYPE_CHECKING:
    from pathlib import Path

SEED = 33


def simulate(*arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess[bytes]:
    """Run the command as a person does."""
    return subprocess.run(
        [sys.executable, *COMMAND.split()[1:], *arguments],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        timeout=100,
        check=False,
    )


def lose_answers(patch: pytest.MonkeyPatch) -> None:
    """Plant a defect: answers are forgotten when they are sent."""
    after_commit = Publisher.after_commit

    def broken(self, settled, fresh) -> None:
        after_commit(self, settled, fresh)
        if fresh:
            with self._storage.transaction():
                self._storage.remove_replies([reply.number for reply in fresh])

    patch.setattr(Publisher, "after_commit", broken)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_promise_holds_in_random_stories() -> None:
    """2,000 seeds in CI, a few elsewhere: days of virtual time each, with faults of several kinds."""
    told: list[str] = []
    seeds = 2000 if os.environ.get("CI") else 100
    total = play_in_processes(0, seeds, min(2, os.cpu_count() or 1), told.append)
    assert total.broken == 0, "\n".join(told)
    assert total.seeds == seeds
    # Stories in which nothing goes on would show nothing.
    assert min(total.tasks, total.runs) > 5 * seeds
    assert total.faults > 3 * seeds
    assert total.virtual_s > 86400 * seeds


@pytest.mark.slow
def test_a_seed_is_one_story_byte_for_byte() -> None:
    """In two processes whose hashes differ, with every entry of the timeline in the sum at its end."""
    first, second = (simulate("--seed", str(SEED), hash_seed=hash_seed) for hash_seed in "12")
    assert first.returncode == second.returncode == 0, first.stdout.decode()
    assert first.stdout == second.stdout
    assert re.search(rb"every promise holds\n\n(.*\n)+\d+ entries, sha256 [0-9a-f]{64}\n\Z", first.stdout)


def test_a_broken_promise_is_told_shortly_and_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that do not matter are left out; the printed line plays the short story again, to the same text."""
    lose_answers(monkeypatch)
    told: list[str] = []
    total = play_seeds(range(20), told.append)
    assert total.broken == len(told) >= 1
    text = told[0]
    assert "I4: a task ended as" in text
    assert ">>" in text
    line = re.search(r"Replay it: (.*)", text)
    assert line is not None
    seed, _, only = line.group(1).removeprefix(f"{COMMAND} --seed ").partition(" --only ")
    numbers = [int(number) for number in only.split(",")]
    assert 1 <= len(numbers) < len(story_of(int(seed)).numbers)
    again = play(story_of(int(seed)).only(numbers))
    assert text.startswith(again.told)
    assert replay_line(again) == line.group(1)
    assert shrink(again).story == again.story
    monkeypatch.undo()
    assert play(again.story).found == []


def test_a_failing_process_is_no_success(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A part of a simulation that ends without a result is told of, and its others are ended."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho begun\nexit 7\n")
    broken.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(broken))
    told: list[str] = []
    with pytest.raises(RuntimeError, match="ended with 7, and without a result"):
        play_in_processes(0, 2, 2, told.append)
    assert told == ["begun"]


def test_each_kind_of_fault_is_in_some_story() -> None:
    """And each step that a story names is a method of the stage, with these arguments."""
    stories = [story_of(seed) for seed in range(300)]
    assert {family for story in stories for family in story.setup.families} == set(FAULTS)
    names = {step.name for story in stories for step in story.steps}
    assert {name for kinds in FAULTS.values() for _, name, _ in kinds} <= names
    assert all(callable(getattr(Stage, name)) for name in names)
    assert len({story.setup for story in stories}) > 250


@pytest.mark.parametrize(
    ("arguments", "words"), [(["--seeds", "0"], "it must be at least 1"), (["--only", "one"], "invalid _numbers value")]
)
def test_a_command_that_asks_for_nothing_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """With the reason."""
    with pytest.raises(SystemExit):
        main(arguments)
    assert words in capsys.readouterr().err


def test_a_deadline_between_two_floats_does_not_stop_the_world() -> None:
    """A deadline can be a rounding above the moment at which it is due: then a turn comes a microsecond later."""
    with Harness() as scheduler:
        scheduler.advance(seconds=2.215)
        wait = scheduler.client.task(_wait).options(task_lifetime=60)
        message_id = wait.launch()
        assert scheduler.clock.monotonic() + 60.0 > 1062.215
        scheduler.advance(hours=2)
        scheduler.assert_failed(message_id, error="TASK_TIMEOUT")
        invariants.require(scheduler, is_over=True)


def _wait() -> None:
    import threading

    threading.Event().wait(4000)


def test_a_supervisor_starts_a_service_again_until_its_database_lets_it() -> None:
    """A start that fails is followed by another one, after the same pause."""
    with Harness(restart_after_s=1) as scheduler:
        scheduler.faults.fail_storage(error="full", once=False)
        scheduler.crash_service()
        scheduler.advance(seconds=10)
        assert not scheduler.services[0].is_up
        scheduler.faults.heal_storage()
        scheduler.advance(seconds=1)
        assert scheduler.services[0].is_up
        assert sum("cannot start: DatabaseFull" in entry.what for entry in scheduler.timeline.entries) == 10
