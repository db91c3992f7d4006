"""Other tools that move time, freezegun and time-machine: two clocks in one test tell two stories.

Neither is imported here: where it is not imported yet, it is not active.
"""

from __future__ import annotations

import sys
from typing import Any

from schedulergodx_testing import pickles
from schedulergodx_testing.errors import HarnessError


def active() -> str | None:
    """Return the name of such a tool that moves time at this moment, or None."""
    freezegun = sys.modules.get("freezegun.api")
    if freezegun is not None and getattr(freezegun, "freeze_factories", None):
        return "freezegun"
    time_machine = sys.modules.get("time_machine")
    if time_machine is not None and _is_travelling(time_machine):
        return "time-machine"
    return None


def _is_travelling(time_machine: Any) -> bool:
    hatch = getattr(time_machine, "escape_hatch", None)
    return bool(
        (hatch is not None and hatch.is_travelling())
        or getattr(time_machine, "traveller_stack", ())
        or getattr(time_machine, "coordinates_stack", ())
    )


def refuse() -> None:
    """Raise HarnessError while such a tool is active."""
    if (name := active()) is not None:
        raise HarnessError(
            f"{name} is active, and a harness has a clock of its own: one of the two would silently not hold. Leave "
            f"{name} out of this test; start= says when the harness begins, advance(…), travel_to(…) and jump_wall(…) "
            "move its time"
        )


def refuse_frozen(arguments: bytes, task: str) -> None:
    """Raise HarnessError for the arguments of a launch that hold an object of such a tool."""
    is_any_imported = "freezegun" in sys.modules or "time_machine" in sys.modules
    if is_any_imported and (names := pickles.only_in_tests(arguments, pickles.CLOCKS)):
        raise HarnessError(
            f"an argument of {task} is a {names[0]}, and nothing was sent: {pickles.advice_for(names[0])}"
        )
