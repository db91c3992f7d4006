"""How much work a task makes, counted and not timed: statements, commits, messages, acks.

The bounds are a little above what is measured today. Who goes beyond them has made every task dearer.
"""

import pytest

from schedulergodx import Client
from schedulergodx.utils.storage.connection import Connection
from schedulergodx_testing import Harness

TASKS = 1_000
DAY_S = 86_400
client = Client(name="work")


@client.task
def nothing():
    pass


@pytest.fixture
def statements(monkeypatch):
    """Every statement that a database of this process is given; one for many rows counts once."""
    seen = []

    def watch(name):
        real = getattr(Connection, name)

        def watched(self, sql, parameters=()):
            seen.append(sql)
            return real(self, sql, parameters)

        monkeypatch.setattr(Connection, name, watched)

    watch("_run_now")
    watch("change_each")
    return seen


def counted(scheduler, statements):
    """Return what was done for each task: SQL statements, commits, messages sent, acks, and starts."""
    names = [call.name for call in scheduler.calls.all]
    calls = ("storage.commit", "client.publish", "transport.publish", "transport.ack", "runner.start")
    return {"sql": len(statements) / TASKS} | {call: names.count(call) / TASKS for call in calls}


def assert_within(found, **bounds):
    """Assert that nothing was done more often than stated."""
    assert {name: done for name, done in found.items() if done > bounds[name.replace(".", "_")]} == {}


@pytest.mark.slow
def test_a_burst_is_worked_off_in_groups(statements):
    """Of a thousand tasks at once, many share each commit, each ack, and each message with their answers."""
    with Harness() as scheduler:
        for _ in range(TASKS):
            nothing.launch()
        scheduler.run_until_idle()
        found = counted(scheduler, statements)
        assert found["client.publish"] == found["runner.start"] == 1
    assert_within(
        found,
        sql=1.9,
        storage_commit=0.15,
        client_publish=1,
        transport_publish=0.12,
        transport_ack=0.05,
        runner_start=1,
    )


@pytest.mark.slow
def test_a_batch_is_few_messages(statements):
    """A thousand launches that share a batch share messages, too: on their way, and with their answers."""
    with Harness() as scheduler:
        with client.batch():
            for _ in range(TASKS):
                nothing.launch()
        scheduler.run_until_idle()
        found = counted(scheduler, statements)
        assert found["runner.start"] == 1
    assert_within(
        found,
        sql=2.1,
        storage_commit=0.17,
        client_publish=0.025,
        transport_publish=0.15,
        transport_ack=0.05,
        runner_start=1,
    )


@pytest.mark.slow
def test_a_task_that_starts_at_once_is_not_read_from_the_database(statements):
    """It is stored and started in one turn and ended in another, with nothing to ask but whether its id is known."""
    with Harness() as scheduler:
        for _ in range(TASKS):
            nothing.launch()
            scheduler.run_until_idle()
        found = counted(scheduler, statements)
        assert found["transport.publish"] == found["runner.start"] == 1
    assert_within(
        found, sql=12.1, storage_commit=2.1, client_publish=1, transport_publish=1, transport_ack=1, runner_start=1
    )


@pytest.mark.slow
def test_a_task_by_itself_takes_few_statements(statements):
    """A delayed task is started in one turn and ended in another; its answer leaves the outbox in the next one's."""
    with Harness() as scheduler:
        for place in range(TASKS):
            nothing.options(delay=1 + place * DAY_S / TASKS).launch()
        scheduler.advance(days=1, seconds=1)
        found = counted(scheduler, statements)
        assert found["transport.publish"] == found["runner.start"] == 1
    assert_within(
        found, sql=11.5, storage_commit=2.1, client_publish=1, transport_publish=1, transport_ack=0.05, runner_start=1
    )
