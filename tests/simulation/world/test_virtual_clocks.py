# ruff: noqa: DTZ001, DTZ002, DTZ003, DTZ005, DTZ006, DTZ011
# Naive times are the subject here.
"""What the code under test sees of time: `time`, `datetime`, in real types, at virtual moments."""

import datetime as dt
import os
import pickle
import pickletools
import random
import sched
import sys
import threading
import time
import uuid
import warnings
from datetime import UTC, date, datetime, timedelta, timezone
from queue import SimpleQueue
from time import monotonic as early_monotonic
from time import sleep as early_sleep
from types import ModuleType
from zoneinfo import ZoneInfo

import cloudpickle
import pytest

from schedulergodx_testing.clock import START, FakeClock
from schedulergodx_testing.errors import HarnessError
from schedulergodx_testing.world import World, real
from schedulergodx_testing.world.choices import Choices
from schedulergodx_testing.world.interpose import interposed

_START = START.timestamp()


def by_default(clock=time.monotonic, *, pause=time.sleep):
    """Use clocks that were taken when this file was imported."""
    pause(10)
    return clock()


class Timed:
    """Holds a clock as an attribute of the class."""

    timer = time.monotonic

    def __init__(self, timer=time.time):
        self.now = timer


def test_a_sleep_takes_no_real_time(world, elapsed, in_thread):
    """Two hours in a task, and in the test's body, end exactly two hours later, at once."""
    before = real.monotonic()
    in_thread(time.sleep, 7200)
    assert elapsed() == 7200
    time.sleep(7200)
    assert elapsed() == 14400
    assert real.monotonic() - before < 2


def test_all_clocks_agree(world, in_thread):
    """Wall clocks tell one moment, monotonic ones another, in every form."""

    def read():
        time.sleep(86400.25)
        return [
            time.time(),
            time.time_ns() // 1000 / 1e6,
            datetime.now().timestamp(),
            datetime.now(UTC).timestamp(),
            datetime.today().timestamp(),
            time.clock_gettime(time.CLOCK_REALTIME),
        ], [
            time.monotonic(),
            time.monotonic_ns() // 1000 / 1e6,
            time.perf_counter(),
            time.perf_counter_ns() // 1000 / 1e6,
            time.clock_gettime(time.CLOCK_MONOTONIC),
        ]

    for walls, monotonics in (in_thread(read), read()):
        assert len(set(walls)) == 1
        assert len(set(monotonics)) == 1
    assert walls[0] == pytest.approx(_START + 2 * 86400.25)
    assert monotonics[0] == pytest.approx(1000 + 2 * 86400.25)


def test_local_times_are_those_of_the_zone(world):
    """Without a zone, times are in the local one: here UTC."""
    time.sleep(3600)
    assert datetime.now() == datetime(2026, 1, 1, 1)
    assert date.today() == date(2026, 1, 1)
    assert time.localtime()[:5] == time.gmtime()[:5] == (2026, 1, 1, 1, 0)
    assert time.strftime("%Y-%m-%d %H:%M") == "2026-01-01 01:00"
    assert time.ctime() == time.asctime() == "Thu Jan  1 01:00:00 2026"


@pytest.mark.parametrize(
    ("zone", "summer"),
    [(ZoneInfo("Europe/Berlin"), 2), (ZoneInfo("America/New_York"), -4), (timezone(timedelta(hours=5.5)), 5.5)],
)
def test_another_zone_holds_for_every_function(zone, summer):
    """In a world with a zone, functions of C agree on it too, over a change of summer time."""
    before = time.tzname
    world = World(FakeClock(datetime(2026, 7, 1, 12, tzinfo=UTC)), Choices())
    with interposed(world, zone):
        noon = datetime(2026, 7, 1, 12) + timedelta(hours=summer)
        assert datetime.now() == noon
        assert datetime.fromtimestamp(time.time()) == noon
        assert datetime.now().astimezone().utcoffset() == timedelta(hours=summer)
        assert time.mktime(time.localtime()) == time.time()
        assert time.localtime().tm_hour == noon.hour
    assert time.tzname == before


def test_a_jump_of_the_wall_clock_moves_nothing_else(world, elapsed):
    """NTP sets the wall clock back: a sleep lasts as long as it was to."""
    world.clock.jump_wall(hours=-5)
    assert time.time() == _START - 5 * 3600
    time.sleep(10)
    assert elapsed() == 10


def test_values_have_the_real_types(world):
    """What `now` returns is a plain datetime, and a pickle of it knows nothing of a test."""
    for value in (datetime.now(), datetime.now(UTC), datetime.today(), date.today()):
        assert type(value) in {dt.datetime, dt.date}
        assert b"schedulergodx" not in pickle.dumps(value)
        assert pickle.loads(pickle.dumps(value)) == value
    assert type(time.localtime()) is time.struct_time
    assert isinstance(datetime.now(), dt.datetime)


def test_utcnow_warns_as_it_does_outside(world):
    """Deprecated since 3.12: the warning names the caller, and the value is the world's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert datetime.utcnow() == START.replace(tzinfo=None)
    assert [warning.filename for warning in caught] == [__file__] * (sys.version_info >= (3, 12))


def test_subclasses_get_their_own_kind(world):
    """`now` of a subclass of datetime is one of it."""

    class Moment(datetime):
        pass

    class Day(date):
        pass

    assert type(Moment.now(UTC)) is type(Moment.today()) is Moment
    assert Day.today() == date(2026, 1, 1)
    assert type(Day.today()) is Day


@pytest.mark.parametrize("write", [pickle.dumps, cloudpickle.dumps])
def test_pickles_name_the_originals(world, write):
    """A task that refers to patched functions carries no test-only module to a service."""
    functions = [time.sleep, time.time, datetime.now, date.today, os.kill, os._exit, random.choice, uuid.uuid4]
    functions += [os.urandom, threading.Thread.start, threading.Condition.wait, early_sleep, by_default]
    if write is cloudpickle.dumps:
        functions.append(lambda: (early_sleep, datetime.now, random.choice))
    text = write(functions)
    words = [word for _, word, _ in pickletools.genops(text) if isinstance(word, str)]
    assert "time" in words
    assert not [word for word in words if word.startswith("schedulergodx")]  # a module; a path may say so, too
    assert pickle.loads(text)[: len(functions) - 2] == functions[: len(functions) - 2]


def test_early_references_follow(world, elapsed, in_thread):
    """`from time import sleep` before the world opened, default arguments, and attributes of classes."""
    in_thread(early_sleep, 5)
    early_sleep(5)
    assert elapsed() == 10
    assert early_monotonic() == 1010
    assert by_default() == 1020
    assert Timed().timer() == Timed.timer() == 1020
    assert Timed().now() == time.time() == _START + 20
    timetable = sched.scheduler()
    timetable.enter(7, 1, lambda: None)
    timetable.run()
    assert elapsed() == 27


def test_a_module_imported_meanwhile_is_put_right(monkeypatch):
    """What says `from time import sleep` while a world is open has the system's function afterwards."""
    for name in ("imported_meanwhile", "imported_later"):
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        world = World(FakeClock(), Choices())
        with interposed(world, UTC):
            exec("from time import sleep\ndef rest(seconds, pause=sleep): pause(seconds)", vars(module))
            module.rest(3600)
            assert world.clock.monotonic() == 4600
        assert module.sleep is real.sleep
        assert module.rest.__defaults__ == (real.sleep,)


def test_a_reference_kept_in_an_object_is_right_in_the_next_world():
    """Outside it is the system's own clock; in a later world it tells that one's time."""
    with interposed(World(FakeClock(), Choices()), UTC):
        kept = time.time
    assert abs(kept() - real.time_s()) < 60
    later = World(FakeClock(datetime(2040, 1, 1, tzinfo=UTC)), Choices())
    with interposed(later, UTC):
        assert datetime.fromtimestamp(kept()).year == 2040


def test_threads_outside_see_real_time(world):
    """A thread that was there before the world, or that the system's own machinery starts, lives in real time."""
    told = SimpleQueue()
    thread = threading.Thread(target=lambda: told.put((time.time(), datetime.now(UTC).timestamp(), time.monotonic())))
    with world.outside():
        thread.start()
        wall, now, monotonic = told.get(timeout=10)
        thread.join()
    assert abs(wall - real.time_s()) < 60
    assert abs(now - real.time_s()) < 60
    assert abs(monotonic - real.monotonic()) < 60


@pytest.mark.parametrize("root", ["_pytest", "xdist", "hypothesis", "pika", "subprocess", "schedulergodx"])
def test_packages_that_measure_see_real_time(world, root):
    """pytest, its plugins and drivers read the real clock also in the thread of the test."""
    namespace = {"__name__": f"{root}.part"}
    exec("import time, datetime\ndef read(): return time.time(), datetime.datetime.now().timestamp()", namespace)
    for told in namespace["read"]():
        assert abs(told - real.time_s()) < 86400


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_an_impossible_sleep_is_refused(world, seconds):
    """As outside."""
    with pytest.raises(ValueError, match="non-negative"):
        time.sleep(seconds)


def test_freezegun_is_refused(monkeypatch):
    """A frozen freezegun is found without importing it, before the world and within it."""
    api = ModuleType("freezegun.api")
    api.freeze_factories = [object()]
    monkeypatch.setitem(sys.modules, "freezegun", ModuleType("freezegun"))
    monkeypatch.setitem(sys.modules, "freezegun.api", api)
    world = World(FakeClock(), Choices())
    with pytest.raises(HarnessError, match="freezegun is active"), interposed(world, UTC):
        pass
    api.freeze_factories = []
    with interposed(world, UTC):
        api.freeze_factories = [object()]
        with pytest.raises(HarnessError, match="freezegun is active"):
            time.sleep(1)


@pytest.mark.parametrize("stack", ["traveller_stack", "coordinates_stack"])
def test_time_machine_is_refused(monkeypatch, stack):
    """So is a travelling time-machine, of every version."""
    module = ModuleType("time_machine")
    setattr(module, stack, [object()])
    monkeypatch.setitem(sys.modules, "time_machine", module)
    with pytest.raises(HarnessError, match="time-machine is active"), interposed(World(FakeClock(), Choices()), UTC):
        pass


def test_worlds_do_not_nest(world):
    """A world inside a world is refused, and the first one goes on."""
    with pytest.raises(HarnessError, match="do not nest"), interposed(World(FakeClock(), Choices()), UTC):
        pass
    time.sleep(5)
    assert time.monotonic() == 1005
