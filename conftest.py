"""For pytest only: the plugin of this checkout and the Hypothesis profiles."""

import faulthandler
import os
import sys
from collections.abc import Generator

import pytest
from hypothesis import settings

# The same name as the installed entry point, so that both together are one plugin; a checkout that is not
# installed has it too. It is also what registers the shipped contract classes for assertion texts: here
# it would come too late where the entry point was first, and pytest would refuse it.
pytest_plugins = ["schedulergodx_testing.plugin"]

# No deadline: the time of one example says more about the machine than about the code. Every run draws
# new examples, and a failure prints the line that repeats it.
settings.register_profile("dev", deadline=None, derandomize=False, print_blob=True, max_examples=100)
settings.register_profile("ci", deadline=None, derandomize=False, print_blob=True, max_examples=300)
settings.register_profile("long", deadline=None, derandomize=False, print_blob=True, max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


HANGS_AFTER_S = 60
"""Beyond the time that a test has, after which its process is ended with all stacks shown: nothing else has helped."""
_stderr = pytest.StashKey[int]()


WALKS_S, WALK_S = 600, 10
"""The time for walks: for a difference that is found again and shrunk, and for each walk on a slow machine."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give the tests that walk the time for so many walks."""
    for item in items:
        if (mark := item.get_closest_marker("walks")) is not None:
            allowed_s = WALKS_S + WALK_S * config.getoption("--walks") * mark.args[0]
            # Not by a signal: Hypothesis would take what that raises for one more difference, and shrink it.
            item.add_marker(pytest.mark.timeout(allowed_s, method="thread"))


def pytest_configure(config: pytest.Config) -> None:
    """Keep the real standard error: later it is captured, and a process that is ended prints nothing of that."""
    config.stash[_stderr] = os.dup((sys.__stderr__ or sys.stderr).fileno())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close it."""
    os.close(config.stash[_stderr])


def _arm(item: pytest.Item) -> None:
    """End the process when the test takes much longer than it may: a timeout raises, once, and that may be caught."""
    mark = item.get_closest_marker("timeout")
    allowed_s = float(mark.args[0] if mark is not None else item.config.getini("timeout"))
    if allowed_s:  # else it says itself how long it goes on
        faulthandler.dump_traceback_later(allowed_s + HANGS_AFTER_S, file=item.config.stash[_stderr], exit=True)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Watch over a test."""
    _arm(item)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    """Watch over the end of a test that has failed, too: pytest has just ended the watch."""
    if isinstance(node, pytest.Item):
        _arm(node)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add how far the random walks of `tests/model/test_broker_agreement.py` go."""
    parser.addoption(
        "--walks",
        type=int,
        default=300 if os.environ.get("CI") else 30,
        metavar="N",
        help="take N random walks of up to 50 steps on a real RabbitMQ and in memory (default: 30, in CI 300)",
    )
