"""Running tests that use the fixture `scheduler` over another broker, and comparing what they did over two."""

from __future__ import annotations

from collections import Counter
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from datetime import datetime

    from schedulergodx_testing.timeline import Entry, Timeline

MEMORY, RABBITMQ, BOTH = "memory", "rabbitmq", "both"
PARAMETER = "_scheduler_transport"
"""The fixture by which the plugin runs a test over another broker."""
_LANES = {"client", "storage", "worker"}
"""What a program does. How a broker goes about its work, and whose turn it is at one instant, is its own business."""


def kinds(option: str) -> tuple[str, ...]:
    """Return the brokers that a test runs over, one after the other."""
    return (MEMORY, RABBITMQ) if option == BOTH else (option,)


def story(timeline: Timeline) -> list[str]:
    """Return what happened, told so that two brokers can be compared: by instant, with launches numbered.

    Within an instant, launches by one task, or by the test, are stored in their order, which is the queue's. The rest
    has none: tasks that run side by side may launch in any order.
    """
    told = [entry for entry in timeline.entries if entry.lane in _LANES]
    launched_by = _launched_by(timeline)
    numbers = _numbers(told, launched_by)
    instants: dict[datetime, tuple[dict[int, list[str]], list[str]]] = {}
    for entry in told:
        line = f"{entry.lane}: {entry.what} #{numbers.get(entry.message_id, 0)}"
        in_order, others = instants.setdefault(entry.at, ({}, []))
        if entry.what.startswith("store "):
            parent = numbers.get(launched_by.get(entry.message_id, ""), 0)
            in_order.setdefault(parent, []).append(line)
        else:
            others.append(line)
    return [
        f"{moment:%Y-%m-%d %H:%M:%S.%f} {line}"
        for moment, (in_order, others) in instants.items()
        for line in (*chain.from_iterable(in_order[parent] for parent in sorted(in_order)), *sorted(others))
    ]


def _launched_by(timeline: Timeline) -> dict[str, str]:
    """Return which launch each launch came from; those of the test are missing."""
    entries = timeline.entries
    causes = ((entry.message_id, entries[entry.cause].message_id) for entry in entries if entry.cause is not None)
    return {message_id: parent for message_id, parent in causes if parent != message_id}


def _numbers(told: list[Entry], launched_by: dict[str, str]) -> dict[str, int]:
    """Number the launches by their instant, then by the number of what launched them, then as they came."""
    numbers = {"": 0}
    for _, at_once in groupby(told, lambda entry: entry.at):
        new: dict[str, dict[str, None]] = {}
        for entry in at_once:
            if entry.message_id not in numbers:
                new.setdefault(launched_by.get(entry.message_id, ""), {})[entry.message_id] = None
        parents = list(numbers) if new else []
        for parent in parents:  # and those that are numbered here
            for message_id in new.get(parent, ()):
                numbers[message_id] = len(numbers)
                parents.append(message_id)
    return numbers


class Stories:
    """The stories of tests that have run over one broker, for their runs over the other.

    Args:
        items: all tests that were selected.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        self._selected = Counter(test for item in items if (test := test_of(item)) is not None)
        self._first: dict[Hashable, list[tuple[str, list[str]]]] = {}

    def told(self, item: Any, story: list[str]) -> str:
        """Take the story of a test; return what is wrong with it, or "". The second of two is compared."""
        test, kind = test_of(item), item.callspec.params[PARAMETER]
        if self._selected[test] < 2:  # noqa: PLR2004 - of two brokers
            other = "RabbitMQ" if kind == MEMORY else "the broker in memory"
            return (
                f"nothing was compared: the run of this test over {other} was not selected. Select both, or name one "
                "broker instead of `both`"
            )
        waiting = self._first.setdefault(test, [])
        found = next((one for one in waiting if one[0] != kind), None)
        if found is None:
            waiting.append((kind, story))
            return ""
        waiting.remove(found)
        in_memory, real = (found[1], story) if found[0] == MEMORY else (story, found[1])
        different = difference(in_memory, real)
        return different and f"RabbitMQ and the broker in memory differ in this test:\n{different}"


def test_of(item: Any) -> Hashable | None:
    """Return what the two runs of one test have in common, and no other test has; None: it does not run twice.

    Parameters are compared by their identity, which both runs share: they need not be equal to anything, or hashable.
    """
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if PARAMETER not in parameters:
        return None
    others = frozenset((name, id(value)) for name, value in parameters.items() if name != PARAMETER)
    return item.parent.nodeid, item.originalname, others


def difference(first: list[str], second: list[str]) -> str:
    """Return where two stories differ, as a diff; "" when they are the same."""
    if first == second:
        return ""
    import difflib  # noqa: PLC0415 - only when it is needed

    lines = difflib.unified_diff(first, second, "over the broker in memory", "over RabbitMQ", lineterm="", n=2)
    return "\n".join(list(lines)[:60])
