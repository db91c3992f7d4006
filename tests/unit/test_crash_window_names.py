"""The windows of a crash are named in the code, armed by a table, and told in a document: the three say the same."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from schedulergodx_testing.crashing import NOT_ARMED, WINDOWS, Window

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "schedulergodx"
NAMES = [f"W{number}" for number in range(1, 17)]
NAME = re.compile(r"\bW\d+\b")
EDGES = re.compile(r"(before|after)[^:;]*:((?:[ ,]+W\d+)+)")
ROW = re.compile(
    r"^\| (W\d+) \| (?:not, see below|(before|after) `([\w.]+)`(?: with `(\w+)`)?) \| (.+?) \|$", re.MULTILINE
)

CODE = {
    "client.publish": "transport.publish(",
    "client.hear": "self._take(event)",
    "broker.keep": ".basic_publish(",
    "storage.commit": "with self._storage.transaction():",
    "storage.start": "self._storage.start(",
    "transport.ack": "self._transport.ack(",
    "transport.publish": "self._transport.publish(",
    "runner.start": "self._runner.start(",
}
"""How the code writes the calls at which windows are armed. The broker keeps what was sent to it."""


class Mark(NamedTuple):
    """A window that a comment names: where, on which edge of which code."""

    place: str
    edge: str
    code: str


def function_at(tree: ast.Module, line: int) -> str:
    """Return the innermost function around a line, or ""."""
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    return max(around, key=lambda node: node.lineno).name if around else ""


@cache
def marks() -> dict[str, list[Mark]]:
    """Return where the code names each window, in the order of files."""
    found: dict[str, list[Mark]] = defaultdict(list)
    for path in sorted(LIBRARY.rglob("*.py")):
        text = path.read_text()
        if not NAME.search(text):
            continue
        tree = ast.parse(text)
        for number, line in enumerate(text.splitlines(), start=1):
            code, hash_, comment = line.partition("  # ")
            if not hash_ or not NAME.search(comment):
                continue
            function = function_at(tree, number)
            place = f"`{path.relative_to(LIBRARY).as_posix()}`" + (f" `{function}`" if function else "")
            edges = {name: edge for edge, names in EDGES.findall(comment) for name in NAME.findall(names)}
            for name in NAME.findall(comment):
                found[name].append(Mark(place, edges.get(name, ""), code.strip()))
    return found


def documented() -> dict[str, tuple[Window | None, str]]:
    """Return what the document says of each window: by what it is armed, and where it is."""
    rows = ROW.findall((ROOT / "docs" / "crash-windows.md").read_text())
    return {
        name: (Window(call, edge, change, "") if call else None, places) for name, edge, call, change, places in rows
    }


def test_each_window_is_named_where_it_is() -> None:
    """In the code, all of them and no other ones; the table arms each, or says why it cannot be."""
    assert sorted(marks(), key=NAMES.index) == NAMES
    assert [*WINDOWS, *NOT_ARMED] == NAMES


@pytest.mark.parametrize("name", WINDOWS)
def test_a_name_stands_at_the_call_by_which_its_window_is_armed(name: str) -> None:
    """And says the same edge of it."""
    window = WINDOWS[name]
    for mark in marks()[name]:
        assert mark.edge == window.when, mark
        assert CODE[window.call] in mark.code, mark


@pytest.mark.parametrize("name", NAMES)
def test_the_document_says_where_each_window_is(name: str) -> None:
    """As the code and the table have it."""
    armed, places = documented()[name]
    window = WINDOWS.get(name)
    assert armed == (window and replace(window, meaning=""))
    assert places == ", ".join(mark.place for mark in marks()[name])


def test_production_code_holds_nothing_that_could_be_armed() -> None:
    """The names are comments; what is watched is the calls."""
    assert set(CODE) == {window.call for window in WINDOWS.values()}
    assert "failpoint" not in "".join(path.read_text() for path in LIBRARY.rglob("*.py"))
