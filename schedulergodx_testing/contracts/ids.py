"""The contract of generators of ids, as `Client(id_generator=…)` takes them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from schedulergodx.utils.message import envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MANY = 1000
_THREADS = 4


class IdsContract:
    """Subclass it, give `make_ids`, and every test below runs against your generator.

    Set `is_unique_over_programs = False` for one that begins anew in each program.
    """

    is_unique_over_programs = True

    @pytest.fixture
    def make_ids(self) -> Callable[[], Iterator[str]]:
        """Return a function that makes a new generator, as a program makes one at its start."""
        raise NotImplementedError("return a function that makes a generator of ids")

    def test_every_id_can_be_launched_under(self, make_ids: Callable[[], Iterator[str]]) -> None:
        """A service refuses ids that are no printable text of 1 to 100 bytes."""
        ids = make_ids()
        for _ in range(_MANY):
            message_id = next(ids)
            assert type(message_id) is str
            assert envelope.is_message_id(message_id), f"no service takes {message_id!r}"

    def test_no_id_comes_twice(self, make_ids: Callable[[], Iterator[str]]) -> None:
        """The same id with another content is a conflict, and the launch is refused."""
        ids = make_ids()
        assert len({next(ids) for _ in range(_MANY)}) == _MANY

    def test_it_never_ends(self, make_ids: Callable[[], Iterator[str]]) -> None:
        """And it is its own iterator."""
        ids = make_ids()
        assert iter(ids) is ids
        for _ in range(_MANY):
            next(ids)

    def test_threads_may_share_it(self, make_ids: Callable[[], Iterator[str]]) -> None:
        """A client launches from many threads: no id comes twice, and none raises."""
        ids = make_ids()
        start = threading.Barrier(_THREADS)
        found: list[list[str]] = [[] for _ in range(_THREADS)]

        def take(mine: list[str]) -> None:
            start.wait(10)
            mine.extend(next(ids) for _ in range(_MANY))

        threads = [threading.Thread(target=take, args=(mine,)) for mine in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        everything = [message_id for mine in found for message_id in mine]
        assert len(everything) == _THREADS * _MANY
        assert len(set(everything)) == len(everything)

    def test_programs_do_not_meet(self, make_ids: Callable[[], Iterator[str]]) -> None:
        """Two programs that start at the same moment take different ids."""
        if not self.is_unique_over_programs:
            pytest.skip("this generator begins anew in each program, and says so (is_unique_over_programs)")
        one, other = make_ids(), make_ids()
        assert not {next(one) for _ in range(_MANY)} & {next(other) for _ in range(_MANY)}
