"""What this operating system can do."""

from __future__ import annotations

import os


def can_kill_processes() -> bool:
    """Return whether processes can be forked into groups of their own and killed by group, as hard tasks need."""
    return hasattr(os, "fork") and hasattr(os, "killpg")
