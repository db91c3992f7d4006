"""What to do with a message that arrived at the service."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from schedulergodx.rules.tasks import Added

if TYPE_CHECKING:
    from datetime import datetime

AHEAD_MAX_S = 300.0
"""By how much a client's clock may be ahead of the service's."""


class Intake(Enum):
    """What an arrived launch leads to.

    KEEP: it is stored, and its outcome goes where it asked for it. ANSWER: it was here before and has ended: tell its
    outcome again. WATCH: it was here before and has not ended: its outcome goes also where this one asks for it.
    REFUSE: its id belongs to another launch. SAY_PRUNED: it was here before and has ended, and what came of it is not
    known any more.
    """

    KEEP = "keep"
    ANSWER = "answer"
    WATCH = "watch"
    REFUSE = "refuse"
    SAY_PRUNED = "say pruned"


def on_launch(added: Added, *, is_ended: bool) -> Intake:
    """Return what to do with a launch that was `added`; `is_ended` tells whether the known task has its outcome."""
    match added:
        case Added.NEW:
            return Intake.KEEP
        case Added.CONFLICT:
            return Intake.REFUSE
        case Added.SAME:
            return Intake.ANSWER if is_ended else Intake.WATCH
        case Added.FORGOTTEN:
            return Intake.SAY_PRUNED


def staleness(issued_at: datetime, now: datetime, *, max_age_s: float) -> str:
    """Return why a launch that nobody knows is too old, or comes from the future, to be taken; "" when it is neither.

    An old one may be the repetition of one that ran so long ago that its id is forgotten.
    """
    age_s = (now - issued_at).total_seconds()
    if age_s > max_age_s:
        return (
            f"it was issued {age_s:.0f} s ago, and this service takes launches for {max_age_s:.10g} s; launch it anew"
        )
    if age_s < -AHEAD_MAX_S:
        return (
            f"it is issued {-age_s:.0f} s in the future of this service, more than {AHEAD_MAX_S:g} s: the clock of the "
            "client or of the service is wrong"
        )
    return ""


class Question(Enum):
    """What a question for an outcome leads to.

    ANSWER: tell it. WATCH: wait for it. SAY_STATUS: say where the task is. SAY_PRUNED: say that the task has ended, and
    that its outcome is not known any more. UNKNOWN: say that there is no such task.
    """

    ANSWER = "answer"
    WATCH = "watch"
    SAY_STATUS = "say status"
    SAY_PRUNED = "say pruned"
    UNKNOWN = "unknown"


def on_question(*, is_known: bool, is_forgotten: bool, is_ended: bool, is_waiting_wanted: bool) -> Question:
    """Return what to do with a question for the outcome of one task."""
    if not is_known:
        return Question.SAY_PRUNED if is_forgotten else Question.UNKNOWN
    if is_ended:
        return Question.ANSWER
    return Question.WATCH if is_waiting_wanted else Question.SAY_STATUS
