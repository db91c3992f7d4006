"""Every name that programs written for 1.0.0 import or call still means what it meant."""

import importlib
import inspect
import sys

import pytest

NAMES = {
    "schedulergodx.client": ["Client", "RmqConnect"],
    "schedulergodx.client.core": ["Client"],
    "schedulergodx.client.publisher": ["Publisher"],
    "schedulergodx.client.consumer": ["Consumer"],
    "schedulergodx.service": ["Service", "RmqConnect"],
    "schedulergodx.service.core": ["Service"],
    "schedulergodx.service.publisher": ["Publisher"],
    "schedulergodx.service.consumer": ["Consumer"],
    "schedulergodx.utils.abstractions": ["AbstractionConnectClass", "AbstractionCore"],
    "schedulergodx.utils.id_generators": ["MessageId", "autoincrement", "ulid_generator"],
    "schedulergodx.utils.logger": ["LoggerConstructor"],
    "schedulergodx.utils.message": [
        "Message",
        "MessageConstructor",
        "MessageDisassemble",
        "MessageErrorStatus",
        "MessageInfoStatus",
        "Seconds",
        "Serializable",
    ],
    "schedulergodx.utils.rmq_property": ["RmqConnect", "RmqSettings", "rmq_default_settings"],
    "schedulergodx.utils.storage": ["DB", "TaskStatus"],
}
ENUMS = {
    "Message": {"INITIALIZATION": 0, "INFO": 1, "ERROR": 2, "TASK": 3},
    "MessageInfoStatus": {"OK": 0},
    "MessageErrorStatus": {
        "BAD_INITIALIZATION": 0,
        "INCORRECT_TYPE": 1,
        "UNREGISTERED_CLIENT": 2,
        "INVALID_TASK": 3,
        "ERROR_IN_TASK": 4,
        "TASK_TIMEOT_ERROR": 5,
    },
    "TaskStatus": {
        "WAITING": 0,
        "WORK": 1,
        "COMPLETED": 2,
        "ERROR": 3,
        "CANCELLED": 4,
        "OVERDUE": 5,
        "ORPHAN": 6,
    },
}
PARAMETERS = {
    "Client": [
        "name",
        "core_name",
        "rmq_connect",
        "id_generator",
        "task_lifetime",
        "hard_task_lifetime",
        "enable_overdue",
    ],
    "Service": ["name", "core_name", "rmq_connect", "id_generator", "db"],
}
METHODS = {
    "client.Client": [
        "task",
        "push",
        "get_threads",
        "get_thread",
        "get_response",
        "get_responce",
        "sync_await_response",
        "sync_await_responce",
        "async_get_response",
        "async_get_responce",
        "logger",
    ],
    "client.Task": ["set_parameters", "launch"],
    "service.Service": ["start", "logger"],
    "utils.message.MessageConstructor": [
        "serialization",
        "deserialization",
        "bulk_deserialization",
        "initialization",
        "info",
        "error",
        "task",
        "disassemble",
    ],
    "utils.logger.LoggerConstructor": ["addHandler", "addFilter", "getLogger", "log_levels"],
}
ALIASES = [
    ("get_responce", "get_response"),
    ("sync_await_responce", "sync_await_response"),
    ("async_get_responce", "async_get_response"),
]


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in NAMES.items() for name in names])
def test_a_name_can_be_imported(module, name):
    """The module exists and holds the name."""
    assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", [name for module, names in NAMES.items() if ".utils" in module for name in names])
def test_utils_offers_all_names_of_its_modules(name):
    """`from schedulergodx.utils import …` gives the same object as the module that it is from."""
    from schedulergodx import utils

    home = next(module for module, names in NAMES.items() if ".utils" in module and name in names)
    assert getattr(utils, name) is getattr(sys.modules[home], name)
    assert name in utils.__all__


@pytest.mark.parametrize("name", ENUMS)
def test_the_numbers_of_the_enums_are_kept(name):
    """They are on the wire and in databases; new members only came to them."""
    from schedulergodx import utils

    members = getattr(utils, name).__members__
    assert {member: members[member].value for member in ENUMS[name]} == ENUMS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_parameters_stand_in_their_order(name):
    """A call by position means what it meant; what is new is by keyword only."""
    import schedulergodx

    parameters = inspect.signature(getattr(schedulergodx, name)).parameters.values()
    by_position = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    assert by_position == PARAMETERS[name]
    assert all(one.default is not one.empty for one in parameters)


@pytest.mark.parametrize("owner", METHODS)
def test_the_methods_are_there(owner):
    """Each method that 1.0.0 documents can be called on the class."""
    module, _, name = f"schedulergodx.{owner}".rpartition(".")
    assert [one for one in METHODS[owner] if not hasattr(getattr(importlib.import_module(module), name), one)] == []


@pytest.mark.parametrize(("old", "real"), ALIASES)
def test_old_spellings_are_aliases(old, real):
    """The correctly spelled name is the real one; the old one is the same function of the same class."""
    from schedulergodx import Client

    assert getattr(Client, old) is getattr(Client, real)
    assert getattr(Client, old).__name__ == real


def test_parametrs_and_timeot_are_aliases():
    """The two misspelt fields mean the same as their proper names."""
    from schedulergodx.utils import MessageErrorStatus, rmq_default_settings

    assert rmq_default_settings.parametrs is rmq_default_settings.parameters
    assert MessageErrorStatus.TASK_TIMEOT_ERROR is MessageErrorStatus.TASK_TIMEOUT_ERROR


def test_the_default_settings_are_those_of_1_0_0():
    """Nothing said means RabbitMQ on localhost, as guest."""
    from schedulergodx.utils import rmq_default_settings

    assert dict(rmq_default_settings.parametrs) == {
        "host": "localhost",
        "port": 5672,
        "virtual_host": "/",
        "heartbeat": 60,
        "blocked_connection_timeout": 300,
    }
    assert rmq_default_settings.credentials == ("guest", "guest")


def test_client_and_service_are_cores():
    """Both are an `AbstractionCore`, with the names of their two queues."""
    from schedulergodx import Client, Service
    from schedulergodx.utils import AbstractionCore

    with Client(name="c") as client:
        service = Service(name="s")
        assert isinstance(client, AbstractionCore)
        assert isinstance(service, AbstractionCore)
        assert (client.rmq_publisher_que, service.rmq_consumer_que) == ("client-service", "client-service")
        assert client.rmq_consumer_que.startswith(f"{service.rmq_publisher_que}.c.")
        assert service.rmq_publisher_que == "service-client"


def test_a_message_is_taken_apart():
    """`disassemble` takes a dictionary or its JSON and gives metadata and arguments."""
    import json

    from schedulergodx.errors import MessageRejected
    from schedulergodx.utils import Message, MessageConstructor

    made = MessageConstructor.info("1", "shop", text="hello")
    metadata, arguments = MessageConstructor.disassemble(json.dumps(made))
    assert metadata == {"id": "1", "client": "shop", "type": Message.INFO}
    assert arguments == {"text": "hello"}
    assert MessageConstructor.disassemble(made) == (metadata, arguments)
    for broken in ("", "[]", "{}", {"id": 1}, b"\xff", None):
        with pytest.raises(MessageRejected):
            MessageConstructor.disassemble(broken)


def test_anything_is_serialized_and_back():
    """`serialization` gives text, `deserialization` and `bulk_deserialization` give the objects again."""
    from schedulergodx.utils import MessageConstructor

    texts = [MessageConstructor.serialization(one) for one in ({1, 2}, "a", lambda: 3)]
    assert all(isinstance(text, str) for text in texts)
    assert MessageConstructor.deserialization(texts[0]) == {1, 2}
    first, second, third = MessageConstructor.bulk_deserialization(*texts)
    assert (first, second, third()) == ({1, 2}, "a", 3)


def test_the_other_messages_of_the_constructor():
    """Greeting, error and task have the shape of 1.0.0: id, client, type, arguments."""
    from schedulergodx.utils import MessageConstructor, MessageErrorStatus

    assert MessageConstructor.initialization("1", "shop") == {"id": "1", "client": "shop", "type": 0, "arguments": {}}
    error = MessageConstructor.error("1", "shop", MessageErrorStatus.INVALID_TASK, "no")
    assert (error["type"], error["arguments"]) == (2, {"error_code": 3, "message": "no"})
    task = MessageConstructor.task("1", "shop", None, len, ["abc"], {}, delay=0, hard=True)
    assert (task["type"], task["arguments"]["hard"], task["arguments"]["lifetime_s"]) == (3, True, None)


def test_a_connection_class_of_ones_own_still_works():
    """Programs that derived from `AbstractionConnectClass` get the channel of a queue, made when it is asked for."""
    import logging

    from schedulergodx.utils import AbstractionConnectClass

    class Connect:
        asked = 0

        def get_channel(self, queue):
            self.asked += 1
            return f"channel of {queue}"

    class Own(AbstractionConnectClass):
        pass

    connect = Connect()
    own = Own("mine", rmq_que="q", logger=logging.getLogger("mine"), rmq_connect=connect)
    assert connect.asked == 0
    assert own.channel == own.channel == "channel of q"
    assert connect.asked == 1
