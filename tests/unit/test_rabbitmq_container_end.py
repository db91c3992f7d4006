"""How a container is ended, decided without Docker: the container is a stub that answers as the daemon does."""

from __future__ import annotations

import http
from types import SimpleNamespace

import pytest

from schedulergodx_testing.rabbitmq import SchedulerRabbitMQ

errors = pytest.importorskip("docker.errors", reason="testcontainers is not installed")


class EndingContainer:
    """A container that is still running when looked at, and refuses to be killed with the given status."""

    def __init__(self, refusal: int) -> None:
        self.status = "running"
        self._refusal = refusal
        self._is_told = False

    def reload(self) -> None:
        if self._is_told:
            self.status = "exited"

    def kill(self) -> None:
        self._is_told = True
        raise errors.APIError("refused", response=SimpleNamespace(status_code=self._refusal, url="", reason=""))


def broker_in(container: EndingContainer) -> SchedulerRabbitMQ:
    broker = SchedulerRabbitMQ("image")
    broker._testcontainer = SimpleNamespace(get_wrapped_container=lambda: container)
    broker._life = "running"
    return broker


def test_a_container_that_ends_before_it_is_killed_has_ended() -> None:
    """Docker's "is not running" is no failure of a kill: the end is waited for."""
    container = EndingContainer(http.HTTPStatus.CONFLICT)
    broker_in(container).kill()
    assert container.status == "exited"


def test_another_refusal_of_a_kill_is_told() -> None:
    """Only that one answer means that the container ends by itself."""
    with pytest.raises(errors.APIError, match="500 Server Error"):
        broker_in(EndingContainer(http.HTTPStatus.INTERNAL_SERVER_ERROR)).kill()
