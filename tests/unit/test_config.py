"""Numbers and names are checked where they are written, by a sentence that names them."""

from decimal import Decimal
from fractions import Fraction

import pytest

from schedulergodx import Client, InvalidParameter, Service
from schedulergodx.client.task import TaskParameters
from schedulergodx.config import SECONDS_MAX, ServiceLimits, delay, lifetime, printable_name, queue_name

NO_SECONDS = [
    -1,
    -1e-9,
    float("nan"),
    float("inf"),
    float("-inf"),
    1e12,
    "5",
    True,
    False,
    Decimal(5),
    Fraction(1),
    [1],
    b"1",
]


@pytest.mark.parametrize("value", [0, -0.0, 0.0, 0.001, 1, SECONDS_MAX, None])
def test_delays(value):
    """Zero and None mean at once."""
    assert delay(value) in {value, None}
    assert TaskParameters(delay=value).delay == (value or None)


@pytest.mark.parametrize("value", NO_SECONDS, ids=lambda value: repr(value)[:12])
def test_wrong_delays(value):
    """What is no number of seconds from now on is refused in the client, with the range."""
    with pytest.raises(InvalidParameter, match=r"delay must be a number of seconds from 0 to 3\.1536e\+08, got"):
        TaskParameters(delay=value)


def test_a_delay_beyond_a_float():
    """A whole number that no float holds is refused like any other that is too large."""
    with pytest.raises(InvalidParameter, match="delay must be"):
        TaskParameters(delay=10**400)


@pytest.mark.parametrize("value", [0.001, 1, SECONDS_MAX, None])
def test_lifetimes(value):
    """None means without limit."""
    assert lifetime("task_lifetime", value) == value


@pytest.mark.parametrize("name", ["task_lifetime", "hard_task_lifetime"])
@pytest.mark.parametrize("value", [0, -0.0, *NO_SECONDS, 1e10], ids=lambda value: repr(value)[:12])
def test_wrong_lifetimes(name, value):
    """Zero is not "no limit"; the refusal names the parameter and the range, in tasks and clients alike."""
    for make in (TaskParameters, Client):
        with pytest.raises(InvalidParameter, match=f"{name} must be a number of seconds above 0 to"):
            make(**{name: value})


@pytest.mark.parametrize(
    "name", ["shop", "a.b-c_d", "é", "世界", "🙂", "%s", "../x", "'; DROP TABLE task; --", "x" * 100, "a b"]
)
def test_names(name):
    """Whatever can be printed is a name, up to 100 bytes."""
    assert printable_name("name", name) == name
    with Client(name=name, url="sqlite:///unused.db") as client:
        assert client.name == name
        assert len(client.rmq_consumer_que.encode()) <= 255


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        " a",
        "a ",
        "x" * 101,
        "é" * 51,
        "a\nb",
        "a\x00",
        "\x7f",
        "\x85",
        "\u2028",
        "\ud800",
        5,
        None,
        b"a",
        ["a"],
    ],
    ids=ascii,
)
def test_wrong_names(name):
    """Empty, long, or with what would forge a log line; the rule is in the sentence, a control character is not."""
    for make in (Client, Service):
        with pytest.raises(InvalidParameter, match="name must be a text of 1 to 100 bytes of UTF-8") as caught:
            make(name=name)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["", "amq.mine", "x" * 121, "a\n", 5])
def test_wrong_queue_names(name):
    """Both base names, of both sides; `amq.` belongs to the broker."""
    with pytest.raises(InvalidParameter):
        queue_name("request_queue", name)
    for make in (Client, Service):
        for parameter in ("request_queue", "reply_queue"):
            with pytest.raises(InvalidParameter, match=parameter):
                make(**{parameter: name})


@pytest.mark.parametrize("name", ["threads", "processes", "prefetch", "events_per_turn_max", "replies_in_flight_max"])
@pytest.mark.parametrize("value", [0, -1, 65536, 1.0, True, "8", None])
def test_wrong_counts(name, value):
    """A bound is a whole number within its range."""
    with pytest.raises(InvalidParameter, match=f"{name} must be a whole number from 1 to 65535"):
        ServiceLimits(**{name: value})


@pytest.mark.parametrize(
    "name", ["stop_grace_s", "kill_grace_s", "overdue_grace_s", "keep_outcomes_s", "reply_flush_s"]
)
@pytest.mark.parametrize("value", NO_SECONDS, ids=lambda value: repr(value)[:12])
def test_wrong_graces(name, value):
    """A grace is a number of seconds."""
    with pytest.raises(InvalidParameter, match=name):
        ServiceLimits(**{name: value})


@pytest.mark.parametrize("value", [1023, 128 * 1024 * 1024 + 1, 2000.0, True, None])
def test_wrong_sizes(value):
    """A message is 1 KiB to 128 MiB."""
    with pytest.raises(InvalidParameter, match="message_bytes_max"):
        ServiceLimits(message_bytes_max=value)
    with pytest.raises(InvalidParameter, match="message_bytes_max"):
        Client(message_bytes_max=value)


def test_limits_have_a_useful_repr_and_do_not_change():
    """They are values."""
    assert "threads=8" in repr(ServiceLimits())
    with pytest.raises(AttributeError):
        ServiceLimits().threads = 5
    with pytest.raises(TypeError):
        ServiceLimits(colour="red")


@pytest.mark.parametrize("value", ["Quorum", "stream", "", None, True, ["quorum"]])
def test_wrong_queue_types(value):
    """Of a client and a service: classic or quorum, in these letters."""
    for make in (Client, Service):
        with pytest.raises(InvalidParameter, match="queue_type must be 'classic' or 'quorum'"):
            make(queue_type=value)


@pytest.mark.parametrize(
    "url", ["redis://localhost", "localhost", "", "sqlite://", "sqlite:///", "sqlite://host/x", 5, "amqp://b:port"]
)
def test_wrong_urls_are_refused_where_they_are_written(url):
    """Of a client and a service, at once, before anything connects."""
    for make in (Client, Service):
        with pytest.raises(InvalidParameter):
            make(url=url)
