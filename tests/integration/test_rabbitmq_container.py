"""RabbitMQ in a container: what is so only there."""

import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest

from schedulergodx_testing.rabbitmq import RabbitMQ, RabbitMQUnavailable, SchedulerRabbitMQ, container
from schedulergodx_testing.rabbitmq.container import default_image, why_no_container

pytestmark = [pytest.mark.docker, pytest.mark.rabbitmq, pytest.mark.slow]


@pytest.fixture
def docker_client(rabbitmq_container: RabbitMQ) -> Iterator[object]:
    """The daemon that runs the session's container."""
    import docker

    with closing(docker.from_env()) as client:
        yield client


def test_it_is_a_container_of_the_wanted_image(rabbitmq_container: RabbitMQ) -> None:
    """The session's container runs the image that the setting names and tells RabbitMQ's version."""
    assert isinstance(rabbitmq_container, SchedulerRabbitMQ)
    assert rabbitmq_container.image == default_image()
    assert rabbitmq_container.version.split(".")[0].isdigit()
    assert "RabbitMQ" in rabbitmq_container.log


def test_it_is_reached_on_the_loopback_interface_only(rabbitmq_container: SchedulerRabbitMQ) -> None:
    """A broker with the password guest must not be open to the network."""
    (published,) = rabbitmq_container._container.ports["5672/tcp"]
    assert published == {"HostIp": "127.0.0.1", "HostPort": str(rabbitmq_container.port)}


def test_a_command_that_does_not_end_is_given_up(
    rabbitmq_container: SchedulerRabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what it has written until then; the next one is answered."""
    monkeypatch.setattr(container, "COMMAND_TIMEOUT_S", 3)
    assert rabbitmq_container._run("echo begun; exec sleep 20") == (124, "begun\n", "")
    monkeypatch.undo()
    assert rabbitmq_container.evaluate("heard") == "heard"


def test_what_a_command_writes_is_heard_on_a_busy_machine(
    rabbitmq_container: SchedulerRabbitMQ, request: pytest.FixtureRequest
) -> None:
    """Nothing is lost of a command that is quicker than this process, which other threads keep from reading."""
    request.addfinalizer(partial(sys.setswitchinterval, sys.getswitchinterval()))
    sys.setswitchinterval(0.05)
    is_over = threading.Event()

    def keep_busy() -> None:
        while not is_over.is_set():
            pass

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        assert [rabbitmq_container.evaluate("heard") for _ in range(12)] == ["heard"] * 12
    finally:
        is_over.set()
        thread.join()


def test_closing_removes_the_container_and_its_volumes(docker_client) -> None:
    """A second container starts beside the session's one; after it nothing is left at the daemon."""
    with SchedulerRabbitMQ() as broker:
        identifier = broker._container.id
        mounts = broker._container.attrs["Mounts"]
    assert identifier not in [container.id for container in docker_client.containers.list(all=True)]
    left = {volume.name for volume in docker_client.volumes.list()}
    assert not left & {mount.get("Name") for mount in mounts}


def test_a_container_that_ends_at_once_is_no_broker(docker_client) -> None:
    """An image that is not RabbitMQ's, or cannot start, is told with the end of its log, and removed."""
    image = docker_client.images.get(default_image())
    broken = docker_client.containers.create(image, command=["sh", "-c", "echo this is the reason; exit 3"])
    try:
        name = broken.commit(repository="schedulergodx-test-broken", tag=uuid.uuid4().hex).tags[0]
    finally:
        broken.remove()
    try:
        with pytest.raises(RabbitMQUnavailable, match="this is the reason"):
            SchedulerRabbitMQ(name).__enter__()
        left = [container.attrs["Config"]["Image"] for container in docker_client.containers.list(all=True)]
        assert name not in left
    finally:
        docker_client.images.remove(name)


def test_a_missing_image_is_a_reason(rabbitmq_container: RabbitMQ) -> None:
    """An image that no registry has gives a reason in one line, within bounded time."""
    reason = why_no_container("127.0.0.1:1/schedulergodx/none:1", pull_timeout_s=10)
    assert reason is not None
    assert "is not here and cannot be pulled" in reason
    assert "\n" not in reason


def test_a_missing_image_of_testcontainers_is_a_reason(
    rabbitmq_container: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reaper is started first: without that image no container of ours would start."""
    from testcontainers.core.config import testcontainers_config

    monkeypatch.setattr(testcontainers_config, "ryuk_disabled", False)
    monkeypatch.setattr(testcontainers_config, "ryuk_image", "127.0.0.1:1/schedulergodx/reaper:1")
    reason = why_no_container(pull_timeout_s=10)
    assert reason is not None
    assert "schedulergodx/reaper:1 is not here" in reason


def test_no_daemon_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Without a daemon behind the socket the reason says so at once."""
    pytest.importorskip("testcontainers")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'nobody'}")
    reason = why_no_container()
    assert reason is not None
    assert reason.startswith("no Docker daemon answers")
    assert "\n" not in reason
