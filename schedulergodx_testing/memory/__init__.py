"""A broker in memory behind the `Transport` seam: deterministic, to be looked into, with faults on request."""

from schedulergodx_testing.memory.broker import MemoryBroker
from schedulergodx_testing.memory.faults import Faults
from schedulergodx_testing.memory.happenings import Happening, HappeningKind
from schedulergodx_testing.memory.profiles import Profile
from schedulergodx_testing.memory.registry import forget_named_broker, named_broker
from schedulergodx_testing.memory.transport import MemoryTransport
from schedulergodx_testing.memory.views import MessageView, QueueView

__all__ = [
    "Faults",
    "Happening",
    "HappeningKind",
    "MemoryBroker",
    "MemoryTransport",
    "MessageView",
    "Profile",
    "QueueView",
    "forget_named_broker",
    "named_broker",
]
