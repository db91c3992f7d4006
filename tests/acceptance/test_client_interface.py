"""What the client offers beyond 1.0.0, against a real service in another process, over each transport."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from helpers.functions import add, blame, nap

import schedulergodx
from schedulergodx import (
    BatchFailed,
    Client,
    Closed,
    DuplicateMessageId,
    InvalidParameter,
    MessageId,
    MessageTooLarge,
    ResultTimeout,
    TaskRaised,
    TaskStatus,
    UnknownMessageId,
)

pytestmark = pytest.mark.slow

WAIT_S = 20


def test_a_launch_returns_an_id_that_can_be_asked(client):
    """The id is a text; it gives the value, the outcome with its moments, and both again."""
    before = datetime.now(UTC)
    launched = client.task(add).launch(1, b=2)
    assert isinstance(launched, str)
    assert isinstance(launched, MessageId)
    assert launched.result() == launched.result(timeout_s=WAIT_S) == 3
    outcome = launched.outcome()
    assert outcome is not None
    assert (outcome.message_id, outcome.status, outcome.code.value) == (launched, TaskStatus.COMPLETED, "OK")
    assert before <= outcome.started_at <= outcome.ended_at <= datetime.now(UTC)


def test_a_launch_that_is_too_large(client):
    """It is refused before anything is sent, with its size and the limit."""
    with pytest.raises(MessageTooLarge, match="nothing was") as caught:
        client.task(len).launch(b"x" * 9_000_000)
    assert caught.value.size_bytes > caught.value.limit_bytes == 8 * 1024 * 1024


def test_delay_and_moment(client):
    """A task does not start before its delay has passed, nor before the moment that `launch_at` names."""
    task = client.task(add)
    moment = datetime.now(timezone(timedelta(hours=-7))) + timedelta(seconds=0.4)
    for launched in (task.options(delay=0.4).launch(1), task.options(delay=3600).launch_at(moment, 1)):
        outcome = client.sync_await_response(launched, WAIT_S)
        assert outcome.arguments["result"] == 1
        ended = launched.outcome()
        assert ended.run_at <= ended.started_at < ended.run_at + timedelta(seconds=5)
    assert ended.run_at == moment


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2030, 1, 1),  # noqa: DTZ001 - the subject
        datetime(2030, 1, 1, tzinfo=UTC).timetz(),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        1893456000,
        "2030-01-01T00:00:00Z",
        None,
    ],
)
def test_launch_at_needs_an_aware_moment(client, moment):
    """A naive datetime, a time, a number, a text, and what lies beyond the calendar are refused."""
    with pytest.raises(InvalidParameter, match="datetime with a time zone"):
        client.task(add).launch_at(moment, 1)


def test_options_copy_and_set_parameters_changes(client):
    """`options` leaves the task as it is; `set_parameters` changes what it names and nothing else."""
    task = client.task(hard=True, task_lifetime=7)(add)
    copy = task.options(delay=5, hard=False)
    assert (task.parameters.delay, task.parameters.hard) == (None, True)
    assert (copy.parameters.delay, copy.parameters.hard, copy.parameters.task_lifetime) == (5, False, 7)
    assert copy.func is task.func
    task.set_parameters(delay=1)
    assert (task.parameters.delay, task.parameters.hard, task.parameters.task_lifetime) == (1, True, 7)
    assert copy.parameters.delay == 5
    with pytest.raises(InvalidParameter):
        task.set_parameters(hard=False, task_lifetime=0)
    assert task.parameters.hard
    with pytest.raises(TypeError):
        task.set_parameters(colour="red")


@pytest.mark.parametrize(
    "changes",
    [
        {"delay": -1},
        {"delay": float("nan")},
        {"delay": float("inf")},
        {"delay": "5"},
        {"delay": True},
        {"task_lifetime": 0},
        {"hard_task_lifetime": -1},
        {"hard": 1},
        {"enable_overdue": "yes"},
        {"by": "copy"},
        {"by_value_modules": "helper_lib"},
        {"by_value_modules": [1]},
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_where_they_are_written(client, changes):
    """Each is refused by a sentence with its name, by the decorator, `set_parameters` and `options` alike."""
    (name,) = changes
    task = client.task(add)
    for attempt in (client.task, task.set_parameters, task.options):
        with pytest.raises(InvalidParameter, match=name):
            attempt(**changes)


def test_the_task_stays_the_plain_function(client):
    """Calling it runs the function here; `func` is the function itself; its name and docstring are those of it."""

    def greet(name: str) -> str:
        """Greet."""
        return f"hello {name}, from {threading.current_thread().name}"

    task = client.task(greet)
    assert task("you") == greet("you") == task.func("you")
    assert task.func is greet
    assert (task.__name__, task.__doc__, task.__wrapped__) == ("greet", "Greet.", greet)


def test_a_batch_waits_at_its_end(client):
    """Launches of a batch are on their way at once; when the block ends, the broker has them."""
    task = client.task(add)
    with client.batch():
        launched = [task.launch(number) for number in range(300)]
    assert [one.result(WAIT_S) for one in launched] == list(range(300))
    assert len(set(launched)) == 300


def test_a_batch_belongs_to_its_thread(client):
    """Another thread launches as always meanwhile, and a batch within a batch is part of it."""
    task = client.task(add)
    with client.batch():
        with client.batch():
            inner = task.launch(1)
        other: list[int] = []
        thread = threading.Thread(target=lambda: other.append(task.launch(2).result(WAIT_S)))
        thread.start()
        thread.join(WAIT_S)
        assert other == [2]
    assert inner.result(WAIT_S) == 1


def test_an_error_in_a_batch_block_comes_out(client):
    """What the block raises is raised, and what it had launched runs."""
    launched = []

    def launch_and_fail() -> None:
        with client.batch():
            launched.append(client.task(add).launch(1))
            raise KeyError("of the block")

    with pytest.raises(KeyError, match="of the block"):
        launch_and_fail()
    assert launched[0].result(WAIT_S) == 1


def test_asyncio(client):
    """Launching and waiting leave the loop to others, and many of them go on together."""

    async def main() -> list[int]:
        task = client.task(add)
        launched = await asyncio.gather(*(task.launch_async(number) for number in range(50)))
        answer = await client.async_get_response(launched[0])
        assert answer.arguments["result"] == 0
        with pytest.raises(TaskRaised):
            await (await client.task(blame).launch_async("x"))
        with client.batch():
            in_batch = await task.launch_async(50)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.task(nap).launch(0.5)
        return [await one for one in (*launched, in_batch)]

    assert asyncio.run(asyncio.wait_for(main(), WAIT_S)) == list(range(51))


def test_asyncio_goes_on_while_it_waits(client):
    """A coroutine beside the one that waits runs to its end first."""

    async def main() -> list[str]:
        order: list[str] = []

        async def wait() -> None:
            await client.task(nap).launch(0.3)
            order.append("answer")

        async def work() -> None:
            for _ in range(5):
                await asyncio.sleep(0)
            order.append("work")

        await asyncio.gather(wait(), work())
        return order

    assert asyncio.run(asyncio.wait_for(main(), WAIT_S)) == ["work", "answer"]


def test_many_threads_launch_and_wait(client):
    """One client serves many threads; each gets its own answers."""
    task = client.task(add)
    failures = []

    def work(start: int) -> None:
        try:
            launched = [task.launch(start, number) for number in range(20)]
            assert [one.result(WAIT_S) for one in launched] == [start + number for number in range(20)]
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(1000 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads)


def test_an_id_generator_that_repeats_itself(new_client, service):
    """The second launch is refused here; at the service, another client's launch under a known id is refused, too."""
    client = new_client(name="stuck", id_generator=iter(["stuck-1", "stuck-1", "stuck-2"]))
    task = client.task(add)
    first = task.launch(1)
    with pytest.raises(DuplicateMessageId, match="repeats itself"):
        task.launch(2)
    assert first.result(WAIT_S) == 1
    assert task.launch(3).result(WAIT_S) == 3
    with pytest.raises(InvalidParameter, match="id generator"):
        task.launch(4)
    other = new_client(name="thief", id_generator=iter(["stuck-1"]))
    with pytest.raises(schedulergodx.TaskRefused) as caught:
        other.task(add).launch(5).result(WAIT_S)
    assert caught.value.code == "DUPLICATE_ID"


def test_close_ends_everything(new_client, service):
    """After `close` nothing is launched or made; who waits is woken; closing again does nothing."""
    client = new_client(name="short")
    task = client.task(add)
    waiting = client.task(nap).launch(2)
    heard: list[BaseException] = []
    begun = threading.Event()

    def wait() -> None:
        begun.set()
        try:
            waiting.result(WAIT_S)
        except Closed as error:
            heard.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait(WAIT_S)
    client.close()
    thread.join(WAIT_S)
    assert len(heard) == 1
    client.close()
    for call in (
        lambda: task.launch(1),
        lambda: client.task(add),
        lambda: client.result(str(waiting)),
        lambda: client.outcome(str(waiting)),
        lambda: client.push({}),
        lambda: asyncio.run(task.launch_async(1)),
        lambda: task.launch_at(datetime.now(UTC), 1),
    ):
        with pytest.raises(Closed, match="'short' is closed"):
            call()
    assert not any(thread.is_alive() for thread in client.get_threads().values())
    assert task(1, 2) == 3


def test_the_context_manager_closes(broker_url, service):
    """Leaving the block closes, also by an error."""
    with pytest.raises(KeyError), Client(url=broker_url) as client:
        raise KeyError
    with pytest.raises(Closed):
        client.task(add)


def test_names_of_queues_and_databases(broker_url, new_service, tmp_path):
    """`request_queue`, `reply_queue` and `db` as a URL: two services share a broker and do not meet."""
    for name in ("left", "right"):
        new_service(name=name, url=broker_url, request_queue=f"in-{name}", db=f"sqlite:///{tmp_path}/{name}.db")
    with (
        Client(url=broker_url, request_queue="in-left", reply_queue="out") as left,
        Client(url=broker_url, request_queue="in-right", reply_queue="out") as right,
    ):
        assert left.rmq_consumer_que.startswith("out.client.")
        done = left.task(add).launch(1)
        assert done.result(WAIT_S) == 1
        with pytest.raises(UnknownMessageId):
            right.result(done, WAIT_S)
        assert right.task(add).launch(2).result(WAIT_S) == 2
    assert {path.name for path in tmp_path.glob("*.db")} == {"left.db", "right.db"}


def test_a_client_without_a_service_waits_patiently(broker_url, new_service):
    """Launching needs no service; the answer comes once there is one."""
    with Client(url=broker_url, request_queue="lonely") as client:
        launched = client.task(add).launch(1)
        with pytest.raises(ResultTimeout, match="or for a service on queue 'lonely'"):
            launched.result(0.1)
        new_service(url=broker_url, request_queue="lonely")
        assert launched.result(WAIT_S) == 1


def test_both_ways_to_name_the_broker_at_once_are_refused():
    """One of `url` and `rmq_connect`, since one of the two would silently not count."""
    connect = schedulergodx.client.RmqConnect({}, ("guest", "guest"))
    with pytest.raises(InvalidParameter, match="either url or rmq_connect"):
        Client(url="amqp://localhost", rmq_connect=connect)
    with pytest.raises(InvalidParameter, match="either url or rmq_connect"):
        schedulergodx.Service(url="amqp://localhost", rmq_connect=connect)


def test_a_batch_that_failed_says_which(new_client, broker_url):
    """Each launch that the broker does not have for certain is named, with its reason; the others are not."""
    nowhere = "amqp://guest@127.0.0.1:9/" if broker_url.startswith("amqp") else "sqlite:////proc/none/q.db"
    client = new_client(url=nowhere, launch_timeout_s=0.3)
    task = client.task(add)
    launched = []
    with pytest.raises(BatchFailed, match="2 of 2 launches failed") as caught, client.batch():
        launched += [task.launch(1), task.launch(2)]
    assert set(caught.value.errors) == set(launched)
    for message_id, error in caught.value.errors.items():
        assert error.message_id == message_id
        assert message_id in str(error)
