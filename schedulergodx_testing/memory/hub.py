"""`Hub`: the state of one broker in memory that its links share."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from schedulergodx_testing.errors import HarnessError
from schedulergodx_testing.memory.faults import Faults
from schedulergodx_testing.memory.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schedulergodx_testing.memory.link import Link
    from schedulergodx_testing.memory.profiles import Profile
    from schedulergodx_testing.memory.publishing import PublishingLink
    from schedulergodx_testing.memory.queues import Message
    from schedulergodx_testing.memory.stepper import Stepper
    from schedulergodx_testing.memory.transport import MemoryTransport

SHUTDOWN = "320 CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"


class Hub:
    """What the broker is like at the moment. The lock of the stepper guards it.

    Attributes:
        transports, links, publishing: all that was not closed, in the order of making.
        is_away: nobody listens: connections fail and are tried again.
        refusal: why the broker refuses connections; "": it does not.
        is_alarmed: whether it takes no messages.
        over: why nobody can order anything any more, since its harness is closed; "": one can.
    """

    def __init__(self, stepper: Stepper, address: str, profile: Profile) -> None:
        self.stepper = stepper
        self.address = address
        self.profile = profile
        self.faults = Faults(self)
        self.store = Store(stepper, self.faults, profile)
        self.transports: list[MemoryTransport] = []
        self.links: list[Link] = []
        self.publishing: list[PublishingLink] = []
        self.is_away = False
        self.refusal = ""
        self.is_alarmed = False
        self.over = ""

    @contextmanager
    def ordering(self) -> Iterator[None]:
        """Hold the lock for somebody who orders what goes wrong. Raises HarnessError when it could never happen."""
        if self.over:
            raise HarnessError(self.over)
        with self.stepper.lock:
            yield

    def go_down(self, kind: str, reason: str) -> None:
        """Lose every connection at one moment, and come up again with what is on disk: after a crash, not all."""
        is_crash = kind == "crash"
        lost: list[Message] = []
        if is_crash:
            lost = [message for message in self.store.unsafe() if self.stepper.choose(2)]
        self.store.is_going_down = True
        for link in self.links.copy():
            link.cut(reason)
        self.store.come_up(lost)
