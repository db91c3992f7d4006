"""A real RabbitMQ that goes the same steps as the one in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.agreement.agreement import profile_of
from tests.agreement.real import RealSide, impatient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schedulergodx_testing.rabbitmq import RabbitMQ


@pytest.fixture(scope="module")
def side(rabbitmq: RabbitMQ) -> Iterator[RealSide]:
    """Give a virtual host of the running RabbitMQ; each walk names its queues for itself."""
    if not rabbitmq.is_controllable:
        pytest.skip("a walk restarts the broker and raises its alarm, which this one does not allow")
    with rabbitmq.private_vhost() as url, impatient():
        real = RealSide(rabbitmq, url)
        yield real
        real.close()


@pytest.fixture(scope="module")
def profile(rabbitmq: RabbitMQ) -> str:
    """Give the profile of the running RabbitMQ's version."""
    return profile_of(rabbitmq.version)
