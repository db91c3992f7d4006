"""The transport of the broker in memory does what every transport must do."""

from collections.abc import Callable, Iterator

import pytest

from schedulergodx.utils.abstractions import Transport
from schedulergodx_testing.contracts.transport import TransportContract
from schedulergodx_testing.memory import MemoryBroker


class TestMemoryTransport(TransportContract):
    @pytest.fixture
    def open_transport(self) -> Iterator[Callable[[], Transport]]:
        with MemoryBroker(is_automatic=True) as broker:
            yield lambda: broker.transport("contract")
