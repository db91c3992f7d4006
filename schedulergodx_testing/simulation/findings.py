"""What must hold on a stage: the promises of `schedulergodx_testing.invariants`, and that what was told is true."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from schedulergodx.errors import SchedulerError
from schedulergodx.rules.lifecycle import Code
from schedulergodx_testing import invariants
from schedulergodx_testing.invariants import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schedulergodx.rules.lifecycle import Outcome
    from schedulergodx_testing.simulation.stage import Stage

_NEVER_RUN = frozenset({Code.OVERDUE_SKIPPED, Code.CANCELLED, Code.HARD_NOT_SUPPORTED})
_RUN_TO_ITS_END = frozenset(
    {Code.OK, Code.RESULT_UNSERIALIZABLE, Code.RESULT_TOO_LARGE, Code.ERROR_IN_TASK, Code.TASK_EXITED}
)

_SOON = timedelta(minutes=1)


def find(stage: Stage, *, is_over: bool = False) -> list[Violation]:
    """Return every promise that does not hold now, and every outcome that is not what happened.

    Args:
        stage: an open one.
        is_over: whether everything had the time to end, as after `Stage.calm_down`.
    """
    for message_id, client in stage.effects.launched.items():
        stage.harness.ledger.confirmed.setdefault(message_id, client)
    found = invariants.check(stage.harness, is_over=is_over)
    found += _runs(stage)
    if is_over and not found:  # what is nowhere cannot be heard of
        found += _heard(stage)
    return found


def _runs(stage: Stage) -> Iterator[Violation]:
    """Look whether what runs did fits to what is recorded of them."""
    effects = stage.effects
    for served in stage.harness.services:
        for message_id, record in served.ledger.tasks.items():
            times = effects.begun[message_id]
            if times > record.task.max_starts:
                yield Violation("I3", f"a function was entered {times} times for one launch", message_id)
            if not record.outcomes:
                continue
            code = record.outcomes[-1].code
            if code in _NEVER_RUN and effects.begun[message_id]:
                yield Violation("I3", f"a task ran, and its outcome is {code.value}", message_id)
            elif code in _RUN_TO_ITS_END and not effects.ended[message_id]:
                yield Violation("I2", f"a task did not come to its end, and its outcome is {code.value}", message_id)


def _heard(stage: Stage) -> Iterator[Violation]:
    """Look whether each client that lives hears of its launches what the service has recorded."""
    recorded = _outcomes_to_hear(stage)
    for client in stage.clients:
        if not stage.is_alive(client):
            continue
        mine = [one for one, name in stage.returned.items() if name == client.name and one in recorded]
        try:
            for message_id in mine:
                client.outcome(message_id)  # asks, where it has not heard
            stage.harness.advance(seconds=1)
            heard = {message_id: client.outcome(message_id) for message_id in mine}
        except SchedulerError as error:
            yield Violation("I4", f"client {client.name!r} cannot hear of its launches: {type(error).__name__}")
            continue
        for message_id, outcome in heard.items():
            known = recorded[message_id]
            if outcome is None:
                yield Violation("I4", f"client {client.name!r} does not hear how a launch ended", message_id)
            elif _told(outcome) != _told(known):
                what = f"client {client.name!r} hears {outcome.code.value}, and {known.code.value} is recorded"
                yield Violation("I4", what, message_id)


def _outcomes_to_hear(stage: Stage) -> dict[str, Outcome]:
    """Return the outcomes that are not, and will not soon be, older than the service keeps them."""
    found: dict[str, Outcome] = {}
    for served in stage.harness.services:
        keep = timedelta(seconds=served.actor.service.limits.keep_outcomes_s)
        kept_since = stage.harness.clock.now() + _SOON - keep
        for message_id, record in served.ledger.tasks.items():
            outcome = record.outcomes[-1] if record.outcomes else None
            is_young = outcome is not None and outcome.ended_at is not None and outcome.ended_at > kept_since
            if outcome is not None and is_young and not served.ledger.is_pruned(message_id):
                found[message_id] = outcome
    return found


def _told(outcome: Outcome) -> tuple[object, ...]:
    return outcome.code, outcome.report.result, outcome.started_at, outcome.ended_at
