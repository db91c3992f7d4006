"""Running tests that use the fixture `scheduler` over another broker, and comparing what they did over two."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from schedulergodx_testing.timeline import Timeline

OPTION = "--scheduler-transport"
MEMORY, SQLITE, RABBITMQ, BOTH = "memory", "sqlite", "rabbitmq", "both"
CHOICES = (MEMORY, SQLITE, RABBITMQ, BOTH)
_LANES = {"client", "storage", "worker"}
"""What a program does. How a broker goes about its work, and whose turn it is at one instant, is its own business."""


def kinds(option: str) -> tuple[str, ...]:
    """Return the brokers that a test runs over, one after the other."""
    return (MEMORY, RABBITMQ) if option == BOTH else (option,)


def story(timeline: Timeline) -> list[str]:
    """Return what happened, told so that two brokers can be compared: by instant, with launches numbered.

    Within an instant, what is stored keeps its order, which is the queue's; the rest has none.
    """
    numbers: dict[str, int] = {}
    instants: dict[datetime, tuple[list[str], list[str]]] = {}
    for entry in timeline.entries:
        if entry.lane in _LANES:
            number = numbers.setdefault(entry.message_id, len(numbers) + 1) if entry.message_id else 0
            in_order, others = instants.setdefault(entry.at, ([], []))
            lines = in_order if entry.what.startswith("store ") else others
            lines.append(f"{entry.lane}: {entry.what} #{number}")
    return [
        f"{moment:%Y-%m-%d %H:%M:%S.%f} {line}"
        for moment, (in_order, others) in instants.items()
        for line in (*in_order, *sorted(others))
    ]


class Stories:
    """The stories of the tests that have run over the broker in memory, for their runs over RabbitMQ."""

    def __init__(self) -> None:
        self._first: dict[object, list[str]] = {}

    def told(self, kind: str, test: object, story: list[str]) -> str:
        """Take the story of a test over a broker of that kind; return what is wrong with it, or ""."""
        if kind == MEMORY:
            self._first[test] = story
            return ""
        first = self._first.pop(test, None)
        if first is None:
            return (
                "nothing was compared: the run over the broker in memory was left out, has failed, or was in another "
                "process. Select both, and leave out -n"
            )
        found = difference(first, story)
        return found and f"RabbitMQ and the broker in memory differ in this test:\n{found}"


def difference(first: list[str], second: list[str]) -> str:
    """Return where two stories differ, as a diff; "" when they are the same."""
    if first == second:
        return ""
    import difflib  # noqa: PLC0415 - only when it is needed

    lines = difflib.unified_diff(first, second, "over the broker in memory", "over RabbitMQ", lineterm="", n=2)
    return "\n".join(list(lines)[:60])
