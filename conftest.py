"""For pytest only: the plugin of this checkout and the Hypothesis profiles."""

import os

from hypothesis import settings

# The same name as the installed entry point, so that both together are one plugin; a checkout that is not
# installed has it too. It is also what registers the shipped contract classes for assertion texts: here
# it would come too late where the entry point was first, and pytest would refuse it.
pytest_plugins = ["schedulergodx_testing.plugin"]

# No deadline: the time of one example says more about the machine than about the code. Every run draws
# new examples, and a failure prints the line that repeats it.
settings.register_profile("dev", deadline=None, derandomize=False, print_blob=True, max_examples=100)
settings.register_profile("ci", deadline=None, derandomize=False, print_blob=True, max_examples=300)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
