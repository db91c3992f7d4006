"""Random steps: `Walk` draws them from anything that draws numbers, Hypothesis or a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.agreement.scene import PEOPLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from tests.agreement.scene import Step

SOURCES = ("dead", "dead.dead", "plain", "full", "quorum")
"""What can be consumed. Most walks keep to few queues: that is where things meet."""
PLACES_MAX = 5
LEFT_OPEN = ("cut", "close", "restart", "expire", "delete", "block")
"""What is not done under an alarm: RabbitMQ leaves open what of it comes first when the alarm ends."""


class Walk:
    """Makes steps that can be taken now. It remembers only whether the broker takes messages.

    Args:
        draw: a whole number from 0 up to and without the one given. Small numbers are simple steps.
        queues: among which it stays.
    """

    def __init__(self, draw: Callable[[int], int], queues: Sequence[str]) -> None:
        self.draw = draw
        self._queues = queues
        self._sources = [name for name in SOURCES if name.removesuffix(".dead") in queues]
        self.is_blocked = False
        self._publishers: dict[str, str] = {}  # under the alarm that is on

    def step(self, kind: str) -> Step | None:
        """Return a step of that kind; None if it makes no sense now."""
        if self.is_blocked and kind in LEFT_OPEN:
            return None
        if kind == "restart" and "quorum" in self._queues:
            return None  # in which order such a queue takes back what was out then is open in too many ways
        return getattr(self, f"_{kind}")()

    def _one(self, things: Sequence[Any]) -> Any:
        return things[self.draw(len(things))]

    def _person(self) -> str:
        return self._one(PEOPLE)

    def _places(self) -> list[int]:
        first, count = self.draw(PLACES_MAX), 1 + self.draw(3)
        places = [first + number for number in range(count)]
        return places[::-1] if self.draw(2) else places

    def _declare(self) -> Step:
        otherwise = ["otherwise"] if self.draw(8) == 7 else []
        return ["declare", self._person(), self._one(self._queues), *otherwise]

    def _publish(self) -> Step | None:
        person, queue = self._person(), self._one(self._queues)
        # Whose messages come first, or find room, when an alarm ends is open in thousands of ways.
        if self.is_blocked and (queue == "full" or self._publishers.setdefault(queue, person) != person):
            return None
        return ["publish", person, queue, 1 + self.draw(5)]

    def _consume(self) -> Step:
        how = self._one([[], [], [], [], [], ["exclusive"], ["standby"], ["otherwise"]])
        source = self._one(self._sources)
        return ["consume", self._person(), source, 1 + self.draw(4), *([] if source.endswith(".dead") else how)]

    def _stop(self) -> Step:
        return ["stop", self._person()]

    def _ack(self) -> Step:
        return self._answer("ack")

    def _give_back(self) -> Step:
        return self._answer("give_back")

    def _answer(self, kind: str) -> Step:
        by = [self._person()] if self.draw(8) == 7 else []
        return [kind, self._person(), self._one(self._sources), self._places(), *by]

    def _reject(self) -> Step:
        sources = [source for source in self._sources if not source.endswith(".dead")]
        return ["reject", self._person(), self._one(sources), self.draw(PLACES_MAX)]

    def _delete(self) -> Step:
        return ["delete", self._person(), self._one(self._queues)]

    def _cut(self) -> Step:
        return ["cut", self._person()]

    def _close(self) -> Step:
        return ["close", self._person()]

    def _restart(self) -> Step:
        return ["restart"]

    def _expire(self) -> Step:
        return ["expire", self._person()]

    def _block(self) -> Step:
        self.is_blocked = True
        self._publishers = {}
        return ["block"]

    def _unblock(self) -> Step | None:
        if not self.is_blocked:
            return None
        self.is_blocked = False
        return ["unblock"]


KINDS = {
    "publish": 24, "consume": 14, "ack": 16, "give_back": 10, "reject": 6, "stop": 4, "declare": 6, "cut": 5,
    "close": 4, "delete": 3, "expire": 1,
}  # fmt: skip
"""How often each kind of step is drawn. Those that take a second of the broker's time are drawn apart."""
