"""Seals of stored tasks: a row that was changed on disk does not run."""

from __future__ import annotations

import copy
import pickle
import sqlite3
from dataclasses import fields, replace

import pytest

from schedulergodx import Code, KeyRing, TaskRefused
from schedulergodx.rules.limits import TaskLimits
from schedulergodx.rules.tasks import TaskSpec
from schedulergodx.utils.keys.ring import Key
from schedulergodx.utils.message.seals import Seals, Tampered, Verified
from schedulergodx_testing import Harness
from schedulergodx_testing.contracts.stored_tasks import make_task

OLD, NEW = (Key(key_id=name, secret=name.encode() * 12) for name in ("old", "new"))

OTHERS = {
    "message_id": "other",
    "client": "farm",
    "reply_to": "elsewhere",
    "name": "shop.tasks.pay",
    "digest": b"other",
    "function": b"other",
    "reference": "os:system",
    "code_digest": "other",
    "arguments": b"other",
    "arguments_by_value": b"other",
    "python": "2.7",
    "is_hard": True,
    "lifetime_s": 7.0,
    "is_delayed": True,
    "is_overdue_enabled": True,
    "max_starts": 9,
    "limits": TaskLimits(cpu_s_max=7),
}


def seals(*keys: Key, allow_unsigned: bool = False) -> Seals:
    ring = KeyRing(keys) if keys else None
    return Seals(lambda: ring, allow_unsigned=allow_unsigned)


def copied(task: TaskSpec, **changes) -> TaskSpec:
    """Return the task as another read of its row gives it, with changes."""
    return TaskSpec(**({field.name: getattr(task, field.name) for field in fields(TaskSpec)} | changes))


def test_what_has_not_left_the_memory_is_not_looked_at_again():
    """It is sealed all the same: what is read from its row is looked at."""
    sealed = seals(OLD).seal(make_task())
    with pytest.raises(Tampered):
        seals(NEW).verify(copied(sealed))
    assert type(seals(NEW).verify(sealed)) is Verified


def test_a_sealed_task_never_changes():
    """Neither by an assignment, nor as a copy."""
    sealed = seals(OLD).seal(make_task())
    with pytest.raises(AttributeError, match="does not change"):
        sealed.function = b"other"
    with pytest.raises(TypeError, match="only the verifier"):
        replace(sealed, function=b"other")
    for copies in (copy.copy, pickle.dumps):
        with pytest.raises(TypeError, match="does not travel"):
            copies(sealed)


def test_a_sealed_task_is_verified_as_it_was():
    """It is the same task, and may be unpickled now."""
    sealed = seals(OLD).seal(make_task())
    assert sealed.seal.startswith("old ")
    again = copied(sealed, starts=3)
    verified = seals(NEW, OLD).verify(again)
    assert type(verified) is Verified
    assert verified is again


@pytest.mark.parametrize("name", [field.name for field in fields(TaskSpec) if field.name != "starts"])
def test_every_changed_field_is_noticed(name):
    """Whatever of a task is acted on is sealed; a field that a later version adds is sealed by itself."""
    sealed = seals(OLD).seal(make_task())
    was = getattr(sealed, name)
    other = "old " + "0" * 64 if name == "seal" else OTHERS.get(name)
    if name in {"issued_at", "run_at"}:
        other = was.replace(year=2031)
    elif isinstance(was, bool):
        other = not was
    assert other != was
    with pytest.raises(Tampered, match="was changed after it was stored"):
        seals(OLD).verify(copied(sealed, **{name: other}))


@pytest.mark.parametrize("seal", ["", "old", "old ", "other " + "0" * 64, "old " + "ü" * 64, "\0"])
def test_a_seal_that_is_none_verifies_nothing(seal):
    """Missing, cut, of an unknown key, or no seal at all."""
    with pytest.raises(Tampered):
        seals(OLD).verify(copied(make_task(), seal=seal))


def test_without_keys_and_where_it_is_said_unsealed_tasks_run():
    """Keys can be brought in while tasks wait."""
    assert seals().seal(make_task()).seal == ""
    assert type(seals().verify(copied(make_task()))) is Verified
    assert type(seals(OLD, allow_unsigned=True).verify(copied(make_task()))) is Verified
    with pytest.raises(Tampered, match="was changed"):
        seals(OLD, allow_unsigned=True).verify(copied(seals(OLD).seal(make_task()), name="other"))


@pytest.mark.parametrize(
    ("change", "parameters"),
    [
        ("UPDATE tasks SET reference = 'os:system'", ()),
        ("UPDATE tasks SET client = 'farm', reply_to = ''", ()),
        ("UPDATE tasks SET lifetime_s = NULL", ()),
        ("UPDATE tasks SET seal = ''", ()),
        ("UPDATE arguments SET body = ?", (b"cos\nsystem\n(S'true'\ntR.",)),
        ("UPDATE functions SET body = ?", (b"cos\nsystem\n(S'true'\ntR.",)),
    ],
)
def test_a_row_that_was_changed_on_disk_does_not_run(change, parameters):
    """Its outcome is TAMPERED, which whoever asks for it is told."""
    ran: list[int] = []
    with Harness(service={"keys": KeyRing([OLD])}, client={"keys": KeyRing([OLD])}) as scheduler:
        waiting = scheduler.client.task(ran.append, by="value").options(delay=60).launch(1)
        scheduler.run_until_idle()
        scheduler.stop_service()
        path = scheduler.services[0].path
        with sqlite3.connect(path) as connection:
            connection.execute(change, parameters)
        connection.close()
        scheduler.start_service()
        scheduler.advance(minutes=2)
        assert scheduler.outcome(waiting).code is Code.TAMPERED
        assert ran == []
        with pytest.raises(TaskRefused, match="TAMPERED: the task was not run"):
            scheduler.new_client(name="asks", keys=KeyRing([OLD])).result(waiting)


def test_a_task_that_waits_runs_after_its_key_was_retired_but_not_without_it():
    """What was verified when it came stays good while its key is in the ring."""
    sealed = seals(OLD).seal(make_task())
    retired = Key(key_id="old", secret=OLD.secret, not_after=sealed.issued_at)
    assert type(seals(NEW, retired).verify(copied(sealed))) is Verified
    with pytest.raises(Tampered, match="a key that the service does not have"):
        seals(NEW).verify(copied(sealed))
