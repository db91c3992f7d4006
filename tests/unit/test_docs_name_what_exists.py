"""The documents name tests and files; each of them exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
SOURCES = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("schedulergodx_testing/**/*.py")]


@pytest.fixture(scope="module")
def test_names() -> set[str]:
    """The names of all tests, and of the files with tests."""
    names = {path.stem for path in SOURCES}
    for path in SOURCES:
        names |= set(re.findall(r"def (test_\w+)", path.read_text()))
    return names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_test_that_a_document_names_exists(document: Path, test_names: set[str]) -> None:
    """A promise is only as good as the test behind it."""
    named = set(re.findall(r"`(?:[\w/.]*/)?(test_\w+)(?:\.py)?`", document.read_text()))
    assert named <= test_names, f"{document.name} names tests that do not exist: {sorted(named - test_names)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_that_a_document_links_exists(document: Path) -> None:
    """Links within the project lead somewhere."""
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
        if not link.startswith(("http://", "https://")):
            assert (document.parent / link).exists(), f"{document.name} links {link}"
