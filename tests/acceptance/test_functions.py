"""What kinds of functions travel to a service in another process, how they travel, and what is refused."""

import asyncio
import functools
import os
import threading

import pytest

from schedulergodx import TaskNotImportable, TaskNotSerializable, TaskRaised

pytestmark = pytest.mark.slow

WAIT_S = 20
RATE = 3
STATE = {"runs": 0}
counter = 0
a_lock = threading.Lock()


def plain(a, b=2, *rest, **more):
    return [a, b, rest, more]


def with_global(amount):
    return amount * RATE


def with_helper(amount):
    return plain(with_global(amount))


def factorial(n):
    return 1 if n < 2 else n * factorial(n - 1)


def counting():
    global counter  # noqa: PLW0603 - state of a module is the subject
    counter += 1
    STATE["runs"] += 1
    return counter, STATE["runs"]


def with_lock():
    with a_lock:
        return 1


async def coroutine(value):
    await asyncio.sleep(0)
    return value, asyncio.get_running_loop().is_running()


class Account:
    """A class of a module that the service cannot import."""

    kind = "current"

    def __init__(self, balance):
        self.balance = balance

    def deposited(self, amount):
        return self.kind, self.balance + amount

    def __call__(self, amount):
        return self.balance - amount


def closure_over(name):
    prefix = f"{name}: "

    def inner(text):
        return prefix + text

    return inner


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return ["wrapped", function(*args)]

    return wrapper


@decorated
def under_a_decorator(value):
    return value + RATE


KINDS = {
    "plain": (plain, (1,), [1, 2, (), {}]),
    "all kinds of arguments": (functools.partial(plain, 1, 2, 3), (4,), [1, 2, (3, 4), {}]),
    "module globals": (with_global, (4,), 12),
    "helpers of its module": (with_helper, (4,), [12, 2, (), {}]),
    "lambda": (lambda a: a + 1, (1,), 2),
    "closure": (closure_over("shop"), ("open",), "shop: open"),
    "recursive": (factorial, (5,), 120),
    "bound method": (Account(5).deposited, (2,), ("current", 7)),
    "callable object": (Account(5), (2,), 3),
    "coroutine function": (coroutine, (1,), (1, True)),
    "decorated function": (under_a_decorator, (1,), ["wrapped", 4]),
    "partial of a lambda": (functools.partial(lambda a, b: a - b, 5), (3,), 2),
    "builtin": (sorted, ([2, 1],), [1, 2]),
    "class": (Account, (1,), None),
}


@pytest.fixture(params=[False, True], ids=["soft", "hard"])
def hard(request):
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_of_a_module_that_the_service_lacks(client, hard, kind):
    """Every kind of function runs at a service that has never seen its module."""
    function, args, expected = KINDS[kind]
    task = client.task(hard=hard)(function)
    launched = task.launch(*args)
    if kind == "class":
        outcome = client.sync_await_response(launched, WAIT_S)
        assert outcome.arguments["code"] == "RESULT_UNSERIALIZABLE"
    else:
        assert launched.result(WAIT_S) == expected


def test_a_function_of_an_importable_module_uses_the_services_state(client, service, load):
    """By reference, the module's globals are the service's own: they grow from run to run."""
    shared = load("shared_tasks")
    first = shared.count.launch().result(WAIT_S)
    assert [shared.count.launch().result(WAIT_S) for _ in range(2)] == [first + 1, first + 2]
    assert shared.calls == 0
    assert shared.where.launch().result(WAIT_S)[0] == service.pid


def test_a_hard_function_of_an_importable_module(service, load):
    """A hard task is imported in its own process; the service's state is not touched by it."""
    shared = load("shared_tasks")
    assert shared.count.options(hard=True).launch().result(WAIT_S) == 1
    assert shared.where.options(hard=True).launch().result(WAIT_S)[0] not in {service.pid, os.getpid()}


def test_an_imported_client_connects_to_nothing_until_it_launches(service, load):
    """The service imports a module that makes a client; that costs no thread until a task launches through it."""
    shared = load("shared_tasks")
    in_a_new_process = shared.where.options(hard=True)
    assert in_a_new_process.launch().result(WAIT_S)[1] == []


@pytest.mark.parametrize("by", ["auto", "value", "reference"])
def test_a_task_launches_another_of_its_client(service, load, hard, by):
    """Inside the service a client reaches the service's own broker, however the task came there."""
    if by == "reference":
        shared = load("shared_tasks")
        outer, client, args, expected = shared.launch_add, shared.client, (2, 3), 5
    else:
        travelling = load("client_tasks")
        outer, client, args, expected = travelling.launch_price, travelling.client, (3,), 6
    inner_id = outer.options(by=by, hard=hard).launch(*args).result(WAIT_S)
    assert client.result(inner_id, WAIT_S) == expected


def test_a_task_that_refers_to_itself(service, load, hard):
    """A task may launch itself, or call itself, as the name in its module says."""
    travelling = load("client_tasks")
    following = travelling.again.options(hard=hard).launch(2).result(WAIT_S)
    last = travelling.client.result(following, WAIT_S)
    assert travelling.client.result(last, WAIT_S) == "the end"
    assert travelling.fibonacci.options(hard=hard).launch(10).result(WAIT_S) == 55


def test_tasks_of_a_module_with_helpers_and_classes(service, load, hard):
    """Helpers, globals and classes of the client's module come along; arguments keep their class."""
    travelling = load("client_tasks")
    assert travelling.price.options(hard=hard).launch(4).result(WAIT_S) == 8
    assert travelling.move.options(hard=hard).launch(travelling.Point(1, 2), by=1).result(WAIT_S) == (2, 3)


def test_what_holds_a_lock_goes_by_reference_alone(service, load):
    """A service without the module cannot run it, and the answer names the module."""
    travelling = load("client_tasks")
    with pytest.raises(TaskNotImportable, match="'client_tasks'") as caught:
        travelling.guarded.launch().result(WAIT_S)
    assert caught.value.code == "TASK_NOT_IMPORTABLE"


def test_a_helper_module_travels_by_value_when_named(service, load, hard):
    """A module that the function uses is missing at the service, unless it is named to travel by value."""
    travelling = load("client_tasks")
    task = travelling.helped.options(hard=hard)
    with pytest.raises(TaskNotImportable, match="'helper_lib'"):
        task.launch().result(WAIT_S)
    assert task.options(by_value_modules=["helper_lib"]).launch().result(WAIT_S) == 42


def test_other_code_at_the_service_is_not_used(client, load):
    """Where the module of the service has other code under the name, the value runs: what was sent."""
    versioned = load("versioned")
    assert client.task(versioned.version).launch().result(WAIT_S) == "code of the client"
    assert client.task(versioned.only_here).launch().result(WAIT_S).startswith("code of the client")
    assert client.task(versioned.default).launch().result(WAIT_S) == "client"


def test_the_same_code_at_the_service_is_used(client, load):
    """Where the code is the same, the service's own module state counts; `by` pins either way."""
    versioned = load("versioned")
    origin, version = client.task(versioned.origin), client.task(versioned.version)
    assert origin.launch().result(WAIT_S) == "service"
    assert origin.options(by="value").launch().result(WAIT_S) == "client"
    assert version.options(by="reference").launch().result(WAIT_S) == "code of the service"
    with pytest.raises(TaskNotImportable, match="only_here"):
        client.task(versioned.only_here).options(by="reference").launch().result(WAIT_S)


def test_each_launch_has_the_state_of_its_moment(client, monkeypatch):
    """What a run changes in what came by value is gone with it; what the client changes goes with the next launch."""
    task = client.task(counting)
    assert [task.launch().result(WAIT_S) for _ in range(3)] == [(1, 1)] * 3
    monkeypatch.setitem(globals(), "counter", 10)
    monkeypatch.setitem(STATE, "runs", 20)
    assert task.launch().result(WAIT_S) == (11, 21)
    box = [1]
    append = client.task(lambda: box.append(len(box)) or list(box))
    assert [append.launch().result(WAIT_S) for _ in range(2)] == [[1, 1]] * 2
    box.append(9)
    assert append.launch().result(WAIT_S) == [1, 9, 2]


def test_a_function_that_keeps_state_in_itself_starts_anew(client):
    """An attribute that a run sets on the function, or a global set by name, is not there in the next run."""

    def remembering():
        remembering.runs = getattr(remembering, "runs", 0) + 1
        globals()["seen_runs"] = globals().get("seen_runs", 0) + 1
        return remembering.runs, globals()["seen_runs"]

    task = client.task(remembering)
    assert [task.launch().result(WAIT_S) for _ in range(3)] == [(1, 1)] * 3


def test_arguments_are_those_of_the_launch(client):
    """An argument that changes after the launch arrives as it was."""
    basket = ["apple"]
    with client.batch():
        launched = client.task(len).launch(basket)
        basket.append("pear")
    assert launched.result(WAIT_S) == 1


def not_picklable_in_a_closure():
    lock = threading.Lock()

    def locked():
        return lock

    return locked


REFUSED = {
    "a local function's closure": (not_picklable_in_a_closure(), (), "closure variable 'lock'"),
    "a lambda's global": (lambda: a_lock, (), "global 'a_lock'"),
    "an argument": (plain, (threading.Lock(),), "argument 'a'"),
    "a generator": (plain, (1, (n for n in ())), "argument 'b'"),
    "an object": (Account(threading.Lock()).deposited, (1,), "object (self)"),
    "a default": (lambda lock=threading.Lock(): lock, (), "default value"),  # noqa: B008 - the subject
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_pickled_is_refused_by_name(client, what):
    """The launch is refused before anything is sent, and the error names the variable."""
    function, args, variable = REFUSED[what]
    with pytest.raises(TaskNotSerializable) as caught:
        client.task(function).launch(*args)
    assert caught.value.variable == variable
    assert variable in str(caught.value)


def test_by_value_of_what_holds_a_lock_is_refused_by_name(client):
    """Pinned to travel by value there is no other way, so the launch says which global is in it."""
    with pytest.raises(TaskNotSerializable, match="global 'a_lock'"):
        client.task(by="value")(with_lock).launch()


def test_by_reference_of_what_no_module_holds_is_refused(client):
    """A lambda, and a function of `__main__`, cannot travel by reference."""
    with pytest.raises(TaskNotSerializable, match="cannot travel by reference"):
        client.task(by="reference")(lambda: 1).launch()


def test_a_wrong_call_fails_as_the_task(client):
    """The arguments are those of the function; a wrong one is the function's TypeError, told by the service."""
    with pytest.raises(TaskRaised) as caught:
        client.task(plain).launch().result(WAIT_S)
    assert caught.value.exception_type == "TypeError"
    assert "missing 1 required positional argument: 'a'" in caught.value.message
