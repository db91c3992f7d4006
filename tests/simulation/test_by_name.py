"""A service that runs only the functions it was given, and unpickles nothing; and launches that are too old."""

from __future__ import annotations

import json
import os
import pickle
from datetime import timedelta

import cloudpickle
import pytest

from schedulergodx import Client, Code, InvalidParameter, Service, TaskNotSerializable, TaskRefused
from schedulergodx.config import ServiceLimits
from schedulergodx.utils.abstractions import Outgoing
from schedulergodx.utils.message import payload
from schedulergodx_testing import Harness

calls: list[object] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def build(report: str, *, pages: object = 1) -> str:
    calls.append((report, pages))
    return f"{report} of {pages}"


def other(what: object) -> None:
    calls.append(what)


@pytest.fixture
def strict():
    """A harness whose service runs `build` alone."""
    with Harness(service={"accept": {"ref"}, "tasks": [build]}) as scheduler:
        yield scheduler


def dead(scheduler: Harness) -> list[str]:
    """Return why messages are dead letters."""
    return [letter.reason for letter in scheduler.broker.queues["client-service"].dead_letters]


@pytest.mark.parametrize("hard", [False, True])
def test_what_it_was_given_runs_with_arguments_as_data(
    strict: Harness, monkeypatch: pytest.MonkeyPatch, hard: bool
) -> None:
    """Soft and hard, with what results can hold, and with nothing unpickled."""
    monkeypatch.setattr(cloudpickle, "loads", lambda *_args: pytest.fail("it was unpickled"))
    task = strict.client.task(build, by="name", hard=hard)
    assert task.launch("sales", pages=2).result() == "sales of 2"
    pages = (1, {"at": strict.clock.now()}, b"\x00")
    assert task.launch("all", pages=pages).result() == f"all of {pages}"
    assert dead(strict) == []


def test_everything_else_is_refused_and_its_client_hears_why(strict: Harness) -> None:
    """By value, by reference with a pickle, and by a name that it was not given, which is not even imported."""
    client = strict.client
    by_value = client.task(lambda: calls.append("value"))
    for task, arguments in ((by_value, ()), (client.task(build, by="reference"), ("x",)), (client.task(build), ("x",))):
        with pytest.raises(TaskRefused, match="runs functions by name only") as raised:
            task.launch(*arguments).result()
        assert raised.value.code == Code.NOT_ALLOWED.value
    with pytest.raises(TaskRefused, match=r"does not run '.*:other'; it runs .*:build"):
        client.task(other, by="name").launch(1).result()
    with pytest.raises(TaskRefused, match=r"does not run 'posix:system'"):
        client.task(os.system, by="name").launch("true").result()
    assert calls == []
    assert strict.tasks == []
    assert [reason.partition(":")[0] for reason in dead(strict)] == ["NOT_ALLOWED"] * 5


def test_what_was_stored_when_more_was_allowed_does_not_run_now() -> None:
    """A service that is started again with less runs less: the rule counts at the start of a task, too."""
    with Harness() as scheduler:
        waiting = scheduler.client.task(other).options(delay=60).launch("old")
        scheduler.run_until_idle()
        path = scheduler.services[0].path
        scheduler.stop_service()
        scheduler.new_service(accept={"ref"}, tasks=[build], db=path)
        scheduler.advance(minutes=2)
        with pytest.raises(TaskRefused, match="NOT_ALLOWED: the task was not run"):
            waiting.result()
        assert calls == []


def test_a_service_that_takes_everything_takes_names_too() -> None:
    """So a client can change first, and its service afterwards."""
    with Harness() as scheduler:
        assert scheduler.client.task(build, by="name").launch("sales").result() == "sales of 1"
        assert scheduler.launched[0].args == ("sales",)


def test_arguments_that_are_no_data_are_refused_where_they_are_launched() -> None:
    """The error names the argument and not its value; nothing was sent."""
    with Harness() as scheduler:
        task = scheduler.client.task(build, by="name")
        with pytest.raises(
            TaskNotSerializable, match=r"argument 'pages' of task .*build cannot travel as data"
        ) as raised:
            task.launch("sales", pages=object())
        assert "object at 0x" not in str(raised.value)
        with pytest.raises(TaskNotSerializable, match="not a function that a module holds"):
            scheduler.client.task(lambda: None, by="name").launch()


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"accept": {"ref"}}, "name some"),
        ({"accept": set()}, "accept must be a set"),
        ({"accept": {"pickle"}}, "accept must be a set"),
        ({"accept": "ref"}, "accept must be a set"),
        ({"tasks": build}, "tasks must be a list"),
        ({"tasks": [lambda: None]}, "cannot be run by name"),
        ({"tasks": ["os.system"]}, "tasks must hold functions"),
    ],
)
def test_what_a_service_cannot_be_given_is_refused(parameters: dict, why: str) -> None:
    """When it is made, with a sentence."""
    with pytest.raises(InvalidParameter, match=why):
        Service(url="sqlite:///unused", **parameters)


def test_data_and_pickles_are_never_taken_for_each_other() -> None:
    """No pickle begins as data does, and what claims to be one but is the other is refused."""
    for protocol in range(6):
        assert not payload.is_data(pickle.dumps(((), {}), protocol))
    assert payload.is_data(payload.pack(build, ("x",), {}, by="name").arguments)


@pytest.mark.parametrize(("age", "code"), [(timedelta(hours=2), Code.STALE), (timedelta(minutes=-6), Code.STALE)])
def test_a_launch_that_is_too_old_or_from_the_future_is_refused(age: timedelta, code: Code) -> None:
    """Its client is told; within the bounds it runs, and one that is known is only answered again."""
    with Harness(service={"limits": ServiceLimits(max_age_s=3600)}) as scheduler:
        client: Client = scheduler.client
        task = client.task(build)
        known = task.launch("known")
        assert known.result() == "known of 1"
        scheduler.stop_service()
        message_id = task.launch("late")
        scheduler.run_until_idle()
        [body] = [message.body for message in scheduler.broker.queues["client-service"].ready]
        scheduler.start_service()
        assert message_id.result() == "late of 1"
        fields = json.loads(body) | {"id": "replayed", "issued_at": (scheduler.clock.now() - age).isoformat()}
        outgoing = Outgoing(
            queue="client-service", body=json.dumps(fields).encode(), message_id="x", on_settled=lambda _, error: None
        )
        scheduler.broker.transport("intruder").publish(outgoing)
        scheduler.run_until_idle()
        [reason] = dead(scheduler)
        assert reason.startswith(code.value)
        assert calls == [("known", 1), ("late", 1)]
        scheduler.advance(hours=3)
        again = Outgoing(queue="client-service", body=body, message_id="x", on_settled=lambda _, error: None)
        scheduler.broker.transport("again").publish(again)
        scheduler.run_until_idle()
        assert len(dead(scheduler)) == 1
        assert calls == [("known", 1), ("late", 1)]
