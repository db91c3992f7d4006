"""A service of a harness, over its starts, stops and crashes on one database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from schedulergodx.config import ServiceLimits
from schedulergodx.errors import StorageError
from schedulergodx.service import Service
from schedulergodx.utils.keys.access import Access
from schedulergodx.utils.storage import DB
from schedulergodx.utils.storage.reader import reader
from schedulergodx_testing.actors import ServiceActor, ServiceCrash, Timer
from schedulergodx_testing.storage import FaultyStorage
from schedulergodx_testing.watching import ServiceWatcher
from schedulergodx_testing.world.runner import VirtualRunner

if TYPE_CHECKING:
    from schedulergodx.rules.lifecycle import TaskStatus
    from schedulergodx.rules.tasks import TaskState
    from schedulergodx_testing.harness import Harness
    from schedulergodx_testing.ledger import DatabaseLedger

_RESULT_ROOM_BYTES = 64 * 1024
_TASKS_MAX = 1_000_000


class Served:
    """One service: the object that runs now, and what outlives it.

    Args:
        harness: whose service it is.
        parameters: as for `Service`, with `name` and `db`.

    Attributes:
        path: the file of its database, and `database` what reads and writes it, past all faults.
        is_up: whether it runs.
        is_to_stop: whether the test has asked it to stop.
        restart_after_s: seconds after which it starts again by itself when it crashed; None: it does not.
        storage_faults: how its database is to fail, over all its starts.
    """

    def __init__(self, harness: Harness, parameters: dict[str, Any]) -> None:
        self._harness = harness
        self._parameters = parameters
        self.name: str = parameters["name"]
        self.path = Path(parameters["db"])
        self.is_up = False
        self.is_to_stop = False
        self.restart_after_s = harness.restart_after_s
        self.database = DB(parameters["db"])
        self.storage = FaultyStorage(self.database, on_fault=self._told_fault)
        self._restart: Timer | None = None

    @property
    def ledger(self) -> DatabaseLedger:
        """What happened in its database."""
        return self._harness.ledger.databases[str(self.path)]

    def start(self) -> None:
        """Start it, on its database. A crash that a test asked for may end it at once."""
        self._cancel_restart()
        harness, parameters = self._harness, dict(self._parameters)
        del parameters["db"]
        limits: ServiceLimits = parameters.get("limits") or ServiceLimits()
        self._watcher = watcher = ServiceWatcher(
            self.name, self, harness.note, calls=harness.calls, ledger=self.ledger, clock=harness.clock
        )
        self._runner = VirtualRunner(
            harness.world,
            threads=parameters.get("threads") or limits.threads,
            processes=parameters.get("processes") or limits.processes,
            result_bytes_max=limits.message_bytes_max - _RESULT_ROOM_BYTES,
            lead_s=harness.lead_s,
            access=Access(None, lambda: service.keys.ring()),  # noqa: PLW0108 - it is made below
            load=harness.load,
            on_run=watcher.on_run,
        )
        self._transport = harness.broker.transport(self.name)
        service = Service(
            **parameters,
            clock=harness.clock,
            transport=watcher.transport(self._transport),
            storage=watcher.storage(self.storage),
            runner=watcher.runner(self._runner),
        )
        self.actor = ServiceActor(service, harness.clock, harness.calls, self._crashed)
        harness.world.actors.append(self.actor)
        self.is_up, self.is_to_stop = True, False
        try:
            service.open()
        except ServiceCrash:
            self._end_crash()
        except BaseException:
            self._go()
            self._runner.crash()
            raise
        else:
            harness.note("service", f"{self.name} is up")

    def die(self, why: str) -> NoReturn:
        """End it in the middle of a call: from here on, nothing that it does has any effect. Raises ServiceCrash."""
        self._harness.note("service", f"{self.name} is killed {why}".rstrip())
        self._watcher.is_dead = True
        self._transport.kill()
        raise ServiceCrash

    def crash(self) -> None:
        """End it without a word, between two turns."""
        self._harness.note("service", f"{self.name} is killed")
        self._watcher.is_dead = True
        self._transport.kill()
        self._end_crash()

    def stop(self, grace_s: float | None) -> None:
        """Stop it, and wait in virtual time for its end."""
        service = self.actor.service
        self.is_to_stop = True
        service.stop(grace_s)
        self._harness.world.run(lambda: service.is_done or not self.is_up, None, "stop_service")
        if not self.is_up:  # it was killed meanwhile
            self._cancel_restart()
            return
        self._go()
        service.close()
        self._runner.crash()  # what still runs in threads ends with the process
        self._harness.note("service", f"{self.name} has stopped")

    def close(self) -> None:
        """Let go of everything, at the end of the test."""
        self._cancel_restart()
        if self.is_up:
            self._go()
            self._transport.kill()
            self.storage.close()

    def refresh(self) -> None:
        """The wall clock was set."""
        if self.is_up:
            self.actor.refresh()

    def find(self, message_id: str) -> TaskState | None:
        """Look a task up, also while the service is down."""
        if self.database.is_open:
            return self.database.find(message_id)
        with reader(self.path) as database:
            return database.find(message_id)

    def tasks(self) -> list[TaskState]:
        """Return all tasks, the newest first."""
        if self.database.is_open:
            return self.database.tasks(limit=_TASKS_MAX)
        with reader(self.path) as database:
            return database.tasks(limit=_TASKS_MAX)

    def count(self, status: TaskStatus) -> int:
        """Return how many tasks are in a status, while it is up or comes back; else it does not work on any."""
        if self.database.is_open:
            return self.database.counts().get(status, 0)
        return 1 if self._restart is not None else 0

    def _crashed(self, _actor: ServiceActor) -> None:
        self._end_crash()

    def _end_crash(self) -> None:
        self._go()
        self._runner.crash()
        self.storage.close()
        self._arm_restart()

    def _arm_restart(self) -> None:
        if self.restart_after_s is not None:
            self._restart = Timer(f"start of {self.name}", self._harness.clock, self.restart_after_s, self._start_again)
            self._harness.world.actors.append(self._restart)

    def _start_again(self) -> None:
        """Start it as a supervisor does: when its database does not let it, once more after the same pause."""
        try:
            self.start()
        except StorageError as error:
            self._harness.note("service", f"{self.name} cannot start: {type(error).__name__}")
            self._arm_restart()

    def _cancel_restart(self) -> None:
        restart, self._restart = self._restart, None
        if restart is not None and restart in self._harness.world.actors:
            self._harness.world.actors.remove(restart)

    def _go(self) -> None:
        self.is_up = False
        self._harness.world.actors.remove(self.actor)

    def _told_fault(self, what: str) -> None:
        self._harness.note("storage", f"{self.name}: {what}")
