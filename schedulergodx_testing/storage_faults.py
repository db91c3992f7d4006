"""`check_survives_storage_faults`: a scenario, run once for every call to the database that can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from schedulergodx_testing.actors import Timer
from schedulergodx_testing.exploring import Disturbance, explore, run
from schedulergodx_testing.storage import StorageFault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from schedulergodx_testing.exploring import Scenario
    from schedulergodx_testing.harness import Harness

HEALED_AFTER_S = 90.0
"""Virtual seconds after which a database that fails for ever works again: several pauses of the service."""


class _Counting(Disturbance):
    """Nothing fails, and calls are counted."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._first = 0

    def begin(self, harness: Harness) -> None:
        """Count from here."""
        self.calls = harness.services[0].storage.calls
        self._first = len(self.calls)

    @property
    def names(self) -> list[str]:
        """The calls since then."""
        return self.calls[self._first :]


class _Failing(Disturbance):
    """One call fails, or all from one on, for a while."""

    is_fault = True

    def __init__(self, at: int, call: str, error: StorageFault, *, once: bool) -> None:
        self.what = f"{error} at storage call {at} ({call}), {'once' if once else 'and from then on'}"
        self._at = at
        self._error = error
        self._once = once
        self._storage: Any = None

    def begin(self, harness: Harness) -> None:
        """Arm it."""
        self._storage = harness.services[0].storage
        harness.faults.fail_storage(self._at, self._error, once=self._once)
        if not self._once:
            healing = Timer("the database works again", harness.clock, HEALED_AFTER_S, harness.faults.heal_storage)
            harness.world.actors.append(healing)

    def has_happened(self) -> bool:
        """Return whether it failed."""
        return bool(self._storage.failed)

    def end(self, harness: Harness) -> None:
        """Nothing: what fails after the scenario, while everything settles, is a failure all the same."""


def check_survives_storage_faults(
    scenario: Scenario,
    *,
    errors: Sequence[StorageFault] = get_args(StorageFault),
    only: str = "",
    **options: Any,
) -> list[str]:
    """Run a scenario once for every call to the database of its service and every error, and look for broken promises.

    First it runs undisturbed, which counts the calls, reads too. Then each fails, once in one run, and in another all
    from it on, until the database works again 90 virtual seconds later. In the end everything must have settled, the
    database must be sound, and the promises of `schedulergodx_testing.invariants` must hold, together with what the
    scenario asked for by `scheduler.must_hold(...)`. Its other assertions count in the undisturbed run alone.

    Args:
        scenario: takes an open `Harness`; see `check_survives_crashes`.
        errors: which ones; by default all of `FaultyStorage`.
        only: of the runs, those whose words in the report hold this text, to look at one again; "": all.
        options: how to open the harness; see `Harness`.

    Returns:
        The faults that were tried, in words.

    Raises:
        AssertionError: promises were broken; the message tells by which fault, and shows the timeline.
        HarnessError: the scenario does not run the same way twice; or it returned a coroutine, which nobody awaits.
        InvalidParameter: it is no function of a harness, or a coroutine function; or another argument is wrong.
    """
    counting = _Counting()
    name = getattr(scenario, "__qualname__", str(scenario))
    broken = run(scenario, counting, options)
    if broken is not None:
        told = "\n".join(f"  {sentence}" for sentence in broken.sentences)
        raise AssertionError(f"{name}: broken with nothing going wrong:\n{told}\n\n{broken.timeline}")
    faults = (
        _Failing(at, call, error, once=once)
        for at, call in enumerate(counting.names, 1)
        for error in errors
        for once in (True, False)
    )
    return explore(scenario, faults, options, name, only)
