"""The generators of ids keep their contract, in a harness and outside of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schedulergodx.utils.id_generators import CurrentIds, autoincrement, ulid_generator
from schedulergodx_testing import Harness
from schedulergodx_testing.contracts.ids import IdsContract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class TestUlids(IdsContract):
    """The default."""

    @pytest.fixture
    def make_ids(self) -> Callable[[], Iterator[str]]:
        return ulid_generator

    def test_they_sort_by_order(self, make_ids: Callable[[], Iterator[str]]) -> None:
        """Within one millisecond, too."""
        ids = make_ids()
        taken = [next(ids) for _ in range(5000)]
        assert taken == sorted(taken)


class TestCurrentIds(TestUlids):
    """What a client uses."""

    @pytest.fixture
    def make_ids(self) -> Callable[[], Iterator[str]]:
        return CurrentIds


class TestCurrentIdsInAHarness(TestUlids):
    """From the seed, at a time that stands still."""

    @pytest.fixture
    def make_ids(self) -> Iterator[Callable[[], Iterator[str]]]:
        with Harness():
            yield CurrentIds


class TestAutoincrement(IdsContract):
    """That of 1.0.0."""

    is_unique_over_programs = False

    @pytest.fixture
    def make_ids(self) -> Callable[[], Iterator[str]]:
        return autoincrement


def test_a_harness_takes_its_ids_from_its_seed() -> None:
    """The same seed gives the same ids, whatever the process did before; another seed gives others."""

    def taken(seed: int) -> list[str]:
        with Harness(seed=seed):
            ids = CurrentIds()
            return [next(ids) for _ in range(10)]

    assert taken(1) == taken(1)
    assert taken(1) != taken(2)
