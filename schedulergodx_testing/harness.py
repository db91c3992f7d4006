"""`Harness`: clients, a service and a broker in one process, under one clock that a test moves."""

from __future__ import annotations

import random
import shutil
import tempfile
import weakref
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schedulergodx import forks, redirection
from schedulergodx.client import Client
from schedulergodx.context import current_task
from schedulergodx.utils.message import payload
from schedulergodx_testing import brokers, foreign_clocks, options
from schedulergodx_testing.actors import BrokerActor
from schedulergodx_testing.assertions import Assertions
from schedulergodx_testing.brokers import MEMORY
from schedulergodx_testing.calls import Calls
from schedulergodx_testing.clock import START
from schedulergodx_testing.crashing import BrokerProgram, Crashing, CrashPoint
from schedulergodx_testing.driving import Driving
from schedulergodx_testing.errors import FORKED, HarnessError, LeftBehind, not_open
from schedulergodx_testing.faults import HarnessFaults
from schedulergodx_testing.garbage import seldom_collected
from schedulergodx_testing.harness_clock import HarnessClock
from schedulergodx_testing.ledger import Ledger
from schedulergodx_testing.memory.happenings import KINDS
from schedulergodx_testing.places import caller
from schedulergodx_testing.programs import ClientProgram
from schedulergodx_testing.served import Served
from schedulergodx_testing.timeline import Timeline
from schedulergodx_testing.world import leaks
from schedulergodx_testing.world.choices import Choices
from schedulergodx_testing.world.interpose import interposed
from schedulergodx_testing.world.scheduler import World
from schedulergodx_testing.world.watch import watched

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from schedulergodx.redirection import Launching
    from schedulergodx.service import Service
    from schedulergodx.utils.abstractions import Transport
    from schedulergodx.utils.message.seals import Verified
    from schedulergodx_testing.launched import Launch
    from schedulergodx_testing.memory import Happening

_TOLD = frozenset(KINDS - {"connected", "declared", "consuming", "kept", "acked", "closed", "killed"})
"""Happenings of the broker that stand in the timeline; the others go as they always do."""


_latest: list[weakref.ref[Harness]] = []


def latest() -> Harness | None:
    """Return the harness that was opened last, if it is still there: what a failing test is told with."""
    return _latest[0]() if _latest else None


class Harness(Driving, Assertions, Crashing):
    """A world for one test: everything of this process that launches or serves lives in it while it is open.

    Programs under test stay as they are. Nothing happens, and no time passes, but by what the test calls: `advance`,
    `run_until_idle`, `run_until`, `run_all`, or by waiting (`id.result()`, `time.sleep`, …). A context manager; the
    fixture `scheduler` is an open one. One thread, the one that opens it, uses it.

    Args:
        start: the wall time at the beginning, aware, of the years 100 to 9899.
        time_zone: name of the local time zone, for naive local times of the code under test.
        seed: what the order of things is drawn from, where several could come first.
        client: parameters of `client`, as for `Client`.
        service: parameters of `service`, as for `Service`.
        copies: run the function as it was deserialized, as in production. By default the original function runs, with
            copies of its arguments, so that a list or a mock of the test sees what the task did.
        is_capturing: record launches, and run nothing.
        is_strict: at the end, every launch must have an outcome, and nothing may be in the dead letters.
        patience_s: real seconds that a task may spin before it is reported as stuck; of the test itself, seconds of
            processor time that it may use while nothing happens.
        restart_after_s: seconds after which a service that crashed starts again by itself, as under a supervisor; None:
            by `start_service` only.
        lead_s: how many seconds ahead of its moment, less than 1, the service may claim a delayed soft task, which then
            waits for it in a thread; 0.005 in production. 0: not ahead. Only Linux has it, only where two threads are
            free, and each service begins with it after its first soft task.
        replay: choices to repeat, from the line that a failing test prints.
        transport: "memory", or the URL of a real broker (`sqlite:///…`, `amqp://…`): messages travel through it, and
            the clock is still this harness's. What a real broker cannot be told to do raises `NotEmulated`.

    Raises:
        InvalidParameter: a parameter is outside its range.
    """

    clock: HarnessClock

    def __init__(  # noqa: PLR0913 - every one is documented above and optional
        self,
        *,
        start: datetime = START,
        time_zone: str = "UTC",
        seed: int = 0,
        client: Mapping[str, Any] | None = None,
        service: Mapping[str, Any] | None = None,
        copies: bool = False,
        is_capturing: bool = False,
        is_strict: bool = False,
        patience_s: float = 5.0,
        restart_after_s: float | None = None,
        lead_s: float = 0.0,
        replay: Sequence[int] | None = None,
        transport: str = MEMORY,
    ) -> None:
        super().__init__()
        options.check_seed(seed)
        options.check_flags(copies=copies, is_capturing=is_capturing, is_strict=is_strict)
        options.check_seconds(patience_s=patience_s, restart_after_s=restart_after_s, lead_s=lead_s)
        self.seed = seed
        self._time_zone = options.zone(time_zone)
        self._client_parameters = options.parameters("client", client)
        self._service_parameters = options.parameters("service", service)
        self._copies = copies
        self.is_capturing = is_capturing
        self._is_strict = is_strict
        self._random = random.Random(f"ids {seed}")
        self._patience_s = patience_s
        self.clock = HarnessClock(start)
        self.choices = Choices(seed, replay)
        self.world = World(self.clock, self.choices, patience_s=patience_s)
        self.world.launches = self._launches.__len__
        self.transport = transport
        self.broker = brokers.broker_for(transport, clock=self.clock, world=self.world, choices=self.choices)
        self.broker.on_happening = self._happening
        self.restart_after_s = restart_after_s
        self.lead_s = lead_s
        self.calls = Calls()
        self.ledger = Ledger()
        self.programs: list[ClientProgram] = []
        self.crash_points: list[CrashPoint] = []
        self.wishes: list[tuple[Callable[[], object], str]] = []
        self.broker_program = BrokerProgram(self.calls, self._crash_broker)
        self.after_broker_step: list[Callable[[], None]] = [self.broker_program.after_step]
        self.timeline = Timeline(start.astimezone(UTC), self._words_of)
        self._originals: dict[str, Callable[..., Any]] = {}
        self._client: Client | None = None
        self._services: list[Served] = []
        self._exit = ExitStack()
        self.opened = "not opened yet"

    # --- opening and closing ---------------------------------------------------------------------------------------

    def open(self) -> None:
        """Take over the clients of this process, and start the service.

        Raises:
            HarnessError: it was open before; or another one is open (they do not nest).
        """
        if self._state != "new":
            raise HarnessError("a harness opens once: make a new one for each test")
        foreign_clocks.refuse()
        try:
            self._exit.enter_context(redirection.redirect(self))
        except RuntimeError as error:
            raise HarnessError(f"{error}; that one was {getattr(redirection.active(), 'opened', 'opened')}") from None
        self._state = "open"
        forks.renew(self)
        self._launches.generation = redirection.generation()
        _latest[:] = [weakref.ref(self)]
        self.opened = f"opened {caller()}"
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="schedulergodx-", dir=_memory_folder()))
            self._exit.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self._exit.enter_context(seldom_collected())
            self._exit.callback(brokers.close, self.broker, str(not_open("closed")))
            self.clock.wait_through(self._wait_for)
            self._exit.callback(self.clock.end)
            self._exit.enter_context(watched(self.world, self._state_of_things, self._patience_s))
            self._exit.callback(leaks.tell, self.world.leaks)
            self._exit.enter_context(interposed(self.world, self._time_zone))
            self.world.actors.append(BrokerActor(self.broker, self.calls, self.after_broker_step))
            if not self.is_capturing:
                self.new_service(**self._service_parameters)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End what runs, and give everything back as it was. Closing twice does nothing.

        What was found can be read afterwards: launches, the timeline, the clock, the broker's log. What
        would let something happen raises HarnessError.

        Raises:
            LeftBehind: a thread of a task could not be ended.
            HarnessError: another thread has opened it, and lives: that one closes it.
        """
        if self._state != "open":
            return
        if not self.world.drive_from_here():
            raise HarnessError("the thread that opened a harness closes it: nothing is closed yet")
        self._state = "closed"
        try:
            stuck = self.world.end()
            for served in self._services:
                served.close()
        finally:
            self._exit.close()
        if stuck:
            raise LeftBehind(f"these threads could not be ended, and go on: {', '.join(stuck)}")

    def check(self) -> None:
        """Assert what a strict harness asks for at the end: all launches answered, no dead letters, no leaks.

        Raises:
            LeftBehind: with what was left, and what to do about it.
        """
        open_launches = [launch for launch in self.launched if self.outcome(launch.message_id) is None]
        dead = brokers.dead_letters(self.broker)
        if not self.is_capturing and open_launches:
            raise LeftBehind(
                f"{len(open_launches)} launches have no outcome at the end of a strict test, e.g. {open_launches[0]}. "
                "Let them end by run_all() or advance(…), or open the harness with is_strict=False."
            )
        self.check_crashes()
        if dead:
            raise LeftBehind(f"messages were rejected to {', '.join(dead)}; look at broker.queues[…] for the reasons")
        if found := self.world.leaks:
            raise LeftBehind(
                "the code under test took from the real world what another run with this seed finds otherwise: "
                f"{'; '.join(map(str, found))}. Draw it from `random`, which is seeded, or give it in from outside."
            )

    def check_crashes(self) -> None:
        """Assert that each crash that was armed has come. Raises LeftBehind."""
        if armed := [point for point in self.crash_points if not point.has_happened]:
            raise LeftBehind(f"{armed[0]!r}: it was armed, and the test did not come there, so it tests no crash")

    def __enter__(self) -> Self:
        """Open."""
        self.open()
        return self

    def renew_in_fork(self) -> None:
        """Leave it to the process that has forked this one; called in the child."""
        if self._state == "open":
            self._state = FORKED

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close; first, unless the block has failed anyhow, check for crashes that never came; if strict, for all."""
        try:
            if kind is None and self._state != FORKED:
                self.check_wishes()
                self.check() if self._is_strict else self.check_crashes()
        finally:
            self.close()

    @property
    def launched(self) -> list[Launch]:
        """Every launch so far, in order."""
        return self._launches.all()

    # --- who takes part --------------------------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """A client with the parameters given to the harness; made at the first use."""
        self._must_be_open()
        if self._client is None:
            self._client = self.new_client(**self._client_parameters)
        return self._client

    @property
    def service(self) -> Service:
        """The (first) service. After `crash_service` and `start_service` it is a new object on the same database."""
        return self._first().actor.service

    def new_client(self, **parameters: Any) -> Client:
        """Return a further client, with parameters as for `Client`."""
        self._must_be_open()
        return Client(**parameters)

    def new_service(self, **parameters: Any) -> Service:
        """Start a further service, with parameters as for `Service`; by default with a database of its own."""
        self._must_be_open()
        name = parameters.setdefault("name", f"service{len(self._services) + 1}" if self._services else "service")
        parameters.setdefault("db", str(self._folder / f"{name}.db"))
        served = Served(self, parameters)
        self._services.append(served)
        served.start()
        return served.actor.service

    @property
    def faults(self) -> HarnessFaults:
        """What can go wrong with the services' databases; `broker.faults` has what can with the broker."""
        return HarnessFaults(self._served_at)

    @property
    def services(self) -> tuple[Served, ...]:
        """The services, up or down, in the order of `new_service`; for parts of this package."""
        return tuple(self._services)

    def crash_service(self, index: int = 0) -> None:
        """End a service as SIGKILL does: what ran is cut off, what was not committed is gone.

        Raises:
            HarnessError: there is no service of that number, from 0 in the order of `new_service`; or it is down.
        """
        self._must_drive()
        self._served(index).crash()

    def stop_service(self, index: int = 0, *, grace_s: float | None = None) -> None:
        """Stop a service as SIGTERM does; virtual time passes while running tasks end.

        Raises:
            HarnessError: there is no service of that number, from 0 in the order of `new_service`; or it is down.
            InvalidParameter: `grace_s` is no number from 0 to ten years; nothing was asked.
        """
        self._must_drive()
        self._served(index).stop(grace_s)

    def start_service(self, index: int = 0) -> Service:
        """Start a stopped or crashed service again, on its database.

        Raises:
            HarnessError: there is no service of that number, from 0 in the order of `new_service`; or it is up.
        """
        self._must_drive()
        served = self._served_at(index)
        if served.is_up:
            raise HarnessError("there is no stopped service to start: new_service() makes a further one")
        served.start()
        return served.actor.service

    # --- as a redirection ------------------------------------------------------------------------------------------

    def connect(self, target: object, *, name: str) -> Transport:  # noqa: ARG002 - whatever broker a program names
        """Return a transport to the broker in memory, for a client of this process."""
        self._must_be_open()
        program = ClientProgram(
            self.broker.transport(name),
            calls=self.calls,
            note=self.note,
            on_sent=self.ledger.sent,
            on_confirmed=self._confirmed,
        )
        self.programs.append(program)
        return program

    def random_bits(self, bits: int) -> int:
        """Return random bits for an id, from the seed."""
        return self._random.getrandbits(bits)

    def launching(self, launch: Launching) -> None:
        """Record a launch."""
        self._must_be_open()
        foreign_clocks.refuse_frozen(launch.arguments, launch.name)
        foreign_clocks.refuse()
        now = self.clock.now()
        record = self._launches.note(launch, now)
        self._originals[launch.message_id] = launch.function
        parent = current_task()
        parent_id = "" if parent is None else parent.message_id
        self._chains.add(launch.message_id, parent_id, now)
        if record is None:
            self.timeline.hear(now, "client", len(self._launches) - 1, (launch.message_id,), parent_id)
        else:
            self.timeline.add(now, "client", f"launch {record.told()}", launch.message_id, caused_by=parent_id)

    def _state_of_things(self) -> object:
        """Return what differs as soon as anything has happened."""
        return self.clock.monotonic_us(), self.calls.turn, len(self._launches)

    def _confirmed(self, message_id: str, client: str) -> None:
        if message_id in self._originals:  # questions and messages of one's own are no launches
            self.ledger.confirmed[message_id] = client

    def _crash_broker(self) -> None:
        self.broker.crash()

    def _happening(self, happening: Happening) -> None:
        self.broker_program.heard(happening)
        if happening.kind in _TOLD:
            # Which launches are in a bundle is known now; a later one may have the same id.
            ids = self.ledger.ids_in(happening.queue, happening.message_id)
            self.timeline.hear(self.clock.now(), "broker", happening[1:], ids)

    def _words_of(self, facts: int | tuple[str, ...]) -> str:
        """Return the words for a launch, by its place among them, or for a happening of the broker."""
        if isinstance(facts, int):
            return f"launch {self.launched[facts].told()}"
        kind, transport, queue, _sent_id, detail = facts
        where = queue or transport
        return f"{kind}: {where}, {detail}" if where and detail else f"{kind}: {where or detail}"

    # --- for its parts ---------------------------------------------------------------------------------------------

    def load(self, task: Verified) -> payload.Loaded:
        """Deserialize a task, as in production; then put the original function in, unless copies are wanted."""
        loaded = payload.load(task)
        function = self._originals.get(task.message_id)
        if self._copies or function is None:
            return loaded
        return payload.Loaded(function=function, args=loaded.args, kwargs=loaded.kwargs)

    def _first(self) -> Served:
        self._must_be_open()
        if not self._services:
            raise HarnessError(
                "this harness only captures launches and has no service; open it with is_capturing=False"
            )
        return self._services[0]

    def _served_at(self, index: object) -> Served:
        self._first()
        count = len(self._services)
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
            there = "is 1 service, number 0" if count == 1 else f"are {count} services, numbers 0 to {count - 1}"
            raise HarnessError(f"no service has the number {index!r:.40}: there {there}; new_service() makes another")
        return self._services[index]

    def _served(self, index: int) -> Served:
        served = self._served_at(index)
        if not served.is_up:
            raise HarnessError("this service is down already; start_service() starts it")
        return served


def _memory_folder() -> str | None:
    """Return a folder in memory, where a test's fsync costs nothing; None where there is none."""
    folder = Path("/dev/shm")  # noqa: S108 - private folders are made inside it
    return str(folder) if folder.is_dir() else None
