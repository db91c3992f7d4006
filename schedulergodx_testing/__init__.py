"""Test scheduled work without a broker and without waiting.

`Harness` (fixture `scheduler`) runs the real client and service in one process, over a broker in memory, under a clock
that the test moves. Its parts can be used alone. See docs/testing.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from schedulergodx_testing.clock import FakeClock
    from schedulergodx_testing.crashes import check_survives_crashes, survives_crashes
    from schedulergodx_testing.crashing import CrashPoint
    from schedulergodx_testing.errors import (
        ClientCrashed,
        Deadlock,
        HarnessError,
        LeftBehind,
        NotEmulated,
        NothingLeftToHappen,
        ThreadStuck,
        TooManyEvents,
    )
    from schedulergodx_testing.harness import Harness
    from schedulergodx_testing.invariants import Violation
    from schedulergodx_testing.launched import ANY, Launch
    from schedulergodx_testing.machine import SchedulerMachine, told
    from schedulergodx_testing.memory import MemoryBroker
    from schedulergodx_testing.portable import assert_portable
    from schedulergodx_testing.redelivery import check_redelivery_safe
    from schedulergodx_testing.storage import FaultyStorage
    from schedulergodx_testing.storage_faults import check_survives_storage_faults
    from schedulergodx_testing.timeline import Timeline
    from schedulergodx_testing.world.leaks import RealWorldLeak

_HOMES = {
    "ANY": "launched",
    "ClientCrashed": "errors",
    "CrashPoint": "crashing",
    "Deadlock": "errors",
    "FakeClock": "clock",
    "FaultyStorage": "storage",
    "Harness": "harness",
    "HarnessError": "errors",
    "Launch": "launched",
    "LeftBehind": "errors",
    "MemoryBroker": "memory",
    "NotEmulated": "errors",
    "NothingLeftToHappen": "errors",
    "RealWorldLeak": "world.leaks",
    "SchedulerMachine": "machine",
    "ThreadStuck": "errors",
    "Timeline": "timeline",
    "TooManyEvents": "errors",
    "Violation": "invariants",
    "assert_portable": "portable",
    "check_redelivery_safe": "redelivery",
    "check_survives_crashes": "crashes",
    "check_survives_storage_faults": "storage_faults",
    "survives_crashes": "crashes",
    "told": "machine",
}

__all__ = [
    "ANY",
    "ClientCrashed",
    "CrashPoint",
    "Deadlock",
    "FakeClock",
    "FaultyStorage",
    "Harness",
    "HarnessError",
    "Launch",
    "LeftBehind",
    "MemoryBroker",
    "NotEmulated",
    "NothingLeftToHappen",
    "RealWorldLeak",
    "SchedulerMachine",
    "ThreadStuck",
    "Timeline",
    "TooManyEvents",
    "Violation",
    "assert_portable",
    "check_redelivery_safe",
    "check_survives_crashes",
    "check_survives_storage_faults",
    "survives_crashes",
    "told",
]


def register_memory() -> None:
    """Let `schedulergodx.transport.connect` understand `memory://name`. It calls this itself at the first such URL."""
    from schedulergodx.transport import MEMORY_SCHEME, register  # noqa: PLC0415 - see below
    from schedulergodx_testing.memory.registry import connect  # noqa: PLC0415

    register(MEMORY_SCHEME, connect)


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: pytest loads this package in every run, also where nobody needs it."""
    from importlib import import_module  # noqa: PLC0415 - see above

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
