"""`Agreement`: the same steps on a real RabbitMQ and on the broker in memory, and what a divergence looks like."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Self

from tests.agreement.fake import Follower
from tests.agreement.scene import Scene

if TYPE_CHECKING:
    from tests.agreement.real import RealSide
    from tests.agreement.scene import Step

PROFILES = {"3": "3.10", "4.0": "4.0", "4.1": "4.0", "4.2": "4.0"}
"""Which profile a version goes by; newer ones by the newest."""


def profile_of(version: str) -> str:
    """Return the profile of the broker in memory for a version of RabbitMQ."""
    major, minor, *_ = version.split(".")
    return PROFILES.get(major) or PROFILES.get(f"{major}.{minor}", "4.3")


class Agreement:
    """Takes steps on both brokers. Use it in a `with` block: it closes what it opened."""

    def __init__(self, side: RealSide, profile: str) -> None:
        self._side = side
        self._real = Scene(side, uuid.uuid4().hex[:12])
        self._follower = Follower(profile)
        self.steps: list[Step] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._real.close()
        if self._real.is_blocked:
            self._side.block(is_on=False)

    def step(self, step: Step) -> None:
        """Take a step. Fail if no run of the broker in memory shows what the real one showed."""
        self.steps.append(step)
        seen = self._real.do(step)
        if (instead := self._follower.follow(step, seen)) is not None:
            raise AssertionError(
                f"RabbitMQ and the broker in memory differ after step {len(self.steps)}, {json.dumps(step)}\n"
                f"RabbitMQ: {json.dumps(seen)}\nin memory: {json.dumps(instead)}\n{as_test(self.steps)}"
            )


def assert_agreement(side: RealSide, profile: str, steps: list[Step]) -> None:
    """Take all steps on both; fail at the first difference."""
    with Agreement(side, profile) as both:
        for step in steps:
            both.step(step)


def comes_again(side: RealSide, profile: str, steps: list[Step], *, times: int = 3) -> bool:
    """Return whether the same steps end in a difference each time that they are taken again.

    What comes once and not again is a race that RabbitMQ leaves open, and that the broker in memory did not draw.
    """
    for _ in range(times):
        try:
            assert_agreement(side, profile, steps)
        except AssertionError:
            continue
        return False
    return True


def as_test(steps: list[Step]) -> str:
    """Return the steps as a test to paste into `tests/model/test_broker_agreement.py`."""
    lines = "\n".join(f"        {json.dumps(step)}," for step in steps)
    return (
        "\ndef test_found_by_a_walk(side: RealSide, profile: str) -> None:\n"
        '    """(Say in one sentence what both do.)"""\n'
        f"    steps = [\n{lines}\n    ]\n    assert_agreement(side, profile, steps)\n"
    )
