"""The decision tables, each completely."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedulergodx.rules import due
from schedulergodx.rules.intake import Intake, Question, on_launch, on_question
from schedulergodx.rules.lifecycle import STATUS_OF, TRANSITIONS, Code, Outcome, Report, TaskStatus, may_advance
from schedulergodx.rules.tasks import Added
from schedulergodx_testing.contracts.stored_tasks import make_task

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
S = TaskStatus


@pytest.mark.parametrize(
    ("late_s", "is_delayed", "is_overdue_enabled", "decision"),
    [
        # not yet: nothing else counts
        (-5, True, False, due.Wait(5)),
        (-5, True, True, due.Wait(5)),
        (-5, False, False, due.Wait(5)),
        (-5, False, True, due.Wait(5)),
        # in time
        (0, True, False, due.Run(0)),
        (0, False, True, due.Run(0)),
        # within the grace, whose end still counts
        (60, True, False, due.Run(60)),
        (60, True, True, due.Run(60)),
        # beyond it
        (61, True, False, due.Skip(61)),
        (61, True, True, due.Run(61)),
        (61, False, False, due.Run(61)),
        (61, False, True, due.Run(61)),
    ],
)
def test_when_a_task_waits_runs_or_is_skipped(
    late_s: float, is_delayed: bool, is_overdue_enabled: bool, decision: object
) -> None:
    """Only a delayed task of a client that wants no late ones is ever skipped."""
    decided = due.decide(
        MOMENT,
        MOMENT + timedelta(seconds=late_s),
        is_delayed=is_delayed,
        is_overdue_enabled=is_overdue_enabled,
        overdue_grace_s=60,
    )
    assert decided == decision


@given(
    late=st.timedeltas(min_value=timedelta(-(10**5)), max_value=timedelta(10**5)),
    is_delayed=st.booleans(),
    is_overdue_enabled=st.booleans(),
    grace_s=st.floats(0, 10**6),
)
def test_no_task_starts_early_and_waiting_ends_at_its_moment(
    late: timedelta, is_delayed: bool, is_overdue_enabled: bool, grace_s: float
) -> None:
    """For any lateness: before the moment it waits exactly until then, afterwards it never waits."""
    decided = due.decide(
        MOMENT,
        MOMENT + late,
        is_delayed=is_delayed,
        is_overdue_enabled=is_overdue_enabled,
        overdue_grace_s=grace_s,
    )
    if late < timedelta(0):
        assert decided == due.Wait(-late.total_seconds())
    else:
        assert not isinstance(decided, due.Wait)
        assert decided.late_s == late.total_seconds()


@pytest.mark.parametrize(
    ("added", "is_ended", "intake"),
    [
        (Added.NEW, False, Intake.KEEP),
        (Added.NEW, True, Intake.KEEP),
        (Added.SAME, False, Intake.WATCH),
        (Added.SAME, True, Intake.ANSWER),
        (Added.CONFLICT, False, Intake.REFUSE),
        (Added.CONFLICT, True, Intake.REFUSE),
        (Added.FORGOTTEN, False, Intake.SAY_PRUNED),
    ],
)
def test_what_a_launch_leads_to(added: Added, is_ended: bool, intake: Intake) -> None:
    """The first under an id wins; the same again is answered, at once or at its end."""
    assert on_launch(added, is_ended=is_ended) is intake


@pytest.mark.parametrize(
    ("is_known", "is_forgotten", "is_ended", "is_waiting_wanted", "question"),
    [
        (False, False, False, False, Question.UNKNOWN),
        (False, False, False, True, Question.UNKNOWN),
        (False, True, False, False, Question.SAY_PRUNED),
        (False, True, False, True, Question.SAY_PRUNED),
        (True, False, False, False, Question.SAY_STATUS),
        (True, False, False, True, Question.WATCH),
        (True, False, True, False, Question.ANSWER),
        (True, False, True, True, Question.ANSWER),
    ],
)
def test_what_a_question_leads_to(
    is_known: bool, is_forgotten: bool, is_ended: bool, is_waiting_wanted: bool, question: Question
) -> None:
    """Whoever asks always gets an answer, now or at the end."""
    assert (
        on_question(
            is_known=is_known, is_forgotten=is_forgotten, is_ended=is_ended, is_waiting_wanted=is_waiting_wanted
        )
        is question
    )


LEGAL = {
    (S.WAITING, S.WORK),
    (S.WAITING, S.CANCELLED),
    (S.WAITING, S.OVERDUE),
    (S.WAITING, S.ERROR),
    (S.WAITING, S.ORPHAN),
    (S.WORK, S.COMPLETED),
    (S.WORK, S.ERROR),
    (S.WORK, S.CANCELLED),
    (S.WORK, S.WAITING),  # a crash ended the run, and the task may start again
}


@pytest.mark.parametrize(("current", "following"), list(itertools.product(S, S)))
def test_the_steps_of_a_task(current: TaskStatus, following: TaskStatus) -> None:
    """Forward, or back to waiting after a crash; nothing leads out of an end."""
    assert may_advance(current, following) is ((current, following) in LEGAL)


def test_a_task_that_has_begun_is_not_overdue_later() -> None:
    """Only its first start can be missed."""
    task = make_task()
    assert task.can_be_overdue
    assert not replace(task, starts=1).can_be_overdue
    assert not replace(task, is_delayed=False).can_be_overdue


def test_the_numbers_of_1_0_0_stay() -> None:
    """They are in databases and messages."""
    names = ["WAITING", "WORK", "COMPLETED", "ERROR", "CANCELLED", "OVERDUE", "ORPHAN"]
    assert [status.name for status in sorted(S, key=lambda status: status.value)] == names
    assert [status.value for status in S] == list(range(7))


def test_every_status_has_its_steps_and_the_ended_ones_have_none() -> None:
    """The table knows every status."""
    assert set(TRANSITIONS) == set(S)
    assert {status for status in S if not status.is_ended} == {S.WAITING, S.WORK}


@pytest.mark.parametrize("code", Code)
def test_every_code_goes_with_an_end(code: Code) -> None:
    """A report ends a task, whatever its code; a code that is not named goes with ERROR."""
    completed = {Code.OK, Code.RESULT_UNSERIALIZABLE, Code.RESULT_TOO_LARGE}
    others = {Code.OVERDUE_SKIPPED: S.OVERDUE, Code.CANCELLED: S.CANCELLED}
    expected = S.COMPLETED if code in completed else others.get(code, S.ERROR)
    report = Report(code=code)
    assert report.status is expected
    assert report.status.is_ended
    assert STATUS_OF.get(code, S.ERROR) is expected
    outcome = Outcome(message_id="a", report=report, run_at=None, started_at=None, ended_at=None)
    assert (outcome.code, outcome.status) == (code, expected)


@pytest.mark.parametrize("code", Code)
def test_every_end_can_be_reached(code: Code) -> None:
    """A code's status follows from WAITING or from WORK, else the storage could never record it."""
    assert may_advance(S.WAITING, Report(code=code).status) or may_advance(S.WORK, Report(code=code).status)
