"""One line replays a run: found among seeds, shrunk to few choices, and the same again and again."""

from __future__ import annotations

import re
import shlex
import time
from typing import TYPE_CHECKING, Any

import pytest

from schedulergodx import Client, InvalidParameter
from schedulergodx_testing import Harness, HarnessError, NotEmulated, replay
from schedulergodx_testing.world.choices import Choices

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest_plugins = ["pytester"]

client = Client(name="shop", task_lifetime=None)
stock = {"apples": 0}


@client.task
def sell() -> None:
    left = stock["apples"]
    time.sleep(1)
    stock["apples"] = left - 1


@client.task
def unrelated() -> None:
    """Do nothing."""


def two_sales(scheduler: Harness) -> None:
    """The second one starts in the very second in which the first one ends: who comes first, is open."""
    stock["apples"] = 10
    sell.launch()
    sell.options(delay=1).launch()
    scheduler.run_all()
    assert stock["apples"] == 8


def test_a_lost_update_is_found_shrunk_and_replayed() -> None:
    """Within 1,000 seeds, to at most 5 choices that are not the first thing at hand, and 20 times out of 20."""
    found = replay.find(two_sales, seeds=1000)
    assert found is not None
    seed, choices = replay.parse(found)
    assert sum(choice != 0 for choice in choices) <= 5
    for _ in range(20):
        with Harness(seed=seed, replay=choices) as scheduler, pytest.raises(AssertionError):
            two_sales(scheduler)


def test_what_does_not_fail_is_not_found() -> None:
    """None, after all seeds were tried."""

    def one_sale(scheduler: Harness) -> None:
        stock["apples"] = 1
        sell.launch()
        scheduler.run_all()
        assert stock["apples"] == 0

    assert replay.find(one_sale, seeds=5) is None


@pytest.mark.parametrize("seeds", [0, -1, 1.5, True, "7", None])
def test_no_seed_to_try_finds_nothing_and_is_refused(seeds: Any) -> None:
    """By its name."""
    with pytest.raises(InvalidParameter, match=r"^seeds must be a whole number from 1 to "):
        replay.find(two_sales, seeds=seeds)


@pytest.mark.parametrize("option", ["seed", "replay"])
def test_the_seeds_are_those_of_find(option: str) -> None:
    """A seed, or choices, from outside mean nothing."""
    with pytest.raises(InvalidParameter, match=f"find tries seeds of its own: leave out {option}"):
        replay.find(two_sales, **{option: (1,)})


def test_what_is_wrong_in_every_order_is_raised_and_not_found() -> None:
    """A mistake of the test is told as it is, and no token stands for it."""

    def wrong_use(scheduler: Harness) -> None:
        scheduler.start_service()

    def wrong_parameter(scheduler: Harness) -> None:
        scheduler.advance(seconds=-1)

    def another_harness(scheduler: Harness) -> None:
        with Harness():
            pass

    def what_no_memory_can(scheduler: Harness) -> None:
        raise NotEmulated("not in memory")

    wrong: list[tuple[Callable[[Harness], None], type[Exception], str]] = [
        (wrong_use, HarnessError, "no stopped service to start"),
        (wrong_parameter, InvalidParameter, "time passes forward only"),
        (another_harness, HarnessError, "do not nest"),
        (what_no_memory_can, NotEmulated, "not in memory"),
    ]
    for test, error, match in wrong:
        for seeds in (1, 1000):
            with pytest.raises(error, match=match):
                replay.find(test, seeds=seeds)


def test_no_order_is_sought_inside_a_harness(scheduler: Harness) -> None:
    """Each run opens one of its own, which is refused before the test has begun."""
    with pytest.raises(HarnessError, match="do not nest"):
        replay.find(two_sales)
    scheduler.advance(seconds=1)


def test_an_option_of_the_harness_that_is_wrong_is_raised() -> None:
    """It is none of the test's."""
    with pytest.raises(InvalidParameter, match="patience_s must be"):
        replay.find(two_sales, patience_s=-1)


def test_errors_of_the_harness_that_mean_a_failure_are_found() -> None:
    """A wait without an end, in any order; a wait that is not in time, in some."""

    def endless(scheduler: Harness) -> None:
        scheduler.run_until(lambda: False)

    def not_in_time(scheduler: Harness) -> None:
        stock["apples"] = 10
        sell.launch()
        sell.options(delay=1).launch()
        scheduler.run_until(lambda: stock["apples"] == 8, timeout_s=10)

    def first_only(scheduler: Harness) -> None:
        if scheduler.seed == 0:
            raise HarnessError("not within 10 virtual seconds")

    def left_behind(scheduler: Harness) -> None:
        scheduler.crash_at("W9")

    for test in (endless, not_in_time, first_only, left_behind):
        found = replay.find(test)
        assert found is not None
        seed, choices = replay.parse(found)
        with pytest.raises(HarnessError), Harness(seed=seed, replay=choices) as scheduler:
            test(scheduler)


def test_shrinking_needs_something_that_can_be_run() -> None:
    """And a number of runs."""
    with pytest.raises(InvalidParameter, match="fails must be a function"):
        replay.shrink(True, replay.token(1, [1]))  # type: ignore[arg-type]  # what is refused
    with pytest.raises(InvalidParameter, match="tries_max must be a whole number"):
        replay.shrink(lambda _token: True, replay.token(1, [1]), tries_max=-1)


SUITE = """
import time
import pytest
from schedulergodx import Client

client = Client(name="shop", task_lifetime=None)
stock = {{"apples": 10}}

@client.task
def sell():
    left = stock["apples"]
    {unrelated}
    time.sleep(1)
    stock["apples"] = left - 1

{more}

{marker}
def test_two_sales(scheduler):
    stock["apples"] = 10
    sell.launch()
    sell.options(delay=1).launch()
    scheduler.run_all()
    assert stock["apples"] == 8
"""


def test_the_printed_line_replays_it_also_after_unrelated_changes(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token of a failing test, pasted before the same test without its seed, and with other code around it."""
    seed, _ = replay.parse(replay.find(two_sales, seeds=1000) or pytest.fail("nothing was found"))
    marker = f"@pytest.mark.scheduler(seed={seed})"
    path = pytester.makepyfile(SUITE.format(unrelated="pass", more="", marker=marker))
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    [line] = [line for line in result.outlines if line.startswith("Replay it: ")]
    assert line.endswith(f"pytest {path.name}::test_two_sales")
    token = line.split()[2].removeprefix(f"{replay.VARIABLE}=")

    monkeypatch.setenv(replay.VARIABLE, token)
    more = "@client.task\ndef another():\n    return 'new'\n\nNUMBERS = sorted({3, 1, 2})"
    for unrelated in ("pass", "sum(range(1000))  # new", "[str(number) for number in range(50)]"):
        path.write_text(SUITE.format(unrelated=unrelated, more=more, marker=""))
        pytester.runpytest_inprocess().assert_outcomes(failed=1)
    monkeypatch.delenv(replay.VARIABLE)


def test_shrinking_keeps_what_matters() -> None:
    """Of many choices the two that make it fail remain, as small as they can be."""

    def fails(text: str) -> bool:
        _, choices = replay.parse(text)
        return len(choices) > 70 and choices[3] >= 1 and choices[70] >= 1

    shrunk = replay.shrink(fails, replay.token(5, [4] * 200))
    seed, choices = replay.parse(shrunk)
    assert seed == 5
    assert {place: choice for place, choice in enumerate(choices) if choice} == {3: 1, 70: 1}


def test_shrinking_needs_something_that_fails() -> None:
    """A token with which the test passes is a mistake."""
    with pytest.raises(InvalidParameter, match="nothing to shrink"):
        replay.shrink(lambda _text: False, replay.token(1, [1, 2]))


def test_shrinking_is_bounded() -> None:
    """It takes no more runs than it may."""
    runs = []

    def fails(text: str) -> bool:
        runs.append(text)
        return len(replay.parse(text)[1]) == 1000

    replay.shrink(fails, replay.token(1, [1] * 1000), tries_max=50)
    assert len(runs) <= 51


def test_a_token_says_what_it_is() -> None:
    """Seed and choices come back; zeros at the end go without saying."""
    assert replay.parse(replay.token(7, [0, 2, 0, 1, 0, 0])) == (7, (0, 2, 0, 1))
    assert replay.parse(replay.token(-1, [])) == (-1, ())


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "must begin with 1:"),
        ("2:0:abc", "must begin with 1:"),
        ("1:zero:" + replay.token(0, [1]).split(":")[2], "is damaged"),
        (replay.token(0, [1, 2, 3])[:-4], "is damaged"),
        ("1:0:!!!", "is damaged"),
        (replay.story_token([("advance", {"seconds": 1})]), "one of a SchedulerMachine"),
    ],
)
def test_a_damaged_token_is_refused(text: str, match: str) -> None:
    """With the name of the variable, and what to copy."""
    with pytest.raises(InvalidParameter, match=match):
        replay.parse(text)


def test_a_token_is_no_choices() -> None:
    """Whoever gives a harness the token itself is told what to give, which then works."""
    text = replay.token(3, [1, 2])
    with pytest.raises(InvalidParameter, match=r"replay takes the choices of a token, with its seed") as caught:
        Harness(replay=text)  # type: ignore[arg-type]  # what is refused
    told = re.search(r"Harness\(.*\[1\]\)", str(caught.value))
    assert told is not None
    harness = eval(told.group(), {"Harness": Harness, "replay": replay})
    assert replay.token(harness.seed, harness.choices._plan) == text
    with pytest.raises(InvalidParameter, match="is damaged"):
        Harness(replay=text[:-4])  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize(
    "choices",
    ["abc", f"{replay.VARIABLE}=1:0:abc pytest test_it.py", b"12", 5, 1.5, [1, "2"], [True], (3, (1, 2)), {"a": 1}],
)
def test_what_is_no_choices_is_refused(choices: Any) -> None:
    """Where it is written, with what returns them."""
    with pytest.raises(InvalidParameter, match=r"replay takes choices, whole numbers as replay\.parse\(token\)\[1\]"):
        Harness(replay=choices)


def test_a_long_token_goes_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the line stays one; without a folder for it, the line is long, and replays all the same."""
    text = replay.token(3, [number**3 % 1009 % 97 for number in range(2000)])
    line = replay.line(text, "test_shop.py::test_it", tmp_path)
    assert len(line) < 200
    monkeypatch.setenv(replay.VARIABLE, line.partition("=")[2].partition(" ")[0])
    assert replay.wanted() == text
    assert replay.line(text, "test_shop.py::test_it") == f"{replay.VARIABLE}={text} pytest test_shop.py::test_it"
    monkeypatch.setenv(replay.VARIABLE, text)
    assert replay.wanted() == text
    monkeypatch.setenv(replay.VARIABLE, f"@{tmp_path / 'gone'}")
    with pytest.raises(InvalidParameter, match="names a file that cannot be read"):
        replay.wanted()


MANY_CHOICES = """
def test_it(scheduler):
    for number in range(2000):
        scheduler.choices.one_of(1000)
    assert scheduler.choices.taken[1000] == {expected}
"""


@pytest.mark.parametrize("cache", ["no:cacheprovider", "cacheprovider"])
def test_a_long_story_is_replayed_with_and_without_a_cache(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    """The line that is printed is one that replays: with the token itself, where nothing keeps it in a file."""
    monkeypatch.delenv(replay.VARIABLE, raising=False)
    path = pytester.makepyfile(MANY_CHOICES.format(expected=-1))
    result = pytester.runpytest_inprocess("-p", cache)
    [line] = [line for line in result.outlines if line.startswith(f"Replay it: {replay.VARIABLE}=")]
    variable, _, command = line.removeprefix("Replay it: ").partition(" ")
    assert command == f"pytest {path.name}::test_it"
    assert (len(variable) < 200) is (cache == "cacheprovider")
    token = shlex.split(variable)[0].partition("=")[2]
    monkeypatch.setenv(replay.VARIABLE, token)
    _, choices = replay.parse(replay.wanted() or "")
    path.write_text(MANY_CHOICES.format(expected=choices[1000]))
    pytester.runpytest_inprocess("-p", cache).assert_outcomes(passed=1)


def test_the_line_is_right_where_the_test_was_run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a subfolder of the project, too, it names the test as that folder sees it."""
    pytester.makeini("[pytest]")
    folder = pytester.mkdir("tests")
    (folder / "test_it.py").write_text("def test_fails(scheduler):\n    assert not scheduler\n", "utf-8")
    monkeypatch.chdir(folder)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["Replay it: * pytest test_it.py::test_fails"])


def test_a_harness_of_ones_own_is_told_as_the_fixture_is(pytester: pytest.Pytester) -> None:
    """In `with`, and under unittest; a harness of an earlier test is not."""
    pytester.makepyfile(
        """
        import unittest
        from schedulergodx_testing import Harness

        def test_in_with():
            with Harness(seed=5) as scheduler:
                scheduler.note("test", "in with")
                assert False

        def test_without():
            assert False

        class Case(unittest.TestCase):
            def setUp(self):
                self.scheduler = self.enterContext(Harness(seed=6))

            def test_it(self):
                self.scheduler.note("test", "in a case")
                self.fail()
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:randomly")
    result.assert_outcomes(failed=3)
    said = result.stdout.str()
    assert said.count("- virtual time -") == 2
    for words in ("in with", "in a case", "Replay it: Harness(seed=5, replay=", "Replay it: Harness(seed=6, replay="):
        assert words in said


def test_a_story_says_what_it_is() -> None:
    """Steps come back; a token of another kind is refused."""
    steps = [("launch", {"delay": None, "kind": "soft"}), ("advance", {"seconds": 0.5})]
    assert replay.parse_story(replay.story_token(steps)) == steps
    with pytest.raises(InvalidParameter, match="no replay of a SchedulerMachine"):
        replay.parse_story(replay.token(0, [1]))


def test_choices_beyond_a_replay_are_the_first_at_hand() -> None:
    """And wrong ones are brought into range, so that a replay never fails by itself."""
    choices = Choices(3, [1, 5])
    assert [choices.one_of(3) for _ in range(4)] == [1, 2, 0, 0]
    assert choices.one_of(1) == 0
    assert choices.taken == [1, 2, 0, 0]
    choices.plan([2])
    assert [choices.one_of(3) for _ in range(2)] == [2, 0]
