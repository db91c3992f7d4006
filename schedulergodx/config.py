"""The checked numbers of clients and services, and the sentences that refuse wrong ones."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from schedulergodx.errors import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

T = TypeVar("T")

SECONDS_MAX = 10 * 365 * 86400.0
"""Longest delay and lifetime, ten years: above it, a unit was mixed up."""
NAME_BYTES_MAX = 100
"""Longest name of a client or service; queue names hold it, and AMQP allows them 255 bytes."""
QUEUE_NAME_BYTES_MAX = 120
QueueType: TypeAlias = Literal["classic", "quorum"]
"""How RabbitMQ keeps a queue: on one node, or copied to most nodes of its cluster."""
QUEUE_TYPES = ("classic", "quorum")
OnCrash: TypeAlias = Literal["report", "retry"]
"""What becomes of a task whose run a crash has ended: its outcome says so, or it is started again."""
ON_CRASH = ("report", "retry")
MESSAGE_BYTES_MAX = 8 * 1024 * 1024
"""Largest message: RabbitMQ 4 refuses 16 MiB by default, and a task is not a file transfer."""

OUTPUT_BYTES_MAX = 16 * 1024 * 1024
"""What a hard task may print on each stream, unless its service says otherwise."""
STARTS_MAX = 100
"""Most starts of one task: what crashes so often will crash again."""
MEMORY_BYTES_LEAST = 64 * 1024 * 1024
"""With less address space a Python process cannot even load a task."""
LIMIT_RANGES: Mapping[str, tuple[int, int]] = {
    "memory_bytes_max": (MEMORY_BYTES_LEAST, 2**48),
    "cpu_s_max": (1, int(SECONDS_MAX)),
    "open_files_max": (16, 2**20),
    "processes_max": (1, 2**22),
    "file_bytes_max": (0, 2**60),
}
"""The bounds of hard tasks, see `rules.limits.TaskLimits`: the least and the most of each, all whole numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceLimits:
    """Bounds of one service. Everything has a bound; each name ends in its unit.

    Attributes:
        threads: soft tasks at a time.
        processes: hard tasks at a time.
        prefetch: deliveries that may wait in memory for their turn; one may be a bundle of launches.
        events_per_turn_max: events that one transaction takes together; each message of a bundle counts.
        stop_grace_s: for running work when the service is asked to stop.
        kill_grace_s: between TERM and KILL of a hard task.
        overdue_grace_s: by how much a delayed task may be late before it counts as overdue.
        keep_outcomes_s: how long outcomes can be asked for after the end.
        max_age_s: an older launch that is not known is refused, since it may be a repetition; `keep_ids_s` is not less.
            A launch that waits in the queue for a stopped service gets older meanwhile, hence 30 days and not one.
        keep_ids_s: how long after its end the id of a task is known, at least as long as its outcome; until then
            a late duplicate of its launch does not run again.
        keep_replies_s: how long an answer is offered to a queue that is full or absent. Its outcome stays.
        replies_in_flight_max: answers sent and not confirmed yet.
        message_bytes_max: a larger message is refused.
        reply_flush_s: for the last answers when the service stops.
        task_memory_bytes_max, task_cpu_s_max, task_open_files_max, task_processes_max, task_file_bytes_max: what each
            hard task may use where it does not say, and the most that it may ask for; None: no bound. They are those
            of `rules.limits.TaskLimits`.
        task_output_bytes_max: what each hard task may print on standard output, and as much on standard error; what
            comes after it is dropped.
    """

    threads: int = 8
    processes: int = 2
    prefetch: int = 250
    events_per_turn_max: int = 500
    stop_grace_s: float = 30.0
    kill_grace_s: float = 2.0
    overdue_grace_s: float = 60.0
    keep_outcomes_s: float = 7 * 86400.0
    max_age_s: float = 30 * 86400.0
    keep_ids_s: float = 30 * 86400.0
    keep_replies_s: float = 86400.0
    replies_in_flight_max: int = 1000
    message_bytes_max: int = MESSAGE_BYTES_MAX
    reply_flush_s: float = 5.0
    task_memory_bytes_max: int | None = None
    task_cpu_s_max: int | None = None
    task_open_files_max: int | None = None
    task_processes_max: int | None = None
    task_file_bytes_max: int | None = None
    task_output_bytes_max: int = OUTPUT_BYTES_MAX

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name in ("threads", "processes", "prefetch", "events_per_turn_max", "replies_in_flight_max"):
            whole_number(name, getattr(self, name), least=1, most=65535)
        for name in ("stop_grace_s", "kill_grace_s", "overdue_grace_s", "reply_flush_s"):
            seconds(name, getattr(self, name), least=0.0)
        for name in ("max_age_s", "keep_outcomes_s", "keep_ids_s", "keep_replies_s"):
            seconds(name, getattr(self, name), least=1.0)
        if self.keep_ids_s < self.max_age_s:
            raise InvalidParameter(
                f"keep_ids_s ({self.keep_ids_s:.9g}) must not be less than max_age_s ({self.max_age_s:.9g}): a "
                "launch that is taken again after its id is forgotten runs twice"
            )
        message_bytes("message_bytes_max", self.message_bytes_max)
        whole_number("task_output_bytes_max", self.task_output_bytes_max, least=0, most=2**60)
        for name in LIMIT_RANGES:
            limit(name, getattr(self, f"task_{name}"), prefix="task_")

    @property
    def of_tasks(self) -> dict[str, int]:
        """The bounds of hard tasks that there are, by the names that a task has for them."""
        bounds = {name: getattr(self, f"task_{name}") for name in LIMIT_RANGES}
        return {name: value for name, value in bounds.items() if value is not None}


def seconds(name: str, value: object, *, least: float = 0.0, is_least_allowed: bool = True) -> float:
    """Return `value` as seconds, or refuse it by a sentence with its `name`.

    Raises:
        InvalidParameter: not a number, NaN, infinite, below `least`, or above ten years.
    """
    found = type(value).__name__
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        # Compared first: a whole number may be beyond any float. NaN is in no range.
        if least <= value <= SECONDS_MAX and (is_least_allowed or value != least):
            return float(value)
        found = f"{value!r:.30}"
    rule = f"{name} must be a number of seconds {'from' if is_least_allowed else 'above'} {least:g} to {SECONDS_MAX:g}"
    raise InvalidParameter(f"{rule}, got {found}")


def delay(value: object) -> float | None:
    """Return a delay in seconds; None means at once. Raises InvalidParameter."""
    return None if value is None else seconds("delay", value)


def lifetime(name: str, value: object) -> float | None:
    """Return a lifetime in seconds; None means without limit. Raises InvalidParameter; 0 is not "no limit"."""
    return None if value is None else seconds(name, value, is_least_allowed=False)


def whole_number(name: str, value: object, *, least: int, most: int) -> int:
    """Return `value` as a whole number within its range. Raises InvalidParameter."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InvalidParameter(f"{name} must be a whole number from {least} to {most}, got {value!r}")
    return value


def limit(name: str, value: object, *, prefix: str = "") -> int | None:
    """Return the bound of hard tasks with this `name` of `LIMIT_RANGES`; None means no bound.

    Raises InvalidParameter, which names it with `prefix`.
    """
    least, most = LIMIT_RANGES[name]
    return None if value is None else whole_number(prefix + name, value, least=least, most=most)


def message_bytes(name: str, value: object) -> int:
    """Return a bound on the size of messages, from 1 KiB to 128 MiB, RabbitMQ's largest. Raises InvalidParameter."""
    return whole_number(name, value, least=1024, most=128 * 1024 * 1024)


_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def printable_name(name: str, value: object, *, bytes_max: int = NAME_BYTES_MAX) -> str:
    """Return `value` as a name: printable, without spaces at its ends, not too long. Raises InvalidParameter.

    Names stand in queue names, logs and databases, so control characters and lone surrogates are refused.
    """
    # First what is quick: every launch and every answer has a dozen names.
    if (
        isinstance(value, str)
        and 0 < len(value) <= bytes_max
        and value.isascii()
        and value.isprintable()
        and value[0] != " " != value[-1]
    ):
        return value
    rule = f"{name} must be a text of 1 to {bytes_max} bytes of UTF-8 without control characters"
    if not isinstance(value, str):
        raise InvalidParameter(f"{rule}, got {type(value).__name__}")
    if not value.isprintable() and any(unicodedata.category(character) in _UNPRINTABLE for character in value):
        raise InvalidParameter(f"{rule}; {ascii(value)[:80]} has some")
    if not 0 < len(value.encode()) <= bytes_max or value != value.strip():
        raise InvalidParameter(f"{rule}, and no spaces at its ends; got {value[:40]!r} ({len(value.encode())} bytes)")
    return value


def party_name(name: str, value: object) -> str:
    """Return `value` as the name of a client or service. Raises InvalidParameter, also for a URL, not showing it."""
    if isinstance(value, str) and "://" in value:
        raise InvalidParameter(f"{name} looks like a URL; did you mean url=…? A name says who it is, e.g. 'shop'")
    return printable_name(name, value)


def iterator(name: str, value: Iterator[T]) -> Iterator[T]:
    """Return `value`, which must be an iterator: what `next()` takes. Raises InvalidParameter."""
    if not hasattr(type(value), "__next__"):
        raise InvalidParameter(f"{name} must be an iterator, as a generator is, got {type(value).__name__}")
    return value


def flag(name: str, value: object) -> bool:
    """Return `value`, which must be True or False. Raises InvalidParameter."""
    if not isinstance(value, bool):
        raise InvalidParameter(f"{name} must be True or False, got {type(value).__name__}")
    return value


def queue_name(name: str, value: object) -> str:
    """Return `value` as the base name of a queue. Raises InvalidParameter; `amq.` belongs to the broker."""
    checked = printable_name(name, value, bytes_max=QUEUE_NAME_BYTES_MAX)
    if checked.startswith("amq."):
        raise InvalidParameter(f"{name} must not begin with 'amq.', which RabbitMQ keeps for itself; got {checked!r}")
    return checked


def on_crash(name: str, value: object) -> None:
    """Refuse what is no policy for crashes. Raises InvalidParameter."""
    if value not in ON_CRASH:
        raise InvalidParameter(f"{name} must be {' or '.join(map(repr, ON_CRASH))}, got {value!r:.40}")


def is_quorum(name: str, value: object) -> bool:
    """Return whether a type of queues, `classic` or `quorum`, is quorum. Raises InvalidParameter."""
    if value not in QUEUE_TYPES:
        raise InvalidParameter(f"{name} must be {' or '.join(map(repr, QUEUE_TYPES))}, got {value!r:.40}")
    return value == "quorum"
