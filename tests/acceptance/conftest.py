"""Fixtures of the acceptance tests: real services and clients, in processes of their own, over each transport."""

import importlib
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from schedulergodx import Client

# With the import mode of this suite no test folder is on the path; the helpers are for every test here.
sys.path.insert(0, str(Path(__file__).parent))
from helpers.programs import Program

HERE = Path(__file__).parent
RUN_SERVICE = HERE / "helpers" / "run_service.py"
MODULES = HERE / "modules"
READY = "takes tasks from queue"

StartService = Callable[..., Program]
_numbers = itertools.count(1)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def broker_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a broker that this module has for itself: a queue file, then a virtual host of a RabbitMQ."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('broker')}/queues.db"
        return
    rabbitmq = request.getfixturevalue("rabbitmq")
    with rabbitmq.private_vhost() as url:
        yield url


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The URL of a queue file of this test alone."""
    return f"sqlite:///{tmp_path}/queues.db"


@pytest.fixture(scope="module")
def request_queue() -> str:
    """The name of a queue of requests that no other module uses, also where the virtual host is shared."""
    return f"requests-{next(_numbers)}"


@pytest.fixture(scope="module")
def service(broker_url: str, request_queue: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A service in a process of its own that takes tasks; it can import `modules/both` and `modules/service`."""
    folder = tmp_path_factory.mktemp("service")
    with start_service(folder, url=broker_url, db=str(folder / "tasks.db"), request_queue=request_queue) as program:
        yield program


@pytest.fixture
def new_service(tmp_path: Path) -> Iterator[StartService]:
    """Starts services with the given parameters of `Service`, and kills those that still run at the end."""
    with ExitStack() as stack:

        def start(*, env: dict[str, str] | None = None, ready: str = READY, **parameters: Any) -> Program:
            parameters.setdefault("db", str(tmp_path / "tasks.db"))
            return stack.enter_context(start_service(tmp_path, env=env, ready=ready, **parameters))

        yield start


def start_service(folder: Path, *, env: dict[str, str] | None = None, ready: str = READY, **parameters: Any) -> Program:
    """Start a service in `folder`, and return once it takes tasks, or has logged a line with `ready`."""
    path = {
        "PYTHONPATH": f"{MODULES / 'both'}:{MODULES / 'service'}",
        "TEST_REQUEST_QUEUE": parameters.get("request_queue", "client-service"),
    }
    program = Program(RUN_SERVICE, json.dumps(parameters), cwd=folder, env=path | (env or {}))
    try:
        program.wait_for_line(ready)
    except AssertionError:
        program.__exit__(None, None, None)
        raise
    return program


@pytest.fixture
def new_client(broker_url: str, request_queue: str) -> Iterator[Callable[..., Client]]:
    """Makes clients of the service with the given parameters of `Client`, and closes them at the end."""
    with ExitStack() as stack:

        def make(**parameters: Any) -> Client:
            parameters = {"url": broker_url, "request_queue": request_queue} | parameters
            return stack.enter_context(Client(**parameters))

        yield make


@pytest.fixture
def client(service: Program, new_client: Callable[..., Client]) -> Client:
    """A client of the running service."""
    return new_client(name="shop", task_lifetime=20, hard_task_lifetime=20)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, broker_url: str, request_queue: str) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of `modules/both` or `modules/client` afresh; clients in it know the broker by environment."""
    monkeypatch.setenv("SCHEDULERGODX_URL", broker_url)
    monkeypatch.setenv("TEST_REQUEST_QUEUE", request_queue)
    monkeypatch.syspath_prepend(str(MODULES / "both"))
    monkeypatch.syspath_prepend(str(MODULES / "client"))
    loaded: list[ModuleType] = []

    def import_afresh(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        loaded.append(importlib.import_module(name))
        return loaded[-1]

    yield import_afresh
    for module in loaded:
        sys.modules.pop(module.__name__, None)
        for value in vars(module).values():
            if isinstance(value, Client):
                value.close()
