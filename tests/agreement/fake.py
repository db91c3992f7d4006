"""The broker in memory as a `Side`, and `Follower`: whether some run of it looks like what was seen elsewhere."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from schedulergodx.utils.abstractions import ConnectionState
from schedulergodx_testing.clock import FakeClock
from schedulergodx_testing.memory import MemoryBroker
from tests.agreement.scene import EXPIRES_AFTER_S, FULL_AT, Scene

if TYPE_CHECKING:
    from schedulergodx_testing.memory import MemoryTransport
    from tests.agreement.scene import Observation, Step

PREFIX = "walk"
TURNS_MAX = 100_000
TRIES_MAX = 1000
"""How many other runs of the broker in memory are tried before a difference counts as one."""
OPEN = ("restart", "unblock", "publish", "cut", "close")
"""Steps that may end in more than one way; what follows may show only later which."""


class FakeSide:
    """A broker in memory, stepped until it is at rest."""

    def __init__(self, profile: str) -> None:
        self._choices = random.Random(0)
        self._draw = 0
        self._clock = FakeClock()
        self._broker = MemoryBroker(self._clock, profile=profile, choose=self._choose)
        self._broker.set_limit(f"{PREFIX}.full", FULL_AT)

    def draw_from(self, draw: int) -> None:
        """Draw what follows from a number: evenly, or mostly the first, or mostly the last of all that can happen."""
        self._choices.seed(draw)
        self._draw = draw

    def _choose(self, count: int) -> int:
        if self._draw % 3 == 0:
            return int(self._choices.random() * count)
        # One connection after the other: that many things of one come before those of another is rare otherwise.
        near = int(self._choices.random() ** 8 * count)
        return near if self._draw % 3 == 1 else count - 1 - near

    def open(self, person: str) -> MemoryTransport:
        """Return a new transport."""
        return self._broker.transport(person)

    def rest(self, scene: Scene) -> None:
        """Step, and let time pass as long as a connection or a consumer is on its way."""
        for _ in range(TURNS_MAX):
            if self._broker.step():
                continue
            if all(self._is_at_rest(transport) for transport in scene.transports()):
                return
            moment_s = self._broker.next_timer()
            assert moment_s is not None, "the broker in memory waits for nothing, and is not at rest"
            self._clock.advance(seconds=moment_s - self._clock.monotonic())
        raise AssertionError("the broker in memory does not come to rest")

    def _is_at_rest(self, transport: MemoryTransport) -> bool:
        publishing, consuming = transport._publishing, transport._consuming
        if publishing.is_started:
            state = publishing.status.state
            if state is not ConnectionState.BLOCKED and (state is not ConnectionState.UP or publishing.unsettled):
                return False
        if not consuming.is_started:
            return True
        return consuming.status.state is ConnectionState.UP and all(
            wish.channel is not None or (wish.is_standby and wish.pause is None) for wish in consuming._wanted()
        )

    def between(self) -> None:
        """Under an alarm, let a program hear that it is blocked, or not: then it sends the next message later."""
        if self._broker._hub.is_alarmed and self._choose(2):
            while self._broker.step():
                pass

    def stat(self, name: str) -> list[int] | None:
        """Look into a queue."""
        queue = self._broker.queues.get(name)
        return None if queue is None else [len(queue.ready), len(queue.consumers)]

    def cut(self, scene: Scene, person: str) -> None:
        """Cut both connections."""
        self._broker.faults.cut(person)

    def restart(self, scene: Scene) -> None:
        """Restart. How long that takes is open, and so is who is first to come back."""
        self._broker.restart(down_s=(0.0, 0.3, 1.0, 3.0)[self._choose(4)])

    def block(self, *, is_on: bool) -> None:
        """Raise the alarm, or end it."""
        (self._broker.faults.block if is_on else self._broker.faults.unblock)()

    def delete(self, name: str) -> None:
        """Do nothing: the broker ends with its scene."""

    def wait_until_expired(self, name: str) -> None:
        """Let so much time pass."""
        self._clock.advance(seconds=EXPIRES_AFTER_S)
        while self._broker.step():
            pass
        assert name not in self._broker.queues


class Follower:
    """A broker in memory that goes the same steps, and looks for a run of its own in which the same is seen.

    Where RabbitMQ leaves something open, e.g. who comes back first after a restart, the broker in memory draws it. So
    the set of allowed outcomes is what it can draw. Each step draws from a number of its own, so that those before a
    step that is tried again stay as they were.
    """

    def __init__(self, profile: str) -> None:
        self._profile = profile
        self._draws: list[int] = []
        self._steps: list[Step] = []
        self._seen: list[Observation] = []
        self._search = random.Random(0)
        self.tries = 0
        self._begin()

    def _begin(self) -> None:
        self._side = FakeSide(self._profile)
        self._scene = Scene(self._side, PREFIX)

    def follow(self, step: Step, seen: Observation) -> Observation | None:
        """Go one step. Return None if the same can be seen here, else what is seen instead."""
        self._steps.append(step)
        self._seen.append(seen)
        self._draws.append(0)
        mine = self._go(len(self._steps) - 1)
        if mine == seen:
            return None
        open_places = [place for place, (kind, *_) in enumerate(self._steps) if kind in OPEN]
        for count in range(TRIES_MAX):
            self.tries += 1
            first = len(self._draws) - 1
            if count >= TRIES_MAX // 4 and open_places:
                first = self._search.choice(open_places)
            draws = self._draws.copy()
            draws[first:] = [self._search.randrange(2**32) for _ in draws[first:]]
            if self._is_explained_by(draws):
                return None
        return mine

    def _is_explained_by(self, draws: list[int]) -> bool:
        self._draws = draws
        self._begin()
        return all(self._go(place) == seen for place, seen in enumerate(self._seen))

    def _go(self, place: int) -> Observation:
        self._side.draw_from(self._draws[place])
        return self._scene.do(self._steps[place])
