"""Where in a program, and in which test, something was done."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_OWN = str(Path(__file__).parent) + os.sep
_CONTEXTS = ("contextlib.py", os.path.join("unittest", "case.py"))  # noqa: PTH118 - the end of a path, not one


def caller() -> str:
    """Return where the code is that called into this package, and in which test that is, in words."""
    frame = sys._getframe(1)  # noqa: SLF001 - a whole stack, for one line of it, would take milliseconds
    while frame.f_back is not None and _is_passed(frame.f_code.co_filename):
        frame = frame.f_back
    test = os.environ.get("PYTEST_CURRENT_TEST", "")
    return f"at {frame.f_code.co_filename}:{frame.f_lineno}{f', in {test}' if test else ''}"


def _is_passed(file: str) -> bool:
    return file.startswith(_OWN) or file.endswith(_CONTEXTS)
