"""Which RabbitMQ the tests get, decided without any: the ways are given as functions."""

from collections.abc import Callable
from operator import methodcaller

import pytest

from schedulergodx_testing.rabbitmq import (
    GivenRabbitMQ,
    NotControllable,
    RabbitMQ,
    RabbitMQPool,
    RabbitMQUnavailable,
    find_rabbitmq,
)

URL = "SCHEDULERGODX_TEST_AMQP_URL"


class FakeRabbitMQ(GivenRabbitMQ):
    """A broker that only counts how often it was started and closed."""

    def __init__(self) -> None:
        super().__init__("amqp://fake.invalid")
        self.started = self.closed = 0

    def start(self) -> None:
        self.started += 1

    def _close(self) -> None:
        self.closed += 1


def missing(reason: str) -> Callable[[], RabbitMQ]:
    def way() -> RabbitMQ:
        raise RabbitMQUnavailable(reason)

    return way


def must_not_be_asked() -> RabbitMQ:
    pytest.fail("a later way was asked although an earlier one is there")


def test_a_given_url_comes_first() -> None:
    """With the variable set, neither Docker nor this machine is looked at."""
    environment = {URL: "amqp://me:s%40crt@broker.example:5673/mine"}
    broker = find_rabbitmq(environment, container=must_not_be_asked, local=must_not_be_asked)
    assert broker.url == environment[URL]
    assert (broker.host, broker.port, broker.user, broker.password) == (
        "broker.example",
        5673,
        "me",
        "s@crt",
    )


def test_a_container_comes_before_this_machine() -> None:
    """A container is a known version; the machine's own may be any."""
    broker = FakeRabbitMQ()
    assert find_rabbitmq({}, container=lambda: broker, local=must_not_be_asked) is broker


def test_this_machine_comes_last() -> None:
    """Without a container, the rabbitmq-server of the machine is taken."""
    broker = FakeRabbitMQ()
    assert find_rabbitmq({}, container=missing("no daemon"), local=lambda: broker) is broker


def test_an_empty_variable_counts_as_not_set() -> None:
    """CI systems set unused variables to nothing."""
    broker = FakeRabbitMQ()
    assert find_rabbitmq({URL: ""}, container=lambda: broker, local=must_not_be_asked) is broker


def test_without_any_one_line_names_the_three_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader learns what to do, and why what is there does not serve."""
    monkeypatch.setenv("SCHEDULERGODX_TEST_RABBITMQ_IMAGE", "an-image:1")
    with pytest.raises(RabbitMQUnavailable) as caught:
        find_rabbitmq({}, container=missing("no daemon"), local=missing("not installed"))
    assert str(caught.value) == (
        "no RabbitMQ for these tests: set SCHEDULERGODX_TEST_AMQP_URL, or start Docker with the image "
        "an-image:1 (no daemon), or install rabbitmq-server (not installed)"
    )


@pytest.mark.parametrize("url", ["http://broker.example", "broker.example:5672", "amqp://:5672", "amqp:///vhost"])
def test_a_wrong_url_is_told_and_not_replaced(url: str) -> None:
    """A wrong setting must not silently mean another broker; its text, with a password, is not repeated."""
    with pytest.raises(RabbitMQUnavailable, match="is not of the form amqp://user:password@") as caught:
        find_rabbitmq({URL: url}, container=must_not_be_asked, local=must_not_be_asked)
    assert url not in str(caught.value)


@pytest.mark.parametrize(
    "act",
    [
        methodcaller("stop"),
        methodcaller("kill"),
        methodcaller("restart"),
        methodcaller("pause"),
        methodcaller("unpause"),
        methodcaller("close_connections"),
        methodcaller("queues"),
        methodcaller("memory_alarm", True),
        methodcaller("delete_queue", "q"),
        methodcaller("add_vhost", "v"),
        methodcaller("add_user", "u", "p"),
        methodcaller("ctl"),
    ],
)
def test_a_given_broker_is_not_touched(act: Callable[[RabbitMQ], object]) -> None:
    """Every helper refuses, and says which variable to unset."""
    with pytest.raises(NotControllable, match=f"the RabbitMQ of {URL}: .* unset it"):
        act(GivenRabbitMQ("amqp://broker.example"))


def test_a_given_broker_is_its_own_virtual_host() -> None:
    """It can be used by the same fixtures, only without isolation."""
    with GivenRabbitMQ("amqp://broker.example/mine") as broker, broker.private_vhost() as url:
        assert url == "amqp://broker.example/mine"


def test_urls_are_quoted() -> None:
    """A virtual host or password with a slash stays one part of the URL."""
    broker = GivenRabbitMQ("amqp://broker.example")
    assert broker.url_for("/") == "amqp://guest:guest@broker.example:5672/%2F"
    assert broker.url_for("a/b", user="ü", password="p@:") == "amqp://%C3%BC:p%40%3A@broker.example:5672/a%2Fb"


def test_the_pool_starts_one_broker_and_closes_it() -> None:
    """However many tests ask, there is one."""
    broker = FakeRabbitMQ()
    pool = RabbitMQPool(find=lambda **_: broker)
    assert pool.any() is pool.any() is broker
    pool.close()
    assert (broker.started, broker.closed) == (1, 1)


def test_the_pool_uses_its_container_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite that asks for any broker and for a container does not start two."""
    broker = FakeRabbitMQ()
    monkeypatch.setattr("schedulergodx_testing.rabbitmq.choose.open_container", lambda: broker)
    monkeypatch.delenv(URL, raising=False)
    pool = RabbitMQPool()
    assert pool.any() is pool.container() is broker
    pool.close()
    assert broker.closed == 1


def test_the_pool_remembers_a_failure() -> None:
    """A daemon that does not answer is waited for once, not by every test."""
    asked = []

    def find(**_: object) -> RabbitMQ:
        asked.append(1)
        raise RabbitMQUnavailable("none")

    pool = RabbitMQPool(find=find)
    for _ in range(3):
        with pytest.raises(RabbitMQUnavailable, match="none"):
            pool.any()
    assert len(asked) == 1
