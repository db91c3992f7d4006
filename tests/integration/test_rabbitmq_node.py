"""A private node of this machine's rabbitmq-server: what it takes from the machine and what it leaves."""

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from schedulergodx_testing.rabbitmq import LocalRabbitMQ, RabbitMQUnavailable
from schedulergodx_testing.rabbitmq.broker import RabbitMQCommandFailed

pytestmark = [pytest.mark.rabbitmq, pytest.mark.local_node, pytest.mark.slow]


@pytest.fixture
def make_node(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], LocalRabbitMQ]:
    """Make a node whose folder will lie in `tmp_path`, so that a test can see what is left there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def make() -> LocalRabbitMQ:
        try:
            node = LocalRabbitMQ()
        except RabbitMQUnavailable as error:
            if request.config.getoption("--require-rabbitmq"):
                raise
            pytest.skip(str(error))
        request.addfinalizer(node.close)
        return node

    return make


def pids(node: LocalRabbitMQ) -> list[int]:
    return [process.pid for process in node._processes.values()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_command_that_does_not_end_is_given_up(
    make_node: Callable[[], LocalRabbitMQ], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an error of that command."""
    with make_node() as broker:
        monkeypatch.setattr("schedulergodx_testing.rabbitmq.node.COMMAND_TIMEOUT_S", 0.2)
        with pytest.raises(RabbitMQCommandFailed, match=r"sleep\(20000\)\. was given up after 60 s"):
            broker.ctl("eval", "timer:sleep(20000).")
        monkeypatch.setattr(broker, "ctl", lambda *_: pytest.fail("it may have done something: not a second time"))
        with pytest.raises(RabbitMQCommandFailed, match="eval timer"):
            broker.evaluate("timer:sleep(20000)")


def test_a_node_leaves_nothing(
    make_node: Callable[[], LocalRabbitMQ], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts beside any other node, obeys none of its settings, and after it no process or file is left."""
    monkeypatch.setenv("RABBITMQ_NODENAME", "of-somebody-else@localhost")
    monkeypatch.setenv("RABBITMQ_NODE_PORT", "1")
    with make_node() as node:
        started = pids(node)
        node.start()
        assert pids(node) == started, "starting a running node must do nothing"
        assert len(started) == 2, "the node and its name service"
        assert all(map(is_alive, started))
        assert node.version.split(".")[0].isdigit()
        assert "of-somebody-else" not in node.ctl("--quiet", "eval", "node().")
        (folder,) = tmp_path.iterdir()
        assert (folder / ".erlang.cookie").exists(), "the cookie must be its own, not the user's"
    assert not any(map(is_alive, started))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RabbitMQUnavailable, match="was closed"):
        node.start()


def test_a_node_that_cannot_start_leaves_nothing(make_node: Callable[[], LocalRabbitMQ], tmp_path: Path) -> None:
    """When its port is taken, the reason is told and everything that was started is gone."""
    node = make_node()
    with socket.socket() as other:
        other.bind((node.host, node.port))
        other.listen()
        other.settimeout(0)
        with pytest.raises(RabbitMQUnavailable, match="rabbitmq-server ended with"):
            node.__enter__()
    assert pids(node) == []
    assert list(tmp_path.iterdir()) == []
