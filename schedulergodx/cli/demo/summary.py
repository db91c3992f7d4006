"""The demo's end: what was expected, what happened, how long it took, and the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedulergodx.cli.exits import EXIT_FAILED, EXIT_OK
from schedulergodx.cli.texts import Column, printable, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schedulergodx.cli.demo.course import Course
    from schedulergodx.cli.terminal import Terminal

_COLUMNS = (
    Column(title="", drops=0),
    Column(title="task"),
    Column(title="expected", shrinks_to=12),
    Column(title="outcome", shrinks_to=12),
    Column(title="waited"),
    Column(title="ran"),
    Column(title="total"),
)
_LEGEND = "In seconds: from launch to start, from start to end, from launch to answer."
_OK, _WRONG = "ok", "NO"


def conclude(terminal: Terminal, courses: Sequence[Course], *, service_exit: int | None, took_s: float) -> int:
    """Print the summary and return the exit code. `service_exit`: how the service stopped when it was asked to."""
    faults = [f"{course.step.title}: {fault}" for course in courses for fault in course.faults()]
    wrong = sum(bool(course.faults()) for course in courses)
    if service_exit != EXIT_OK:
        faults.append(f"the service stopped with exit code {service_exit} instead of {EXIT_OK}")
    rows = [_row(course) for course in courses]
    (title, *lines), _ = table(_COLUMNS, rows, width=terminal.width())
    terminal.erase()
    terminal.print(terminal.paint(title, "bold"))
    for line in lines:
        mark, rest = line[: len(_OK)], line[len(_OK) :]
        terminal.print(terminal.paint(mark, "green" if mark == _OK else "red") + rest)
    terminal.print(terminal.paint(_LEGEND, "dim"))
    for fault in faults:
        terminal.print(terminal.paint(printable(fault), "red"))
    verdict = f"{len(courses) - wrong} of {len(courses)} tasks ended as expected, in {took_s:.1f} s"
    if faults:
        terminal.print(terminal.paint(f"FAILED: {verdict}.", "red"))
        return EXIT_FAILED
    terminal.print(terminal.paint(f"{verdict}; the service stopped when asked.", "green"))
    return EXIT_OK


def _row(course: Course) -> list[str]:
    return [
        _WRONG if course.faults() else _OK,
        course.step.title,
        course.step.expected,
        printable(course.ended) or "-",
        *(_seconds(number) for number in (course.waited_s, course.ran_s, course.total_s)),
    ]


def _seconds(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}"
