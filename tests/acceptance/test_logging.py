"""What is logged: each change once, with message ids, and never a secret. Over each transport, with everything on."""

import logging
import re
import sys
from urllib.parse import urlsplit

import pytest
from helpers.programs import Program

from schedulergodx import Client, TaskFailed, TaskNotSerializable
from schedulergodx.errors import ResultUnserializable, SchedulerError

pytestmark = pytest.mark.slow

WAIT_S = 20
SECRET = "kept-to-ourselves-7f3a"
PASSWORD = "open-sesame-91c4"
ULID = r"[0-9A-HJKMNP-TV-Z]{26}"


class Lines(logging.Handler):
    """Keeps every line, as any handler would write it, of every logger."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(levelname)s - %(name)s:%(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def lines():
    """Every line of this process, from the level DEBUG on."""
    root, handler = logging.getLogger(), Lines()
    level = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler.lines
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def secret_url(broker_url, request):
    """The URL of the broker, with a password worth keeping where there is one."""
    if not broker_url.startswith("amqp"):
        yield broker_url
        return
    rabbitmq = request.getfixturevalue("rabbitmq")
    if not rabbitmq.is_controllable:
        yield broker_url
        return
    parts = urlsplit(broker_url)
    rabbitmq.ctl("add_user", "keeper", PASSWORD)
    rabbitmq.ctl("set_permissions", "-p", parts.path[1:], "keeper", ".*", ".*", ".*")
    yield broker_url.replace(parts.netloc, f"keeper:{PASSWORD}@{parts.hostname}:{parts.port}")
    rabbitmq.ctl("delete_user", "keeper")


def echo(secret, *, fails=False):
    if fails:
        raise ValueError("of the function's own making")
    return len(secret)


def lock_of(secret):
    import threading

    return threading.Lock(), len(secret)


def nested(secret, task):
    return task.launch(secret, fails=False)


def test_a_run_with_secrets(secret_url, new_service, lines, tmp_path):
    """Secret arguments, and the password in the URL, stand in no line, error or repr of client or service."""
    service = new_service(url=secret_url, request_queue="secrets")
    texts: list[str] = []
    with Client(name="shop", url=secret_url, request_queue="secrets") as client:
        task, odd = client.task(echo), client.task(lock_of)
        launched = [
            task.launch(SECRET),
            task.launch(SECRET, fails=True),
            task.options(hard=True).launch(SECRET),
            task.options(hard=True).launch(secret=SECRET, fails=True),
            task.options(delay=0.1).launch(SECRET),
            client.task(nested).launch(SECRET, task),
            client.task(hard=True)(nested).launch(SECRET, task),
            odd.launch(SECRET),
        ]
        for one in launched:
            try:
                one.result(WAIT_S)
            except (TaskFailed, ResultUnserializable) as error:
                texts += [str(error), repr(error), repr(vars(error))]
            texts.append(repr(one.outcome()))
        client.push({"id": "foreign", "client": "x", "type": 3, "arguments": {"function": SECRET, "args": 5}})
        service.wait_for_line("rejected to the dead letters")
        for wrong in ({"args": (SECRET, open)}, {"args": (SECRET,), "url": "amqp://u:" + PASSWORD + "@h:x/"}):
            with pytest.raises(SchedulerError) as caught:
                Client(url=wrong["url"]) if "url" in wrong else task.launch(*wrong["args"], (n for n in ()))
            texts += [str(caught.value), repr(caught.value)]
        texts += [repr(client), repr(task), str(client.get_threads())]
    assert service.stop() == 0
    assert len(service.lines) > 20
    assert len(lines) > 10
    for text in (*lines, *service.lines, *texts):
        assert SECRET not in text
        assert PASSWORD not in text


def test_each_line_about_a_message_has_its_id(broker_url, new_service, lines):
    """Stored, started, ended, launched, answered: each such line holds the id, and each is there once."""
    service = new_service(url=broker_url, request_queue="ids")
    with Client(name="shop", url=broker_url, request_queue="ids") as client:
        launched = client.task(echo).launch("text")
        assert launched.result(WAIT_S) == 4
    for what in ("stored", "started", "ended"):
        (line,) = [line for line in service.lines if re.search(rf"\btask\b.*\b{what}\b", line)]
        assert f"(message {launched})" in line
    for what in ("launch of task", "answer: OK"):
        (line,) = [line for line in lines if what in line]
        assert f"(message {launched})" in line
    about = [line for line in (*lines, *service.lines) if re.search(r"\b(launch of|answer|task) ", line)]
    assert [
        line for line in about if not re.search(ULID, line) and "takes tasks" not in line and "stops" not in line
    ] == []


def test_one_line_for_each_change_of_the_connection(broker_url, new_service, lines):
    """Up and closed: one line for each of the client's and the service's connections, and none in between."""
    service = new_service(url=broker_url, request_queue="changes")
    with Client(name="shop", url=broker_url, request_queue="changes") as client:
        for number in range(20):
            client.task(echo).launch("x" * number).result(WAIT_S)
    assert service.stop() == 0
    count = 2 if broker_url.startswith("amqp") else 1  # RabbitMQ has one for publishing and one for consuming
    for where in (lines, service.lines):
        changes = [line for line in where if re.search(r": (connecting|up|blocked|recovering|refused|closed)\b", line)]
        for state in ("up", "closed"):
            assert len([line for line in changes if re.search(rf": {state}\b", line)]) == count, changes
        assert len(set(changes)) == len(changes)
        assert [line for line in changes if line != line.rstrip()] == []


def test_nothing_is_installed_on_the_root_logger(broker_url, new_service, tmp_path):
    """A program that configures no logging gets no handler, no level, no file, and no line of a good run."""
    new_service(url=broker_url, request_queue="quiet")
    program = """
import logging, sys
before = (list(logging.getLogger().handlers), logging.getLogger().level, logging.getLogger("pika").level)
import schedulergodx.client as scheduler
client = scheduler.Client(url=sys.argv[1], request_queue="quiet")
assert client.task(lambda: 1).launch().result(20) == 1
import schedulergodx.service
schedulergodx.service.Service(url=sys.argv[1], request_queue="quiet")
client.close()
assert before == (list(logging.getLogger().handlers), logging.getLogger().level, logging.getLogger("pika").level)
names = [name for name in logging.Logger.manager.loggerDict if name.startswith("schedulergodx")]
assert names and not any(logging.getLogger(name).handlers for name in names), names
"""
    folder = tmp_path / "empty"
    folder.mkdir()
    with Program("-c", program, broker_url, cwd=folder) as client:
        assert client.wait() == 0, client.text
        assert client.lines == []
    assert list(folder.iterdir()) == []


def test_the_core_stands_before_each_line(broker_url, request_queue, service, lines):
    """`core_name` is what 1.0.0 says it is: the name before the lines of this client."""
    with Client(name="shop", core_name="till 50%", url=broker_url, request_queue=request_queue) as client:
        launched = client.task(echo).launch("x")
        launched.result(WAIT_S)
    (line,) = [line for line in lines if "launch of task" in line]
    expected = rf"DEBUG - schedulergodx\.client\.shop:till 50% - launch of task .*echo \(message {launched}\)"
    assert re.fullmatch(expected, line), line


def test_what_cannot_travel_is_named_without_its_value(new_client, lines):
    """The refusal of an argument names it and its type, and shows nothing of it."""
    client = new_client(name="shop")

    class Vault:
        def __init__(self) -> None:
            self.secret = SECRET

        def __repr__(self) -> str:
            return SECRET

        def __reduce__(self):
            raise RuntimeError(f"cannot pickle {self.secret}")

    with pytest.raises(TaskNotSerializable) as caught:
        client.task(echo).launch(Vault())
    assert caught.value.variable == "argument 'secret'"
    assert "Vault" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert not any(SECRET in line for line in lines)
    assert sys.exc_info() == (None, None, None)
