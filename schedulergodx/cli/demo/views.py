"""What the demo shows while it runs: a table redrawn in place on a terminal, or a line for each change in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from schedulergodx.cli.texts import printable
from schedulergodx.rules.lifecycle import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schedulergodx.cli.demo.course import Course
    from schedulergodx.cli.terminal import Terminal

TITLE_WIDTH = 17
_PLACE_WIDTH = 7
_STATUS_WIDTH = 9
_COLOURS = {TaskStatus.WAITING: "yellow", TaskStatus.WORK: "cyan", TaskStatus.COMPLETED: "green"}
SENT, NOT_YET = "SENT", "-"
"""Shown before the service has stored a launch, and before there is one."""
ON_ITS_WAY = "(the answer is on its way)"


class View(Protocol):
    """Shows how the launches go."""

    def show(self, courses: Sequence[Course], elapsed_s: float) -> None:
        """Show this moment, `elapsed_s` seconds after the launches."""


def view(terminal: Terminal, *, lines: int) -> View:
    """Return the view for this terminal, or pipe; `lines` is how long the table gets."""
    return TableView(terminal) if terminal.has_room_for(lines + 2) else LinesView(terminal)


class TableView:
    """A table, redrawn in place."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def show(self, courses: Sequence[Course], elapsed_s: float) -> None:
        """Redraw."""
        terminal = self._terminal
        title = f"  {'task':{TITLE_WIDTH}}  {'runs in':{_PLACE_WIDTH}}  {'status':{_STATUS_WIDTH}}"
        self._terminal.redraw(
            [
                terminal.paint(title, "bold"),
                *(self._line(course, elapsed_s) for course in courses),
                terminal.paint(f"  {numbers_text(courses)}; {elapsed_s:.1f} s", "dim"),
            ]
        )

    def _line(self, course: Course, elapsed_s: float) -> str:
        status = course.status
        word = f"{_status_text(course):{_STATUS_WIDTH}}"
        colour = "dim" if status is None else _COLOURS.get(status, "red")
        step = course.step
        start = f"  {step.title:{TITLE_WIDTH}}  {step.place:{_PLACE_WIDTH}}  {self._terminal.paint(word, colour)}"
        return f"{start}  {_detail(course, elapsed_s)}".rstrip()


def _is_ended(course: Course) -> bool:
    return course.status is not None and course.status.is_ended


def _status_text(course: Course) -> str:
    if course.status is not None:
        return course.status.name
    return SENT if course.message_id else NOT_YET


def _detail(course: Course, elapsed_s: float) -> str:
    """Return what is to be said beside a status."""
    if course.ended:
        return printable(course.ended)
    if _is_ended(course):
        return ON_ITS_WAY
    lifetime_s = course.step.task.parameters.lifetime_s
    if course.status is TaskStatus.WAITING and (left_s := course.step.delay_s - elapsed_s) > 0:
        return f"starts in {left_s:.1f} s"
    if course.status is TaskStatus.WORK and course.waited_s is not None and lifetime_s is not None:
        return f"for {max(0.0, elapsed_s - course.waited_s):.1f} s of at most {lifetime_s:g} s"
    return ""


class LinesView:
    """A line for each change, for pipes, files, and terminals that are too small."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._shown: dict[str, str] = {}

    def show(self, courses: Sequence[Course], elapsed_s: float) -> None:
        """Print what has changed since the last time."""
        changed = False
        for course in courses:
            detail = printable(course.ended) or (ON_ITS_WAY if _is_ended(course) else "")
            now = f"{_status_text(course):{_STATUS_WIDTH}}  {detail}".rstrip()
            if course.message_id and self._shown.get(course.step.title) != now:
                changed = True
                self._shown[course.step.title] = now
                self._terminal.print(f"{elapsed_s:5.1f} s  {course.step.title:{TITLE_WIDTH}}  {now}")
        if changed:
            self._terminal.print(f"{elapsed_s:5.1f} s  {numbers_text(courses)}")


def numbers_text(courses: Sequence[Course]) -> str:
    """Return how many tasks wait, run and have ended, as the service's database says."""
    statuses = [course.status for course in courses if course.status is not None]
    ended = sum(status.is_ended for status in statuses)
    return f"{statuses.count(TaskStatus.WAITING)} waiting, {statuses.count(TaskStatus.WORK)} running, {ended} ended"
