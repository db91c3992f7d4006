"""Runs tests against a mutant, in a process of its own: `python -m tests.mutants.run NAME [pytest arguments]`.

`python -m tests.mutants.run` alone finds out which test kills which mutant, and writes `docs/mutants.md`.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.mutants.patches import MUTANTS, Mutant

if TYPE_CHECKING:
    import types
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "mutants.md"
WAIT_S = 5.0
"""How long a contract waits, instead of 20 s, for what a mutant never does."""
RUN_S = 110
WORKERS = 3
SUITES = {
    "memory": ["tests/contract/test_memory_transport.py", "tests/contract/test_recordings.py"],
    "sqlite": ["tests/contract/test_sqlite_transport.py"],
}
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?::.*?)(?: - .*)?$", re.MULTILINE)


class _Loader(SourceFileLoader):
    """Loads one module, with its mistake in it."""

    def __init__(self, name: str, path: str, mutant: Mutant) -> None:
        super().__init__(name, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> types.CodeType:
        source = Path(self.path).read_text("utf-8")
        count = source.count(self._mutant.old)
        if count != 1:
            raise SystemExit(f"mutant {self._mutant.name!r}: its place is {count} times in {fullname}, not once")
        return compile(source.replace(self._mutant.old, self._mutant.new), self.path, "exec")


class _Finder(MetaPathFinder):
    """Finds that one module before anybody else does."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or found.origin is None:
            return None
        return importlib.util.spec_from_loader(fullname, _Loader(fullname, found.origin, self._mutant))


class _Plugin:
    """Puts the mutant in place, and shortens the waits of the contract."""

    def __init__(self, mutant: Mutant | None) -> None:
        self._mutant = mutant

    def pytest_configure(self) -> None:
        # Here, since pytest's own finder, which rewrites assertions, would come before an earlier one.
        if self._mutant is not None:
            assert self._mutant.module not in sys.modules
            sys.meta_path.insert(0, _Finder(self._mutant))

    def pytest_collection_finish(self) -> None:
        if recorder := sys.modules.get("schedulergodx_testing.contracts.recorder"):
            recorder.WAIT_S = WAIT_S  # type: ignore[attr-defined] # a module
        if self._mutant is not None and not isinstance(sys.modules[self._mutant.module].__loader__, _Loader):
            pytest.exit(f"mutant {self._mutant.name!r} is not in place", returncode=3)


def killers(mutant: str, arguments: Sequence[str]) -> list[str]:
    """Return which tests fail with this mutant, or without any for ""; those that pytest is told by `arguments`.

    A run that does not end in time, or ends otherwise than by tests that fail, counts as one failure too.
    """
    command = [sys.executable, "-m", "tests.mutants.run", mutant, "-q", "-p", "no:cacheprovider", "--tb=no", *arguments]
    try:
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_S, check=False)
    except subprocess.TimeoutExpired:
        return ["(does not end)"]
    if ended.returncode in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
        return []
    if found := _FAILED.findall(ended.stdout):
        return found
    raise AssertionError(f"pytest ended with {ended.returncode}:\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}")


def table() -> dict[str, str]:
    """Return which test kills which mutant, as `docs/mutants.md` has it."""
    rows = re.findall(r"^\| ([^|]+) \| `([^`]+)` \|$", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    return {name.strip(): test for name, test in rows}


def node_id(test: str, suite: str) -> str:
    """Return what pytest calls a test that the table has by its short name."""
    file, _, _ = next((part.partition("::") for part in SUITES[suite]), ("", "", ""))
    if test.startswith("recording "):
        name = test.removeprefix("recording ")
        return f"tests/contract/test_recordings.py::test_what_was_recorded_is_shown_in_memory[{name}]"
    suite_class = {"memory": "TestMemoryTransport", "sqlite": "TestSqliteTransport"}[suite]
    return f"{file}::{suite_class}::{test}"


def short(node: str) -> str:
    """Return the short name of a test."""
    name = node.rpartition("::")[2] if "test_recordings" not in node else node.partition("::")[2]
    if name.startswith("test_what_was_recorded"):
        return f"recording {name.partition('[')[2].removesuffix(']')}"
    return name


def _find(mutant: Mutant) -> tuple[Mutant, str]:
    for arguments in (["-m", "not slow"], []):
        for file in SUITES[mutant.suite]:
            if found := killers(mutant.name, ["-x", "-k", "not OnQuorum and not score", file, *arguments]):
                return mutant, short(found[0])
    return mutant, ""


def main() -> None:
    """Find every killer, and write the table."""
    rows = []
    with ThreadPoolExecutor(WORKERS) as pool:
        for mutant, test in pool.map(_find, MUTANTS):
            print(f"{mutant.name}: {test or 'SURVIVES'}", flush=True)  # noqa: T201 - what a command is for
            rows.append(f"| {mutant.name} | `{test}` |")
    head = DOCUMENT.read_text("utf-8").partition("| mutant |")[0]
    DOCUMENT.write_text(head + "| mutant | is killed by |\n|---|---|\n" + "\n".join(rows) + "\n", "utf-8")


def run(name: str, arguments: Sequence[str]) -> int:
    """Run pytest in this process, with a mutant in place; "" for none."""
    mutant = next((mutant for mutant in MUTANTS if mutant.name == name), None)
    assert mutant is not None or not name, f"there is no mutant {name!r}"
    return int(pytest.main(list(arguments), plugins=[_Plugin(mutant)]))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(run(sys.argv[1], sys.argv[2:]))
    main()
