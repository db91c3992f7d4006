"""What a harness notes is made into objects when somebody looks: it must be the same as if it had been made at once."""

import pickle
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import cloudpickle
import pytest

from schedulergodx.client import Client
from schedulergodx.redirection import Launching
from schedulergodx.utils.message.payload import PayloadError
from schedulergodx_testing import Harness, pickles
from schedulergodx_testing.calls import Calls, SeamCall
from schedulergodx_testing.crashing import BrokerProgram
from schedulergodx_testing.launched import Launch, Launches
from schedulergodx_testing.memory import Happening
from schedulergodx_testing.timeline import Timeline

START = datetime(2026, 1, 1, tzinfo=UTC)


class Program:
    """Something that could be killed."""

    def die(self, why: str) -> None:
        raise AssertionError(why)


class Loud:
    """Tells of each time that a copy of it is made."""

    copies = 0

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return Loud.copy, ()

    @staticmethod
    def copy() -> "Loud":
        Loud.copies += 1
        return Loud()


class Unreadable:
    """Can be pickled, and not be read back."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return _refuse, ("this cannot be read back",)


def _refuse(why: str) -> None:
    raise LookupError(why)


# --- calls


def test_calls_are_numbered_in_their_order() -> None:
    """All together, and those of one name; each with its turn and its changes."""
    calls, program = Calls(), Program()
    calls.begin("storage.add", "service", program)
    calls.turn = 7
    calls.begin("storage.commit", "service", program, frozenset({"add"}))
    calls.begin("storage.add", "other", program)
    assert calls.all == [
        SeamCall(1, "storage.add", 1, "service", 0),
        SeamCall(2, "storage.commit", 1, "service", 7, frozenset({"add"})),
        SeamCall(3, "storage.add", 2, "other", 7),
    ]


def test_the_calls_so_far_stay_the_calls_so_far() -> None:
    """Whoever keeps them can tell what came later."""
    calls, program = Calls(), Program()
    calls.begin("a", "service", program)
    before = calls.all
    calls.begin("b", "service", program)
    assert [call.name for call in before] == ["a"]
    assert [call.name for call in calls.all] == ["a", "b"]


def test_who_listens_late_hears_the_right_numbers() -> None:
    """Also of a call that ends after another one has begun in it, and of one that had begun before."""
    calls, program = Calls(), Program()
    told: list[tuple[str, str]] = []
    calls.begin("a", "service", program)
    outer = calls.begin("a", "service", program)
    calls.hooks.append(lambda call, when, _program: told.append((when, f"{call.number} {call}")))
    inner = calls.begin("a", "service", program)
    calls.end(inner, program)
    calls.end(outer, program)
    assert told == [("before", "3 a 3"), ("after", "3 a 3"), ("after", "2 a 2")]
    assert [call.number for call in calls.all] == [1, 2, 3]


def test_a_broker_that_is_to_die_dies_once() -> None:
    """At the end of the step, however many have asked for it; and not again after the next step."""
    crashes: list[int] = []
    program = BrokerProgram(Calls(), lambda: crashes.append(1))
    program.die("why")
    program.die("why not")
    assert crashes == []
    program.after_step()
    assert crashes == [1]
    program.after_step()
    assert crashes == [1]


# --- the timeline


def test_what_was_heard_is_worded_when_somebody_looks() -> None:
    """In its order among what was added; once; for each launch that it concerns; with what led to it."""
    read: list[object] = []

    def words_of(facts: tuple[str, ...]) -> str:
        read.append(facts)
        return f"heard {facts[0]}"

    timeline = Timeline(START, words_of)
    timeline.hear(START, "client", ("launches",), ("one", "two"))
    timeline.add(START + timedelta(seconds=1), "storage", "store", "two")
    timeline.hear(START, "broker", ("nobody's",), ())
    timeline.hear(START, "broker", ("a connection",), ("",))
    assert read == []
    timeline.hear(START, "client", ("a child",), ("three",), "two")
    for _ in range(2):
        assert [(entry.what, entry.message_id, entry.cause) for entry in timeline.entries] == [
            ("heard launches", "one", None),
            ("heard launches", "two", None),
            ("store", "two", 1),
            ("heard a connection", "", None),
            ("heard a child", "three", 2),
        ]
    assert len(read) == 4
    timeline.add(START, "worker", "start", "one")
    assert timeline.entries[-1].cause == 0


def test_an_entry_without_words_is_lost_to_nobody() -> None:
    """Neither it, nor what comes after it: the next look tells the same."""

    def words_of(_facts: object) -> str:
        raise LookupError

    timeline = Timeline(START, words_of)
    timeline.add(START, "client", "first", "one")
    timeline.hear(START, "broker", 1, ("one",))
    for _ in range(2):
        with pytest.raises(LookupError):
            timeline.entries  # noqa: B018 - to look is what raises
    timeline._words_of = str
    assert [entry.what for entry in timeline.entries] == ["first", "1"]


def test_what_is_in_a_bundle_is_known_when_it_is_heard_of() -> None:
    """A later bundle may have the same id, and not the same in it; nobody need have looked in between."""
    with Harness() as scheduler:
        for others in (("a", "b"), ("a", "c")):
            scheduler.ledger.bundles["letters", "a +1"] = others
            scheduler.broker.on_happening(Happening(0.0, "delivered", "shop", "letters", "a +1"))
        entries = [entry for entry in scheduler.timeline.entries if entry.what.startswith("delivered")]
    assert [entry.message_id for entry in entries] == ["a", "b", "a", "c"]


# --- launches


def launching(number: int, *args: Any) -> Launching:
    """Return a launch with such arguments."""
    return Launching(
        message_id=f"message {number}",
        client="shop",
        function=print,
        name="print",
        arguments=cloudpickle.dumps((args, {})),
        delay_s=None,
        run_at=None,
        is_hard=False,
        lifetime_s=None,
    )


def test_launches_stay_in_their_order_whenever_they_are_read() -> None:
    """Plain ones later, others at once: to read back an object of the test runs its code."""
    launches = Launches()
    Loud.copies = 0
    for number, argument in enumerate([1, Loud(), "text", Loud(), 147]):
        launches.note(launching(number, argument), START)
    assert len(launches) == 5
    assert Loud.copies == 2
    assert [launch.message_id for launch in launches.all()] == [f"message {number}" for number in range(5)]
    assert [launch.args[0] for launch in launches.all()[::2]] == [1, "text", 147]
    assert launches.all()[0] is launches.all()[0]
    assert Loud.copies == 2


def test_what_cannot_be_read_back_is_refused_at_once() -> None:
    """And it is none of the launches then."""
    launches = Launches()
    with pytest.raises(PayloadError, match="read back"):
        launches.note(launching(1, Unreadable()), START)
    launches.note(launching(2, "text"), START)
    assert [launch.message_id for launch in launches.all()] == ["message 2"]


@pytest.mark.parametrize("value", [(), (1, 2.5, None), ("ada", b"bytes", [1, {"a": {2}}]), (START.isoformat(), True)])
def test_plain_values_are_seen_as_such(value: object) -> None:
    """They are read back without a look at any module."""
    assert pickles.is_plain(pickle.dumps(value, protocol=5))


@pytest.mark.parametrize("value", [START, Loud(), print, (1, [Loud])])
@pytest.mark.parametrize("protocol", range(6))
def test_objects_of_modules_are_no_plain_values(value: object, protocol: int) -> None:
    """Whatever the protocol is."""
    assert not pickles.is_plain(pickle.dumps(value, protocol=protocol))


class Shown:
    """Shows how often it was shown; or cannot be shown."""

    def __init__(self, *, is_showable: bool = True) -> None:
        self._is_showable = is_showable

    def __repr__(self) -> str:
        if not self._is_showable:
            raise LookupError("this cannot be shown")
        return f"<shown at {time.time():.0f}>"


client = Client(name="records")


@client.task
def look_at(one: object) -> None:
    """Take anything."""


def test_launches_that_somebody_has_are_launches() -> None:
    """A list that was asked for early grows, and holds nothing else."""
    with Harness() as scheduler:
        held = scheduler.launched
        look_at.launch(1)
        assert len(held) in {0, 1}
        look_at.launch(Shown())
        look_at.launch("text")
        assert all(isinstance(launch, Launch) for launch in held)
        assert [type(launch.args[0]) for launch in scheduler.launched] == [int, Shown, str]
        for number, launch in enumerate(scheduler.launched):
            assert isinstance(launch, Launch)
            if number < 3:
                look_at.launch(number)


def test_an_object_of_the_test_is_shown_as_it_was_launched() -> None:
    """At that virtual moment, whenever somebody looks; what cannot be shown is told where it is launched."""
    with Harness(start=datetime(2031, 1, 1, tzinfo=UTC)) as scheduler:
        look_at.launch(Shown())
        scheduler.advance(days=1)
        with pytest.raises(LookupError, match="cannot be shown"):
            look_at.launch(Shown(is_showable=False))
    shown = datetime(2031, 1, 1, tzinfo=UTC).timestamp()
    assert f"<shown at {shown:.0f}>" in scheduler.timeline.entries[1].what
