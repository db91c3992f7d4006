"""What a harness sees of a service: each call through its seams, for the timeline, the ledger, and whoever kills it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schedulergodx_testing.actors import ServiceCrash
from schedulergodx_testing.drawing import duration
from schedulergodx_testing.seams import CHANGE_OF, RUNNER_CALLS, TRANSPORT_CALLS, Watched, WatchedStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.errors import BrokerError
    from schedulergodx.rules.tasks import TaskSpec
    from schedulergodx.utils.abstractions import Clock, Outgoing
    from schedulergodx_testing.calls import Calls, Program
    from schedulergodx_testing.ledger import DatabaseLedger


class ServiceWatcher:
    """Writes down what one service does between its start and its end, and lets it die in the middle.

    Args:
        name: of the service.
        program: what dies.
        note: adds a line to the timeline: lane, words, message id.
        calls: counts calls.
        ledger: facts of its database.
        clock: when runs start.
    """

    def __init__(  # noqa: PLR0913 - what a call is written down in
        self,
        name: str,
        program: Program,
        note: Callable[[Any, str, str], None],
        *,
        calls: Calls,
        ledger: DatabaseLedger,
        clock: Clock,
    ) -> None:
        self.is_dead = False
        self._name = name
        self._program = program
        self._note = note
        self._calls = calls
        self._ledger = ledger
        self._clock = clock

    def storage(self, inner: Any) -> Any:
        """Return `inner`, watched."""
        return WatchedStorage(inner, self)

    def transport(self, inner: Any) -> Any:
        """Return `inner`, watched."""
        return Watched(inner, "transport", TRANSPORT_CALLS, self)

    def runner(self, inner: Any) -> Any:
        """Return `inner`, watched."""
        return Watched(inner, "runner", RUNNER_CALLS, self)

    def on_run(self, task: TaskSpec, what: str) -> None:
        """Note the beginning, start, end or kill of a run."""
        if what == "begin":
            self._ledger.run(task, self._clock.now())
        else:
            self._note("worker", f"{what} {task.name}", task.message_id)

    def watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """Return `real`, counted and written down, unless the service is dead or dies in it.

        All in one function, since there are half a dozen calls for each task.
        """
        begin, end, owner, program = self._calls.begin, self._calls.end, self._name, self._program
        change, changed = self._ledger.change, CHANGE_OF.get(name)
        note = _NOTES.get(name)
        is_sending = name == "transport.publish"

        def watched(*args: Any, **kwargs: Any) -> Any:
            if self.is_dead:
                raise ServiceCrash
            number = begin(name, owner, program)
            if is_sending:
                self._listen(args[0])
            result = real(*args, **kwargs)
            if changed is not None:
                change(changed, args, kwargs, result)
            if note is not None:
                note(self, args, kwargs, result)
            end(number, program)
            return result

        return watched

    def before(self, name: str) -> int:
        """Count one end of a transaction, and let it happen, unless the service is dead or dies here."""
        if self.is_dead:
            raise ServiceCrash
        if name == "storage.commit":
            return self._calls.begin(name, self._name, self._program, self._ledger.changes)
        self._ledger.begin()
        return self._calls.begin(name, self._name, self._program)

    def after(self, name: str, number: int) -> None:
        """Write down what it brought."""
        if name == "storage.commit":
            self._ledger.commit()
        self._calls.end(number, self._program)

    def _added(self, args: tuple[Any, ...], _kwargs: dict[str, Any], result: Any) -> None:
        task = args[0]
        due = f", due in {duration(task.run_at - task.issued_at)}" if task.is_delayed else ""
        self._note("storage", f"store {task.name}: {result.value}{due}", task.message_id)

    def _started(self, args: tuple[Any, ...], _kwargs: dict[str, Any], result: Any) -> None:
        if result:
            self._note("service", "due: take it for its run", args[0])

    def _has_put_back(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if result:
            why = "it starts again" if kwargs["has_run"] else "it had not begun"
            self._note("storage", f"put it back: {why}", args[0])

    def _finished(self, args: tuple[Any, ...], _kwargs: dict[str, Any], result: Any) -> None:
        if result is not None:
            self._note("storage", f"outcome {result.status.name} {result.code.value}", args[0])

    def _rejected(self, args: tuple[Any, ...], _kwargs: dict[str, Any], _result: Any) -> None:
        self._note("service", f"reject: {args[1]:.60}", "")

    def _listen(self, outgoing: Outgoing) -> None:
        """Hear how the broker takes a reply, or a bundle of them, before the service does."""
        self._ledger.sent(outgoing)
        settled = outgoing.on_settled

        def on_settled(sent: Outgoing, error: BrokerError | None) -> None:
            self._ledger.settled(sent, error)
            settled(sent, error)

        outgoing.on_settled = on_settled


_NOTES: dict[str, Callable[[ServiceWatcher, tuple[Any, ...], dict[str, Any], Any], None]] = {
    "storage.add": ServiceWatcher._added,  # noqa: SLF001 - its own module
    "storage.start": ServiceWatcher._started,  # noqa: SLF001
    "storage.put_back": ServiceWatcher._has_put_back,  # noqa: SLF001
    "storage.finish": ServiceWatcher._finished,  # noqa: SLF001
    "transport.reject": ServiceWatcher._rejected,  # noqa: SLF001
}
"""What the timeline is told of a call that has happened."""
