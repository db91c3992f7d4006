"""What a harness sees of a service: each call through its seams, for the timeline, the ledger, and whoever kills it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schedulergodx_testing.actors import ServiceCrash
from schedulergodx_testing.drawing import duration
from schedulergodx_testing.seams import RUNNER_CALLS, STORAGE_CALLS, TRANSPORT_CALLS, Watched, WatchedStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.errors import BrokerError
    from schedulergodx.rules.tasks import TaskSpec
    from schedulergodx.utils.abstractions import Clock, Outgoing
    from schedulergodx_testing.calls import Calls, Counted, Program
    from schedulergodx_testing.ledger import DatabaseLedger

_NOTHING: frozenset[str] = frozenset()
_CHANGES = {f"storage.{call}": call for call in STORAGE_CALLS}


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

    def before(self, name: str, args: tuple[Any, ...]) -> Counted:
        """Count a call, and let it happen, unless the service is dead or dies here."""
        if self.is_dead:
            raise ServiceCrash
        changes = _NOTHING
        if name == "storage.begin":
            self._ledger.begin()
        elif name == "storage.commit":
            changes = self._ledger.changes
        counted = self._calls.begin(name, self._name, self._program, changes)
        if name == "transport.publish":
            self._listen(args[0])
        return counted

    def after(self, note: Counted, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Write down what a call brought."""
        name = note[1]
        call = _CHANGES.get(name)
        if call is not None:
            self._ledger.change(call, args, kwargs, result)
            self._stored(name, args, kwargs, result)
        elif name == "storage.commit":
            self._ledger.commit()
        elif name == "transport.reject":
            self._note("service", f"reject: {args[1]:.60}", "")
        self._calls.end(note, self._program)

    def _stored(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if name == "storage.add":
            task = args[0]
            due = f", due in {duration(task.run_at - task.issued_at)}" if task.is_delayed else ""
            self._note("storage", f"store {task.name}: {result.value}{due}", task.message_id)
        elif name == "storage.start" and result:
            self._note("service", "due: take it for its run", args[0])
        elif name == "storage.put_back" and result:
            why = "it starts again" if kwargs["has_run"] else "it had not begun"
            self._note("storage", f"put it back: {why}", args[0])
        elif name == "storage.finish" and result is not None:
            self._note("storage", f"outcome {result.status.name} {result.code.value}", args[0])

    def _listen(self, outgoing: Outgoing) -> None:
        """Hear how the broker takes a reply, or a bundle of them, before the service does."""
        self._ledger.sent(outgoing)
        settled = outgoing.on_settled

        def on_settled(sent: Outgoing, error: BrokerError | None) -> None:
            self._ledger.settled(sent, error)
            settled(sent, error)

        outgoing.on_settled = on_settled
