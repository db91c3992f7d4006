"""A function that is launched again and again is pickled once, as long as nothing of it has changed."""

import math
import os.path
import types

import pytest

from schedulergodx.utils.message import payload, unchanged

SOURCE = """
import math, xml
FACTOR = 2
SHARED = [1]
def scaled(value: int = 1) -> int:
    "Scale."
    return value * FACTOR
def shared():
    return SHARED
def rooted(value=4):
    return math.sqrt(value)
def packaged():
    return xml
"""


@pytest.fixture
def module():
    """A module that exists here alone, as `__main__` does elsewhere."""
    made = types.ModuleType("somewhere_else")
    exec(SOURCE, vars(made))  # functions with globals of their own
    return made


@pytest.fixture
def dumped(monkeypatch):
    """Count what is really pickled."""
    seen = []
    dump = payload._dump

    def counted(value, modules):
        seen.append(value)
        return dump(value, modules)

    monkeypatch.setattr(payload, "_dump", counted)
    return seen


def sent(function):
    """Pack a function, and load what was packed."""
    packed = payload.pack(function, (), {}, by="value")
    return payload._loads(packed.function, "function")


def test_an_unchanged_function_is_pickled_once(module, dumped):
    """Constants and simple modules of the standard library are looked at, and the pickle of last time is sent."""
    for function in (module.scaled, module.rooted):
        assert [sent(function)() for _ in range(3)] == [2, 2, 2]
    assert dumped == [module.scaled, module.rooted]


def rebind_a_global(module):
    module.FACTOR = 3


def remove_a_global(module):
    del module.FACTOR
    module.scaled.__code__ = (lambda value=1: 3 * value).__code__


def bind_another_default(module):
    module.scaled.__defaults__ = (1.5,)


def exchange_the_code(module):
    module.scaled.__code__ = (lambda value=1: value + 2).__code__


def hang_something_onto_it(module):
    module.scaled.__dict__["note"] = [3]
    exchange_the_code(module)


@pytest.mark.parametrize(
    "change", [rebind_a_global, remove_a_global, bind_another_default, exchange_the_code, hang_something_onto_it]
)
def test_every_change_is_sent(module, change):
    """What a launch sends is the function of its own moment."""
    assert sent(module.scaled)() == 2
    change(module)
    assert sent(module.scaled)() == 3


def test_an_equal_constant_of_another_type_is_another_one(module):
    """True is equal to 1, and is not 1."""
    module.FACTOR = 1
    assert sent(module.scaled)() is not True
    module.scaled.__code__ = (lambda value=1: FACTOR).__code__  # noqa: F821 - a global of the module
    assert sent(module.scaled)() == 1
    module.FACTOR = True
    assert sent(module.scaled)() is True


def test_new_words_about_it_are_sent(module):
    """Its description and its annotations belong to it."""
    sent(module.scaled)
    module.scaled.__doc__ = "Stretch."
    module.scaled.__annotations__["return"] = float
    found = sent(module.scaled)
    assert (found.__doc__, found.__annotations__["return"]) == ("Stretch.", float)


@pytest.mark.parametrize("name", ["shared", "packaged"])
def test_what_can_change_unseen_is_pickled_each_time(module, dumped, name):
    """A list changes inside, and of a package other parts may be imported meanwhile."""
    for _ in range(2):
        sent(getattr(module, name))
    assert len(dumped) == 2
    module.SHARED.append(2)
    assert sent(module.shared)() == [1, 2]


def test_a_closure_is_pickled_each_time(dumped):
    """Its variables belong to others, too."""
    count = 1

    def counted():
        return count

    assert sent(counted)() == 1
    count = 2
    assert sent(counted)() == 2
    assert len(dumped) == 2


def test_a_large_pickle_is_not_kept(module, monkeypatch, dumped):
    """What is kept for speed takes little memory."""
    monkeypatch.setattr(unchanged, "_KEPT_BYTES_MAX", 10)
    assert [sent(module.scaled)() for _ in range(2)] == [2, 2]
    assert len(dumped) == 2


def test_the_pickles_go_with_their_functions():
    """Nothing is kept of a function that is gone."""
    kept = unchanged.PickledFunctions()

    def function():
        return math.pi

    kept.keep(function, (), b"pickle")
    assert kept.get(function, ()) == b"pickle"
    assert kept.get(function, ("other",)) is None
    del function
    assert len(kept._kept) == 0


@pytest.mark.parametrize("args", [(), (1, 2.5, "é", None, True, b"\x00", 1j), ("a" * 70_000,)])
def test_plain_arguments_are_pickled_as_cloudpickle_does(args):
    """Without code among them there is nothing for it to do, and the bytes are the same."""
    packed = payload.pack(os.path.join, args, {"key": 1})
    assert packed.arguments == payload.dumps((args, {"key": 1}))
