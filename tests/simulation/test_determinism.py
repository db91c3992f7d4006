"""The same seed and the same test do the same, byte for byte; and what keeps them from it is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import cloudpickle
import pika
import pytest

from schedulergodx_testing import Harness, recheck
from schedulergodx_testing.world import leaks

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
STORY = Path(__file__).parent / "story.py"
RUNS = 100
PYTHONS = {"3.11", "3.12", "3.13"}

TEST = """
import pytest
import os
from pathlib import Path
from story import story

@pytest.mark.scheduler(seed=5, service={"threads": 3, "processes": 1})
@pytest.mark.parametrize("number", range(4))
def test_story(scheduler, number):
    story(scheduler)
    folder = Path(os.environ["FOLDER"])
    (folder / f"{number}.json").write_text(scheduler.timeline.to_json())
"""


def told_by(python: str, seed: int, **environment: str) -> str:
    """Return the timeline that another process tells."""
    ended = subprocess.run(
        [python, str(STORY), str(seed)],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def told_here() -> str:
    """What this version of Python tells, in a process of its own, under hash seed 0."""
    return told_by(sys.executable, 5, PYTHONHASHSEED="0")


@pytest.mark.slow
def test_a_hundred_runs_in_one_process(told_here: str) -> None:
    """Each tells the same, byte for byte, and the same as another process."""
    program = (
        f"import sys; sys.path.insert(0, {str(STORY.parent)!r}); import story\n"
        f"stories = {{story.told(5) for _ in range({RUNS})}}\n"
        "assert len(stories) == 1, f'{len(stories)} different stories'\n"
        "sys.stdout.write(stories.pop())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert recheck.compare(as_module(told_here), ended.stdout) == ""


def as_module(told: str) -> str:
    """Return what a program told as a module of its name tells it: functions are named by where they are."""
    return told.replace("__main__.", "story.")


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["1", "2", "4294967295", "random"])
def test_processes_with_other_hash_seeds(told_here: str, hash_seed: str) -> None:
    """The order of sets and the hashes of texts are no part of a story."""
    other = told_by(sys.executable, 5, PYTHONHASHSEED=hash_seed)
    assert recheck.compare(told_here, other) == ""
    assert told_here == other


@pytest.mark.slow
def test_another_seed_tells_another_story(told_here: str) -> None:
    """Otherwise the same story would prove nothing."""
    assert recheck.compare(told_here, told_by(sys.executable, 6)) != ""
    assert len(json.loads(told_here)) > 100


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_under_pytest_alone_and_in_parallel(
    pytester: pytest.Pytester, told_here: str, tmp_path: Path, options: list[str]
) -> None:
    """The fixture tells the same in every worker, whatever ran before."""
    if "-n" in options:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    pytester.makepyfile(story=STORY.read_text(), test_story=TEST)
    pytester.makeini("[pytest]\npythonpath = .\n")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, "test_story.py"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "FOLDER": str(tmp_path), "PYTHONHASHSEED": "random"},
        cwd=pytester.path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = {path.read_text() for path in tmp_path.glob("*.json")}
    assert len(list(tmp_path.glob("*.json"))) == 4
    assert len(told) == 1
    assert recheck.compare(as_module(told_here), told.pop()) == ""


def interpreters() -> dict[str, str]:
    """Return the Pythons to compare with, by version: those named, those on the PATH, and those beside this one."""
    given = os.environ.get("SCHEDULERGODX_TEST_PYTHONS", "").split(os.pathsep)
    found = [shutil.which(f"python{version}") for version in sorted(PYTHONS)]
    # Managers of versions keep each in a folder named by it: `versions/3.12.1/bin/python3`.
    folders = [
        path for version in sorted(PYTHONS) for path in Path(sys.base_prefix).parent.glob(f"{version}*/bin/python3")
    ]
    versions: dict[str, str] = {}
    for path in map(str, [*filter(None, given), *filter(None, found), *folders]):
        program = "import sys; print('%d.%d' % sys.version_info[:2])"
        asked = subprocess.run([path, "-c", program], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            versions.setdefault(asked.stdout.strip(), path)
    return versions


@pytest.fixture(scope="module")
def pythons() -> dict[str, str]:
    return interpreters()


@pytest.mark.slow
@pytest.mark.parametrize("version", sorted(PYTHONS - {"{}.{}".format(*sys.version_info)}))
def test_other_versions_of_python(told_here: str, tmp_path: Path, pythons: dict[str, str], version: str) -> None:
    """A story is no matter of the version: nothing in it depends on how Python draws, hashes, or starts threads."""
    if version not in pythons:
        pytest.skip(
            f"no Python {version} on the PATH or beside this one; name some in SCHEDULERGODX_TEST_PYTHONS, separated "
            f"by {os.pathsep!r}"
        )
    for package in (pika, cloudpickle):  # of this Python, but written in nothing but Python
        folder = Path(package.__file__).parent
        shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    paths = os.pathsep.join([str(ROOT), str(tmp_path)])
    for hash_seed in ("0", "random"):
        other = told_by(pythons[version], 5, PYTHONHASHSEED=hash_seed, PYTHONPATH=paths)
        assert recheck.compare(told_here, other) == ""


# --- The recheck


SUITE = """
import os, random, secrets, socket, sqlite3, threading, time, uuid, _thread
from datetime import datetime
from schedulergodx import Client

client = Client(name="shop", task_lifetime=None)
early = {{"clock": time.time}}

@client.task
def work(what):
    pass

def number():
    {number}

def test_it(scheduler):
    work.launch(number())
    scheduler.run_all()
"""

SQL_NOW = "SELECT strftime('%f', 'now')"
THREAD = """found = []
    _thread.start_new_thread(lambda: found.append(time.time_ns()), ())
    while not found: pass
    return found[0]"""
SOCKET = """with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as connection:
            return connection.getsockname()[1]"""
PROCESS = """import subprocess, sys
    return subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid())"])"""
LEAKS = {
    "uuid4": ("return str(uuid.uuid4())", "uuid.uuid4"),
    "urandom": ("return os.urandom(4).hex()", "os.urandom"),
    "secrets": ("return secrets.token_hex(4)", "secrets.token_hex"),
    "sql now": (f"return sqlite3.connect(':memory:').execute({SQL_NOW!r}).fetchone()[0]", "the time of SQLite"),
    "thread": (THREAD, "_thread.start_new_thread"),
    "socket": (SOCKET, "socket.connect"),
    "process": (PROCESS, "subprocess.Popen"),
}
UNNAMED = {
    "a clock that was taken early": "return early['clock']()",
    "the order of a set": "return list({'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'})",
    "hashes": "return hash('text')",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_found_and_named(pytester: pytest.Pytester, name: str) -> None:
    """The repetition differs, and the place in the file is named."""
    body, kind = LEAKS[name]
    path = pytester.makepyfile(SUITE.format(number=body))
    result = run_suite(pytester, "--scheduler-recheck=1")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*thing that happened was another one when the test was repeated:",
            "*at first: *launch *work(*",
            "*repeated: *launch *work(*",
            "*It took from the real world:",
            f"*{path.name}:*{kind}*",
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", UNNAMED)
def test_what_cannot_be_watched_is_found_all_the_same(pytester: pytest.Pytester, name: str) -> None:
    """The repetition differs, and the report says what it may be."""
    pytester.makepyfile(SUITE.format(number=UNNAMED[name]))
    result = run_suite(pytester, "--scheduler-recheck=1")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*at first: *launch *work(*", "*It depends on something other than its seed*"])


@pytest.mark.parametrize("name", LEAKS)
def test_a_strict_harness_names_leaks_at_once(pytester: pytest.Pytester, name: str) -> None:
    """Without a repetition."""
    body, kind = LEAKS[name]
    suite = SUITE.format(number=body).replace("def test_it", "@pytest.mark.scheduler(is_strict=True)\ndef test_it")
    path = pytester.makepyfile("import pytest\n" + suite)
    result = run_suite(pytester)
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([f"*LeftBehind: the code under test took from the real world*{path.name}:*{kind}*"])


def test_passing_tests_have_their_leaks_named_at_the_end(pytester: pytest.Pytester) -> None:
    """Each place once, with how many tests came there, also from the workers of xdist; not when there is none."""
    path = pytester.makepyfile(
        SUITE.format(number="return str(uuid.uuid4())")
        .replace("def test_it(scheduler)", "@pytest.mark.parametrize('n', [1, 2])\ndef test_it(scheduler, n)")
        .replace("import os,", "import pytest, os,")
    )
    for options in ((), ("-n1",)):
        result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(["*= taken from the real world =*", f"*{path.name}:*: uuid.uuid4  (2 tests)"])
    path.write_text(SUITE.format(number="return 5"), "utf-8")
    assert "taken from the real world" not in run_suite(pytester).stdout.str()


OWN_HARNESSES = """
import unittest, uuid
import pytest
from schedulergodx_testing import Harness

def draw():
    return uuid.uuid4()

def test_two():
    for _ in range(2):
        with Harness():
            draw()

def test_strict():
    with Harness(is_strict=True):
        draw()

def test_left_open():
    Harness().open()
    draw()

class TestOld(unittest.TestCase):
    def test_it(self):
        self.enterContext(Harness())
        draw()

@pytest.fixture(scope="module")
def shared():
    with Harness() as scheduler:
        yield scheduler

def test_shared(shared):
    draw()

def test_clean():
    pass
"""


def test_leaks_of_harnesses_that_tests_open_themselves_are_named_at_the_end(pytester: pytest.Pytester) -> None:
    """Each place once for each test, however a harness is closed; also from the workers of xdist."""
    path = pytester.makepyfile(OWN_HARNESSES)
    for options in ((), ("-n1",)):
        result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)
        result.assert_outcomes(passed=5, failed=1, errors=1)
        *_, section = result.stdout.str().partition("= taken from the real world =")
        assert section.count("uuid.uuid4  (") == 1
        assert f"{path.name}:6: uuid.uuid4  (5 tests)" in section


def test_leaks_that_nobody_takes_are_few() -> None:
    """Without pytest a process may open a million harnesses."""
    leaks.take()
    for _ in range(3):
        with Harness():
            uuid.uuid4()
    (leak,) = leaks.take()
    assert (leak.kind, leak.file) == ("uuid.uuid4", __file__)
    assert leaks.take() == []


def test_a_failing_test_shows_its_leaks(pytester: pytest.Pytester) -> None:
    """Below the timeline."""
    suite = SUITE.format(number="return str(uuid.uuid4())").replace("scheduler.run_all()", "assert False")
    path = pytester.makepyfile(suite)
    result = run_suite(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*- taken from the real world -*", f"*{path.name}:*: uuid.uuid4"])


@pytest.mark.slow
def test_clean_tests_pass_the_recheck(pytester: pytest.Pytester) -> None:
    """Also the odd ones; only each N-th is repeated, and those that fail are not."""
    pytester.makepyfile(story=STORY.read_text(), test_story=CLEAN)
    pytester.makeini("[pytest]\npythonpath = .\n")
    result = run_suite(pytester, "--scheduler-recheck=2")
    result.assert_outcomes(passed=5, failed=1)
    assert len(list(pytester.path.glob("runs/*"))) == 6 + 2, "5 passed, of which each second one ran twice"


CLEAN = """
import os
import random
import threading
import time
from pathlib import Path
import pytest
from story import story

@pytest.fixture(autouse=True)
def count(request):
    folder = Path(__file__).parent / "runs"
    folder.mkdir(exist_ok=True)
    (folder / f"{request.node.name} {os.getpid()}").touch()

@pytest.mark.scheduler(is_strict=True)
def test_story(scheduler): story(scheduler)

@pytest.mark.scheduler(is_strict=True)
def test_random(scheduler):
    scheduler.note("test", f"{random.random()} {random.sample(range(100), 5)}")

@pytest.mark.scheduler(is_strict=True)
def test_times(scheduler):
    time.sleep(5)
    scheduler.note("test", f"{time.time()} {time.monotonic()} {time.localtime()}")

def test_fails(scheduler): assert False

def test_ids(scheduler):
    scheduler.note("test", str(sorted({"a", "b"})))

def test_nothing(scheduler): pass
"""


def run_suite(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run a suite; what is repeated, is so in a process of its own."""
    return pytester.runpytest_inprocess(*options)


def test_timelines_are_compared_to_the_end() -> None:
    """One that stops earlier is another one."""

    def told(number: int) -> str:
        with Harness() as scheduler:
            for place in range(number):
                scheduler.note("test", f"note {place}")
            return scheduler.timeline.to_json()

    assert recheck.compare(told(2), told(2)) == ""
    assert "nothing more" in recheck.compare(told(2), told(3))
    assert "note 2" in recheck.compare(told(3), told(2))
