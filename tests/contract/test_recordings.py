"""What was recorded from a real RabbitMQ is what the broker in memory shows, version by version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.agreement.recordings import FOLDER, difference, read

AGREEMENT = Path(__file__).parents[2] / "docs" / "agreement.md"
RECORDINGS = sorted(FOLDER.glob("*/*.json"))
TRACES_MIN = 100
DIFFERENT: frozenset[str] = frozenset()
"""Recordings that the broker in memory does not show: each is told of in `docs/agreement.md`."""


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_what_was_recorded_is_shown_in_memory(path: Path) -> None:
    """After each step of the trace some run of the broker in memory shows exactly what RabbitMQ showed."""
    found = difference(read(path))
    if path.relative_to(FOLDER).as_posix() in DIFFERENT:
        assert found, "it is shown now: take it out of DIFFERENT"
    else:
        assert not found, found


def test_the_published_score_is_true() -> None:
    """`docs/agreement.md` says how many traces of each version there are, and how many of them pass."""
    scores = {}
    for path in RECORDINGS:
        passed, total = scores.get(path.parent.name, (0, 0))
        is_passed = path.relative_to(FOLDER).as_posix() not in DIFFERENT
        scores[path.parent.name] = (passed + is_passed, total + 1)
    published = re.findall(r"^\| ([\d.]+) \| (\d+) of (\d+) \|$", AGREEMENT.read_text("utf-8"), re.MULTILINE)
    assert {version: (int(passed), int(total)) for version, passed, total in published} == scores
    assert sum(total for _, total in scores.values()) >= TRACES_MIN
