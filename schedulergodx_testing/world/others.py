"""Other tools that replace the same functions: two at a time would each see half of the truth."""

from __future__ import annotations

import sys

from schedulergodx_testing.errors import HarnessError


def refuse() -> None:
    """Raise HarnessError when freezegun or time-machine is active. Neither is imported for that."""
    for name in ("freezegun", "time_machine"):
        if name in sys.modules and _is_active(name):
            raise HarnessError(
                f"{name.replace('_', '-')} is active together with a harness: both replace the clocks of this process. "
                "Use the harness alone: Harness(start=…), advance(…), travel_to(…) and jump_wall(…)."
            )


def _is_active(name: str) -> bool:
    if name == "freezegun":
        return bool(getattr(sys.modules.get("freezegun.api"), "freeze_factories", ()))
    module = sys.modules[name]
    return bool(getattr(module, "traveller_stack", ()) or getattr(module, "coordinates_stack", ()))
