"""The README of 1.0.0: its code blocks run as they stand there, client and service as two programs, on RabbitMQ.

`seed_readme.md` is a copy of it. Each test writes programs out of its blocks, unchanged, with lines of its own between
them for what a block leaves open (`args`, `data`, `message_id`). The broker is named by `SCHEDULERGODX_URL`, except for
the block that names `localhost:5672` itself: see `test_the_block_of_the_connection`.
"""

import hashlib
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from helpers.programs import Program

pytestmark = [pytest.mark.slow, pytest.mark.rabbitmq]

SEED = Path(__file__).parent / "seed_readme.md"
SEED_SHA_256 = "b0ba096d2d180e6447c768ca8408c2b86cfd0440cb37bdf03346370702e28c1a"
README = SEED.read_text(encoding="utf-8")
BLOCKS = [
    "\n".join(line.removeprefix(indent) for line in block.splitlines())
    for indent, block in re.findall(r"^([ ]*)```python ?\n(.*?)^[ ]*```", README, re.DOTALL | re.MULTILINE)
]
(
    CLIENT_EXAMPLE,
    SERVICE_EXAMPLE,
    CREATE_TASK,
    LAUNCH,
    GET_THREADS,
    GET_THREAD,
    PUSH,
    GET,
    SYNC_AWAIT,
    ASYNC_GET,
    RESPONCE_EXAMPLE,
    START,
    ID_GENERATORS,
    MESSAGE,
    RMQ,
) = BLOCKS


def test_the_readme_is_the_one_of_1_0_0() -> None:
    """Byte for byte, so that no formatter makes its blocks easier."""
    assert hashlib.sha256(SEED.read_bytes()).hexdigest() == SEED_SHA_256


NEW_CLIENT = "import schedulergodx.client as scheduler\nclient = scheduler.Client()\n"


class Programs:
    """Runs texts as programs in one folder, with the broker in their environment."""

    def __init__(self, folder: Path, url: str, stack: ExitStack) -> None:
        self._folder, self._url, self._stack = folder, url, stack

    def start(self, name: str, *texts: str) -> Program:
        path = self._folder / name
        path.write_text("\n".join(texts), encoding="utf-8")
        return self._stack.enter_context(Program(path, cwd=self._folder, env={"SCHEDULERGODX_URL": self._url}))

    def run(self, name: str, *texts: str) -> Program:
        """Run it to its end, which must be a good one."""
        program = self.start(name, *texts)
        assert program.wait() == 0, program.text
        return program


@pytest.fixture
def programs(tmp_path: Path, rabbitmq_vhost_url: str) -> Iterator[Programs]:
    with ExitStack() as stack:
        yield Programs(tmp_path, rabbitmq_vhost_url, stack)


@pytest.fixture
def service(programs: Programs) -> Program:
    return programs.start("service.py", SERVICE_EXAMPLE)


def test_the_two_examples(programs: Programs, tmp_path: Path):
    """Three launches, delayed by ten seconds, of a client that is gone long before; the service prints each."""
    client = programs.run("client.py", CLIENT_EXAMPLE)
    service = programs.start("service.py", SERVICE_EXAMPLE)
    service.wait_for_line(r"^10\.0$", count=3)
    assert service.stop(signal.SIGTERM) == 0
    assert client.lines == []
    assert service.matching("^10") == ["10.0"] * 3
    assert "Traceback" not in service.text
    assert (tmp_path / "SchedulerGodX.db").is_file()
    assert not list(tmp_path.glob("*.log"))


def test_the_blocks_about_the_client(programs: Programs, service: Program):
    """Create, set, launch, threads, push, and the three ways to an answer, as one program."""
    client = programs.run(
        "client.py",
        NEW_CLIENT,
        CREATE_TASK,
        "func.set_parameters(delay=0.1, hard=True, task_lifetime=5, hard_task_lifetime=5)",
        "args, kwargs = (1, 2), {'a': 3}",
        f"message_id = {LAUNCH}",
        "import threading",
        f"threads = {GET_THREADS}",
        "assert threads and all(isinstance(thread, threading.Thread) for thread in threads.values()), threads",
        "assert all(thread.name == name for name, thread in threads.items()), threads",
        GET_THREAD,
        "assert client.get_thread(message_id) in threads.values()",
        "assert client.get_thread('no such message') is None",
        "from schedulergodx.utils import message",
        "data, kwargs = message.MessageConstructor.info('a message', client.name, text='hello'), {}",
        PUSH,
        f"early = {GET}",
        "assert early is None",
        f"answer = {SYNC_AWAIT}",
        "import asyncio",
        f"async def wait():\n    return await {ASYNC_GET}",
        "assert asyncio.run(wait()) == answer",
        f"again = {GET}",
        "assert again == answer",
        "assert answer.metadata == {'id': message_id, 'client': 'client', 'type': message.Message.INFO}",
        "print(answer.arguments['status'], answer.arguments['result'])",
    )
    assert client.lines == ["2 None"]  # COMPLETED
    assert service.stop() == 0
    assert ["it has no keys" in line for line in service.lines] == [True]  # the one warning


def test_the_example_of_an_answer(programs: Programs, service: Program):
    """The block that launches, waits, and prints what the answer consists of."""
    client = programs.run("client.py", NEW_CLIENT, RESPONCE_EXAMPLE)
    assert re.match(r"\{'id': '[0-9A-Z]{26}', 'client': 'client', 'type': <Message.INFO: 1>\} \{.*'OK'", client.text)


def test_the_client_logs_where_it_is_told_to(programs: Programs, service: Program, tmp_path: Path):
    """`client.logger` is a LoggerConstructor: level, handlers and lines of the program's own; a file when asked for."""
    client = programs.run(
        "client.py",
        "import logging, sys",
        NEW_CLIENT,
        "from schedulergodx.utils import logger",
        "assert isinstance(client.logger, logger.LoggerConstructor)",
        "client.logger.setLevel(logging.DEBUG)",
        "client.logger.addHandler(logging.StreamHandler(sys.stdout))",
        "client.logger.info('a line of the program')",
        "mine = logger.LoggerConstructor('mine', 'mine.log', logging.INFO)",
        "mine.warning('into the file')",
        RESPONCE_EXAMPLE.replace("print(responce.metadata, responce.arguments)", ""),
        "assert logging.getLogger().handlers == []",
    )
    assert client.lines[0] == "a line of the program"
    assert client.matching(r"launch of task __main__\.test \(message [0-9A-Z]{26}\)")
    assert re.search(r" - WARNING - mine:into the file$", (tmp_path / "mine.log").read_text(), re.MULTILINE)


def test_the_block_of_the_id_generators(programs: Programs, service: Program):
    """Ids of a generator of the user's choice, here the block's, which counts."""
    client = programs.run(
        "client.py",
        ID_GENERATORS,
        "@client.task\ndef add(a, b):\n    return a + b",
        "ids = [add.launch(number, 1) for number in range(3)]",
        "print(*ids, *[id.result(20) for id in ids])",
    )
    assert client.lines == ["1 2 3 1 2 3"]


def test_the_block_of_the_messages(programs: Programs, service: Program):
    """The block's `...` stands for an id and a client's name; nothing else of it is changed."""
    client = programs.run(
        "client.py",
        NEW_CLIENT,
        MESSAGE.replace("info(...)", "info('id', client.name, text='hello')"),
        "assert message_ == {'id': 'id', 'client': 'client', 'type': 1, 'arguments': {'text': 'hello'}}",
        "client.push(message_)",
        "client.push(message_, delivery_mode=2)",
        "work = message.MessageConstructor.task('work', client.name, 5, lambda a, b: a - b, [5], {'b': 3}, hard=True)",
        "client.push(work)",
        "print(client.sync_await_responce('work').arguments['result'])",
    )
    assert client.lines == ["2"]


def test_the_block_of_the_connection(programs: Programs, service: Program, rabbitmq_vhost_url: str):
    """The block names localhost:5672 and `/`; it is not changed, and `RmqConnect` checks that and goes elsewhere.

    The program first wraps `RmqConnect.__init__`, so that what the block asks for is compared with what it says, and
    then replaced by the broker of the test.
    """
    url = urlsplit(rabbitmq_vhost_url)
    wrap = f"""
from schedulergodx.utils import rmq_property
honest = rmq_property.RmqConnect.__init__
def elsewhere(self, rmq_parameters, rmq_credentials, **more):
    assert rmq_parameters == {{
        'host': 'localhost', 'port': 5672, 'virtual_host': '/', 'heartbeat': 60, 'blocked_connection_timeout': 300
    }}
    assert rmq_credentials == ('guest', 'guest')
    there = {{'host': {url.hostname!r}, 'port': {url.port!r}, 'virtual_host': {unquote(url.path[1:]) or "/"!r}}}
    honest(self, dict(rmq_parameters) | there, ({url.username!r}, {url.password!r}), **more)
rmq_property.RmqConnect.__init__ = elsewhere
"""
    client = programs.run(
        "client.py",
        wrap,
        RMQ,
        "assert rmq_settings == rmq_property.rmq_default_settings",
        "assert isinstance(client.rmq_connect, scheduler.RmqConnect)",
        "print(client.task(lambda: 'over ' + __name__).launch().result(20))",
        "print(client)",
    )
    assert client.lines[0].startswith("over ")
    assert url.password is not None
    assert f":{url.password}@" not in client.lines[1]


def test_every_parameter_of_both(programs: Programs, tmp_path: Path):
    """The documented parameters of `Client` and `Service`, by name and in their order, and what they do."""
    service = programs.start(
        "service.py",
        "import schedulergodx.service as scheduler",
        "from schedulergodx.utils import id_generators, rmq_property, storage",
        "service = scheduler.Service(name='kitchen', core_name='stove', rmq_connect=None,"
        " id_generator=id_generators.ulid_generator(), db=storage.DB('kitchen.db'))",
        START,
    )
    client = programs.run(
        "client.py",
        "import itertools, time",
        "import schedulergodx.client as scheduler",
        "from schedulergodx.utils import id_generators",
        "ids = map('order-{}'.format, itertools.count(1))",
        "client = scheduler.Client(name='waiter', core_name='room', rmq_connect=None, id_generator=ids,"
        " task_lifetime=0.3, hard_task_lifetime=0.4, enable_overdue=True)",
        "same = scheduler.Client('waiter', 'room', None, ids, 0.3, 0.4, True)",
        "assert same.parameters == client.parameters",
        "@client.task\ndef wait(seconds):\n    time.sleep(seconds)",
        "soft = wait.launch(1)",
        "wait.set_parameters(hard=True)",
        "hard = wait.launch(60)",
        "wait.set_parameters(hard=False, task_lifetime=20)",
        "good = wait.launch(0.4)",
        "wait.set_parameters(hard=True, hard_task_lifetime=20)",
        "killed_not = wait.launch(0.5)",
        "for id in (soft, hard, good, killed_not):",
        "    answer = client.sync_await_responce(id)",
        "    print(answer.metadata['id'], answer.metadata['client'], answer.arguments['code'])",
    )
    assert client.lines == [
        "order-1 waiter TASK_TIMEOUT",
        "order-2 waiter TASK_TIMEOUT",
        "order-3 waiter OK",
        "order-4 waiter OK",
    ]
    assert (tmp_path / "kitchen.db").is_file()
    assert service.stop() == 0
