"""For pytest only: the plugin of this checkout and the Hypothesis profiles."""

import os

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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add how far the random walks of `tests/model/test_broker_agreement.py` go."""
    parser.addoption(
        "--walks",
        type=int,
        default=300 if os.environ.get("CI") else 30,
        metavar="N",
        help="take N random walks of up to 50 steps on a real RabbitMQ and in memory (default: 30, in CI 300)",
    )
