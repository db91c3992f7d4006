"""Everything is as it was when a world has closed."""

import concurrent.futures
import datetime as dt
import os
import queue
import random
import secrets
import select
import selectors
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from contextlib import nullcontext
from datetime import UTC
from unittest import mock

import pytest

from schedulergodx_testing.clock import FakeClock
from schedulergodx_testing.world import World, real
from schedulergodx_testing.world.choices import Choices
from schedulergodx_testing.world.interpose import interposed

_OWNERS = [
    concurrent.futures.ThreadPoolExecutor,
    dt.date,
    dt.datetime,
    os,
    queue,
    queue.SimpleQueue,
    random,
    random.Random,
    random.SystemRandom,
    real.LOCK,
    real.RLOCK,
    secrets,
    select,
    signal,
    socket.socket,
    sqlite3.Connection,
    sqlite3.Cursor,
    subprocess.Popen,
    threading,
    threading.Condition,
    threading.Thread,
    time,
    uuid,
    *(vars(selectors)[name] for name in dir(selectors) if name.endswith("Selector")),
]


def everything():
    """Return every attribute of everything that a world replaces something in, and of all modules that hold such."""
    owners = [*_OWNERS, *(module for name, module in sorted(sys.modules.items()) if name in sys.stdlib_module_names)]
    return [
        (owner, name, value) for owner in owners for name, value in vars(owner).items() if name != "__warningregistry__"
    ]


def differences(before, after):
    """Return what is not the same object any more."""
    known = {(id(owner), name): value for owner, name, value in before}
    missing = object()
    return [f"{owner}.{name}" for owner, name, value in after if known.get((id(owner), name), missing) is not value]


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_every_attribute_is_put_back(error):
    """The very same objects are in their places, also after an error."""
    with interposed(World(FakeClock(), Choices()), UTC):
        pass  # imports what is imported at the first use
    before = everything()
    with nullcontext() if error is None else pytest.raises(error), interposed(World(FakeClock(), Choices()), UTC):
        assert len(differences(before, everything())) > 40
        if error is not None:
            raise error
    assert differences(before, everything()) == []
    assert len(before) == len(everything())


class Holder:
    """Holds functions in every way that is found."""

    plain = time.monotonic
    static = staticmethod(time.monotonic)

    def method(self, now=time.time, *, pause=time.sleep):
        return now, pause


def test_classes_and_default_arguments_are_put_back():
    """As they were: a static method as the same one, and a plain attribute as a plain one."""
    before = dict(vars(Holder)), Holder.method.__defaults__, dict(Holder.method.__kwdefaults__)
    for _ in range(2):
        with interposed(World(FakeClock(), Choices()), UTC):
            assert Holder().plain() == Holder().static() == Holder.plain() == Holder.static() == 1000
            assert Holder().method() == (time.time, time.sleep)
            assert Holder.method.__defaults__ != before[1]
        assert (dict(vars(Holder)), Holder.method.__defaults__, Holder.method.__kwdefaults__) == before
        assert vars(Holder)["static"] is before[0]["static"]


def test_a_mock_that_ends_later_puts_the_originals_back():
    """It began in the world, and found what stood there: `setUp` may register its end before it opens a harness."""
    real_time, real_start = time.time, threading.Thread.start
    with interposed(World(FakeClock(), Choices()), UTC):
        patches = [mock.patch("time.time"), mock.patch.object(threading.Thread, "start")]
        for patch in patches:
            patch.start()
    for patch in patches:
        patch.stop()
    assert time.time is real_time
    assert threading.Thread.start is real_start


def test_the_state_of_random_is_put_back():
    """Inside, `random` follows the seed of the world; outside, it goes on where it was."""
    random.seed(7)
    expected = [random.random(), random.random()]
    random.seed(7)
    drawn = [random.random()]
    inside = []
    for _ in range(2):
        with interposed(World(FakeClock(), Choices(5)), UTC):
            inside.append(random.random())
    drawn.append(random.random())
    assert drawn == expected
    assert inside[0] == inside[1]


def test_locks_made_inside_are_ordinary_ones_outside():
    """What the code under test keeps knows nothing of a world that is gone."""
    with interposed(World(FakeClock(), Choices()), UTC):
        lock, rlock, event, inbox = threading.Lock(), threading.RLock(), threading.Event(), queue.SimpleQueue()
    assert type(lock) is real.LOCK
    assert type(rlock) is real.RLOCK
    assert type(inbox) is queue.SimpleQueue
    with lock, rlock:
        event.set()
    assert event.wait(1)


def test_a_pool_goes_on_outside():
    """A pool that worked before, inside and after a world works in each, with threads of its own."""
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        assert pool.submit(abs, -1).result(10) == 1
        for _ in range(2):
            world = World(FakeClock(), Choices())
            with interposed(world, UTC):
                slept = pool.submit(time.sleep, 3600)
                assert slept.result(7200) is None
                assert world.clock.monotonic() == 4600
                assert world.end() == []
            assert pool.submit(abs, -2).result(10) == 2


def test_a_pool_that_is_shut_down_inside_ends(recwarn):
    """Its threads from before end too."""
    pool = concurrent.futures.ThreadPoolExecutor(1)
    pool.submit(abs, -1).result(10)
    (thread,) = pool._threads
    world = World(FakeClock(), Choices())
    with interposed(world, UTC):
        pool.submit(time.sleep, 5)
        pool.shutdown(wait=True)
        assert world.clock.monotonic() == 1005
        assert world.end() == []
    thread.join(10)
    assert not thread.is_alive()
