"""The steps of every recording are gone once more, on the RabbitMQ of this run: what was recorded is no old story."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.agreement.agreement import assert_agreement, comes_again
from tests.agreement.recordings import FOLDER, read

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agreement.real import RealSide

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]

# The steps are the same for each version; what is seen of them is compared by the version that runs.
RECORDINGS = sorted(min(FOLDER.iterdir()).glob("*.json"))


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_recorded_steps_agree(path: Path, side: RealSide, profile: str) -> None:
    """After each step RabbitMQ shows what some run of the broker in memory shows, by the profile of its version.

    Once in a few tries at the least: nothing tells when a quorum queue is at rest, and its counts may come late.
    """
    steps = [step for step, _ in read(path).trace]
    try:
        assert_agreement(side, profile, steps)
    except AssertionError:
        if comes_again(side, profile, steps):
            raise
