"""The driver of a world: actors before and beside threads, timers in order, nothing beyond what was asked for."""

from functools import partial

import pytest

from schedulergodx_testing.clock import FakeClock
from schedulergodx_testing.errors import NothingLeftToHappen, TooManyEvents
from schedulergodx_testing.world import World
from schedulergodx_testing.world.choices import Choices


class Timers:
    """An actor that has something to do at given seconds."""

    def __init__(self, world, name, moments_s, told, *, is_first=False):
        self.name, self.is_first = name, is_first
        self._world, self._told = world, told
        self._moments = [world.clock.monotonic_us() + round(moment * 1e6) for moment in moments_s]

    def is_ready(self):
        return bool(self._moments) and self._moments[0] <= self._world.clock.monotonic_us()

    def step(self):
        self._told.append((self.name, self._moments.pop(0) / 1e6 - 1000))

    def next_us(self):
        return self._moments[0] if self._moments else None


@pytest.fixture
def world():
    return World(FakeClock(), Choices(2))


def never():
    return False


def test_timers_come_in_order_and_no_further_than_asked(world):
    """The clock stands at the deadline in the end; what is due at it has happened."""
    told = []
    world.actors += [Timers(world, "a", [1, 5, 9], told), Timers(world, "b", [2, 7], told)]
    deadline_us = world.clock.monotonic_us() + 7_000_000
    assert world.run(never, deadline_us, "test") is False
    assert told == [("a", 1), ("b", 2), ("a", 5), ("b", 7)]
    assert world.clock.monotonic_us() == deadline_us


def test_no_time_passes_where_none_may(world):
    """What can be done now is done, and no more."""
    told = []
    world.actors.append(Timers(world, "a", [0, 1], told))
    assert world.run(never, None, "test", may_time_pass=False) is False
    assert told == [("a", 0)]
    assert world.clock.monotonic() == 1000


def test_the_first_comes_first(world):
    """An actor that is first does all that it can before any other has a turn."""
    told = []
    world.actors += [Timers(world, "a", [1, 1], told), Timers(world, "broker", [1, 1], told, is_first=True)]
    world.run(never, world.clock.monotonic_us() + 1_000_000, "test")
    assert [name for name, _ in told] == ["broker", "broker", "a", "a"]


def test_ties_are_drawn_and_noted():
    """Two at one instant: each seed has its order, and both orders come up."""
    orders = set()
    for seed in range(10):
        world, told = World(FakeClock(), Choices(seed)), []
        world.actors += [Timers(world, "a", [1], told), Timers(world, "b", [1], told)]
        world.run(never, world.clock.monotonic_us() + 1_000_000, "test")
        orders.add(tuple(name for name, _ in told))
        assert len(world.choices.taken) == 1
    assert orders == {("a", "b"), ("b", "a")}


def test_it_stops_as_soon_as_the_condition_holds(world):
    """Nothing happens after that, and no time passes."""
    told = []
    world.actors.append(Timers(world, "a", [1, 2], told))
    assert world.run(lambda: bool(told), None, "test")
    assert told == [("a", 1)]


def test_nothing_left_is_an_error_without_a_deadline(world):
    """It says what was waited for."""
    with pytest.raises(NothingLeftToHappen, match="a letter"):
        world.run(never, None, "a letter")


def test_too_much_is_an_error():
    """A timer that sets itself again for ever is told, with who it is."""
    world = World(FakeClock(), Choices(), events_max=100)
    world.actors.append(Timers(world, "every second", range(1000), []))
    with pytest.raises(TooManyEvents, match="every second"):
        world.run(never, world.clock.monotonic_us() + 10**12, "test")


def test_an_error_in_a_thread_of_the_harness_comes_to_the_driver(world):
    """It is a bug of the harness, or a crash that a test asked for: never lost."""

    def fail():
        raise LookupError("lost")

    world.spawn("worker", fail)
    with pytest.raises(LookupError, match="lost"):
        world.run(never, None, "test")
    assert world.threads == []
    assert world.end() == []


def test_a_thread_that_had_no_turn_is_ended_without_one(world):
    """Nothing of it runs."""
    told = []
    thread = world.spawn("worker", lambda: told.append(1))
    assert world.end() == []
    assert thread.is_done
    assert told == []


def test_the_first_goes_no_further_than_was_asked(world):
    """Though it has more to do, and nobody else could come between; the condition is asked after each of its steps."""
    told, asked = [], []
    world.actors.append(Timers(world, "broker", [0, 0, 0, 0], told, is_first=True))

    def holds():
        asked.append((len(told), world.is_driving))
        return len(told) == 2

    assert world.run(holds, None, "test")
    assert len(told) == 2
    assert asked == [(0, False), (1, False), (2, False)]


def test_the_first_goes_on_without_an_end_no_longer_than_others():
    """What it does in a row counts one by one."""
    world, told = World(FakeClock(), Choices(), events_max=100), []
    world.actors.append(Timers(world, "broker", [0] * 1000, told, is_first=True))
    with pytest.raises(TooManyEvents, match="100 things happened"):
        world.run(never, None, "test")
    assert len(told) == 100


def order_of_a_thread_and_an_actor(seed, backlogs):
    """Return who came first, and what was drawn."""
    world, told = World(FakeClock(), Choices(seed)), []
    world.backlogs += backlogs
    world.actors.append(Timers(world, "service", [0], told))
    world.spawn("task", lambda: told.append(("task", 0)))
    world.run(never, None, "test", may_time_pass=False)
    world.end()
    return told[0][0], world.choices.taken


def test_what_waits_for_a_thread_takes_part_when_a_turn_is_drawn():
    """It makes the turns of others rarer."""
    alone = [order_of_a_thread_and_an_actor(seed, [[], {}])[0] for seed in range(40)]
    behind = [order_of_a_thread_and_an_actor(seed, [range(15), {}, range(23)])[0] for seed in range(40)]
    assert 10 < alone.count("service") < 30
    assert 0 < behind.count("service") < 5
    drawn = [order_of_a_thread_and_an_actor(seed, [range(98)])[1][0] for seed in range(40)]
    assert 80 < max(drawn) < 100


@pytest.mark.parametrize("waiting", [0, 1, 2, 7])
def test_each_thread_has_the_same_chance_whatever_waits(waiting):
    """Also where what waits cannot be divided among them."""
    first = []
    for seed in range(300):
        world, told = World(FakeClock(), Choices(seed)), []
        world.backlogs.append(range(waiting))
        world.actors.append(Timers(world, "service", [0], told))
        for name in "ab":
            world.spawn(name, partial(told.append, (name, 0)))
        world.run(never, None, "test", may_time_pass=False)
        world.end()
        first.append(told[0][0])
    assert 0.38 < first.count("a") / (first.count("a") + first.count("b")) < 0.62


def test_what_waits_is_no_choice_where_there_was_none(world):
    """With only one who can go on, nothing is drawn: a replay has the same choices."""
    told = []
    world.backlogs.append(range(10))
    world.spawn("task", lambda: told.append(("task", 0)))
    world.run(never, None, "test", may_time_pass=False)
    world.actors.append(Timers(world, "service", [0], told))
    world.run(never, None, "test", may_time_pass=False)
    assert [name for name, _ in told] == ["task", "service"]
    assert world.choices.taken == []
    assert world.end() == []
