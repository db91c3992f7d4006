"""A service of a harness, over its starts, stops and crashes on one database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedulergodx.config import ServiceLimits
from schedulergodx.service import Service
from schedulergodx.utils.storage import DB
from schedulergodx.utils.storage.reader import reader
from schedulergodx_testing.actors import ServiceActor
from schedulergodx_testing.watching import ServiceWatcher
from schedulergodx_testing.world.runner import VirtualRunner

if TYPE_CHECKING:
    from schedulergodx.rules.lifecycle import TaskStatus
    from schedulergodx.rules.tasks import TaskState
    from schedulergodx_testing.harness import Harness

_RESULT_ROOM_BYTES = 64 * 1024
_TASKS_MAX = 1_000_000


class Served:
    """One service: the object that runs now, and what outlives it.

    Args:
        harness: whose service it is.
        parameters: as for `Service`, with `name` and `db`.
    """

    def __init__(self, harness: Harness, parameters: dict[str, Any]) -> None:
        self._harness = harness
        self._parameters = parameters
        self._path = Path(parameters["db"])
        self.is_up = False

    def start(self) -> None:
        """Start it, on its database."""
        harness, parameters = self._harness, dict(self._parameters)
        database = DB(parameters.pop("db"))
        limits: ServiceLimits = parameters.get("limits") or ServiceLimits()
        watcher = ServiceWatcher(harness.note)
        self._runner = VirtualRunner(
            harness.world,
            threads=parameters.get("threads") or limits.threads,
            processes=parameters.get("processes") or limits.processes,
            result_bytes_max=limits.message_bytes_max - _RESULT_ROOM_BYTES,
            load=harness.load,
            on_run=watcher.on_run,
        )
        self._transport = harness.broker.transport(parameters["name"])
        self._storage = watcher.storage(database)
        service = Service(
            **parameters,
            clock=harness.clock,
            transport=watcher.transport(self._transport),
            storage=self._storage,
            runner=watcher.runner(self._runner),
        )
        service.open()
        self.actor = ServiceActor(service, harness.clock, self._crashed)
        harness.world.actors.append(self.actor)
        self.is_up = True
        harness.note("service", f"{service.name} is up")

    def crash(self) -> None:
        """End it without a word."""
        self._harness.note("service", f"{self.actor.service.name} is killed")
        self._go()
        self._runner.close()
        self._transport.kill()
        self._storage.close()

    def stop(self, grace_s: float | None) -> None:
        """Stop it, and wait in virtual time for its end."""
        service = self.actor.service
        service.stop(grace_s)
        self._harness.world.run(lambda: service.is_done, None, "stop_service")
        self._go()
        service.close()
        self._harness.note("service", f"{service.name} has stopped")

    def close(self) -> None:
        """Let go of everything, at the end of the test."""
        if self.is_up:
            self._go()
            self._transport.kill()
            self._storage.close()

    def refresh(self) -> None:
        """The wall clock was set."""
        if self.is_up:
            self.actor.refresh()

    def find(self, message_id: str) -> TaskState | None:
        """Look a task up, also while the service is down."""
        if self.is_up:
            return self._storage.find(message_id)  # type: ignore[no-any-return]  # watched
        with reader(self._path) as database:
            return database.find(message_id)

    def tasks(self) -> list[TaskState]:
        """Return all tasks, the newest first."""
        if self.is_up:
            return self._storage.tasks(limit=_TASKS_MAX)  # type: ignore[no-any-return]  # watched
        with reader(self._path) as database:
            return database.tasks(limit=_TASKS_MAX)

    def count(self, status: TaskStatus) -> int:
        """Return how many tasks are in a status, while it is up; a service that is down does not work on any."""
        return self._storage.counts().get(status, 0) if self.is_up else 0

    def _crashed(self, _actor: ServiceActor) -> None:
        self.crash()

    def _go(self) -> None:
        self.is_up = False
        self._harness.world.actors.remove(self.actor)
