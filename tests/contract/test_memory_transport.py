"""The transport of the broker in memory does what every transport must do."""

from collections.abc import Callable, Iterator

import pytest

from schedulergodx.utils.abstractions import QueueSpec, Transport
from schedulergodx_testing.contracts.transport import CAPABILITIES, TransportContract
from schedulergodx_testing.memory import MemoryBroker


class TestMemoryTransport(TransportContract):
    capabilities = frozenset(CAPABILITIES)

    @pytest.fixture
    def broker(self) -> Iterator[MemoryBroker]:
        with MemoryBroker(is_automatic=True) as broker:
            yield broker

    @pytest.fixture
    def open_transport(self, broker: MemoryBroker) -> Callable[[], Transport]:
        return lambda: broker.transport("contract")

    @pytest.fixture
    def restart_broker(self, broker: MemoryBroker) -> Callable[[], None]:
        return lambda: broker.restart(down_s=0.1)

    @pytest.fixture
    def cut_connections(self, broker: MemoryBroker) -> Callable[[], object]:
        return broker.faults.cut

    @pytest.fixture
    def block(self, broker: MemoryBroker) -> Callable[[bool], None]:
        return lambda is_on: (broker.faults.block if is_on else broker.faults.unblock)()

    @pytest.fixture
    def fill(self, broker: MemoryBroker) -> Callable[[QueueSpec, int], None]:
        return lambda queue, count: broker.set_limit(queue.name, count)

    @pytest.fixture
    def dead_letters(self, broker: MemoryBroker) -> Callable[[QueueSpec], list[tuple[bytes, str, str]]]:
        return lambda queue: [
            (letter.body, letter.message_id, letter.reason) for letter in broker.queues[queue.name].dead_letters
        ]


class TestMemoryTransportOnQuorumQueues(TestMemoryTransport):
    is_quorum = True

    # As seen on 3.10, where what is given back goes to the end: see `tests/recordings`.
    test_give_back_returns_to_the_same_place = None
