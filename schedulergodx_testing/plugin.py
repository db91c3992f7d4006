"""The pytest plugin: fixtures and options for everyone who installs the package, the project itself included.

It imports pytest and nothing else: a test suite that uses none of the fixtures pays nothing for them.
"""

# Imports inside the functions are the point of this file, see above.
# ruff: noqa: PLC0415

import os
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from schedulergodx_testing.clock import FakeClock
    from schedulergodx_testing.harness import Harness
    from schedulergodx_testing.memory import MemoryBroker
    from schedulergodx_testing.rabbitmq import RabbitMQ, RabbitMQPool

_HARNESS: Final = pytest.StashKey["Harness"]()
_STORIES: Final = pytest.StashKey[Any]()
_IS_TOLD: Final = pytest.StashKey[bool]()
_HAS_FAILED: Final = pytest.StashKey[bool]()
_OPEN_BEFORE: Final = pytest.StashKey[object]()
_LATEST_BEFORE: Final = pytest.StashKey[object]()
_COUNT: Final = pytest.StashKey[int]()
_LEAKS: Final = "taken from the real world"
_LEAKS_SHOWN_MAX: Final = 20
_VIRTUAL_S: Final = "virtual_s"
_running: Final[list[pytest.Item]] = []  # the last one runs; a test may run others within itself
REQUIRE_RABBITMQ: Final = "--require-rabbitmq"
REQUIRE_DOCKER: Final = "--require-docker"

# Modules whose plain `assert` statements explain their failures. By hand, because pytest finds the files of
# an entry point only in a real install, not in an editable one or a checkout; before anyone imports them.
_EXPLAINED: Final = ("schedulergodx_testing.contracts", "schedulergodx_testing.assertions")
pytest.register_assert_rewrite(*(name for name in _EXPLAINED if name not in sys.modules))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that turn a missing broker from a skip into a failure."""
    group = parser.getgroup("schedulergodx", "SchedulerGodX")
    group.addoption(
        "--scheduler-transport",
        choices=("memory", "sqlite", "rabbitmq", "both"),
        default="memory",
        help="the broker under the fixture `scheduler`; both: in memory, then RabbitMQ, and the two are compared",
    )
    group.addoption(
        REQUIRE_RABBITMQ,
        action="store_true",
        help="fail, instead of skipping, the tests that find no RabbitMQ",
    )
    group.addoption(
        REQUIRE_DOCKER,
        action="store_true",
        help="fail, instead of skipping, the tests that find no Docker or no RabbitMQ image",
    )
    group.addoption(
        "--scheduler-recheck",
        type=int,
        default=0,
        metavar="N",
        help="run each N-th passing test that uses the fixture `scheduler` once more, in a process with another hash "
        "seed, and fail it when it does not do the same; 0 (default): none, 1: all",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and refuse what cannot be done.

    Raises:
        UsageError: stories are to be compared, and the two of a test may be in two processes.
    """
    if config.getoption("--scheduler-transport") == "both" and config.getoption("tx", None):
        raise pytest.UsageError(
            "--scheduler-transport=both compares what each test does over two brokers within one process: leave out -n"
        )
    config.addinivalue_line(
        "markers",
        "scheduler(**options): how the fixture `scheduler`, or @survives_crashes, opens a harness, as for "
        "schedulergodx_testing.Harness",
    )


# Virtual time


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that use `scheduler` over each broker that the option asks for."""
    option = metafunc.config.getoption("--scheduler-transport")
    if option != "memory" and "scheduler" in metafunc.fixturenames:
        from schedulergodx_testing import any_transport

        metafunc.parametrize("_scheduler_transport", any_transport.kinds(option), indirect=True)


@pytest.fixture
def _scheduler_transport(request: pytest.FixtureRequest) -> str:
    kind: str = getattr(request, "param", "memory")
    if kind == "sqlite":
        path = request.getfixturevalue("tmp_path") / "broker.db"
        return f"sqlite:///{path}"
    return str(request.getfixturevalue("rabbitmq_vhost_url")) if kind == "rabbitmq" else kind


@pytest.fixture
def scheduler(request: pytest.FixtureRequest, _scheduler_transport: str) -> Iterator["Harness"]:
    """An open `Harness`: clients and a service of this process, over a broker in memory, under a clock that you move.

    Options come from `@pytest.mark.scheduler(...)`; of several markers, the nearest to the test wins. With
    `--scheduler-transport` it runs over another broker, under the same clock; a marker's `transport=` stays as it is.
    """
    from schedulergodx_testing import replay
    from schedulergodx_testing.harness import Harness

    options = {"transport": _scheduler_transport} | _marked(request.node)
    if wanted := replay.wanted():
        options["seed"], options["replay"] = replay.parse(wanted)
    harness = Harness(**options)
    request.node.stash[_HARNESS] = harness
    began_s = harness.clock.monotonic()
    with harness:
        harness.opened = f"opened by the fixture `scheduler` of {request.node.nodeid}"
        yield harness
        if request.node.stash.get(_HAS_FAILED, False):
            harness.wishes.clear()
            harness.crash_points.clear()  # what did not come after the failure is no news
    request.node.user_properties.append((_VIRTUAL_S, harness.clock.monotonic() - began_s))
    _recheck(request, harness)
    _compare(request, harness)


def options_of_running_test() -> dict[str, Any]:
    """Return the options that the markers of the running test give, for what opens a harness by itself."""
    return _marked(_running[-1]) if _running else {}


def _marked(item: pytest.Item) -> dict[str, Any]:
    """Return the options that the markers of a test give; one that is none fails it."""
    from schedulergodx_testing.harness import Harness

    options: dict[str, Any] = {}
    for marker in item.iter_markers("scheduler"):
        _refuse_unnamed(marker, Harness)
        options = {**marker.kwargs, **options}
    _refuse_unknown(options, Harness)
    return options


def _refuse_unnamed(marker: pytest.Mark, harness: type["Harness"]) -> None:
    if marker.args:
        got = ", ".join(map(repr, marker.args))
        known = ", ".join(_options(harness))
        pytest.fail(f"@pytest.mark.scheduler takes options by name, and got {got}; there are {known}", pytrace=False)


def _options(harness: type["Harness"]) -> list[str]:
    from inspect import signature

    return list(signature(harness).parameters)


def _refuse_unknown(options: dict[str, Any], harness: type["Harness"]) -> None:
    known = _options(harness)
    if unknown := ", ".join(name for name in options if name not in known):
        pytest.fail(f"@pytest.mark.scheduler has no option {unknown}; there are {', '.join(known)}", pytrace=False)


def _compare(request: pytest.FixtureRequest, harness: "Harness") -> None:
    """With `both`: the second time, over the other broker, must tell the story of the first."""
    item = request.node
    if request.config.getoption("--scheduler-transport") != "both" or item.stash.get(_HAS_FAILED, False):
        return
    from schedulergodx_testing import any_transport

    if any_transport.test_of(item) is None:
        return
    if (stories := request.config.stash.get(_STORIES, None)) is None:
        stories = request.config.stash[_STORIES] = any_transport.Stories(request.session.items)
    if found := stories.told(item, any_transport.story(harness.timeline)):
        pytest.fail(found, pytrace=False)


def _recheck(request: pytest.FixtureRequest, harness: "Harness") -> None:
    from schedulergodx_testing import recheck

    recheck.write_if_asked(harness)
    item, every = request.node, request.config.getoption("--scheduler-recheck")
    if every < 1 or item.stash.get(_HAS_FAILED, False):
        return
    count = request.config.stash[_COUNT] = request.config.stash.get(_COUNT, 0) + 1
    if count % every == 0 and (difference := recheck.difference(item, harness)):
        pytest.fail(difference, pytrace=False)


@pytest.fixture
def fake_clock() -> "FakeClock":
    """A clock that stands still until it is moved; see `schedulergodx_testing.FakeClock`."""
    from schedulergodx_testing.clock import FakeClock

    return FakeClock()


@pytest.fixture
def memory_broker(fake_clock: "FakeClock") -> Iterator["MemoryBroker"]:
    """A broker in memory, stepped by hand, under `fake_clock`; see `schedulergodx_testing.MemoryBroker`."""
    from schedulergodx_testing.memory import MemoryBroker

    with MemoryBroker(fake_clock) as broker:
        yield broker


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Begin anew, also when a test is run once more, and remember which harness was the last one before it."""
    home = sys.modules.get("schedulergodx_testing.harness")
    item.stash[_LATEST_BEFORE] = None if home is None else home.latest()
    item.stash[_IS_TOLD] = item.stash[_HAS_FAILED] = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Remember which harness was open before the test itself began: that of a fixture, of whatever scope.

    What opens its own, as `survives_crashes` does, can ask for the options of its markers meanwhile.
    """
    item.stash[_OPEN_BEFORE] = _open_harness()
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.pop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Let no test leave its harness, or a patch of one, to the tests after it; note what its harnesses leaked."""
    try:
        return (yield)
    finally:
        try:
            _leave_nothing(item)
        finally:
            _note_leaks(item)


def _leave_nothing(item: pytest.Item) -> None:
    left = _open_harness()
    if left is None or left is item.stash.get(_OPEN_BEFORE, left):
        left = None  # a fixture of the module or the session has opened it
    else:
        left.close()
    if (patching := sys.modules.get("schedulergodx_testing.world.interpose.patching")) and _open_harness() is None:
        patching.sweep()
    if left is not None:
        pytest.fail(
            f"this test left a harness open, {left.opened}; it is closed now, so that the next tests see real time. "
            "Write `with Harness() as scheduler:`, or use the fixture `scheduler`",
            pytrace=False,
        )


def _note_leaks(item: pytest.Item) -> None:
    """Let the report take along, also from a worker of xdist, what harnesses told that closed since the last test."""
    home = sys.modules.get("schedulergodx_testing.world.leaks")
    if home is not None and (leaks := home.take()):
        item.user_properties.append((_LEAKS, [str(leak) for leak in leaks]))


def _open_harness() -> "Harness | None":
    """Return what is open; nothing is imported for it."""
    redirection = sys.modules.get("schedulergodx.redirection")
    active = None if redirection is None else redirection.active()
    return active if hasattr(active, "opened") else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a failed test what happened in virtual time, and the line that replays it."""
    report = yield
    harness = item.stash.get(_HARNESS, None)
    if not report.failed:
        return report
    if harness is None:
        harness = _opened_by(item)
    elif harness.transport != "memory" and call.excinfo is not None and _is_not_emulated(call.excinfo.value):
        # Told in the summary, with its reason: this test asks what no real broker can be told to do.
        place = (str(item.path), item.location[1] or 0, f"Skipped: over a real broker: {call.excinfo.value}")
        report.outcome, report.longrepr = "skipped", place
        item.stash[_HAS_FAILED] = True  # its story ends in the middle: there is nothing to compare it with
        return report
    item.stash[_HAS_FAILED] = True
    if harness is not None and not item.stash.get(_IS_TOLD, False):
        item.stash[_IS_TOLD] = True
        report.sections.append(("virtual time", f"{harness.timeline}\n\nReplay it: {_again(item, harness)}"))
        if leaks := harness.world.leaks:
            report.sections.append((_LEAKS, "\n".join(map(str, leaks))))
    return report


def _opened_by(item: pytest.Item) -> "Harness | None":
    """Return the harness that a test has opened by itself, or None."""
    home = sys.modules.get("schedulergodx_testing.harness")
    latest = None if home is None else home.latest()
    return None if latest is item.stash.get(_LATEST_BEFORE, None) else latest


def _again(item: pytest.Item, harness: "Harness") -> str:
    """Return what replays a test."""
    from schedulergodx_testing import replay

    token = replay.token(harness.seed, harness.choices.taken)
    if _HARNESS not in item.stash:
        return f"Harness(seed={harness.seed}, replay=replay.parse({token!r})[1])"
    cache = item.config.cache if item.config.pluginmanager.hasplugin("cacheprovider") else None
    folder = None if cache is None else cache.mkdir("schedulergodx")
    path, *names = item.nodeid.split("::")
    path = os.path.relpath(item.config.rootpath / path, item.config.invocation_params.dir)
    return replay.line(token, "::".join([path, *names]), folder)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Tell what the tests that use `scheduler` went through together, each in whichever process."""
    _tell_leaks(terminalreporter)
    passed_s = _noted(terminalreporter, _VIRTUAL_S)
    if passed_s and terminalreporter.verbosity >= 0:
        from datetime import timedelta

        together = timedelta(seconds=round(sum(passed_s)))
        terminalreporter.write_line(f"virtual time: {together} in {len(passed_s)} tests that use `scheduler`")


def _noted(terminalreporter: Any, name: str) -> list[Any]:
    """Return what tests noted under a name, one for each of them that did."""
    reports = [report for of_kind in terminalreporter.stats.values() for report in of_kind]
    return [
        value
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for noted, value in report.user_properties
        if noted == name
    ]


def _tell_leaks(terminalreporter: Any) -> None:
    """Name what tests took from the real world, by whichever harness: another run may find it otherwise."""
    counts = Counter(leak for leaks in _noted(terminalreporter, _LEAKS) for leak in leaks)
    if not counts:
        return
    terminalreporter.section(_LEAKS, yellow=True)
    for leak, count in counts.most_common(_LEAKS_SHOWN_MAX):
        terminalreporter.line(f"{leak}  ({count} test{'s' if count > 1 else ''})")
    if len(counts) > _LEAKS_SHOWN_MAX:
        terminalreporter.line(f"… and {len(counts) - _LEAKS_SHOWN_MAX} more")
    terminalreporter.line("Another run with the same seed finds these otherwise; is_strict=True makes them errors.")


def _is_not_emulated(error: BaseException) -> bool:
    from schedulergodx_testing.errors import NotEmulated

    return isinstance(error, NotEmulated)


# RabbitMQ


@pytest.fixture(scope="session")
def _rabbitmq_pool() -> Iterator["RabbitMQPool"]:
    from schedulergodx_testing.rabbitmq import RabbitMQPool

    pool = RabbitMQPool()
    yield pool
    pool.close()


@pytest.fixture(scope="session")
def rabbitmq(request: pytest.FixtureRequest, _rabbitmq_pool: "RabbitMQPool") -> "RabbitMQ":
    """A running RabbitMQ, shared by the session, with helpers to stop, cut and configure it.

    The one of `SCHEDULERGODX_TEST_AMQP_URL`, else one in Docker, else a private node of the machine's
    `rabbitmq-server`, else the test is skipped (with `--require-rabbitmq`: fails).
    """
    return _broker_or_skip(request, REQUIRE_RABBITMQ, _rabbitmq_pool.any)


@pytest.fixture(scope="session")
def rabbitmq_container(request: pytest.FixtureRequest, _rabbitmq_pool: "RabbitMQPool") -> "RabbitMQ":
    """A running RabbitMQ in a container, shared by the session; skipped, or with `--require-docker` fails."""
    return _broker_or_skip(request, REQUIRE_DOCKER, _rabbitmq_pool.container)


@pytest.fixture(scope="session")
def rabbitmq_url(rabbitmq: "RabbitMQ") -> str:
    """The AMQP URL of the session's RabbitMQ; queues there are shared by all tests."""
    return rabbitmq.url


@pytest.fixture
def rabbitmq_vhost_url(rabbitmq: "RabbitMQ") -> Iterator[str]:
    """The AMQP URL of a virtual host for this test alone, removed after it.

    On a broker given by its URL it is that URL. The broker runs, without an alarm, when the test begins.
    """
    with rabbitmq.private_vhost() as url:
        yield url


def _broker_or_skip(request: pytest.FixtureRequest, required_by: str, get: Callable[[], "RabbitMQ"]) -> "RabbitMQ":
    from schedulergodx_testing.rabbitmq import RabbitMQUnavailable

    try:
        return get()
    except RabbitMQUnavailable as error:
        if request.config.getoption(required_by):
            pytest.fail(f"{error} (required by {required_by})", pytrace=False)
        pytest.skip(str(error))
