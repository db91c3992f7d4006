"""The simulation can see loss: with a deliberate defect in the library, it finds the broken promise, in a few seeds."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from schedulergodx.client.publisher import Publisher as ClientPublisher
from schedulergodx.rules import due
from schedulergodx.service import Service
from schedulergodx.service.consumer import Consumer
from schedulergodx.service.publisher import Publisher
from schedulergodx.service.runs import Runs
from schedulergodx.utils.abstractions import Delivery, Outgoing
from schedulergodx.utils.storage import DB
from schedulergodx_testing.served import Served
from schedulergodx_testing.simulation import play, story_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Plant = Callable[[pytest.MonkeyPatch], None]

SEEDS_MAX = 150


def ack_before_commit(patch: pytest.MonkeyPatch) -> None:
    """Deliveries are acked when they come."""
    turn = Service._turn

    def broken(self: Any, events: Any) -> None:
        if early := [event for event in events if isinstance(event, Delivery)]:
            self._transport.ack(early)
        turn(self, events)

    patch.setattr(Service, "_turn", broken)


def no_confirms(patch: pytest.MonkeyPatch) -> None:
    """A launch returns when it is sent."""

    def broken(self: Any, queue: str, message_id: str, body: bytes) -> None:
        self._transport().publish(
            Outgoing(queue=queue, body=body, message_id=message_id, on_settled=lambda _, __: None)
        )

    patch.setattr(ClientPublisher, "send_alone", broken)


def no_dedup(patch: pytest.MonkeyPatch) -> None:
    """A task that is known is stored again, as new."""
    add = DB.add

    def broken(self: Any, task: Any, *, now: Any) -> Any:
        self._changing_now().change("DELETE FROM tasks WHERE message_id = ?", (task.message_id,))
        self._known.digests.pop(task.message_id, None)
        return add(self, task, now=now)

    patch.setattr(DB, "add", broken)


def start_before_commit(patch: pytest.MonkeyPatch) -> None:
    """A task runs before its claim is on disk."""
    start_due, after_commit = Runs.start_due, Runs.after_commit

    def early(self: Any, turn: Any, *, now: Any) -> None:
        start_due(self, turn, now=now)
        for task in turn.starts:
            self._runner.start(task, start_number=1, on_begin=lambda: True)

    def late(self: Any, turn: Any) -> None:
        start, self._runner.start = self._runner.start, lambda *_args, **_kwargs: None
        after_commit(self, turn)
        self._runner.start = start

    patch.setattr(Runs, "start_due", early)
    patch.setattr(Runs, "after_commit", late)


def early_start(patch: pytest.MonkeyPatch) -> None:
    """Moments are rounded down to minutes."""
    start_due = Runs.start_due

    def broken(self: Any, turn: Any, *, now: Any) -> None:
        start_due(self, turn, now=now.replace(second=59, microsecond=999_999))

    patch.setattr(Runs, "start_due", broken)


def early_begin(patch: pytest.MonkeyPatch) -> None:
    """What is claimed ahead of its moment begins at once."""
    beginning = Runs._beginning

    def unwatched(self: Any, task: Any, run: Any, *, is_watching: bool) -> Any:
        return beginning(self, task, run, is_watching=False)

    patch.setattr(Runs, "_beginning", unwatched)
    patch.setattr(Runs, "_left", lambda _self, _task: lambda: 0.0)


def run_again_on_restart(patch: pytest.MonkeyPatch) -> None:
    """What ran when the service died waits again."""

    def broken(self: Any, _turn: Any, *, now: Any) -> None:
        for message_id in self._storage.interrupted():
            self._storage.inner.inner.connection.change(
                "UPDATE tasks SET status = 0, started_at = NULL WHERE message_id = ?", (message_id,)
            )

    patch.setattr(Runs, "report_interrupted", broken)


def no_overdue_policy(patch: pytest.MonkeyPatch) -> None:
    """Tasks that are late run, whatever their client wished."""
    decide = due.decide

    def broken(run_at: Any, now: Any, *, is_overdue_enabled: bool, **facts: Any) -> Any:
        return decide(run_at, now, is_overdue_enabled=True, **facts)

    patch.setattr(due, "decide", broken)


def no_outbox(patch: pytest.MonkeyPatch) -> None:
    """Answers are forgotten when they are sent, instead of when the broker has them."""
    after_commit = Publisher.after_commit

    def broken(self: Any, settled: Any, fresh: Any) -> None:
        after_commit(self, settled, fresh)
        if fresh:
            with self._storage.transaction():
                self._storage.remove_replies([reply.number for reply in fresh])

    patch.setattr(Publisher, "after_commit", broken)


def one_outcome_for_all(patch: pytest.MonkeyPatch) -> None:
    """What was interrupted is told as a success."""
    from dataclasses import replace

    from schedulergodx.rules.lifecycle import Code
    from schedulergodx.service import runs

    patch.setattr(runs, "_DIED", replace(runs._DIED, code=Code.OK, result="null"))


def poison_stays(patch: pytest.MonkeyPatch) -> None:
    """What cannot be read is neither acked nor rejected."""
    conclude = Consumer._conclude

    def broken(self: Any, arrival: Any, turn: Any, now: Any) -> None:
        if arrival.refused is None:
            conclude(self, arrival, turn, now)

    patch.setattr(Consumer, "_conclude", broken)


def poison_kills(patch: pytest.MonkeyPatch) -> None:
    """What cannot be read raises out of the loop."""
    conclude = Consumer._conclude

    def broken(self: Any, arrival: Any, turn: Any, now: Any) -> None:
        if arrival.refused is not None:
            raise arrival.refused[1]
        conclude(self, arrival, turn, now)

    patch.setattr(Consumer, "_conclude", broken)


def torn_pages(patch: pytest.MonkeyPatch) -> None:
    """A crash leaves a page of the database half written, as without a journal."""
    end_crash = Served._end_crash

    def broken(self: Any) -> None:
        end_crash(self)
        with self.path.open("r+b") as file:
            file.seek(3 * 4096 + 2048)
            file.write(bytes(2048))

    patch.setattr(Served, "_end_crash", broken)


DEFECTS: list[tuple[Plant, str]] = [
    (ack_before_commit, "I1"),
    (no_confirms, "I1"),
    (no_dedup, "I2"),
    (no_dedup, "I3"),
    (start_before_commit, "I3"),
    (early_start, "I3"),
    (early_begin, "I3"),
    (run_again_on_restart, "I3"),
    (no_overdue_policy, "I3"),
    (one_outcome_for_all, "I2"),
    (no_outbox, "I4"),
    (poison_stays, "I5"),
    (poison_kills, "I5"),
    (torn_pages, "I6"),
]


def seeds_until(promise: str) -> int | None:
    """Return how many seeds it takes until a promise is broken."""
    for seed in range(SEEDS_MAX):
        if promise in play(story_of(seed)).numbers:
            return seed + 1
    return None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "promise"), DEFECTS, ids=[f"{plant.__name__}-{promise}" for plant, promise in DEFECTS]
)
def test_a_deliberate_defect_is_found(monkeypatch: pytest.MonkeyPatch, plant: Plant, promise: str) -> None:
    """Each promise is seen to break, within a few stories that hold without the defect."""
    monkeypatch.setattr(logging.getLogger("schedulergodx"), "disabled", True)
    plant(monkeypatch)
    assert seeds_until(promise) is not None
