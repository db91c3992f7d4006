"""The fixtures of virtual time as a user's suite meets them, each time in a small suite of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow  # each is a pytest of its own

PLUGIN = ("-p", "schedulergodx_testing.plugin", "-p", "no:cacheprovider")
# What a suite has that does not use any of it: the plugins of this environment may import more for themselves.
ALONE = (*PLUGIN, "-p", "no:hypothesispytest", "-p", "no:anyio", "-p", "no:freezegun", "-p", "no:time_machine")

APPLICATION = """
import time
from schedulergodx import Client

client = Client(name="shop")
outbox = []

@client.task
def remind(user):
    outbox.append(user)

@client.task
def sleep(seconds):
    time.sleep(seconds)
    return seconds

@client.task
async def sleep_in_asyncio(seconds):
    import asyncio
    await asyncio.sleep(seconds)
    return seconds
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makepyfile(app=APPLICATION)
    pytester.syspathinsert()
    return pytester


def test_no_conftest_is_needed(suite: pytest.Pytester) -> None:
    """The fixtures are there; `scheduler` is an open harness, and each test has its own."""
    suite.makepyfile(
        """
        import app

        def test_one(scheduler):
            app.remind.options(delay=60).launch("ada")
            scheduler.advance(minutes=1)
            assert app.outbox == ["ada"]

        def test_another(scheduler):
            assert scheduler.launched == [] and scheduler.tasks == []
        """
    )
    suite.runpytest(*PLUGIN).assert_outcomes(passed=2)


def test_the_parts_can_be_used_alone(suite: pytest.Pytester) -> None:
    """A clock that is moved by hand, and a broker under it that is stepped by hand."""
    suite.makepyfile(
        """
        from datetime import UTC, datetime, timedelta
        from queue import SimpleQueue

        def test_clock(fake_clock):
            start = fake_clock.now()
            fake_clock.advance(hours=1)
            fake_clock.jump_wall(hours=-2)
            assert fake_clock.now() - start == timedelta(hours=-1)
            assert fake_clock.wait_for(SimpleQueue(), 30) is None

        def test_broker(memory_broker, fake_clock):
            transport = memory_broker.transport("alone")
            transport.close()
            assert dict(memory_broker.queues) == {}
        """
    )
    suite.runpytest(*PLUGIN).assert_outcomes(passed=2)


def test_the_nearest_marker_wins(suite: pytest.Pytester) -> None:
    """Option by option: what the nearer one does not name comes from the farther one."""
    suite.makepyfile(
        """
        import pytest
        from datetime import UTC, datetime

        pytestmark = pytest.mark.scheduler(seed=1, start=datetime(2020, 1, 1, tzinfo=UTC))

        def test_module(scheduler):
            assert (scheduler.seed, scheduler.clock.now().year) == (1, 2020)

        @pytest.mark.scheduler(seed=2)
        class TestClass:
            def test_class(self, scheduler):
                assert (scheduler.seed, scheduler.clock.now().year) == (2, 2020)

            @pytest.mark.scheduler(seed=3, service={"threads": 1}, client={"name": "mine"})
            def test_function(self, scheduler):
                assert (scheduler.seed, scheduler.clock.now().year) == (3, 2020)
                assert scheduler.service.limits.threads == 1
                assert scheduler.client.name == "mine"
        """
    )
    suite.runpytest(*PLUGIN, "--strict-markers").assert_outcomes(passed=3)


EXPLORED = """
    import time
    import pytest
    from datetime import UTC, datetime
    from unittest import TestCase
    from schedulergodx import Client
    from schedulergodx_testing import survives_crashes

    client = Client(name="shop")
    pytestmark = pytest.mark.scheduler(start=datetime(2020, 1, 1, tzinfo=UTC))
    runs = []

    @client.task
    def nothing(): pass

    def told(scheduler):
        nothing.launch()
        scheduler.run_all()
        runs.append((scheduler.seed, scheduler.clock.now().year, scheduler.restart_after_s))

    def check(expected):
        assert len(runs) > 3 and set(runs) == {expected}, runs[:1]
        runs.clear()

    @pytest.mark.scheduler(seed=1)
    @survives_crashes(broker=False)
    def test_above(scheduler): told(scheduler)

    def test_above_did(): check((1, 2020, 1.0))

    @survives_crashes(broker=False)
    @pytest.mark.scheduler(seed=2)
    def test_below(scheduler): told(scheduler)

    def test_below_did(): check((2, 2020, 1.0))

    @survives_crashes(broker=False, seed=3)
    @pytest.mark.scheduler(seed=2, restart_after_s=5)
    def test_its_own_options_win(scheduler): told(scheduler)

    def test_its_own_options_won(): check((3, 2020, 5))

    @pytest.mark.scheduler(seed=4, start=datetime(2030, 1, 1, tzinfo=UTC))
    class TestClass:
        @survives_crashes(broker=False)
        def test_in_a_class(self, scheduler, tmp_path): told(scheduler)

        def test_in_a_class_did(self): check((4, 2030, 1.0))

    @pytest.mark.scheduler(seed=5)
    class Case(TestCase):
        @survives_crashes(broker=False)
        def test_in_a_case(self, scheduler): told(scheduler)

        def test_in_a_case_did(self): check((5, 2020, 1.0))
"""


def test_a_marker_counts_for_a_test_of_every_crash(suite: pytest.Pytester) -> None:
    """In both orders of the decorators, and from class and module; what the decorator names itself wins."""
    suite.makepyfile(EXPLORED)
    suite.runpytest(*PLUGIN, "--strict-markers", "-p", "no:randomly").assert_outcomes(passed=10)


@pytest.mark.parametrize(
    ("marker", "said"), [("sead=3", "has no option sead"), ("3", "takes options by name, and got 3")]
)
def test_a_wrong_marker_fails_a_test_of_every_crash(suite: pytest.Pytester, marker: str, said: str) -> None:
    """As it does with the fixture, in one sentence, before anything is run."""
    suite.makepyfile(
        f"""
        import pytest
        from schedulergodx_testing import survives_crashes

        @pytest.mark.scheduler({marker})
        @survives_crashes()
        def test_it(scheduler): raise ValueError("it was run")
        """
    )
    result = suite.runpytest(*PLUGIN)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"@pytest.mark.scheduler {said}*; there are start, *"])
    result.stdout.no_fnmatch_line("*it was run*")


def test_a_test_within_a_test_has_markers_of_its_own(suite: pytest.Pytester) -> None:
    """A test that runs others in its process does not lend them its options, nor lose them."""
    suite.makepyfile(
        """
        import pytest
        from schedulergodx_testing.plugin import options_of_running_test
        pytest_plugins = ["pytester"]

        INNER = "from schedulergodx_testing.plugin import options_of_running_test as options\\n"
        INNER += "def test_inner(): assert options() == {}"

        @pytest.mark.scheduler(seed=7)
        def test_outer(pytester):
            pytester.makepyfile(INNER)
            pytester.runpytest_inprocess().assert_outcomes(passed=1)
            assert options_of_running_test() == {"seed": 7}
        """
    )
    suite.runpytest(*PLUGIN).assert_outcomes(passed=1)


def test_an_option_that_does_not_exist_is_an_error(suite: pytest.Pytester) -> None:
    """With its name, so that a misspelt option does not silently mean nothing."""
    suite.makepyfile(
        """
        import pytest

        @pytest.mark.scheduler(sead=3)
        def test_it(scheduler): pass
        """
    )
    result = suite.runpytest(*PLUGIN)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*@pytest.mark.scheduler has no option sead; there are start, *"])


def test_a_failure_shows_what_happened_and_how_to_replay_it(suite: pytest.Pytester) -> None:
    """The timeline, and one line to paste; a test that passes shows neither."""
    suite.makepyfile(
        """
        import app

        def test_fails(scheduler):
            app.remind.options(delay=86400).launch("ada")
            scheduler.advance(hours=23)
            assert app.outbox == ["ada"]

        def test_passes(scheduler):
            app.remind.launch("grace")
        """
    )
    result = suite.runpytest(*PLUGIN)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*virtual time*",
            "*client *launch remind('ada'), due in 1d*",
            "*test *advance by 23h*",
            "Replay it: SCHEDULERGODX_REPLAY=1:*test_fails*",
        ]
    )
    result.stdout.no_fnmatch_line("*grace*")


def test_a_strict_test_that_leaves_a_task_behind_fails(suite: pytest.Pytester) -> None:
    """The others may leave what they like."""
    suite.makepyfile(
        """
        import app, pytest

        @pytest.mark.scheduler(is_strict=True)
        def test_strict(scheduler):
            app.remind.options(delay=60).launch("ada")

        def test_other(scheduler):
            app.remind.options(delay=60).launch("ada")
        """
    )
    result = suite.runpytest(*PLUGIN)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*LeftBehind: 1 launches have no outcome*"])


def test_a_harness_left_open_fails_its_own_test_alone(suite: pytest.Pytester) -> None:
    """It is closed at that test's end, so the next ones see real time, and can open one."""
    suite.makepyfile(
        """
        import app, time
        from schedulergodx_testing import Harness

        def test_forgetful():
            Harness().open()

        def test_real_time():
            assert time.time() > 1_780_000_000 and time.time.__module__ == "time"

        def test_fixture(scheduler):
            assert app.sleep.launch(2).result() == 2
        """
    )
    result = suite.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(
        ["*left a harness open, opened at *test_a_harness_left_open*.py:5, in *test_forgetful*"]
    )


def test_a_harness_of_a_module_stays_open(suite: pytest.Pytester) -> None:
    """It is a fixture's, not the test's; `scheduler` beside it is refused, and told where the open one is."""
    suite.makepyfile(
        """
        import pytest
        from schedulergodx_testing import Harness

        @pytest.fixture(scope="module")
        def mine():
            with Harness() as harness:
                yield harness

        def test_one(mine): mine.advance(seconds=1)
        def test_two(mine): mine.advance(seconds=1)
        def test_both(mine, scheduler): pass
        """
    )
    result = suite.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*that one was opened at *test_a_harness_of_a_module_stays_open.py:6*"])


def test_a_patch_from_before_the_fixture_leaves_nothing(suite: pytest.Pytester) -> None:
    """`monkeypatch` puts back, after the harness has ended, what it found while that was open."""
    suite.makepyfile(
        """
        import threading, time

        REAL, WAIT = time.time, threading.Condition.wait

        def test_before(monkeypatch, scheduler):
            monkeypatch.setattr(time, "time", lambda: 5.0)
            monkeypatch.setattr(threading.Condition, "wait", lambda *_: True)
            assert time.time() == 5.0

        def test_original():
            assert time.time is REAL and threading.Condition.wait is WAIT

        def test_after(scheduler, monkeypatch):
            monkeypatch.setattr(time, "time", lambda: 5.0)
            monkeypatch.setattr(threading.Condition, "wait", lambda *_: True)

        def test_original_again():
            assert time.time is REAL and threading.Condition.wait is WAIT
        """
    )
    suite.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=4)


def test_an_unrelated_suite_imports_nothing_heavy(suite: pytest.Pytester) -> None:
    """The plugin is loaded, and that is all: none of the library, and nothing that it needs."""
    suite.makepyfile(
        """
        import sys

        def test_unrelated():
            loaded = {name for name in sys.modules if name.split(".")[0].startswith("schedulergodx")}
            assert loaded <= {"schedulergodx_testing", "schedulergodx_testing.plugin"}
            assert not {"cloudpickle", "pika", "sqlite3", "hypothesis", "asyncio"} & set(sys.modules)
        """
    )
    suite.runpytest_subprocess(*ALONE).assert_outcomes(passed=1)


def test_unittest_works_without_and_with_the_fixture(suite: pytest.Pytester) -> None:
    """A context manager in `setUp`, or the fixture by `usefixtures`-style injection; also under unittest alone."""
    suite.makepyfile(
        test_with_unittest="""
        import unittest
        import app
        from schedulergodx_testing import Harness

        class Reminders(unittest.TestCase):
            def setUp(self):
                self.scheduler = self.enterContext(Harness())
                app.outbox.clear()

            def test_a_day_later(self):
                app.remind.options(delay=86400).launch("ada")
                self.scheduler.advance(days=1)
                self.assertEqual(app.outbox, ["ada"])

            def test_sleeping(self):
                self.assertEqual(app.sleep.launch(2).result(), 2)
        """,
        test_with_pytest="""
        import unittest
        import app, pytest

        class Reminders(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def take(self, scheduler):
                self.scheduler = scheduler

            def test_a_day_later(self):
                app.sleep.options(delay=86400).launch(1)
                self.scheduler.advance(days=2)
                self.scheduler.assert_completed(app.sleep, result=1)
        """,
    )
    suite.runpytest(*PLUGIN).assert_outcomes(passed=3)
    ended = suite.run(sys.executable, "-W", "error", "-m", "unittest", "test_with_unittest")
    assert ended.ret == 0, ended.stderr.str()


ASYNCIO_BODY = """
    import asyncio, time
    import app

    async def body(scheduler):
        before = time.monotonic()
        await asyncio.sleep(3600)
        assert time.monotonic() - before == 3600
        assert await app.sleep_in_asyncio.options(task_lifetime=None, delay=60).launch(5) == 5
        assert time.monotonic() - before == 3665
        try:
            async with asyncio.timeout(10):
                await app.sleep.options(delay=60).launch(1)
        except TimeoutError:
            pass
        else:
            raise AssertionError("it was there in time")
        assert time.monotonic() - before == 3675
        first, second = await asyncio.gather(app.sleep.launch_async(1), app.sleep.launch_async(2))
        assert (await first, await second) == (1, 2)
"""


def test_asyncio_in_a_test(suite: pytest.Pytester) -> None:
    """`asyncio.run` inside a test: sleeps, timeouts and tasks take virtual time, and awaiting an id lets it pass."""
    suite.makepyfile(
        ASYNCIO_BODY
        + """
    def test_it(scheduler):
        asyncio.run(body(scheduler))
        """
    )
    suite.runpytest(*PLUGIN).assert_outcomes(passed=1)


def test_asyncio_tests_of_anyio(suite: pytest.Pytester) -> None:
    """The same in a test that is a coroutine itself."""
    suite.makepyfile(
        ASYNCIO_BODY
        + """
    import pytest

    @pytest.mark.anyio
    async def test_it(scheduler):
        await body(scheduler)

    @pytest.fixture
    def anyio_backend():
        return "asyncio"
        """
    )
    suite.runpytest_subprocess(*PLUGIN).assert_outcomes(passed=1)


def test_thirty_days_pass_within_five_seconds_of_pytest_timeout(suite: pytest.Pytester) -> None:
    """Its clock is the real one, by signal and by thread; also when each day has something to do."""
    suite.makepyfile(
        """
        import app

        def test_it(scheduler):
            for day in range(30):
                app.sleep.options(delay=day * 86400, task_lifetime=None).launch(3600)
            scheduler.advance(days=30)
            assert all(task.outcome is not None for task in scheduler.tasks)
        """
    )
    for method in ("signal", "thread"):
        result = suite.runpytest_subprocess(*PLUGIN, "--timeout=5", f"--timeout-method={method}")
        result.assert_outcomes(passed=1)


def test_under_xdist(suite: pytest.Pytester) -> None:
    """Many harnesses in several processes; the stories are those that the same tests have alone."""
    suite.makepyfile(
        """
        import app, hashlib, pytest

        @pytest.mark.parametrize("number", range(16))
        def test_it(scheduler, number, record_property):
            for place in range(5):
                app.sleep.options(delay=place % 2).launch(place)
            scheduler.run_all()
            story = scheduler.timeline.to_json().encode()
            with open(f"story-{number}", "ab") as file:
                file.write(hashlib.sha256(story).digest())
        """
    )
    suite.runpytest_subprocess(*PLUGIN, "-p", "xdist", "-n", "2").assert_outcomes(passed=16)
    suite.runpytest_subprocess(*PLUGIN, "-p", "no:xdist").assert_outcomes(passed=16)
    for number in range(16):
        stories = (suite.path / f"story-{number}").read_bytes()
        assert len(stories) == 64
        assert stories[:32] == stories[32:]


def test_the_fixtures_explain_themselves(suite: pytest.Pytester) -> None:
    """`pytest --fixtures` and `--markers` show each with its first sentence."""
    result = suite.runpytest(*PLUGIN, "--fixtures")
    for name in ("scheduler", "fake_clock", "memory_broker"):
        result.stdout.fnmatch_lines([f"{name} -- *plugin.py*", "    *[.:]*"])
    suite.runpytest(*PLUGIN, "--markers").stdout.fnmatch_lines(["@pytest.mark.scheduler(*): *Harness*"])


def test_loading_the_plugin_takes_no_time_worth_measuring() -> None:
    """Beyond pytest itself, a single module is loaded, of the standard library nothing that pytest does not have."""
    program = (
        "import sys, pytest, _pytest.config; before = set(sys.modules); import schedulergodx_testing.plugin; "
        "print(sorted(set(sys.modules) - before))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "['schedulergodx_testing', 'schedulergodx_testing.plugin']"
