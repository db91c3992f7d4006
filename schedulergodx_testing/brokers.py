"""Which broker a harness runs over: the one in memory, or a real one under the same clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schedulergodx import transport as transports
from schedulergodx.errors import InvalidParameter
from schedulergodx_testing.memory import MemoryBroker
from schedulergodx_testing.real_broker import RealBroker

if TYPE_CHECKING:
    from schedulergodx.utils.abstractions import Transport
    from schedulergodx_testing.clock import FakeClock
    from schedulergodx_testing.world.choices import Choices
    from schedulergodx_testing.world.scheduler import World

MEMORY = "memory"


def broker_for(transport: str, *, clock: FakeClock, world: World, choices: Choices) -> Any:
    """Return the broker that `transport` names: "memory", or the URL of a real one.

    Raises:
        InvalidParameter: there is no such kind of URL; or None, which elsewhere means a RabbitMQ on localhost.
    """
    if transport == MEMORY:
        return MemoryBroker(clock, seed=choices.seed, choose=choices.one_of)
    address = _address(transport)

    def connect(name: str) -> Transport:
        return transports.connect_really(transport, name=name)

    return RealBroker(connect, address, world.outside)


def _address(transport: str) -> str:
    try:
        if transport is None:  # as a caller without types may
            raise InvalidParameter("got None")  # noqa: TRY301 - one sentence for all
        return transports.address(transport)
    except InvalidParameter as error:
        raise InvalidParameter(f'transport must be "{MEMORY}" or the URL of a real broker: {error}') from None


def close(broker: Any, why: str) -> None:
    """Close a broker at the end of its harness; what would let something go wrong in it says `why` it cannot."""
    broker.close()
    if isinstance(broker, MemoryBroker):
        broker.end_orders(why)


def dead_letters(broker: Any) -> list[str]:
    """Return the names of the queues whose messages were rejected."""
    if isinstance(broker, RealBroker):
        return sorted({f"{queue}.dead" for queue, _ in broker.dead_letters})
    return [name for name, queue in broker.queues.items() if name.endswith(".dead") and len(queue.ready)]
