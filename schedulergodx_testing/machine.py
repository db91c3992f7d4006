"""`SchedulerMachine`: a Hypothesis state machine that does to a scheduler what a bad week does; the promises must hold.

Subclass it, add rules of your own, and run its `TestCase`. Needs Hypothesis.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schedulergodx.errors import BrokerError, StorageError
from schedulergodx_testing import invariants, replay
from schedulergodx_testing.crashing import WINDOWS
from schedulergodx_testing.errors import HarnessError
from schedulergodx_testing.harness import Harness
from schedulergodx_testing.overriding import watch
from schedulergodx_testing.weighing import of, weigh

if TYPE_CHECKING:
    import unittest
    from collections.abc import Callable, Iterator, Mapping

    from schedulergodx.client import Client

P = ParamSpec("P")
_SERVICE_WINDOWS = [name for name, window in WINDOWS.items() if window.call.split(".")[0] not in {"client", "broker"}]
_CALM_DOWN_S = 3600.0


def told(function: Callable[P, None]) -> Callable[P, None]:
    """Let a rule stand in the timeline, and in the line that replays a story. Write it below `@rule(...)`.

    The rule's arguments must be JSON data, and it must bear being called at any time: a replay knows no preconditions.
    """

    @wraps(function)
    def tell(*args: P.args, **kwargs: P.kwargs) -> None:
        machine: Any = args[0]
        name = getattr(function, "__name__", "?")
        machine.story.append((name, dict(kwargs)))
        shown = ", ".join(f"{key}={value!r}" for key, value in kwargs.items())
        machine.scheduler.note("test", f"{name}({shown})")
        function(*args, **kwargs)

    return tell


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's log from the program's: faults by the hundred would hide the story and the timeline."""
    logger = logging.getLogger("schedulergodx")
    was_propagating, logger.propagate = logger.propagate, False
    nowhere = logging.NullHandler()  # without any, lines would go to stderr
    logger.addHandler(nowhere)
    try:
        yield
    finally:
        logger.removeHandler(nowhere)
        logger.propagate = was_propagating


class _TestCase:
    """Makes the `TestCase` of a machine one that also replays the story that `SCHEDULERGODX_REPLAY` tells."""

    def __init__(self) -> None:
        self._made: dict[type, type[unittest.TestCase]] = {}

    def __get__(self, machine: object, kind: type[SchedulerMachine]) -> type[unittest.TestCase]:
        if kind not in self._made:
            self._made[kind] = _replaying(kind, RuleBasedStateMachine.__dict__["TestCase"].__get__(None, kind))
        return self._made[kind]


def _replaying(kind: type[SchedulerMachine], base: Any) -> type[unittest.TestCase]:
    @wraps(base.runTest)
    def run(self: unittest.TestCase) -> None:
        if (text := replay.wanted()) is None:
            base.runTest(self)
        else:
            kind.replay(text)

    return type(base.__name__, (base,), {"runTest": run, "__module__": kind.__module__})


class SchedulerMachine(RuleBasedStateMachine):
    """One client, one service and one broker, to which random things happen, one after the other.

    After each step every promise must hold (`invariants.check`), and at the end, when everything works again and all
    had their time, everything must have ended. A failure prints the story, the timeline, and the line that replays it.

    To extend it, subclass it; a rule of yours also carries `@told` below `@rule(...)`, and uses `self.scheduler`. What
    your rules need is prepared in `setup`; an `__init__` or a `teardown` of your own that does not call that of
    `super()` is refused. Where several things could happen at once, the first at hand happens; the rule `choose` has
    others come first. So all that is random is drawn by Hypothesis, and shrinks.

    Your rules together come as often as all the others, unless `weights` says how often a rule, or each rule of a
    group, is to come: `weights = {"broker": 0, "service": 3, "buy": 10}` leaves the broker in peace, and so on. The
    groups are launches, time, order (the rule `choose`), service, storage and broker; a weight not given is 1.

    Attributes:
        weights: how often rules come, by name or by group; of the class.
        scheduler: the open harness.
        client: launches what the rule `launch` launches.
        story: the steps so far.
    """

    TestCase: ClassVar[Any] = _TestCase()  # type: ignore[misc]  # Hypothesis has a property of its own kind there
    weights: ClassVar[Mapping[str, int]] = {}
    _is_open = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Weigh the rules of a machine, and watch what it overrides. Raises HarnessError for meaningless weights."""
        super().__init_subclass__(**kwargs)
        weigh(cls)
        watch(cls, SchedulerMachine)

    def __init__(self) -> None:
        super().__init__()
        self.story: replay.Steps = []
        self._has_failed = False
        self._logging = ExitStack()
        self.scheduler = self._harness()
        self.scheduler.open()
        self._is_open = True
        try:
            self._logging.enter_context(_quiet())
            self.scheduler.choices.plan(())
            self.client: Client = self.scheduler.new_client(name="client")
            self._task = self.client.task(work)
            self.setup()
        except BaseException:
            self._close()
            raise

    def _harness(self) -> Harness:
        harness: object = self.setup_harness()
        if not isinstance(harness, Harness):
            raise HarnessError(
                f"{type(self).__qualname__}.setup_harness must return a Harness(…), not opened yet; got {harness!r:.40}"
            )
        return harness

    def setup_harness(self) -> Harness:
        """Return the harness of one story, not opened yet. Override it for other options."""
        return Harness(service={"threads": 2, "processes": 1})

    def setup(self) -> None:
        """Prepare what your rules need; the harness is open. Does nothing by default."""

    # --- what programs do

    @of("launches")
    @rule()
    @told
    def launch(self) -> None:
        """Launch a task that returns at once."""
        self.attempt(lambda: self._task.launch(0, "return", None))

    @of("launches")
    @rule(
        kind=st.sampled_from(["soft", "hard"]),
        delay=st.sampled_from([None, 1, 60, 3600]),
        seconds=st.sampled_from([0, 1, 90]),
        end=st.sampled_from(["return", "raise", "launch"]),
        lifetime=st.sampled_from([None, 10]),
        overdue=st.sampled_from(["skip", "run"]),
    )
    @told
    def launch_with(  # noqa: PLR0913, PLR0917 - what a launch can be like
        self, kind: str, delay: float | None, seconds: float, end: str, lifetime: float | None, overdue: str
    ) -> None:
        """Launch a task that waits, takes some seconds, and then returns, raises, or launches another one."""
        task = self._task.options(
            hard=kind == "hard",
            delay=delay,
            task_lifetime=lifetime,
            hard_task_lifetime=lifetime,
            enable_overdue=overdue == "run",
        )
        self.attempt(lambda: task.launch(seconds, end, self._task if end == "launch" else None))

    def attempt(self, launch: Callable[[], object]) -> None:
        """Launch, and take it as it comes when the broker is not there: then nothing is promised."""
        try:
            launch()
        except BrokerError as error:
            self.scheduler.note("client", f"not launched: {type(error).__name__}")

    # --- time

    @of("time")
    @rule(seconds=st.sampled_from([1, 10, 60, 3600, 86400]))
    @told
    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.scheduler.advance(seconds=seconds)

    @of("time")
    @rule()
    @told
    def run_until_idle(self) -> None:
        """Let happen what can happen now."""
        self.scheduler.run_until_idle()

    @of("time")
    @rule(seconds=st.sampled_from([1, -1, 3600, -3600, 86400 * 365]))
    @told
    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock."""
        self.scheduler.jump_wall(seconds=seconds)

    @of("order")
    @rule(choices=st.lists(st.integers(0, 3), min_size=1, max_size=12))
    @told
    def choose(self, choices: list[int]) -> None:
        """Where several things could happen next, have these come first, instead of what comes first by itself."""
        self.scheduler.choices.plan(choices)

    # --- the service

    @property
    def _is_up(self) -> bool:
        return self.scheduler.services[0].is_up

    @of("service")
    @precondition(lambda self: self._is_up)
    @rule()
    @told
    def crash_service(self) -> None:
        """End it as SIGKILL does, between two turns."""
        if self._is_up:
            self.scheduler.crash_service()

    @of("service")
    @precondition(lambda self: self._is_up)
    @rule(window=st.sampled_from(_SERVICE_WINDOWS), nth=st.integers(1, 3))
    @told
    def crash_service_at(self, window: str, nth: int) -> None:
        """Have it die in the middle of a turn, when it next comes to a crash window, or the time after."""
        self.scheduler.crash_at(window, n=nth)

    @of("service")
    @precondition(lambda self: self._is_up)
    @rule(grace_s=st.sampled_from([0, 30]))
    @told
    def stop_service(self, grace_s: float) -> None:
        """Stop it as SIGTERM does."""
        if self._is_up:
            self.scheduler.stop_service(grace_s=grace_s)

    @of("service")
    @precondition(lambda self: not self._is_up)
    @rule()
    @told
    def start_service(self) -> None:
        """Start it again, on its database, if that lets it."""
        if self._is_up:
            return
        try:
            self.scheduler.start_service()
        except StorageError as error:
            self.scheduler.note("service", f"cannot start: {type(error).__name__}")

    @of("storage")
    @rule(error=st.sampled_from(["busy", "full", "ioerr"]), at=st.integers(1, 8))
    @told
    def fail_storage(self, error: Any, at: int) -> None:
        """Have one of the next calls to its database fail."""
        self.scheduler.faults.fail_storage(at, error)

    # --- the broker

    @of("broker")
    @rule()
    @told
    def cut_connections(self) -> None:
        """Cut all connections."""
        self.scheduler.broker.faults.cut()

    @of("broker")
    @rule()
    @told
    def repeat_delivery(self) -> None:
        """Have the next delivery come twice."""
        self.scheduler.broker.faults.repeat_delivery()

    @of("broker")
    @rule()
    @told
    def lose_confirm(self) -> None:
        """Lose the next confirm; whoever waits for it learns of it when the connection is cut."""
        self.scheduler.broker.faults.lose_confirm()

    @of("broker")
    @rule(down_s=st.sampled_from([0, 5, 600]))
    @told
    def restart_broker(self, down_s: float) -> None:
        """Stop the broker in order, and start it again."""
        self.scheduler.broker.restart(down_s=down_s)

    @of("broker")
    @rule(down_s=st.sampled_from([0, 5, 600]))
    @told
    def crash_broker(self, down_s: float) -> None:
        """Kill the broker, and start it again: what it had told nobody of is there or gone."""
        self.scheduler.broker.crash(down_s=down_s)

    @of("broker")
    @rule()
    @told
    def block(self) -> None:
        """Have the broker take no messages."""
        self.scheduler.broker.faults.block()

    @of("broker")
    @rule()
    @told
    def unblock(self) -> None:
        """Have the broker take messages again."""
        self.scheduler.broker.faults.unblock()

    # --- what must hold

    @invariant()
    def promises_hold(self) -> None:
        """Check what must hold at every moment."""
        self._require(invariants.check(self.scheduler))

    def teardown(self) -> None:
        """Let everything work again and end, check that it has, and close the harness."""
        try:
            if not self._has_failed and sys.exc_info()[0] is None:
                self.end_well()
        finally:
            self._close()

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._logging.close()
            self.scheduler.close()

    def end_well(self) -> None:
        """End all faults, give everything its time, and check that all is answered, and what `must_hold` asked for."""
        scheduler = self.scheduler
        scheduler.note("test", "the end: all works again")
        for armed in scheduler.crash_points:
            if armed.hook in scheduler.calls.hooks:
                scheduler.calls.hooks.remove(armed.hook)
        scheduler.faults.heal_storage()
        scheduler.broker.faults.clear()
        scheduler.broker.faults.unblock()
        scheduler.broker.faults.cut()  # what was lost on the way is sent again
        if not self._is_up:
            scheduler.start_service()
        scheduler.advance(seconds=_CALM_DOWN_S)
        scheduler.run_all()
        scheduler.advance(seconds=_CALM_DOWN_S)
        self._require(invariants.check(scheduler, is_over=True))
        self._refuse([(f"the machine's own: {sentence}", "") for sentence in scheduler.unheld()])

    def _require(self, violations: list[invariants.Violation]) -> None:
        self._refuse([(str(violation), violation.message_id) for violation in violations])

    def _refuse(self, broken: list[tuple[str, str]]) -> None:
        """Fail with sentences about what does not hold, each with the id of its launch, if there are any."""
        if not broken:
            return
        self._has_failed = True
        scheduler = self.scheduler
        for sentence, message_id in broken:
            scheduler.timeline.add(scheduler.clock.now(), "test", sentence, message_id, is_broken=True)
        sentences = [sentence for sentence, _ in broken]
        raise AssertionError("\n".join([*sentences, "", str(scheduler.timeline), "", self._again()]))

    def _again(self) -> str:
        try:
            token = replay.story_token(self.story)
        except TypeError as error:
            return f"No line replays this: an argument of a rule is no JSON data ({error})."
        nodeid = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
        return f"Replay it: {replay.line(token, nodeid)}"

    @classmethod
    def replay(cls, text: str) -> None:
        """Do the steps of a token once, without Hypothesis.

        Raises:
            InvalidParameter: it is no token of a machine.
            AssertionError: a promise is broken, as when it was printed.
        """
        steps = replay.parse_story(text)
        machine = cls()
        try:
            machine.promises_hold()
            for name, arguments in steps:
                getattr(machine, name)(**arguments)
                machine.promises_hold()
        finally:
            machine.teardown()


def work(seconds: float, end: str, task: Any) -> str:
    """Take some seconds, and then return, raise, or launch `task`."""
    if seconds:
        threading.Event().wait(seconds)
    if end == "raise":
        raise ValueError("as it was told")
    if end == "launch":
        task.launch(0, "return", None)
    return "done"
