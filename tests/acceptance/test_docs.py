"""The code in the documents runs.

In docs/testing.md each Python block says in an HTML comment before it which file it is (`<!-- file: shop.py -->`; the
same name again goes on with the same file); the files named `test_…` are then run by pytest, as a reader would. The
blocks of the README run one by one in a harness. `<!-- not run: reason -->` excuses a block, which must still compile.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import schedulergodx_testing
from schedulergodx_testing import Harness

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?:^<!-- (?P<note>[^>]*?) -->\n)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the Python blocks of a document: the line where it begins, what the comment before it says, the code."""
    text = document.read_text("utf-8")
    for match in BLOCK.finditer(text):
        yield text[: match.start("code")].count("\n") + 1, match["note"] or "", match["code"]


def files(document: Path) -> dict[str, str]:
    """Return the files that the blocks of a document make up, by name."""
    found: dict[str, str] = defaultdict(str)
    for line, note, code in blocks(document):
        kind, _, name = note.partition(": ")
        assert kind in {"file", "not run"}, f"{document.name}:{line} says neither its file nor why it is not run"
        if kind == "file":
            found[name] += code + "\n\n"
    return found


TESTING = ROOT / "docs" / "testing.md"


@pytest.fixture(scope="module")
def testing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of docs/testing.md, and nothing else."""
    folder = tmp_path_factory.mktemp("testing")
    for name, code in files(TESTING).items():
        (folder / name).write_text(code, "utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(name for name in files(TESTING) if name.startswith("test_")))
def test_the_tutorial_of_testing_runs(testing: Path, name: str) -> None:
    """Each of its test files passes in a pytest of its own, without a conftest.py."""
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir=.", name]
    environment = os.environ | {"PYTHONPATH": str(Path(schedulergodx_testing.__file__).parents[1])}
    ended = subprocess.run(
        [*command, "-p", "schedulergodx_testing.plugin", "--strict-markers"],
        cwd=testing,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "skipped" not in ended.stdout


def test_the_table_of_options_is_complete() -> None:
    """It names every parameter of a harness, with its default, in their order."""
    table = TESTING.read_text("utf-8").partition("## Options")[2].partition("## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", table, re.MULTILINE))
    parameters = inspect.signature(Harness).parameters
    assert list(rows) == list(parameters)
    for name, parameter in parameters.items():
        if name not in {"start", "client", "service"}:  # these read better in words
            assert ast.literal_eval(rows[name]) == parameter.default, name


README = list(blocks(ROOT / "README.md"))


@pytest.mark.parametrize("block", README, ids=[f"line {line}" for line, _, _ in README])
def test_the_blocks_of_the_readme_run(block: tuple[int, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """In a harness, where time passes by itself; a comment behind a `print` is what it prints."""
    line, note, code = block
    compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if note.startswith("not run: "):
        return
    assert not note, f"README.md:{line}: {note!r} says neither nothing nor why the block is not run"
    with Harness():
        exec(compile("\n" * line + code, "README.md", "exec"), {"__name__": "readme"})
    printed = capsys.readouterr().out.splitlines()
    for said in re.findall(r"print\(.*\)\s+# (\w+)", code):
        assert said in printed
