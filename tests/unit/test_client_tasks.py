"""Tasks where they stand in classes, and the wrong values that clients and messages refuse."""

import pytest

from schedulergodx import Client
from schedulergodx.config import iterator, party_name
from schedulergodx.errors import InvalidParameter, MessageRejected
from schedulergodx.utils.message import envelope, functions, payload
from schedulergodx.utils.message.constructor import MessageConstructor
from schedulergodx.utils.message.kinds import Message, MessageErrorStatus

client = Client("shop", url="sqlite:///never-opened.db")


class Till:
    def __init__(self, factor):
        self.factor = factor

    @client.task
    def total(self, amount):
        return self.factor * amount

    @staticmethod
    @client.task
    def outer(amount):
        return amount

    @client.task
    @staticmethod
    def inner(amount):
        return amount

    length = client.task(len)


def test_a_decorated_method_is_bound_to_its_object():
    """Called and launched, it has its object; from the class it is the function's task."""
    till = Till(3)
    assert till.total(5) == 15
    assert Till.total(till, 5) == 15
    assert till.total.name == f"{__name__}.Till.total"
    assert till.total.options(hard=True).parameters.hard
    assert payload.loads(payload.dumps(till.total.func))(5) == 15
    assert payload.pack(till.total.func, (5,), {}).reference == ""


def test_what_is_no_method_is_not_bound():
    """Static methods, in either order, and what is written in C."""
    till = Till(3)
    assert (till.outer(5), till.inner(5), till.length([1])) == (5, 5, 1)
    assert till.length is Till.length


@pytest.mark.parametrize("value", [5, "abc", ["a"], len])
def test_ids_come_from_an_iterator(value):
    """Anything else is refused where it was written, not at the first launch."""
    with pytest.raises(InvalidParameter, match="id_generator must be an iterator, as a generator is, got"):
        Client(id_generator=value, url="sqlite:///q.db")
    ids = iter("ab")
    assert iterator("id_generator", ids) is ids


def test_a_url_is_no_name():
    """It may hold a password, which would stand in names of queues: it is refused, and not shown."""
    with pytest.raises(InvalidParameter, match=r"^name looks like a URL; did you mean url=") as raised:
        Client("amqp://me:secret@broker/ ")
    assert "secret" not in str(raised.value)
    assert party_name("name", "shop") == "shop"


def test_an_unknown_parameter_is_named():
    """The error names it and those that there are, not a class of ours."""
    for wrong in (
        lambda: Till.total.set_parameters(foo=1),
        lambda: client.task(foo=1),
        lambda: Till.total.options(foo=1),
    ):
        with pytest.raises(TypeError, match=r"^a task has no parameter 'foo'; there are delay, hard, "):
            wrong()


@pytest.mark.parametrize(
    "make",
    [
        MessageConstructor.info,
        MessageConstructor.initialization,
        lambda number, name: MessageConstructor.error(number, name, MessageErrorStatus.ERROR_IN_TASK, "no"),
        lambda number, name: MessageConstructor.task(number, name, 5, len, ([],), {}),
    ],
)
def test_a_message_has_an_id_and_a_client(make):
    """Both are texts: a service would put another one to the dead letters, and nobody would be told."""
    assert make("1", "shop")["id"] == "1"
    for number, name in ((1, "shop"), ("", "shop"), ("1", None), ("1", "a\nb")):
        with pytest.raises(InvalidParameter, match=r"^(id|client) must be a text"):
            make(number, name)


@pytest.mark.parametrize(
    "message",
    [
        {"id": 1, "client": "x", "type": Message.INFO.value, "arguments": {}},
        {"id": "1", "client": "x", "type": 99, "arguments": {}},
        {"id": "1", "client": "x", "type": Message.INFO.value},
    ],
)
def test_a_message_that_the_service_would_refuse_is_not_pushed(message):
    """Who pushes learns it at once."""
    with pytest.raises(InvalidParameter, match="the service would refuse this message, so it was not sent: "):
        client.push(message)


@pytest.mark.parametrize("number", [10**100 - 1, -(10**100 - 1)])
def test_a_number_may_have_a_hundred_digits_and_a_sign(number):
    """What is built is read; one digit more is not."""

    def message(value):
        return envelope.build(
            envelope.Envelope(message_id="1", client="x", kind=Message.INFO, arguments={"number": value})
        )

    assert envelope.parse(message(number), bytes_max=10_000).arguments == {"number": number}
    with pytest.raises(MessageRejected, match="a number has 101 digits"):
        envelope.parse(message(number * 10), bytes_max=10_000)


def test_an_argument_without_a_name_is_counted():
    """Its number is not quoted as a name would be."""
    found = [words for words, _ in functions.named_arguments(map, (1, 2), {"key": 3})]
    assert found == ["argument 1", "argument 2", "argument 'key'"]
