"""Where a story is played: a harness, clients, and a method for every step that a story can have."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from schedulergodx.errors import BatchFailed, BrokerError, LaunchUncertain, SchedulerError, StorageError
from schedulergodx.utils.abstractions import Outgoing
from schedulergodx_testing.actors import Timer
from schedulergodx_testing.harness import Harness
from schedulergodx_testing.simulation.effects import Effects, begin, work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from schedulergodx.client import Client
    from schedulergodx.client.task import Task
    from schedulergodx_testing.simulation.stories import Story

_PATIENCE_S = 60.0  # of real time: many simulations share a machine
_LAUNCH_TIMEOUT_S = 10.0
_SETTLE_S = 3700.0


class Stage:
    """The world of one story. A method that a story names is a step; each may be called at any time.

    Args:
        story: whose world it is; its steps are not played by this.

    Attributes:
        harness: open from the beginning, until `close`.
        effects: what runs really did.
        returned: ids of launches that have returned, and the name of their client: what the promises are about.
        faults: how many faults have happened, beside those of broker and database.
    """

    def __init__(self, story: Story) -> None:
        setup = story.setup
        self.harness = Harness(
            seed=story.seed,
            restart_after_s=setup.restart_after_s,
            lead_s=setup.lead_s,
            patience_s=_PATIENCE_S,
            service={"limits": setup.limits, "queue_type": setup.queue_type},
        )
        self.effects: Effects = begin()
        self.returned: dict[str, str] = {}
        self.faults = 0
        self._setup = setup
        self._uncertain: list[tuple[Client, str]] = []
        self._timers: list[Timer] = []
        self._tag = 0
        self.harness.open()
        self.clients = [self._new_client(name) for name in setup.clients]

    def close(self) -> None:
        """Close the harness. Raises LeftBehind when a thread is left."""
        self.harness.close()

    # --- what programs do

    def launch(self, client: int, **how: Any) -> None:
        """Launch a task; when the broker does not have it, nothing is promised."""
        who = self._client(client)
        with self._taking_it(who):
            self._promise(who, str(self._launch(who, **how)))

    def batch(self, client: int, count: int, **how: Any) -> None:
        """Launch many, and wait for their confirms together."""
        who = self._client(client)
        sent: list[str] = []
        try:
            with who.batch():
                for _ in range(count):
                    sent.append(str(self._launch(who, **how)))  # noqa: PERF401 - those before an error count
        except BatchFailed as error:
            self._tell(f"{len(error.errors)} of {count} launches failed")
            self._uncertain += [(who, one) for one, why in error.errors.items() if isinstance(why, LaunchUncertain)]
            sent = [one for one in sent if one not in error.errors]
        except BrokerError as error:
            self._tell(f"not launched: {type(error).__name__}")
            return
        self._promise(who, *sent)

    def launch_again(self) -> None:
        """Launch again what ended as uncertain."""
        uncertain, self._uncertain = self._uncertain, []
        for who, message_id in uncertain:
            if who in self.clients:
                with self._taking_it(who):
                    self._promise(who, str(who.launch_again(message_id)))

    def wait(self, which: int, timeout_s: float) -> None:
        """Wait for the result of one of the last launches."""
        ids = list(self.returned)
        if not ids:
            return
        message_id = ids[-1 - which % len(ids)]
        who = self._client(which)
        try:
            who.result(message_id, timeout_s)
        except SchedulerError as error:  # the end of the task, or the end of the patience
            self._tell(f"no result: {type(error).__name__}")

    def poison(self, body: str) -> None:
        """Put a message into the queue of requests that is none."""
        stranger = self.harness.broker.transport("stranger")
        stranger.publish(
            Outgoing(queue=self._queue, body=body.encode(), message_id="", on_settled=lambda _, __: stranger.close())
        )
        self.harness.run_until_idle()

    # --- time

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.harness.advance(seconds=seconds)

    def run_until_idle(self) -> None:
        """Let happen what can happen now."""
        self.harness.run_until_idle()

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock."""
        self.faults += 1
        self.harness.jump_wall(seconds=seconds)

    # --- programs that end

    @property
    def _is_up(self) -> bool:
        return self.harness.services[0].is_up

    def crash_service(self, after_s: float) -> None:
        """End the service as SIGKILL does, between two turns, now or in the midst of what happens later."""
        self._at(after_s, self._crash_service)

    def _crash_service(self) -> None:
        if self._is_up:
            self.faults += 1
            self.harness.crash_service()

    def stop_service(self, grace_s: float) -> None:
        """Stop the service as SIGTERM does."""
        if self._is_up:
            self.faults += 1
            self.harness.stop_service(grace_s=grace_s)

    def start_service(self) -> None:
        """Start the service, if it is down and its database lets it."""
        if self._is_up:
            return
        try:
            self.harness.start_service()
        except StorageError as error:
            self._tell(f"the service cannot start: {type(error).__name__}")

    def crash_at(self, call: str, when: Any, nth: int) -> None:
        """Have a program die at one of its next calls through a seam."""
        self.harness.crash_at(call, when=when, n=nth)

    def crash_client(self, client: int, after_s: float) -> None:
        """End the program of a client."""
        who = self._client(client)
        self._at(after_s, lambda: self._crash_client(who))

    def _crash_client(self, client: Client) -> None:
        if self.is_alive(client):
            self.faults += 1
            self.harness.crash_client(client)

    # --- broker and network

    def crash_broker(self, down_s: float, after_s: float) -> None:
        """Kill the broker, and start it again: what it had told nobody of is there or gone."""
        self._at(after_s, lambda: self.harness.broker.crash(down_s=down_s))

    def restart_broker(self, down_s: float, after_s: float) -> None:
        """Stop the broker in order, and start it again."""
        self._at(after_s, lambda: self.harness.broker.restart(down_s=down_s))

    def cut(self, after_s: float) -> None:
        """Cut all connections."""
        self._at(after_s, self.harness.broker.faults.cut)

    def cut_at(self, operation: int) -> None:
        """Cut all connections instead of something that is about to travel."""
        self.harness.broker.faults.cut_at(operation)

    def half_open(self) -> None:
        """Let nothing through any more, unnoticed until heartbeats are missed."""
        self.harness.broker.faults.half_open()

    def network_away(self, for_s: float) -> None:
        """Take the network away for a while."""
        self.harness.broker.faults.go_away()
        self._at(for_s, self.harness.broker.faults.come_back)

    def lose(self, what: str, cut_after_s: float) -> None:
        """Lose something on its way, without a trace, until connections are cut a while later."""
        getattr(self.harness.broker.faults, f"lose_{what}")()
        self._at(cut_after_s, self.harness.broker.faults.cut)

    def repeat_message(self, queue: str | None, times: int) -> None:
        """Have the next messages kept twice."""
        self.harness.broker.faults.repeat_message(queue, times=times)

    def repeat_delivery(self, queue: str | None, times: int) -> None:
        """Have the next messages delivered twice."""
        self.harness.broker.faults.repeat_delivery(queue, times=times)

    def delay_message(self, queue: str | None, times: int, delay_s: float) -> None:
        """Have the next messages take long."""
        self.harness.broker.faults.delay_message(delay_s, queue, times=times)

    def delay_confirm(self, queue: str | None, times: int, delay_s: float) -> None:
        """Have the next confirms take long."""
        self.harness.broker.faults.delay_confirm(delay_s, queue, times=times)

    def delay_delivery(self, queue: str | None, times: int, delay_s: float) -> None:
        """Have the next deliveries take long."""
        self.harness.broker.faults.delay_delivery(delay_s, queue, times=times)

    def reorder(self, queue: str | None, times: int) -> None:
        """Have the next messages change places."""
        self.harness.broker.faults.reorder(queue, times=times)

    def block(self, for_s: float) -> None:
        """Have the broker take no messages for a while."""
        self.harness.broker.faults.block()
        self._at(for_s, self.harness.broker.faults.unblock)

    def limit_queue(self, to: int, for_s: float) -> None:
        """Have the queue of requests refuse what is more, for a while."""
        self.faults += 1
        self.harness.broker.set_limit(self._queue, to)
        self._at(for_s, self._end_limit)

    # --- the database

    def fail_storage(self, error: Any, at: int) -> None:
        """Have one of the next calls to the database fail."""
        self.harness.faults.fail_storage(at, error)

    def break_storage(self, error: Any, for_s: float) -> None:
        """Have all calls to the database fail, for a while."""
        self.harness.faults.fail_storage(1, error, once=False)
        self._at(for_s, self.harness.faults.heal_storage)

    # --- the end

    def calm_down(self) -> None:
        """End all faults, give everything its time, and have every client that lives hear what it has not heard."""
        harness, faults = self.harness, self.harness.broker.faults
        harness.note("test", "the end: all works again")
        for timer in self._timers:
            harness.world.actors.remove(timer)
        for armed in harness.crash_points:
            with suppress(ValueError):
                harness.calls.hooks.remove(armed.hook)
        harness.faults.heal_storage()
        faults.clear()
        faults.unblock()
        faults.come_back()
        faults.cut()  # what was lost on the way is sent again
        self._end_limit()
        if not self._is_up:
            harness.start_service()
        harness.advance(seconds=_SETTLE_S)
        self.launch_again()
        harness.run_all()
        harness.advance(seconds=_SETTLE_S)

    def count_faults(self) -> int:
        """Return how many faults have happened so far; the end of one is none."""
        crashes = sum(armed.has_happened for armed in self.harness.crash_points)
        failures = len(self.harness.services[0].storage.failed)
        counts = self.harness.broker.faults.counts
        of_broker: int = sum(count for name, count in counts.items() if name not in {"back", "unblock", "accept"})
        return self.faults + crashes + failures + of_broker

    # --- its parts

    @property
    def _queue(self) -> str:
        return self.clients[0].rmq_publisher_que

    def _new_client(self, name: str) -> Client:
        return self.harness.new_client(name=name, launch_timeout_s=_LAUNCH_TIMEOUT_S, queue_type=self._setup.queue_type)

    def _client(self, number: int) -> Client:
        """Return a client; where its program was killed, its next start."""
        place = number % len(self.clients)
        if self._is_dead(self.clients[place]):
            self.clients[place] = self._new_client(self._setup.clients[place])
        return self.clients[place]

    def is_alive(self, client: Client) -> bool:
        """Return whether the program of a client still runs, and is connected."""
        return self._is_connected(client) and not self._is_dead(client)

    def _is_connected(self, client: Client) -> bool:
        queue = client.rmq_consumer_que
        return any(program.queue == queue for program in self.harness.programs)

    def _is_dead(self, client: Client) -> bool:
        queue = client.rmq_consumer_que
        return any(program.queue == queue and program.is_dead for program in self.harness.programs)

    def _launch(  # noqa: PLR0913 - what a launch can be like
        self,
        client: Client,
        *,
        hard: bool = False,
        delay: float | None = None,
        seconds: float = 0,
        end: str = "return",
        lifetime: float | None = None,
        overdue: str = "skip",
        starts: int = 1,
    ) -> object:
        self._tag += 1
        task: Task[..., Any] = client.task(work).options(
            hard=hard,
            delay=delay,
            task_lifetime=lifetime,
            hard_task_lifetime=lifetime,
            enable_overdue=overdue == "run",
            on_crash="report" if starts == 1 else "retry",
            max_starts=None if starts == 1 else starts,
        )
        return task.launch(self._tag, seconds, end, client.task(work) if end == "chain" else None)

    def _promise(self, client: Client, *message_ids: str) -> None:
        """Remember what was promised: `launch()` has returned."""
        for message_id in message_ids:
            self.returned[message_id] = client.name
            self.harness.ledger.confirmed.setdefault(message_id, client.name)

    @contextmanager
    def _taking_it(self, client: Client) -> Iterator[None]:
        """Take it as it comes when broker or client are not there: then nothing is promised."""
        try:
            yield
        except LaunchUncertain as error:
            self._tell("a launch is uncertain")
            self._uncertain.append((client, error.message_id or ""))
        except BrokerError as error:
            self._tell(f"not done: {type(error).__name__}")

    def _tell(self, what: str) -> None:
        self.harness.note("client", what)

    def _at(self, after_s: float, action: Callable[[], object]) -> None:
        """Do something now, or after some seconds, whatever is going on then."""

        def act() -> None:
            action()

        if not after_s:
            act()
            return
        timer = Timer("a fault", self.harness.clock, after_s, act)
        self._timers.append(timer)
        self.harness.world.actors.append(timer)

    def _end_limit(self) -> None:
        self.harness.broker.set_limit(self._queue, None)
