"""The launches that a harness saw, and finding one among them, with near misses for the message."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from schedulergodx.client.task import Task
from schedulergodx.utils.id_generators import launched_in
from schedulergodx.utils.message import payload
from schedulergodx.utils.message.functions import function_name
from schedulergodx_testing import pickles
from schedulergodx_testing.drawing import duration
from schedulergodx_testing.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from schedulergodx.redirection import Launching

NEAR_MISSES_MAX = 5


class _Any:
    """Equal to everything: an argument, or a delay, that a test does not care about."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "ANY"


ANY: Any = _Any()


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """One launch.

    Attributes:
        message_id: its id.
        client: name of the client.
        function: the plain function.
        name: the name that people know it by.
        args, kwargs: copies of what it was launched with, as the service gets them.
        delay: seconds to its start, or None for at once.
        run_at: when it is to start, or None for at once.
        hard: whether it runs in a process of its own.
        lifetime_s: seconds that it may run, or None.
        at: the virtual time of the launch.
    """

    message_id: str
    client: str
    function: Callable[..., Any]
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    delay: float | None
    run_at: datetime | None
    hard: bool
    lifetime_s: float | None
    at: datetime

    def __str__(self) -> str:
        """Show it as a call, with what is special about it."""
        facts = [f"delay={self.delay:g}"] if self.delay is not None else []
        facts += ["hard=True"] if self.hard else []
        return f"{self.name}{shown_call(self.args, self.kwargs)}{' with ' if facts else ''}{', '.join(facts)}"

    def told(self) -> str:
        """Tell it for the timeline: as a call, with durations for reading."""
        facts = [f"due in {duration(self.run_at - self.at)}"] if self.run_at is not None else []
        facts += [f"lifetime {duration(timedelta(seconds=self.lifetime_s))}"] if self.lifetime_s is not None else []
        facts += ["hard"] if self.hard else []
        return ", ".join([f"{self.name}{shown_call(self.args, self.kwargs)}", *facts])


def launch_of(launching: Launching, at: datetime, generation: int) -> Launch:
    """Return the record of a launch that is about to be sent, in the redirection of that number."""
    args, kwargs = payload.arguments_of(launching.arguments)
    return Launch(
        message_id=launched_in(generation, launching.message_id),
        client=launching.client,
        function=launching.function,
        name=launching.name,
        args=args,
        kwargs=kwargs,
        delay=launching.delay_s,
        run_at=launching.run_at,
        hard=launching.is_hard,
        lifetime_s=launching.lifetime_s,
        at=at,
    )


class Launches:
    """The launches of a harness, in their order. Most become objects when somebody looks.

    Attributes:
        generation: number of the redirection that they are made in.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._launches: list[Launch] = []
        self._unread: list[tuple[Launching, datetime]] = []

    def __len__(self) -> int:
        return len(self._launches) + len(self._unread)

    def note(self, launching: Launching, at: datetime) -> Launch | None:
        """Add a launch that is about to be sent. Returns it, unless that can wait until somebody looks.

        To read its arguments back, or to show them, may run code of the test, and fail: that is done now, and not
        whenever somebody looks. Raises PayloadError for arguments that cannot be read back.
        """
        if payload.is_data(launching.arguments) or pickles.is_plain(launching.arguments):
            self._unread.append((launching, at))
            return None
        launch = launch_of(launching, at, self.generation)
        self.all().append(launch)
        return launch

    def all(self) -> list[Launch]:
        """Return all so far."""
        unread, self._unread = self._unread, []
        self._launches += [launch_of(*noted, self.generation) for noted in unread]
        return self._launches


def function_of(task: Any) -> Callable[..., Any]:
    """Return the plain function of a task, or of a function. Raises HarnessError for anything else."""
    function = getattr(task, "__schedulergodx_function__", task)
    if not callable(function) or isinstance(function, type) or isinstance(task, str):
        raise HarnessError(
            f"this needs a task, as @client.task makes it, or its plain function; got {task!r:.80} "
            f"({type(task).__name__})"
        )
    return function  # type: ignore[no-any-return]  # what is callable is known by `callable` only


def id_of(launch: object) -> str:
    """Return the id of a launch, which is given by its id or as a `Launch`. Raises HarnessError for anything else."""
    if isinstance(launch, Launch):
        return launch.message_id
    if isinstance(launch, str):
        return launch
    raise HarnessError(
        f"this needs the id of a launch, as launch() returns it, or a `Launch`; got {launch!r:.80} "
        f"({type(launch).__name__})"
    )


def ids_of(launches: list[Launch]) -> str:
    """Return which ids there are, those of the last launches."""
    if not launches:
        return "nothing was launched at all"
    lines = [f"  {launch.message_id}: {launch}" for launch in launches[-NEAR_MISSES_MAX:]]
    left_out = len(launches) - len(lines)
    return "\n".join(["launched were:", *([f"  {left_out} others, then"] if left_out else []), *lines])


def known_function_of(task: Any, launches: Iterable[Launch]) -> Callable[..., Any]:
    """Return the plain function of a task, or of a function that a client has made a task of, as far as can be seen.

    Raises HarnessError for anything else: it cannot have been launched.
    """
    function = function_of(task)
    is_known = isinstance(task, Task) or any(_is_same(launch.function, function) for launch in launches)
    if not is_known and not any(_is_same(one.func, function) for one in _all_tasks()):
        raise HarnessError(
            f"no client has made a task of {function_name(function)}, so nothing can launch it. Is it another "
            "function that has @client.task?"
        )
    return function


def _all_tasks() -> Iterator[Task[..., Any]]:
    """Yield every task of this process: the rare way, and the only one, since clients keep no list of theirs.

    By type, and not by `isinstance`, which asks an object for its `__class__`: a weak proxy whose object is gone
    raises, and a mock may claim to be a task.
    """
    for one in gc.get_objects():
        kind = type(one)
        if issubclass(kind, Task):
            yield one


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a test looks for among the launches; whatever is `ANY` is not compared."""

    function: Callable[..., Any]
    args: Any = ANY
    kwargs: Any = ANY
    delay: Any = ANY
    hard: Any = ANY

    def matches(self, launch: Launch) -> bool:
        """Return whether `launch` is one of those."""
        return _is_same(launch.function, self.function) and not self.differences(launch)

    def differences(self, launch: Launch) -> list[str]:
        """Return what is different about a launch of the same function, in words."""
        found = []
        for name, wanted in (("args", self.args), ("kwargs", self.kwargs), ("delay", self.delay), ("hard", self.hard)):
            is_now = name == "delay" and launch.delay is None and (wanted is None or wanted == 0)
            if not (is_now or getattr(launch, name) == wanted):
                found.append(f"{name} is {getattr(launch, name)!r:.60}, not {wanted!r:.60}")
        return found

    def __str__(self) -> str:
        """Show it as a call."""
        facts = [f"{name}={value!r:.60}" for name, value in self._given() if name in {"delay", "hard"}]
        args = () if self.args is ANY else self.args
        kwargs = {} if self.kwargs is ANY else self.kwargs
        call = "(…)" if self.args is ANY and self.kwargs is ANY else shown_call(args, kwargs)
        return f"{function_name(self.function)}{call}{' with ' if facts else ''}{', '.join(facts)}"

    def _given(self) -> Iterable[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in ("delay", "hard") if getattr(self, name) is not ANY]

    def report(self, launches: list[Launch]) -> str:
        """Return what was launched instead, the nearest first."""
        if not launches:
            return "nothing was launched at all"
        same = [launch for launch in launches if _is_same(launch.function, self.function)]
        same.sort(key=lambda launch: len(self.differences(launch)))
        lines = [f"  {launch}: {'; '.join(self.differences(launch)) or 'the same'}" for launch in same]
        lines += [f"  {launch}: another task" for launch in launches if launch not in same]
        left_out = len(lines) - NEAR_MISSES_MAX
        more = [f"  … and {left_out} more"] if left_out > 0 else []
        return "\n".join(["launched were:", *lines[:NEAR_MISSES_MAX], *more])


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two functions are one; bound methods are made anew at each access."""
    return one is other or (
        getattr(one, "__func__", one) is getattr(other, "__func__", other)
        and getattr(one, "__self__", None) is getattr(other, "__self__", None)
    )


def shown_call(args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    """Return the parentheses of a call."""
    inside = [f"{value!r:.40}" for value in args] + [f"{name}={value!r:.40}" for name, value in kwargs.items()]
    return f"({', '.join(inside)})"
