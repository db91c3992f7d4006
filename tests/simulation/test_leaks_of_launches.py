"""Whose chance it is while a launch is pickled: cloudpickle's ids are no leak, what users' classes draw is one."""

import dataclasses
import os
import uuid

import cloudpickle
import pytest

from schedulergodx import Client
from schedulergodx_testing import Harness

client = Client(name="pickling")


def kind_of(value):
    return type(value).__name__


@pytest.mark.parametrize("is_copying", [False, True])
@pytest.mark.parametrize("is_hard", [False, True])
def test_a_local_class_of_an_argument_is_no_leak(is_hard, is_copying):
    """Nor one of a local task: the ids that cloudpickle gives them are the library's affair."""

    class Local:
        pass

    @dataclasses.dataclass
    class Point:
        x: int

    def moved(by):
        return [Point(3).x + by, type(Local()).__name__]

    with Harness(is_strict=True, copies=is_copying) as scheduler:
        named = client.task(kind_of, hard=is_hard).launch(Local())
        local = client.task(moved, hard=is_hard).launch(4)
        scheduler.run_all()
        scheduler.assert_completed(named, result="Local")
        scheduler.assert_completed(local, result=[7, "Local"])


def test_what_the_library_does_by_itself_is_no_leak(tmp_path):
    """Its databases, and a broker that is a file."""
    with Harness(is_strict=True, transport=f"sqlite:///{tmp_path}/broker.db") as scheduler:
        ids = [client.task(kind_of, hard=is_hard).launch("") for is_hard in (False, True)]
        scheduler.run_all()
        scheduler.crash_service()
        scheduler.start_service()
        scheduler.run_all()
        for message_id in ids:
            scheduler.assert_completed(message_id, result="str")


class Drawing:
    """Draws its state when it is pickled."""

    def __getstate__(self):
        return {"id": uuid.uuid4()}


class Reducing:
    """Draws what it is made from."""

    def __reduce__(self):
        return bytes, (os.urandom(4),)


@pytest.mark.parametrize(("drawing", "kind"), [(Drawing, "uuid.uuid4"), (Reducing, "os.urandom")])
def test_what_a_class_draws_while_it_is_pickled_is_a_leak(drawing, kind):
    """It is the user's code that asks."""
    with Harness() as scheduler:
        client.task(kind_of).launch(drawing())
        scheduler.run_all()
        (leak,) = scheduler.world.leaks
    assert (leak.kind, leak.file) == (kind, __file__)


def test_who_pickles_a_class_by_himself_is_named_with_his_own_line():
    """Its bytes differ from run to run."""

    class Local:
        pass

    with Harness() as scheduler:
        cloudpickle.dumps(Local)
        (leak,) = scheduler.world.leaks
    assert (leak.kind, leak.file) == ("uuid.uuid4", __file__)
