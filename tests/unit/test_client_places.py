"""Where a client is connected, when it lets go, and what a fork makes anew."""

import gc
import os
import weakref

import pytest

from schedulergodx import Client, forks
from schedulergodx.client import places
from schedulergodx.client.places import Connections
from schedulergodx.client.travel import Travelled
from schedulergodx.utils.id_generators import CurrentIds, autoincrement, ulid_generator
from schedulergodx_testing import FakeClock


class HandConnection:
    is_open = True

    def __init__(self):
        self.is_closed = False
        self.in_use = False

    def is_in_use(self):
        return self.in_use

    def threads(self):
        return {}

    def close(self, _timeout_s):
        self.is_closed = True


@pytest.fixture
def clock():
    return FakeClock()


def connections_of(clock):
    return Connections(HandConnection, clock, idle_s=10.0)


def test_an_idle_connection_rests_and_the_next_use_makes_another(clock):
    """Not while somebody waits, and not soon after a use."""
    connections = connections_of(clock)
    first = connections.current()
    assert not connections.rest()
    clock.advance(seconds=11)
    first.in_use = True
    assert not connections.rest()
    first.in_use = False
    assert connections.rest()
    assert first.is_closed
    assert connections.current() is not first
    assert connections.current() is connections.current()


def test_a_connection_that_is_made_is_had_without_a_wait(clock):
    """Nobody lets it rest, so a signal handler has it, too, that interrupts whoever holds the lock."""
    connections = connections_of(clock)
    made = connections.current()
    with connections._lock:
        assert connections.current() is made


def test_a_closed_connection_stays(clock):
    """The client is closed, and says so to whoever uses it."""
    connections = connections_of(clock)
    first = connections.current()
    first.close(1.0)
    clock.advance(seconds=11)
    assert connections.rest()
    assert connections.current() is first


def test_travelled_clients_let_go_of_the_longest_unused(clock):
    """Of a hundred names, two stay connected; one that is in use does not count as unused."""
    travelled, all_of_them = Travelled(connected_max=2), []
    for number in range(100):
        clock.advance(seconds=11)
        connections = connections_of(clock)
        connections.on_made = travelled.connected
        all_of_them.append((connections, connections.current()))
        all_of_them[0][1].in_use = number < 50
    assert [place for place, (_, made) in enumerate(all_of_them) if not made.is_closed] == [98, 99]


def test_of_two_that_arrive_alike_one_is_made():
    """So is one after it was pushed out."""
    travelled, made = Travelled(clients_max=2), []

    def make():
        made.append(object())
        return made[-1]

    facts = [(("name", name),) for name in "abc"]
    assert travelled.arrive(facts[0], make) is travelled.arrive(facts[0], make)
    for one in facts:
        travelled.arrive(one, make)
    travelled.arrive(facts[0], make)
    assert len(made) == 4


def test_a_client_that_nobody_has_is_closed_with_a_warning(monkeypatch):
    """Nothing keeps it alive, and what it had open is closed aside."""
    monkeypatch.setattr(places, "call_aside", lambda function: function())
    client = Client("forgotten", url="sqlite:///never-opened.db")
    connection = HandConnection()
    client._connections._known[os.getpid(), 0] = connection
    reference = weakref.ref(client)

    def forget():
        nonlocal client
        del client
        gc.collect()

    unraisable = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)
    forget()
    assert reference() is None
    assert connection.is_closed
    assert [str(one.exc_value) for one in unraisable] == ["unclosed client 'forgotten'; use close() or a with block"]


def test_a_client_that_was_never_used_goes_quietly():
    """It has nothing open."""
    client = Client("quiet", url="sqlite:///never-opened.db")
    client._connections.current()
    reference = weakref.ref(client)
    del client
    gc.collect()
    assert reference() is None


def test_ids_go_on_in_a_fork_whatever_the_parent_held():
    """A lock that another thread had, and a generator that it was in, are made anew; numbers go on."""
    current, ulids, numbers = CurrentIds(), ulid_generator(), autoincrement()
    before = {next(current), next(ulids)}
    assert next(numbers) == "1"
    for ids in (current, current._ids, ulids, numbers):
        ids._lock.acquire()
    inherited = ulids._ids
    for ids in (current._ids, current, ulids, numbers):
        ids.renew_in_fork()
    assert ulids._ids is not inherited
    assert {next(current), next(ulids)}.isdisjoint(before)
    assert next(numbers) == "2"


def test_a_fork_waits_until_no_thread_is_within_sqlite():
    """The child of one that had to give up waiting must not enter it; its parent goes on."""
    gate = forks.SqliteGate()
    with gate, gate:
        pass
    gate.close()
    gate.open()
    gate.close()
    gate.renew_in_fork()
    assert gate.is_sound
    with gate:
        gate.close()  # the thread that forks is itself within
        gate.open()
        gate.close()
    gate.renew_in_fork()
    assert not gate.is_sound
