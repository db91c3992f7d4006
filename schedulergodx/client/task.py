"""`Task`: a function that can be launched, and stays callable as the plain function."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypedDict, TypeVar, Unpack, overload

from schedulergodx import config
from schedulergodx.errors import InvalidParameter
from schedulergodx.rules.limits import NO_LIMITS, TaskLimits
from schedulergodx.utils.message.functions import function_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from schedulergodx.client.core import Client
    from schedulergodx.config import OnCrash
    from schedulergodx.utils.id_generators import MessageId
    from schedulergodx.utils.message.payload import Travel

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")

_MAX_STARTS = 3


class ParameterChanges(TypedDict, total=False):
    """What `set_parameters`, `options` and `@client.task(...)` take; the meanings are those of `TaskParameters`."""

    delay: float | None
    hard: bool
    task_lifetime: float | None
    hard_task_lifetime: float | None
    enable_overdue: bool
    on_crash: OnCrash
    max_starts: int | None
    memory_bytes_max: int | None
    cpu_s_max: int | None
    open_files_max: int | None
    processes_max: int | None
    file_bytes_max: int | None
    by: Travel
    by_value_modules: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskParameters:
    """How a task is launched.

    Attributes:
        delay: seconds from the launch to the start; None and 0 mean at once.
        hard: in a killable process of its own, instead of a thread.
        task_lifetime: seconds that a soft run may take; None: without limit.
        hard_task_lifetime: seconds that a hard run may take; None: without limit.
        enable_overdue: run it even when it is overdue, instead of skipping it.
        on_crash: what becomes of a task whose run a crash has ended: the service was killed, or the process of a hard
            task was. `"report"` ends it, with TASK_INTERRUPTED or TASK_KILLED; `"retry"` starts it again, so that its
            effects may come twice: make them idempotent by `current_task().message_id`. Its own exception, exit or
            overrun is never retried.
        max_starts: with `"retry"`: how often it may be started in all, from 2 to 100; None: three times.
        memory_bytes_max: of a hard task: bytes of address space, beyond which it gets a `MemoryError`. None, here and
            in what follows: no bound but the service's own, which also caps what is asked for.
        cpu_s_max: of a hard task: whole seconds of computing, in each process, beyond which SIGXCPU kills it.
        open_files_max: of a hard task: open descriptors in each process.
        processes_max: of a hard task: processes and threads of the service's user above which it can make no more.
            The system counts all of that user, and does not bind root.
        file_bytes_max: of a hard task: bytes of each file that it writes.
        by: whether the function travels by `"value"`, by `"reference"`, or both ways (`"auto"`); `"name"`: by reference
            with arguments as data, for a service that runs the functions it was given and unpickles nothing.
        by_value_modules: names of modules whose functions and classes travel by value, too.
    """

    delay: float | None = None
    hard: bool = False
    task_lifetime: float | None = None
    hard_task_lifetime: float | None = None
    enable_overdue: bool = False
    on_crash: OnCrash = "report"
    max_starts: int | None = None
    memory_bytes_max: int | None = None
    cpu_s_max: int | None = None
    open_files_max: int | None = None
    processes_max: int | None = None
    file_bytes_max: int | None = None
    by: Travel = "auto"
    by_value_modules: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse what is outside its range. Raises InvalidParameter."""
        object.__setattr__(self, "delay", config.delay(self.delay) or None)
        object.__setattr__(self, "task_lifetime", config.lifetime("task_lifetime", self.task_lifetime))
        object.__setattr__(self, "hard_task_lifetime", config.lifetime("hard_task_lifetime", self.hard_task_lifetime))
        object.__setattr__(self, "by_value_modules", _module_names(self.by_value_modules))
        config.on_crash("on_crash", self.on_crash)
        if self.max_starts is not None:
            config.whole_number("max_starts", self.max_starts, least=2, most=config.STARTS_MAX)
        limited = [name for name in config.LIMIT_RANGES if getattr(self, name) is not None]
        for name in limited:
            config.limit(name, getattr(self, name))
        for name in ("hard", "enable_overdue"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidParameter(f"{name} must be True or False, got {type(getattr(self, name)).__name__}")
        if self.max_starts is not None and self.on_crash != "retry":
            raise InvalidParameter("max_starts needs on_crash='retry': a task is started once otherwise")
        if limited and not self.hard:
            raise InvalidParameter(f"{limited[0]} needs hard=True: a thread has no bounds of its own")
        if self.by not in {"auto", "value", "reference", "name"}:
            raise InvalidParameter(f"by must be 'auto', 'value', 'reference' or 'name', got {self.by!r}")

    def changed(self, changes: ParameterChanges) -> TaskParameters:
        """Return a copy with `changes`. Raises InvalidParameter, or TypeError for a parameter that does not exist."""
        known = ParameterChanges.__annotations__
        if unknown := [name for name in changes if name not in known]:
            raise TypeError(f"a task has no parameter {unknown[0]!r}; there are {', '.join(known)}")
        return replace(self, **changes)

    @property
    def lifetime_s(self) -> float | None:
        """The lifetime that counts: of hard or of soft runs."""
        return self.hard_task_lifetime if self.hard else self.task_lifetime

    @property
    def starts_that_count(self) -> int:
        """How often it may be started."""
        return 1 if self.on_crash == "report" else self.max_starts or _MAX_STARTS

    @property
    def limits(self) -> TaskLimits:
        """The bounds of a hard run."""
        if not self.hard:  # as `__post_init__` sees to
            return NO_LIMITS
        given = {name: value for name in config.LIMIT_RANGES if (value := getattr(self, name)) is not None}
        return TaskLimits(**given) if given else NO_LIMITS


def _module_names(names: object) -> tuple[str, ...]:
    if isinstance(names, (list, tuple, set, frozenset)) and all(isinstance(name, str) for name in names):
        return tuple(names)
    raise InvalidParameter("by_value_modules must be a list of the names of modules, e.g. ['shop.prices']")


class Task(Generic[P, R]):
    """A function that a client can launch. Calling it calls the function, here and now.

    `@client.task` makes it. Launching is safe from any thread; so is changing parameters, but a launch that goes on at
    the same moment may use the old or the new ones.

    Attributes:
        func: the plain function.
        parameters: how it is launched.
    """

    __schedulergodx_stateless__ = True  # it holds nothing that a run changes

    def __init__(self, func: Callable[P, R], client: Client, parameters: TaskParameters) -> None:
        # Without func.__dict__: what others hung onto the function stays there.
        functools.update_wrapper(self, func, updated=())
        self.func = func
        self.parameters = parameters
        self._client = client

    @property
    def __schedulergodx_function__(self) -> Callable[P, R]:
        """The plain function, for whoever imports this task by reference."""
        return self.func

    @property
    def name(self) -> str:
        """The name that logs and the service's database know it by, e.g. `shop.tasks.remind`."""
        return function_name(self.func)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the plain function, here and now. Nothing is sent."""
        return self.func(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Task[P, R]: ...

    @overload
    def __get__(self: Task[Concatenate[Any, Q], R], instance: object, owner: type[Any] | None = None) -> Task[Q, R]: ...

    def __get__(self, instance: object, owner: type[Any] | None = None) -> Any:
        """Return a task of the bound method, where this one stands in a class: it travels with its object."""
        bind = getattr(type(self.func), "__get__", None)
        if instance is None or bind is None:
            return self
        bound = bind(self.func, instance, owner)
        return self if bound is self.func else Task(bound, self._client, self.parameters)

    def launch(self, *args: P.args, **kwargs: P.kwargs) -> MessageId[R]:
        """Send this task to the service, and return once the broker has it on disk.

        Function and arguments are pickled at this moment. Safe from any thread. Waits at most
        `client.launch_timeout_s` seconds; within `client.batch()` it does not wait.

        Returns:
            The id of this launch, which can be asked for its `result()`.

        Raises:
            TaskNotSerializable: the function or an argument cannot be pickled; nothing was sent.
            BrokerUnavailable, BrokerBlocked, BrokerRefused, QueueFull: nothing was sent, or nothing was kept.
            LaunchUncertain: perhaps kept; `client.launch_again(error.message_id)` cannot make it run twice.
            Closed: the client is closed; nothing was sent.
        """
        return self._client.send_launch(self, args, kwargs)

    async def launch_async(self, *args: P.args, **kwargs: P.kwargs) -> MessageId[R]:
        """As `launch`, in an asyncio program: other coroutines run while the broker confirms."""
        return await self._client.send_launch_async(self, args, kwargs)

    def launch_at(self, moment: datetime, /, *args: P.args, **kwargs: P.kwargs) -> MessageId[R]:
        """As `launch`, to start at `moment`, an aware datetime; a `delay` of the task does not count.

        Raises:
            InvalidParameter: `moment` has no time zone, so that it means different things to client and service.
            Others: as `launch`.
        """
        return self._client.send_launch(self, args, kwargs, run_at=_in_utc(moment))

    def set_parameters(self, **changes: Unpack[ParameterChanges]) -> None:
        """Change how this task is launched from now on; what is not named stays. See `TaskParameters`.

        Raises:
            InvalidParameter: a value is outside its range; nothing was changed.
            TypeError: there is no such parameter; nothing was changed.
        """
        self.parameters = self.parameters.changed(changes)

    def options(self, **changes: Unpack[ParameterChanges]) -> Task[P, R]:
        """Return a copy of this task that is launched otherwise; this one stays as it is. See `TaskParameters`.

        Raises:
            InvalidParameter: a value is outside its range.
        """
        return type(self)(self.func, self._client, self.parameters.changed(changes))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel with the function and the client, so that a task can launch tasks from inside the service."""
        return _arrive, (self.func, self._client, self.parameters)

    def __repr__(self) -> str:
        """Show what is launched, and how."""
        return f"<Task {self.name} of client {self._client.name!r}>"


def _in_utc(moment: object) -> datetime:
    if isinstance(moment, datetime) and moment.utcoffset() is not None:
        try:
            return moment.astimezone(UTC)
        except OverflowError:  # its moment in UTC is beyond the calendar
            pass
    raise InvalidParameter(
        "launch_at needs a datetime with a time zone, within the years 1 to 9999 of UTC, "
        "e.g. datetime(2026, 1, 31, 12, tzinfo=timezone.utc)"
    )


def _arrive(func: Callable[..., Any], client: Client, parameters: TaskParameters) -> Task[..., Any]:
    return Task(func, client, parameters)
