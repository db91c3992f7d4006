"""What a service runs: which launches it takes, and which stored tasks may start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from schedulergodx.errors import InvalidParameter, MessageRejected
from schedulergodx.rules.lifecycle import Code, Report
from schedulergodx.utils.message.functions import function_name, plain, reference_of
from schedulergodx.utils.message.payload import is_data
from schedulergodx.utils.message.seals import Tampered

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from typing import Any

    from schedulergodx.rules.tasks import TaskSpec
    from schedulergodx.utils.message.seals import Seals, Verified

Accepted: TypeAlias = Literal["code", "ref"]
"""`code`: whatever is sent. `ref`: the functions that the service was given, with arguments as data."""
ACCEPTED: tuple[Accepted, ...] = ("code", "ref")
_SHOWN_MAX = 10


class Admission:
    """Decides what may be stored and started. Only the loop's thread uses it.

    Args:
        seals: seal and verify stored tasks.
        accept: what is run.
        tasks: the functions that are run by name; each must be one that its module holds under its own name.

    Raises:
        InvalidParameter: `accept` or `tasks` is not as it must be.
    """

    def __init__(self, seals: Seals, *, accept: Collection[str], tasks: Iterable[Callable[..., Any]]) -> None:
        self._seals = seals
        self._accepts_code = "code" in checked_accept(accept)
        self._references = references(tasks)
        if not self._accepts_code and not self._references:
            raise InvalidParameter("with accept={'ref'} a service runs only the functions of tasks=[…]; name some")

    def take(self, task: TaskSpec) -> TaskSpec:
        """Return a launched task as it is to be stored.

        Raises:
            MessageRejected: NOT_ALLOWED; the text says what is.
        """
        if why := self._why_not(task):
            raise MessageRejected(why, reason=Code.NOT_ALLOWED.value)
        return self._seals.seal(task)

    def admit(self, task: TaskSpec) -> Verified | Report:
        """Return a stored task that may start, or the report of why it may not."""
        try:
            verified = self._seals.verify(task)
        except Tampered as error:
            return Report(code=Code.TAMPERED, message=f"the task was not run: {error}")
        if why := self._why_not(task):  # stored by an earlier start of the service that allowed more
            return Report(code=Code.NOT_ALLOWED, message=f"the task was not run: {why}")
        return verified

    def _why_not(self, task: TaskSpec) -> str:
        if self._accepts_code:
            return ""
        if task.function is not None or task.arguments_by_value is not None or not is_data(task.arguments):
            return (
                "this service runs functions by name only, with arguments as data, and unpickles nothing: launch the "
                'task with by="name"'
            )
        if task.reference not in self._references:
            shown = sorted(self._references)
            more = f", and {len(shown) - _SHOWN_MAX} more" if len(shown) > _SHOWN_MAX else ""
            return f"this service does not run {task.reference!r}; it runs {', '.join(shown[:_SHOWN_MAX])}{more}"
        return ""


def checked_accept(accept: object) -> frozenset[str]:
    """Return what a service runs. Raises InvalidParameter."""
    if isinstance(accept, (set, frozenset, list, tuple)) and accept and set(ACCEPTED).issuperset(accept):
        return frozenset(accept)
    raise InvalidParameter("accept must be a set of 'code' and 'ref', e.g. {'ref'}")


def references(tasks: object) -> frozenset[str]:
    """Return the references of functions. Raises InvalidParameter for what cannot be found by its name."""
    if not isinstance(tasks, (set, frozenset, list, tuple)):
        raise InvalidParameter("tasks must be a list of functions, or of tasks")
    found: set[str] = set()
    for task in tasks:
        function = plain(task)
        if not callable(function):
            raise InvalidParameter(f"tasks must hold functions, and holds one of type {type(task).__name__}")
        reference = reference_of(function)
        if not reference:
            raise InvalidParameter(
                f"{function_name(function)} cannot be run by name: it is not a function that a module holds under its "
                "own name; move it to the top of a module"
            )
        found.add(reference)
    return frozenset(found)
