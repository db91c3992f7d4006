"""Fixtures of the unit tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.doubles import Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Make a bench with `ServiceLimits` of its own; the database is closed after the test."""
    made: list[Bench] = []

    def make(**limits: object) -> Bench:
        made.append(Bench(tmp_path / "service.db", **limits))
        return made[-1]

    yield make
    for bench in made:
        bench.storage.database.close()


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    """One service over hand-made seams, opened."""
    return make_bench().open()
