"""The comparison of brokers finds what differs and nothing else: shown with the broker in memory on both sides."""

from __future__ import annotations

import random

import pytest

from tests.agreement.agreement import Agreement, assert_agreement, comes_again
from tests.agreement.fake import FakeSide, Follower
from tests.agreement.scenarios import by_hand
from tests.agreement.scene import Scene

GIVE_BACK = [
    ["declare", "x", "quorum"],
    ["publish", "x", "quorum", 3],
    ["consume", "x", "quorum", 2],
    ["give_back", "x", "quorum", [1]],
]


@pytest.mark.slow
def test_other_runs_of_the_same_broker_agree() -> None:
    """Whatever one run of the broker in memory draws, another finds: no scene differs from itself."""
    draws = random.Random(1)
    for name, steps in by_hand():
        side = FakeSide("3.10")
        scene, follower = Scene(side, "walk"), Follower("3.10")
        for step in steps:
            side.draw_from(draws.randrange(2**32))
            assert follower.follow(step, scene.do(step)) is None, name


def test_a_difference_is_printed_as_a_test() -> None:
    """Two versions that differ are told apart, at the step where they do, with a test that shows it again."""
    with pytest.raises(AssertionError, match=r"differ after step 4, .*give_back") as caught:
        assert_agreement(FakeSide("4.3"), "3.10", GIVE_BACK)
    names: dict[str, object] = {"assert_agreement": assert_agreement, "RealSide": FakeSide}
    exec(str(caught.value).partition("\n\n")[2], names)
    with pytest.raises(AssertionError, match="differ after step 4"):
        names["test_found_by_a_walk"](FakeSide("4.3"), "3.10")
    names["test_found_by_a_walk"](FakeSide("4.3"), "4.3")


def test_a_difference_counts_when_it_comes_again() -> None:
    """Each time that the same steps are taken; one that passes is none."""
    assert comes_again(FakeSide("4.3"), "3.10", GIVE_BACK)
    assert not comes_again(FakeSide("3.10"), "3.10", GIVE_BACK)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("delivered", {"dead": ["m2", "m1"]}),
        ("delivered", {"dead": ["m1", "m2*"]}),
        ("settled", [["m1", "kept"], ["m2", "QueueFull"]]),
    ],
)
def test_what_no_run_shows_is_a_difference(kind: str, wrong: object) -> None:
    """Another order, a mark too many, another settlement: none of them is found in any run."""
    follower, scene = Follower("3.10"), Scene(FakeSide("3.10"), "walk")
    for step in (["consume", "y", "dead", 5], ["publish", "x", "dead", 2]):
        seen = scene.do(step)
        if step[0] == "publish":
            person = "x" if kind == "settled" else "y"
            seen[person] = seen[person] | {kind: wrong}
            assert follower.follow(step, seen) is not None
        else:
            assert follower.follow(step, seen) is None


def test_an_agreement_closes_what_it_opened() -> None:
    """Also the alarm that a walk has left on is ended."""
    side = FakeSide("3.10")
    with Agreement(side, "3.10") as both:
        both.step(["block"])
    assert not side._broker._hub.is_alarmed
