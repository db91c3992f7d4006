"""`docs/transports.md` tells the truth: its table is that of the suites, and its example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from schedulergodx_testing.contracts.transport import CAPABILITIES
from tests.contract.test_memory_transport import TestMemoryTransport as Memory
from tests.contract.test_sqlite_transport import TestSqliteTransport as File
from tests.integration.test_rabbitmq_contract import TestRabbitMQTransport as RealRabbitMQ

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "transports.md").read_text("utf-8")
LINES_MAX = 20
TESTS_MIN = 40

pytest_plugins = ["pytester"]


def names_in(suite: type) -> set[str]:
    """Return the names of the tests that a suite runs."""
    return {name for name in dir(suite) if name.startswith("test_") and getattr(suite, name) is not None}


def test_the_table_is_that_of_the_suites() -> None:
    """Each capability has its row, with its meaning, and yes where the suite of that transport has it."""
    suites = (Memory, File, RealRabbitMQ)
    rows = [
        f"| `{name}` | {meaning} | "
        + " | ".join("yes" if name in suite.capabilities else "no" for suite in suites)
        + " |"
        for name, meaning in CAPABILITIES.items()
    ]
    assert re.findall(r"^\| `.*\|$", DOCUMENT, re.MULTILINE) == rows


def test_only_capabilities_leave_tests_out() -> None:
    """All suites have the same tests, but for those of a capability; every test has one sentence of its own."""
    everything = names_in(Memory)
    assert len(everything) >= TESTS_MIN
    for suite in (File, RealRabbitMQ):
        for name in everything - names_in(suite):
            assert getattr(Memory, name).needs not in suite.capabilities
        assert names_in(suite) <= everything
    sentences = [getattr(Memory, name).__doc__ for name in everything]
    assert all(sentences)
    assert len(set(sentences)) == len(sentences)


@pytest.mark.slow
def test_a_transport_of_ones_own_needs_one_fixture(pytester: pytest.Pytester) -> None:
    """The example in the document is under 20 lines, and as a test file by itself it passes the contract."""
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
    assert len(example.strip().splitlines()) < LINES_MAX
    pytester.makepyfile(test_mine=example)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-q", "-k", "order or prefetch or unacked or dead")
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] >= 4
    assert not {"failed", "errors", "skipped"} & set(outcomes)
