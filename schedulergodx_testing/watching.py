"""What a harness sees of a service: each call through its seams that matters to the story of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schedulergodx_testing.drawing import duration
from schedulergodx_testing.seams import RUNNER_CALLS, TRANSPORT_CALLS, Watched, WatchedStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from schedulergodx.rules.tasks import TaskSpec


class ServiceWatcher:
    """Writes the timeline of one service, and lets others in before and after each call.

    Args:
        note: adds a line: lane, words, message id.
    """

    def __init__(self, note: Callable[[Any, str, str], None]) -> None:
        self._note = note

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
        """Note the start, end or kill of a run."""
        self._note("worker", f"{what} {task.name}", task.message_id)

    def before(self, seam: str, call: str, args: tuple[Any, ...]) -> None:
        """Let a call happen."""

    def after(self, seam: str, call: str, args: tuple[Any, ...], result: Any) -> None:
        """Note a call that tells something about a task."""
        if seam == "storage" and call == "add":
            task = args[0]
            due = f", due in {duration(task.run_at - task.issued_at)}" if task.is_delayed else ""
            self._note("storage", f"store {task.name}: {result.value}{due}", task.message_id)
        elif seam == "storage" and call == "start" and result:
            self._note("service", "due: take it for its run", args[0])
        elif seam == "storage" and call == "finish" and result is not None:
            self._note("storage", f"outcome {result.status.name} {result.code.value}", args[0])
        elif seam == "transport" and call == "reject":
            self._note("service", f"reject: {args[1]:.60}", "")
