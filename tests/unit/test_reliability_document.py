"""`docs/reliability.md` has a row for each fault of the catalogue, each names its test or says why not."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
FAULTS = 82
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)


def test_every_fault_has_its_row() -> None:
    """In their order, none left out and none twice."""
    assert [int(row[0]) for row in ROW.findall(DOCUMENT.read_text())] == list(range(1, FAULTS + 1))


def test_every_row_names_a_test_or_says_why_not() -> None:
    """That the tests exist is looked up by `test_every_test_that_a_document_names_exists`."""
    for number, _fault, layer, outcome, shown in ROW.findall(DOCUMENT.read_text()):
        if outcome.startswith("out: "):
            assert layer == shown == "none", number
        else:
            assert re.search(r"`test_\w+`", shown), number
            assert set(layer.split()) <= set("URPS"), number
