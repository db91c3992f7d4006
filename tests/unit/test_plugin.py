"""The pytest plugin as a user's suite sees it, each time in a small suite of its own."""

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "schedulergodx_testing.plugin")

# A pool as on a machine without any RabbitMQ: the plugin's own fixture, replaced in the suite's conftest.
NO_RABBITMQ = """
import pytest
from schedulergodx_testing.rabbitmq import RabbitMQPool, RabbitMQUnavailable

class NoRabbitMQ(RabbitMQPool):
    def any(self):
        raise RabbitMQUnavailable("no RabbitMQ: do one of three things")
    def container(self):
        raise RabbitMQUnavailable("no Docker daemon answers")

@pytest.fixture(scope="session")
def _rabbitmq_pool():
    return NoRabbitMQ()
"""

SUITE = """
def test_url(rabbitmq_url): pass
def test_vhost(rabbitmq_vhost_url): pass
def test_broker(rabbitmq): pass
def test_container(rabbitmq_container): pass
def test_unrelated(): pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(NO_RABBITMQ)
    pytester.makepyfile(SUITE)
    return pytester


def test_without_a_broker_each_of_its_tests_is_skipped_with_one_line(suite: pytest.Pytester) -> None:
    """The summary shows the whole reason beside each, and the other tests run."""
    result = suite.runpytest(*PLUGIN, "-rs")
    result.assert_outcomes(passed=1, skipped=4)
    result.stdout.fnmatch_lines(
        [
            *["SKIPPED [[]1[]] *: no RabbitMQ: do one of three things"] * 3,
            "SKIPPED [[]1[]] *: no Docker daemon answers",
        ]
    )


def test_a_required_broker_that_is_missing_fails(suite: pytest.Pytester) -> None:
    """CI must not pass because its broker did not start; the container is another requirement."""
    result = suite.runpytest(*PLUGIN, "--require-rabbitmq")
    result.assert_outcomes(passed=1, skipped=1, errors=3)
    result.stdout.fnmatch_lines(["*do one of three things (required by --require-rabbitmq)"])


def test_a_required_container_that_is_missing_fails(suite: pytest.Pytester) -> None:
    """The same for Docker, which leaves the other tests their skip."""
    result = suite.runpytest(*PLUGIN, "--require-docker")
    result.assert_outcomes(passed=1, skipped=3, errors=1)
    result.stdout.fnmatch_lines(["no Docker daemon answers (required by --require-docker)"])


def test_a_given_url_is_handed_out(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is started and nobody connects: the suite gets the URL, also as that of its virtual host."""
    url = "amqp://me@broker.invalid/mine"
    monkeypatch.setenv("SCHEDULERGODX_TEST_AMQP_URL", url)
    pytester.makepyfile(
        f"""
        def test_urls(rabbitmq, rabbitmq_url, rabbitmq_vhost_url):
            assert rabbitmq.url == rabbitmq_url == rabbitmq_vhost_url == {url!r}
        """
    )
    pytester.runpytest(*PLUGIN).assert_outcomes(passed=1)


def test_the_plugin_may_be_named_twice(pytester: pytest.Pytester) -> None:
    """A conftest that lists the plugin works beside the installed entry point of the same name."""
    pytester.makeconftest('pytest_plugins = ["schedulergodx_testing.plugin"]')
    pytester.makepyfile("def test_it(): pass")
    pytester.runpytest(*PLUGIN).assert_outcomes(passed=1)


def test_the_fixtures_explain_themselves(pytester: pytest.Pytester) -> None:
    """`pytest --fixtures` shows each with its first sentence, and no private one."""
    result = pytester.runpytest(*PLUGIN, "--fixtures")
    for name in ("rabbitmq", "rabbitmq_url", "rabbitmq_vhost_url", "rabbitmq_container"):
        result.stdout.fnmatch_lines([f"{name}*--*plugin.py*"])
    result.stdout.no_fnmatch_line("*_rabbitmq_pool*")
    result.stdout.no_fnmatch_line("*no docstring available*schedulergodx*")


def test_the_plugin_costs_an_unrelated_suite_nothing() -> None:
    """Every suite of an environment with the package loads it: so it imports pytest alone."""
    heavy = {"cloudpickle", "docker", "hypothesis", "pika", "testcontainers", "schedulergodx_testing.rabbitmq"}
    program = f"import sys, schedulergodx_testing.plugin; print(sorted({heavy} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
