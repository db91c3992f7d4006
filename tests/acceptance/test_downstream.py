"""The example project in `examples/downstream`, installed and tested by an outsider: nothing of ours around it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE")
PATIENCE_S = 240

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * PATIENCE_S)]


def run(*command: str | Path, folder: Path) -> str:
    """Run a command as a stranger's shell would, and return what it said; fail with that, if it fails."""
    environment = {name: value for name, value in os.environ.items() if name in KEPT or is_for_pip(name)}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == 0, f"{command} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def is_for_pip(name: str) -> bool:
    """Whether a variable says where packages come from."""
    return name.upper().startswith("PIP_") or name.lower().endswith("_proxy")


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the example, and an environment with it and with a wheel of this checkout."""
    folder = tmp_path_factory.mktemp("outside")
    source = folder / "source"
    source.mkdir()
    for package in ("schedulergodx", "schedulergodx_testing"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    leftovers = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", ".*")
    shutil.copytree(ROOT / "examples" / "downstream", folder / "shop", ignore=leftovers)
    run(sys.executable, "-m", "venv", "env", folder=folder)
    pip = (folder / "env" / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", "wheels", "./source", folder=folder)
    (wheel,) = (folder / "wheels").glob("schedulergodx-*.whl")
    run(*pip, "install", f"{wheel}[testing]", "./shop[test]", folder=folder)
    shutil.rmtree(source)
    return folder


def test_its_tests_pass(outside: Path) -> None:
    """All of them, with the fixture that came with the package, and no conftest.py."""
    assert not list((outside / "shop").rglob("conftest.py"))
    said = run(outside / "env" / "bin" / "python", "-m", "pytest", "-p", "no:cacheprovider", folder=outside / "shop")
    assert "13 passed" in said, said


def test_a_failing_test_tells_the_story_and_how_to_replay_it(outside: Path) -> None:
    """In virtual time; and the line does replay it."""
    test = outside / "shop" / "tests" / "test_failing.py"
    test.write_text(
        "from shop import mail\n"
        "from shop.accounts import sign_up\n\n\n"
        "def test_too_early(scheduler):\n"
        "    sign_up('ada')\n"
        "    scheduler.advance(hours=23)\n"
        "    assert mail.outbox == ['ada']\n",
        "utf-8",
    )
    ended = failing(outside, f"pytest {test.name}")
    for words in ("virtual time", "launch remind('ada'), due in 1d", "Replay it: SCHEDULERGODX_REPLAY="):
        assert words in ended, ended
    line = next(line for line in ended.splitlines() if line.startswith("Replay it: "))
    again = failing(outside, line.removeprefix("Replay it: "))
    test.unlink()
    assert story(again) == story(ended)


def failing(outside: Path, command: str) -> str:
    """Return what a pytest in the tests of the shop says that fails, given as a line for a shell."""
    path = f"{outside / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "PYTEST_ADDOPTS": f"-p no:cacheprovider --rootdir={outside / 'shop'}"}
    ended = subprocess.run(
        command,
        shell=True,
        cwd=outside / "shop" / "tests",
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 1, ended
    return ended.stdout


def story(said: str) -> str:
    """Return the part of a report that tells of virtual time."""
    return said[said.index("virtual time") : said.index("Replay it: ")]


def test_production_needs_neither_pytest_nor_the_testing_half(outside: Path) -> None:
    """The shop imports, and makes its client, without them."""
    program = "import sys, shop.web; print(sorted({'pytest', 'schedulergodx_testing', 'pika'} & set(sys.modules)))"
    assert run(outside / "env" / "bin" / "python", "-c", program, folder=outside).strip() == "[]"
