"""`MemoryBroker`: a RabbitMQ without RabbitMQ, as far as a transport of this library can see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schedulergodx.clock import SystemClock
from schedulergodx.config import seconds, whole_number
from schedulergodx_testing.errors import NotEmulated
from schedulergodx_testing.memory.hub import SHUTDOWN, Hub
from schedulergodx_testing.memory.profiles import profile_named
from schedulergodx_testing.memory.pump import Pump
from schedulergodx_testing.memory.stepper import Stepper, seeded
from schedulergodx_testing.memory.transport import MemoryTransport
from schedulergodx_testing.memory.views import Queues, not_emulated

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Literal, Self

    from schedulergodx.utils.abstractions import Clock
    from schedulergodx_testing.memory.faults import Faults
    from schedulergodx_testing.memory.happenings import Happening

LIMIT_MAX = 2**31


class MemoryBroker:
    """Queues in memory behind `Transport`, deterministic, with faults on request.

    By default nothing happens by itself: what transports are asked for waits until `step` is called, which lets one
    thing happen: a message arrives, is confirmed, is delivered; a connection opens, is lost. Which one of those that
    could, the seed decides; what travels over one connection keeps its order. So the same seed and the same calls give
    the same log. With `is_automatic`, a thread steps as soon as there is something to do, and the order of threads is
    the system's, as on a real broker.

    Every method may be called from any thread. In programs that use the transports, events and settlements are called
    in the thread that steps.

    Args:
        clock: for expiry, pauses and delays; None: the system's. An automatic broker needs one that moves by itself.
        seed: what all choices are drawn from.
        is_automatic: whether it steps by itself.
        name: its address is `memory://<name>`.
        profile: which version of RabbitMQ it is like: "3.10", "4.0" or "4.3". They differ in the largest message, and
            in where a quorum queue puts what is given back.
        choose: draws a whole number below the one given, instead of the seed.

    Raises:
        InvalidParameter: there is no such profile.
    """

    def __init__(  # noqa: PLR0913 - each is a fact of its own, documented above
        self,
        clock: Clock | None = None,
        *,
        seed: int = 0,
        is_automatic: bool = False,
        name: str = "test",
        profile: str = "3.10",
        choose: Callable[[int], int] | None = None,
    ) -> None:
        self.seed = seed
        self.name = name
        self._stepper = Stepper(clock or SystemClock(), choose or seeded(seed))
        self._hub = Hub(self._stepper, f"memory://{name}", profile_named(profile))
        self._pump = Pump(self._stepper, f"memory-broker-{name}", is_automatic=is_automatic)

    def transport(self, name: str) -> MemoryTransport:
        """Return a new way to this broker, for a program of that name."""
        return MemoryTransport(self._hub, self._pump, name)

    # --- Stepping

    def step(self) -> bool:
        """Let one thing happen, and make the calls into programs that it leads to. False: nothing can happen now."""
        return self._stepper.step()

    def next_timer(self) -> float | None:
        """Return the moment, on the clock's monotonic time, at which the next thing can happen by itself, or None."""
        return self._stepper.next_timer()

    @property
    def is_idle(self) -> bool:
        """Whether nothing can happen before the clock moves, or somebody does something."""
        stepper = self._stepper
        return not (stepper.ready or stepper.is_ready())

    # --- Looking in

    @property
    def address(self) -> str:
        """Where it is, as in errors and states."""
        return self._hub.address

    @property
    def queues(self) -> Queues:
        """Its queues, to look into."""
        return Queues(self._hub)

    @property
    def faults(self) -> Faults:
        """What can be made to go wrong."""
        return self._hub.faults

    @property
    def log(self) -> list[Happening]:
        """Everything that has happened, in order."""
        with self._stepper.lock:
            return self._stepper.log.all()

    @property
    def on_happening(self) -> Callable[[Happening], None] | None:
        """Called with everything that happens, at once, by whoever makes it happen. It must only note it."""
        return self._stepper.log.on_happening

    @on_happening.setter
    def on_happening(self, on_happening: Callable[[Happening], None] | None) -> None:
        with self._stepper.lock:
            self._stepper.log.on_happening = on_happening

    # --- What an operator does

    def set_limit(self, queue: str, limit: int | None, *, overflow: str = "reject-publish") -> None:
        """Let a queue, which need not exist yet, refuse messages while `limit` of them are ready; None: never.

        Raises:
            InvalidParameter: the limit is negative.
            NotEmulated: another `overflow` than "reject-publish".
        """
        if overflow != "reject-publish":
            raise NotEmulated(
                f"overflow {overflow!r} is not emulated: no queue of this library drops messages. Use reject-publish."
            )
        if limit is not None:
            whole_number("limit", limit, least=0, most=LIMIT_MAX)
        with self._hub.ordering():
            self._hub.store.limits.pop(queue, None)
            if limit is not None:
                self._hub.store.limits[queue] = limit

    def restart(self, *, down_s: float = 0.0) -> None:
        """Stop it in order and start it again after `down_s` seconds.

        Queues and messages stay. Unacked messages go back, marked as redelivered; programs connect again by themselves
        after a pause, and send again what was not confirmed, also when it was kept.
        """
        self._go_down("restart", SHUTDOWN, down_s)

    def crash(self, *, down_s: float = 0.0) -> None:
        """Kill it and start it again after `down_s` seconds.

        As `restart`, but each message that nobody was told of as kept is there or gone: the seed decides.
        """
        self._go_down("crash", "Connection reset by peer", down_s)

    def lose_disk(self, *, down_s: float = 0.0) -> None:
        """Kill it and start it again with an empty disk: all queues are gone with what was in them, confirmed or not.

        As `crash` else. Whoever uses a queue makes it again, once it has connected again.
        """
        with self._stepper.lock:
            self.crash(down_s=down_s)
            for name in list(self._hub.store.queues):
                self._hub.store.delete(name, "")

    def close(self) -> None:
        """Close every transport. Twice is once."""
        with self._stepper.lock:
            transports = self._hub.transports.copy()
        for transport in transports:
            transport.close()

    def end_orders(self, why: str) -> None:
        """Have what would let something go wrong raise HarnessError, `why`, from now on: its harness is closed."""
        self._hub.over = why

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:
        """Refuse what RabbitMQ has and this broker has not."""
        not_emulated(name, self)

    def _go_down(self, kind: Literal["restart", "crash"], reason: str, down_s: float) -> None:
        seconds("down_s", down_s)
        with self._hub.ordering():
            self._stepper.log.add(kind)
            self.faults.counts[kind] += 1
            self._hub.go_down(kind, reason)
            if down_s:
                self._hub.is_away = True
                self._stepper.after(down_s, self.faults.come_back)
