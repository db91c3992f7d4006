"""`--scheduler-transport`: a suite's own tests over another broker, and the comparison of two."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from schedulergodx import Client
from schedulergodx.utils.abstractions import ConnectionState, ConnectionStatus, ConsumingStatus, Outgoing
from schedulergodx_testing import Harness, HarnessError, ThreadStuck, any_transport, real_broker
from schedulergodx_testing.timeline import Timeline

pytest_plugins = ["pytester"]

SUITE = """
    import pytest
    from schedulergodx import Client

    client = Client(name="shop")
    sent = []

    @client.task
    def remind(user):
        sent.append(user)

    @pytest.mark.parametrize("days", [1, 2])
    def test_reminder(scheduler, days):
        for user in ("ada", "bob", "cy"):
            remind.options(delay=86400 * days).launch(user)
        scheduler.advance(days=days)
        assert sorted(sent) == ["ada", "bob", "cy"]
        sent.clear()

    def test_fault(scheduler):
        scheduler.broker.faults.cut()
"""

REQUEUES_AT_THE_TAIL = """
    import pytest
    from schedulergodx_testing.memory.queues import Queue

    @pytest.fixture(autouse=True)
    def fake_that_is_wrong(monkeypatch):
        def wait_at_the_tail(queue, message):
            queue.add(message)
        monkeypatch.setattr(Queue, "put_back", wait_at_the_tail)
"""

CRASHING = """
    import pytest
    from schedulergodx import Client
    from schedulergodx.config import ServiceLimits

    client = Client(name="shop")

    @client.task
    def count(number):
        return number

    @pytest.mark.scheduler(service={"limits": ServiceLimits(prefetch=2)})
    def test_a_crash_before_anything_is_stored(scheduler):
        for number in range(5):
            count.options(delay=1000).launch(number)
        scheduler.crash_at("W4")
        scheduler.run_until_idle()
        scheduler.start_service()
        scheduler.run_until_idle()
"""


def run(pytester: pytest.Pytester, kind: str) -> pytest.RunResult:
    """Run the suite in a process of its own."""
    return pytester.runpytest_subprocess("-rs", "-p", "no:cacheprovider", f"--scheduler-transport={kind}")


def test_a_suite_runs_over_one_file(pytester: pytest.Pytester) -> None:
    """With its delays of a day, whose sum is told; what only the fake can do is told as skipped, with its reason."""
    pytester.makepyfile(SUITE)
    result = run(pytester, "sqlite")
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "virtual time: 3 days, 0:00:* in 3 tests that use `scheduler`",
            "*over a real broker: a real broker cannot be asked for 'faults'*",
        ]
    )


@pytest.mark.slow
def test_virtual_time_is_summed_over_processes(pytester: pytest.Pytester) -> None:
    """Each worker of pytest-xdist tells what its tests went through."""
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-n", "2", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["virtual time: 3 days, 0:00:* in 3 tests that use `scheduler`"])


@pytest.mark.rabbitmq
@pytest.mark.slow
def test_both_brokers_tell_one_story(pytester: pytest.Pytester, rabbitmq_vhost_url: str, monkeypatch) -> None:
    """In memory, then RabbitMQ."""
    monkeypatch.setenv("SCHEDULERGODX_TEST_AMQP_URL", rabbitmq_vhost_url)
    pytester.makepyfile(SUITE)
    run(pytester, "both").assert_outcomes(passed=5, skipped=1)


@pytest.mark.rabbitmq
@pytest.mark.slow
def test_a_fake_that_requeues_at_the_tail_is_found(
    pytester: pytest.Pytester, rabbitmq_vhost_url: str, monkeypatch
) -> None:
    """The two stories differ, and the difference is shown."""
    monkeypatch.setenv("SCHEDULERGODX_TEST_AMQP_URL", rabbitmq_vhost_url)
    pytester.makepyfile(CRASHING)
    pytester.makeconftest(REQUEUES_AT_THE_TAIL)
    result = run(pytester, "both")
    assert result.parseoutcomes().get("errors") == 1
    result.stdout.fnmatch_lines(["*RabbitMQ and the broker in memory differ*", "*over the broker in memory*"])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that gives no sign is given up soon."""
    monkeypatch.setattr(real_broker, "REACHED_WITHIN_S", 0.05)
    monkeypatch.setattr(real_broker, "PATIENCE_S", 0.05)
    monkeypatch.setattr(real_broker, "_LOOK_S", 0.02)


def test_a_broker_that_is_not_there(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is told as such, with the reason and without the password."""
    monkeypatch.setattr(real_broker, "PATIENCE_S", 20.0)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]  # of nobody, once it is closed
    task = Client(name="shop").task(lambda: None)
    with (
        pytest.raises(
            HarnessError,
            match=rf"the broker amqp://guest@127\.0\.0\.1:{port}/ was not reached within 0\.05 real seconds: "
            r".*refused.*\. Is it running, and is this its address\?$",
        ) as caught,
        Harness(transport=f"amqp://guest:secret@127.0.0.1:{port}/"),
    ):
        task.launch()
    assert "secret" not in str(caught.value)


class Lost:
    """A transport whose connection was up, and comes back by itself some day."""

    def status(self) -> ConnectionStatus:
        return ConnectionStatus(state=ConnectionState.RECOVERING, broker="amqp://b", reason="Connection reset by peer")

    def consuming(self) -> ConsumingStatus:
        up = ConnectionStatus(state=ConnectionState.UP, broker="amqp://b")
        return ConsumingStatus(connection=up, is_consuming=True)

    def publish(self, outgoing: Outgoing) -> None:
        """Keep it for ever."""


def test_a_broker_that_was_lost(impatient: None) -> None:
    """And does not come back in time: the error says what is known of the connections."""
    broker = real_broker.RealBroker(lambda _name: Lost(), "amqp://b")  # type: ignore[arg-type, return-value]
    transport = broker.transport("shop")
    transport.publish(Outgoing(queue="q", body=b"", message_id="1", on_settled=lambda *_: None))
    with pytest.raises(
        ThreadStuck,
        match=r"amqp://b does not come to rest: 1 messages are not confirmed; .*; "
        r"connections are recovering: Connection reset by peer$",
    ):
        broker.step()


def timeline(*entries: tuple[int, str, str, str] | tuple[int, str, str, str, str]) -> Timeline:
    """Return a timeline of (second, lane, what, message id), and for a launch by a task the message id of that one."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    made = Timeline(start)
    for seconds, lane, what, message_id, *by in entries:
        made.add(start + timedelta(seconds=seconds), lane, what, message_id, caused_by="".join(by))  # type: ignore[arg-type]
    return made


def test_stories_do_not_depend_on_ids_or_on_what_comes_first_within_an_instant() -> None:
    """Nor on the broker's own doings."""
    one = timeline((0, "client", "launch", "x"), (0, "broker", "confirmed", "x"), (0, "storage", "store", "x"))
    other = timeline((0, "client", "launch", "y"), (0, "storage", "store", "y"))
    assert any_transport.difference(any_transport.story(one), any_transport.story(other)) == ""


def test_tasks_that_run_side_by_side_may_launch_in_any_order() -> None:
    """Each launch counts as that of its own parent, whichever came first; of one parent they keep their order."""
    begin = [(0, "client", "launch", "x"), (0, "client", "launch", "y")]
    of_x = [(1, "client", "launch", "b", "x"), (1, "client", "launch", "c", "x"), (1, "client", "launch", "d", "b")]
    of_y = [(1, "client", "launch", "a", "y")]
    stored = [
        (1, "storage", "store of x", "b"),
        (1, "storage", "store of x too", "c"),
        (1, "storage", "store of y", "a"),
    ]
    told = any_transport.story(timeline(*begin, *of_x, *of_y, *stored))
    assert any_transport.story(timeline(*begin, *of_y, *of_x, *reversed(stored[1:]), stored[0])) != told
    assert any_transport.story(timeline(*begin, *of_y, *of_x, stored[2], *stored[:2])) == told


def test_a_story_depends_on_what_happened_when_and_to_which_launch() -> None:
    """Each of them makes a difference."""
    told = any_transport.story(timeline((0, "client", "launch", "x"), (1, "worker", "start", "x")))
    for other in (
        timeline((0, "client", "launch", "x"), (2, "worker", "start", "x")),
        timeline((0, "client", "launch", "x"), (1, "worker", "kill", "x")),
        timeline((0, "client", "launch", "x"), (1, "worker", "start", "y")),
    ):
        assert any_transport.difference(told, any_transport.story(other))


class Item:
    """As much of a test of pytest as is looked at."""

    def __init__(self, kind: str, **parameters: object) -> None:
        self.parent = SimpleNamespace(nodeid="test_shop.py")
        self.originalname = "test_it"
        self.callspec = SimpleNamespace(params=parameters | {any_transport.PARAMETER: kind})


@pytest.mark.parametrize("kinds", [("memory", "rabbitmq"), ("rabbitmq", "memory")])
def test_a_story_is_compared_with_that_of_its_own_twin(kinds: tuple[str, str]) -> None:
    """Whichever comes first, and whatever its parameters are: those that are equal, too, or have no hash."""
    values: list[object] = [[], [], 1, True]
    items = [[Item(kind, value=value) for value in values] for kind in kinds]
    stories = any_transport.Stories([item for of_kind in items for item in of_kind])
    for number, item in enumerate(items[0]):
        assert stories.told(item, [f"story {number}"]) == ""
    for number, item in enumerate(items[1]):
        assert ("differ" in stories.told(item, [f"story {number}" if number else "another story"])) == (number == 0)


def test_a_story_is_not_compared_with_itself() -> None:
    """When the other run was not selected, that is said; when it has failed or was skipped, that is told already."""
    alone, twin = Item("memory"), Item("rabbitmq")
    for item, other in ((alone, "RabbitMQ"), (twin, "the broker in memory")):
        told = any_transport.Stories([item]).told(item, ["one"])
        assert told.startswith(f"nothing was compared: the run of this test over {other} was not selected")
    assert any_transport.Stories([alone, twin]).told(twin, ["one"]) == ""


def test_two_processes_cannot_compare(pytester: pytest.Pytester) -> None:
    """Said at once, before any test has run."""
    pytester.makepyfile(SUITE)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--scheduler-transport=both", "-n1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*within one process: leave out -n*"])
