"""The type checker's view of user code."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_mypy_agrees_with_the_user_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Strict mypy finds in `tests/typing` the errors that are marked there, and no other."""
    api = pytest.importorskip("mypy.api")
    monkeypatch.chdir(ROOT)
    arguments = ["--config-file", str(ROOT / "pyproject.toml"), "--strict", "--cache-dir", str(tmp_path)]
    output, errors, status = api.run([*arguments, "--python-executable", sys.executable, "tests/typing/user_code.py"])
    assert (status, errors) == (0, ""), output
