"""For pytest only: the plugin of this checkout, its assertion texts, and the Hypothesis profiles."""

import os

import pytest
from hypothesis import settings

# Before the plugin is imported: contract classes shipped in the package then explain their failures.
pytest.register_assert_rewrite("schedulergodx_testing")

# The same name as the installed entry point, so that both together are one plugin.
pytest_plugins = ["schedulergodx_testing.plugin"]

# No deadline: the time of one example says more about the machine than about the code. Every run draws
# new examples, and a failure prints the line that repeats it.
settings.register_profile("dev", deadline=None, derandomize=False, print_blob=True, max_examples=100)
settings.register_profile("ci", deadline=None, derandomize=False, print_blob=True, max_examples=300)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
