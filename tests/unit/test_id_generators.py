"""Ids: they never repeat, sort by time, and ask their client."""

import asyncio
import copy
import itertools
import pickle
import re
import threading
from datetime import UTC, datetime

import pytest

from schedulergodx.errors import SchedulerError
from schedulergodx.utils import id_generators
from schedulergodx.utils.id_generators import MessageId, autoincrement, ulid_generator
from schedulergodx_testing import FakeClock


def test_ulids_have_the_form_of_the_specification():
    """26 characters of Crockford's base 32, the first of them at most 7; the first ten are the time."""
    before = int(datetime.now(UTC).timestamp() * 1000)
    ulid = next(ulid_generator())
    assert re.fullmatch(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", ulid)
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    moment = 0
    for character in ulid[:10]:
        moment = moment * 32 + alphabet.index(character)
    assert before <= moment <= int(datetime.now(UTC).timestamp() * 1000)


def test_ulids_of_one_generator_sort_by_order():
    """Also within one millisecond."""
    ulids = list(itertools.islice(ulid_generator(), 5000))
    assert ulids == sorted(ulids)
    assert len(set(ulids)) == len(ulids)


def test_ulids_sort_although_the_clock_goes_back(monkeypatch):
    """A clock that is set back makes no id smaller, and no id twice."""
    clock = FakeClock()
    monkeypatch.setattr(id_generators, "CurrentClock", lambda: clock)
    generator, ulids = ulid_generator(), []
    for step_s in [0, 0, -5, 0, 6, -8] * 5:
        clock.jump_wall(seconds=step_s)
        ulids.append(next(generator))
    assert ulids == sorted(set(ulids))


def test_ulids_go_on_where_the_random_part_ends(monkeypatch):
    """The largest random number is followed by a larger id, not by a smaller one or an error."""
    monkeypatch.setattr(id_generators.secrets, "randbits", lambda bits: 2**bits - 1)
    monkeypatch.setattr(id_generators, "CurrentClock", FakeClock)
    first, second = itertools.islice(ulid_generator(), 2)
    assert first < second
    assert len(second) == 26


def test_two_generators_give_different_ids():
    """Processes need not know of each other."""
    assert not set(itertools.islice(ulid_generator(), 1000)) & set(itertools.islice(ulid_generator(), 1000))


@pytest.mark.parametrize("make", [ulid_generator, autoincrement])
def test_many_threads_share_a_generator(make):
    """Each id is given once, and a thread's own ids sort."""
    generator = make()
    given: list[list[str]] = []

    def work() -> None:
        given.append([next(generator) for _ in range(500)])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    ids = list(itertools.chain(*given))
    assert len(set(ids)) == len(ids) == 4000
    for own in given:
        assert own == sorted(own, key=lambda one: (len(one), one))


def test_autoincrement_counts_from_its_start():
    """As in 1.0.0: texts, the first is one above the start."""
    assert list(itertools.islice(autoincrement(), 3)) == ["1", "2", "3"]
    assert list(itertools.islice(autoincrement(41), 2)) == ["42", "43"]
    assert list(itertools.islice(autoincrement(start_point=-2), 2)) == ["-1", "0"]


class Source:
    """Stands for a client."""

    def result(self, message_id, timeout_s=None):
        return ("result", message_id, timeout_s)

    async def async_result(self, message_id):
        return ("awaited", message_id)

    def outcome(self, message_id):
        return ("outcome", message_id)


def test_an_id_is_its_text():
    """It is equal to it, hashes and sorts like it, and goes wherever a text goes."""
    message_id = MessageId("01KG", Source())
    assert message_id == "01KG"
    assert {"01KG": 1}[message_id] == 1
    assert f"{message_id}" == "01KG"
    assert isinstance(message_id, str)
    assert sorted([MessageId("b"), MessageId("a")]) == ["a", "b"]


def test_an_id_asks_its_client():
    """`result`, `outcome` and `await` are the client's."""
    message_id = MessageId("1", Source())
    assert message_id.result(5) == ("result", "1", 5)
    assert message_id.outcome() == ("outcome", "1")

    async def wait():
        return await message_id

    assert asyncio.run(wait()) == ("awaited", "1")


@pytest.mark.parametrize("travel", [lambda one: pickle.loads(pickle.dumps(one)), copy.copy, copy.deepcopy])
def test_an_id_travels_without_its_client(travel):
    """A pickled or copied id is the plain id, and says how to ask."""
    arrived = travel(MessageId("1", Source()))
    assert type(arrived) is MessageId
    assert arrived == "1"
    for ask in (arrived.result, arrived.outcome, arrived.__await__):
        with pytest.raises(SchedulerError, match=r"client\.result\('1'\)"):
            ask()
